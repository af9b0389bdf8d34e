"""QGA, the protocol of QEMU's guest agent, as one of the protocols of a machine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import trio

from atp_trio.errors import (
    AgentNotConfigured,
    AgentUnavailable,
    ConfigError,
    DomainNotRunning,
    MalformedMessage,
)
from atp_trio.hypervisor.domain import Domain, DomainState
from atp_trio.protocols.base import Protocol
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.conversation import Conversation, open_conversation
from atp_trio.protocols.qga.core import DEFAULT_MAX_REPLY
from atp_trio.protocols.qga.direct import Address, open_direct_agent
from atp_trio.protocols.qga.domain import open_domain_agent
from atp_trio.protocols.qga.errand import Errands, open_errands
from atp_trio.protocols.qga.fact import (
    AgentInfo,
    GuestUser,
    NetworkInterface,
    OsInfo,
    read_info,
    read_interfaces,
    read_osinfo,
    read_users,
)
from atp_trio.protocols.qga.file import GuestFile, open_guest_file
from atp_trio.protocols.qga.freeze import freeze, open_frozen, thaw
from atp_trio.protocols.qga.message import QgaCommand, QgaReply, member, number
from atp_trio.protocols.qga.process import Completed, GuestProcess
from atp_trio.protocols.qga.program import Programs
from atp_trio.protocols.qga.transfer import ProgressChannel, Transfers

__all__ = ["QgaProtocol", "QgaTarget", "open_qga"]

QgaTarget = Domain | Address
"""A `Domain`; the UNIX socket of the agent's port (`unix:PATH`, a path); or a stream that is connected to it."""

_MIB: Final = 1024 * 1024
_ENDED: Final = frozenset({DomainState.SHUTOFF, DomainState.CRASHED})


