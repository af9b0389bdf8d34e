"""QMP, QEMU's machine protocol, as one of the protocols of a machine."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import trio

from atp_trio.errors import ConfigError, MalformedMessage
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.event import EventsMissed
from atp_trio.protocols.base import Protocol
from atp_trio.protocols.qmp.conversation import Conversation, open_conversation
from atp_trio.protocols.qmp.core import DEFAULT_MAX_REPLY
from atp_trio.protocols.qmp.direct import Address, open_direct_monitor
from atp_trio.protocols.qmp.domain import open_domain_monitor
from atp_trio.protocols.qmp.listening import DEFAULT_CAPACITY, QmpEvents, make_filter
from atp_trio.protocols.qmp.message import Greeting, QmpCommand, QmpEvent, QmpReply
from atp_trio.protocols.qmp.monitor import QmpMonitor

__all__ = ["QmpProtocol", "QmpTarget", "open_qmp"]

QmpTarget = Domain | Address
"""A `Domain`; the address of a monitor of QEMU's (`unix:PATH`, `tcp:HOST:PORT`, a path); or a stream that is connected to one."""


class QmpProtocol(Protocol[QmpTarget, QmpCommand, "QmpReply | QmpEvent | EventsMissed"]):
    """QMP with one machine; `open_qmp` is the short way to one that is connected.

    Any number of tasks may execute commands and listen for events at once.

    Args:
        max_reply: The longest answer to accept, in bytes.

    Source:
        QEMU Machine Protocol Specification, and QEMU's QMP Reference Manual for the commands.
    """

    def __init__(self, *, max_reply: int = DEFAULT_MAX_REPLY) -> None:
        super().__init__()
        if max_reply < 1:
            raise ConfigError(f"the longest answer is at least one byte, not {max_reply}")
        self._max_reply: Final = max_reply
        self._monitor: QmpMonitor
        self._conversation: Conversation

    @property
    def greeting(self) -> Greeting | None:
        """QEMU's version and what it offers; None through libvirt, which was greeted itself."""
        self._check_connected()
        return self._monitor.greeting

    async def connect(self, domain: QmpTarget) -> None:
        """Connect to this machine's monitor.

        QEMU talks to one client on each of its monitors. One that is in use answers when that other client leaves: how long to
        wait for that is the caller's to say.

        Raises:
            LocalProtocolError: It is connected already, or this is outside of `async with`.
            ConfigError: The address cannot be meant.
            ConnectFailed: Nobody listens there.
            ConnectionLost: The connection ended while it was being made.
            RemoteProtocolError: Who listens there does not speak QMP.

        Cancellation: it is not connected, nothing stays open.
        """
        await super().connect(domain)

    async def execute(self, command: str, /, **arguments: Any) -> Any:
        """Execute a command and give what it returns.

        Args:
            command: Its name: `query-status`.
            **arguments: By QEMU's names; those with dashes as `**{"command-line": "info pci"}`.

        Returns:
            What JSON gives: often a dict, empty where there is nothing to say.

        Raises:
            QmpError: QEMU refused it or failed at it: `error_class` and `description` are QEMU's words, which change between
                versions.
            ConfigError: The arguments cannot be said in JSON.
            LocalProtocolError: It is not connected, or the command is larger than QEMU takes. Nothing was sent.
            ConnectionLost: The connection ended; whether the command was executed is not known.
            MalformedMessage: The answer is not QMP's, or over the limit.
            HypervisorError: libvirt could not pass it on.

        Cancellation: a command that was not sent yet never is; one that was sent is executed, and its answer dropped.
        """
        self._check_connected()
        return await self._monitor.execute(command, arguments)

    async def execute_oob(self, command: str, /, **arguments: Any) -> Any:
        """As `execute`, but ahead of the commands that are under way: few commands can (`migrate-pause`, `yank`).

        Raises:
            LocalProtocolError: This monitor does not offer it; through libvirt none does.
        """
        self._check_connected()
        return await self._monitor.execute(command, arguments, oob=True)

    async def human(self, command_line: str) -> str:
        """Execute a line of QEMU's monitor for people: `info registers`; gives what it prints, errors too.

        Raises:
            QmpError: And the others, as `execute`. A line that the monitor does not understand is none: it says so in its text.

        Cancellation: as `execute`.
        """
        printed = await self.execute("human-monitor-command", **{"command-line": command_line})
        if not isinstance(printed, str):
            raise MalformedMessage("the human monitor's answer is no text")
        return printed

    def events(
        self, *names: str, pattern: str | re.Pattern[str] | None = None, capacity: int = DEFAULT_CAPACITY
    ) -> AbstractAsyncContextManager[QmpEvents]:
        """Listen for events for the time of the block.

        ```python
        async with qmp.events("STOP", "RESUME", pattern="BLOCK_JOB_.*") as events:
            await qmp.execute("stop")
            print(await events.receive())
        ```

        Args:
            *names: Events of these names; all events if there is neither a name nor a pattern.
            pattern: Also those whose whole name this regular expression matches.
            capacity: How many to keep for who does not receive them; see `QmpEvents`.

        Raises:
            ConfigError: The pattern is no regular expression, or the capacity below 1.
            LocalProtocolError: It is not connected.
            ConnectionLost: On entering: the connection has ended.
            HypervisorError: On entering: libvirt could not listen.
        """
        self._check_connected()
        return self._monitor.listen(make_filter(names, pattern), capacity)

    async def send(self, value: QmpCommand) -> None:
        """Put a command on its way; `receive` gives its answer.

        Waits while the answers to 64 earlier ones have not been received.

        Raises:
            ConfigError: The arguments cannot be said in JSON.
            LocalProtocolError: It is not connected, or the command is larger than QEMU takes.
            trio.ClosedResourceError: It was disconnected meanwhile.

        Cancellation: the command is sent or not; if it is, its answer comes.
        """
        self._check_connected()
        await self._conversation.send(value)

    async def receive(self) -> QmpReply | QmpEvent | EventsMissed:
        """The next answer to what was sent with `send`, or else the next event.

        Answers come in the order in which their commands were sent, those to commands out of band as soon as they are there.
        Events are those since the first call of `send` or `receive`.

        Raises:
            LocalProtocolError: It is not connected.
            ConnectionLost: The connection ended, and everything was received.
            trio.ClosedResourceError: It was disconnected meanwhile.
            trio.BusyResourceError: Another task is receiving.

        Cancellation: nothing is lost.
        """
        self._check_connected()
        return await self._conversation.receive()

    @asynccontextmanager
    async def _open(self, domain: QmpTarget) -> AsyncIterator[None]:
        if isinstance(domain, str | os.PathLike | trio.abc.Stream):
            opening: AbstractAsyncContextManager[QmpMonitor] = open_direct_monitor(domain, max_reply=self._max_reply)
        else:
            opening = open_domain_monitor(domain, max_reply=self._max_reply)
        async with opening as self._monitor, open_conversation(self._monitor) as self._conversation:
            yield


@asynccontextmanager
async def open_qmp(domain: QmpTarget, *, max_reply: int = DEFAULT_MAX_REPLY) -> AsyncIterator[QmpProtocol]:
    """Connect to a machine's monitor for the time of the block.

    ```python
    async with open_qmp("unix:/run/vm.qmp") as qmp:
        print(await qmp.execute("query-status"))
    ```

    Args:
        domain: A `Domain` of libvirt's; the address of a monitor of QEMU's own, `unix:PATH` or `tcp:HOST:PORT` (started with
            `-qmp unix:PATH,server=on,wait=off`), or a path; or a stream that is connected to one, which it closes.
        max_reply: The longest answer to accept, in bytes.

    Raises:
        TransportError: As `QmpProtocol.connect`.
    """
    async with QmpProtocol(max_reply=max_reply) as qmp:
        await qmp.connect(domain)
        yield qmp