class QgaProtocol(Protocol[QgaTarget, QgaCommand, QgaReply]):
    """QGA with one machine's agent; `open_qga` is the short way to one that is connected.

    Any number of tasks may use it at once; the agent does one thing at a time, in the order of the calls. Connecting says nothing
    to the agent: whether there is one, each call finds out (`AgentNotConfigured`, `AgentNotConnected`, `AgentUnresponsive`,
    `AgentLost`, `DomainNotRunning`), and `wait_agent` waits for one. An agent that is started anew goes on being used, but has
    forgotten its files and programs.

    Args:
        max_reply: The longest answer to accept on the agent's own socket, in bytes; libvirt has its own limit, of 4 MiB.
        scratch: A directory in the guest, where programs leave what they write until it is read.

    Source:
        QEMU Guest Agent Protocol Reference.
    """

    def __init__(self, *, max_reply: int = DEFAULT_MAX_REPLY, scratch: str = "/tmp") -> None:  # noqa: S108 - the guest's
        super().__init__()
        if max_reply < 1:
            raise ConfigError(f"the longest answer is at least one byte, not {max_reply}")
        self._max_reply: Final = max_reply
        self._scratch: Final = scratch
        self._agent: QgaAgent
        self._errands: Errands
        self._programs: Programs
        self._transfers: Transfers
        self._conversation: Conversation

    # --- commands

    async def execute(self, command: str, /, **arguments: Any) -> Any:
        """Execute a command and give what it returns.

        Args:
            command: Its name: `guest-get-fsinfo`.
            **arguments: By the agent's names; those with dashes as `**{"capture-output": True}`.

        Returns:
            What JSON gives: often a dict, empty where there is nothing to say. None from commands that are answered only where
            they fail (`guest-shutdown`, `guest-suspend-ram`, ...).

        Raises:
            QgaError: The agent refused it or failed at it: `description` is its words. `error_class` is None through libvirt.
            AgentNotConfigured: The machine has no port for an agent.
            AgentNotConnected: No agent has opened it; nothing was sent.
            AgentUnresponsive: The agent does not answer.
            AgentLost: It ended in the middle; what became of the command is unknown.
            DomainNotRunning: The machine is off or paused.
            ConfigError: The arguments cannot be said in JSON.
            LocalProtocolError: It is not connected, or the command is larger than can be sent: 192 KiB through libvirt.
            ConnectionLost: The connection ended; whether the command was executed is not known.
            MalformedMessage: The answer is not QGA's.
            HypervisorError: libvirt could not pass it on.

        Cancellation: a command that was sent is carried out, and its answer dropped. Through libvirt, commands after it wait for
            it, until the caller's deadline has passed or, where there was none, until it is answered.
        """
        self._check_connected()
        return await self._agent.execute(command, arguments)

    async def ping(self) -> None:
        """Find out whether the agent answers.

        Raises:
            AtpError: As `execute`.
        """
        await self._ask("guest-ping")

    async def wait_agent(self) -> None:
        """Wait until the agent answers, however long that takes.

        Raises:
            AgentNotConfigured: The machine has no port for an agent.
            DomainNotRunning: The machine is off. A paused one is waited for.
            AtpError: As `execute`, but for what says that there is no agent now.
        """
        self._check_connected()
        async with self._agent.watch() as wait_change:
            while True:
                try:
                    await self._agent.ask("guest-ping")
                except AgentNotConfigured:
                    raise
                except AgentUnavailable:
                    await wait_change()
                except DomainNotRunning as error:
                    if error.state in _ENDED:
                        raise
                    await wait_change()
                else:
                    return

    # --- the guest

    async def info(self) -> AgentInfo:
        """The agent: its version, and what it can do.

        Raises:
            AtpError: As `execute`.
        """
        return read_info(await self._ask("guest-info"))

    async def osinfo(self) -> OsInfo:
        """The guest's operating system.

        Raises:
            AtpError: As `execute`.
        """
        return read_osinfo(await self._ask("guest-get-osinfo"))

    async def host_name(self) -> str:
        """The guest's host name.

        Raises:
            AtpError: As `execute`.
        """
        return member(await self._ask("guest-get-host-name"), "host-name", str)

    async def network_interfaces(self) -> tuple[NetworkInterface, ...]:
        """The guest's network interfaces, with their addresses.

        Raises:
            AtpError: As `execute`.
        """
        return read_interfaces(await self._ask("guest-network-get-interfaces"))

    async def users(self) -> tuple[GuestUser, ...]:
        """Who is logged in.

        Raises:
            AtpError: As `execute`.
        """
        return read_users(await self._ask("guest-get-users"))

    async def get_time(self) -> int:
        """The guest's clock, in nanoseconds since 1970.

        Raises:
            AtpError: As `execute`.
        """
        return number(await self._ask("guest-get-time"))

    async def set_time(self, nanoseconds: int | None = None) -> None:
        """Set the guest's clock, to nanoseconds since 1970; None takes over the machine's.

        Raises:
            AtpError: As `execute`.
        """
        await self._ask("guest-set-time", **({} if nanoseconds is None else {"time": nanoseconds}))

    async def shutdown(self, mode: Literal["powerdown", "halt", "reboot"] = "powerdown") -> None:
        """Tell the guest to shut down; returns when it was told.

        An agent is silent where it succeeds: this returns when the agent has gone, or after 5 s without an answer.

        Raises:
            AtpError: As `execute`.
        """
        await self.execute("guest-shutdown", mode=mode)

    # --- file systems

    async def fsfreeze_status(self) -> str:
        """Whether file systems are frozen: `frozen` or `thawed`.

        Raises:
            AtpError: As `execute`.
        """
        value = await self._ask("guest-fsfreeze-status")
        if not isinstance(value, str):
            raise MalformedMessage("the guest agent does not tell whether file systems are frozen")
        return value

    async def fsfreeze_freeze(self, mountpoints: Sequence[str] | None = None) -> int:
        """Freeze file systems, all or those that are mounted there; `frozen` is the sure way to thaw them again.

        As long as they are frozen, the agent does nothing but to tell the status and to thaw.

        Returns:
            How many were frozen.

        Raises:
            AtpError: As `execute`.
        """
        return await freeze(self.execute, mountpoints)

    async def fsfreeze_thaw(self) -> int:
        """Thaw all file systems that are frozen; gives how many that were.

        Raises:
            AtpError: As `execute`.
        """
        return await thaw(self.execute)

    def frozen(self, mountpoints: Sequence[str] | None = None) -> AbstractAsyncContextManager[int]:
        """Freeze file systems for the time of the block: for a snapshot.

        Gives how many. They are thawed however the block is left.

        Raises:
            AtpError: As `execute`.
            AgentUnresponsive: Also: they could not be thawed within 30 s.

        Cancellation: they are thawed first, which is shielded and takes 30 s at most.
        """
        return open_frozen(self.execute, mountpoints)

    # --- files

    def open_file(self, path: str, mode: str = "r") -> AbstractAsyncContextManager[GuestFile]:
        """Open a file of the guest for the time of the block.

        Args:
            path: Where it is in the guest.
            mode: As C's `fopen` has it: `r`, `w`, `a`, `r+`, `w+`, `a+`.

        Raises:
            AtpError: As `execute`; on leaving, what could not be written.
        """
        self._check_connected()
        return open_guest_file(self._agent, self._errands, path, mode)

    async def read_file(self, path: str, *, max_size: int = 256 * _MIB) -> bytes:
        """Read a whole file of the guest.

        Raises:
            MalformedMessage: It has more than `max_size` bytes.
            AtpError: As `execute`.
        """
        self._check_connected()
        return await self._transfers.read_file(path, max_size=max_size)

    async def write_file(self, path: str, data: bytes | bytearray | memoryview) -> None:
        """Write a whole file of the guest; what it held before is gone.

        Raises:
            AtpError: As `execute`.

        Cancellation: as after an error, the file holds a part of the data.
        """
        self._check_connected()
        await self._transfers.write_file(path, data)

    async def get(self, remote: str, local: str | os.PathLike[str], *, progress: ProgressChannel | None = None) -> None:
        """Copy a file of the guest to this machine, of any size.

        Args:
            remote: Where it is in the guest.
            local: Where it is to be. It is there when it is whole; a part of it stands beside it until then.
            progress: Where to tell how far it has come. What this has no room for is dropped.

        Raises:
            OSError: The local file could not be written.
            AtpError: As `execute`.

        Cancellation: as after an error, `local` is as it was.
        """
        self._check_connected()
        await self._transfers.get(remote, Path(local), progress)

    async def put(self, local: str | os.PathLike[str], remote: str, *, progress: ProgressChannel | None = None) -> None:
        """Copy a file of this machine to the guest, of any size.

        Args:
            local: Where it is.
            remote: Where it is to be in the guest; what was there is overwritten.
            progress: Where to tell how far it has come. What this has no room for is dropped.

        Raises:
            OSError: The local file could not be read.
            AtpError: As `execute`.

        Cancellation: as after an error, the guest's file holds a part of it.
        """
        self._check_connected()
        await self._transfers.put(Path(local), remote, progress)

    # --- programs

    @asynccontextmanager
    async def exec(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> AsyncIterator[GuestProcess]:
        """Run a program in the guest, and hear what it writes while it runs.

        ```python
        async with qga.exec(["ping", "-c", "3", "localhost"]) as process:
            async for data in process.stdout:
                print(data)
            print(await process.wait())
        ```

        What it writes is kept in files in the guest until the block is left: there must be room for it.

        Args:
            argv: The program, found by the guest's PATH, and its arguments.
            env: Its whole environment; None for the agent's own.
            stdin: What it reads from its standard input.

        Raises:
            AtpError: As `execute`. A program that cannot be started exits with 127 or 126, as from a shell; in a guest without
                `/bin/sh` it is a QgaError.

        Leaving the block, also by cancellation, kills the program if it runs yet, which is shielded and takes 5 s at most;
        `GuestProcess.detach` lets it go on. What it has started itself goes on. In a guest without `/bin/sh`, nothing can be
        killed, and output comes at the end.
        """
        self._check_connected()
        async with self._programs.exec(argv, env, stdin) as process:
            yield process

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        max_output: int = 16 * _MIB,
    ) -> Completed:
        """Run a program in the guest to its end.

        Args:
            argv: As `exec`.
            env: As `exec`.
            stdin: As `exec`.
            max_output: How many bytes of each output to give; the rest is dropped.

        Raises:
            AtpError: As `exec`.

        Cancellation: the program is killed.
        """
        self._check_connected()
        return await self._programs.run(argv, env, stdin, max_output=max_output)

    # --- as every protocol

    async def send(self, value: QgaCommand) -> None:
        """Put a command on its way; `receive` gives its answer.

        Waits while many answers have not been received.

        Raises:
            ConfigError: The arguments cannot be said in JSON.
            LocalProtocolError: It is not connected.
            trio.ClosedResourceError: It was disconnected meanwhile.

        Cancellation: the command is sent or not; if it is, its answer comes.
        """
        self._check_connected()
        await self._conversation.send(value)

    async def receive(self) -> QgaReply:
        """The next answer to what was sent with `send`, in that order.

        Raises:
            LocalProtocolError: It is not connected.
            trio.ClosedResourceError: It was disconnected meanwhile.

        Cancellation: nothing is lost.
        """
        self._check_connected()
        return await self._conversation.receive()

    async def _ask(self, command: str, **arguments: Any) -> Any:
        self._check_connected()
        return await self._agent.ask(command, **arguments)

    @asynccontextmanager
    async def _open(self, domain: QgaTarget) -> AsyncIterator[None]:
        if isinstance(domain, str | os.PathLike | trio.abc.Stream):
            opening: AbstractAsyncContextManager[QgaAgent] = open_direct_agent(domain, max_reply=self._max_reply)
        else:
            opening = open_domain_agent(domain)
        async with opening as self._agent, open_errands() as self._errands, open_conversation(self._agent) as self._conversation:
            self._programs = Programs(self._agent, self._errands, self._scratch)
            self._transfers = Transfers(self._agent, self._errands)
            try:
                yield
            finally:
                self._programs.sweep()


@asynccontextmanager
async def open_qga(
    domain: QgaTarget,
    *,
    max_reply: int = DEFAULT_MAX_REPLY,
    scratch: str = "/tmp",  # noqa: S108 - the guest's
) -> AsyncIterator[QgaProtocol]:
    """Speak with a guest's agent for the time of the block.

    ```python
    async with open_host("qemu:///system") as host, open_qga(await host.domain("vm1")) as qga:
        print((await qga.run(["uname", "-a"])).stdout)
    ```

    Args:
        domain: A `Domain` of libvirt's; or the UNIX socket of the agent's port (`unix:PATH`, or a path), where QEMU runs without
            libvirt; or a stream that is connected to it, which it closes.
        max_reply: As `QgaProtocol` takes it.
        scratch: As `QgaProtocol` takes it.

    Raises:
        ConnectFailed: Nobody listens on the socket.
    """
    async with QgaProtocol(max_reply=max_reply, scratch=scratch) as qga:
        await qga.connect(domain)
        yield qga
