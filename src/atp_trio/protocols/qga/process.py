"""A program that runs in a guest: what it writes, and how it ends.

Theory of operation. What it writes is read through the agent from files that grow, or told at the end: see `program`, which
starts it.

Whether it has ended is asked again and again, after 1 ms first and after 250 ms at last. The agent tells the end once: so that
no caller's cancellation loses it, an errand asks, and callers wait for that.

Source:
    QEMU Guest Agent Protocol Reference, guest-exec-status.
"""

from __future__ import annotations

import math
from typing import Any, Final

import attrs
import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import (
    AgentLost,
    AgentUnavailable,
    AtpError,
    ConfigError,
    ConnectionLost,
    LocalProtocolError,
    MalformedMessage,
    QgaError,
)
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.broom import Broom
from atp_trio.protocols.qga.errand import Errand, Errands
from atp_trio.protocols.qga.exec import FIRST_DELAY, longer_delay, run_shell
from atp_trio.protocols.qga.file import GuestFile, acquire_guest_file
from atp_trio.protocols.qga.message import decode_data, member

__all__ = ["Completed", "ExitStatus", "GuestOutput", "GuestProcess"]

_KILL: Final = 'kill -s "$1" "$0"'


@attrs.frozen
class ExitStatus:
    """How a program ended: one of the two is None."""

    returncode: int | None
    """What it exited with."""
    signal: int | None
    """The signal that ended it, by the guest's number; on Windows the exception's code."""


@attrs.frozen
class Completed:
    """A program that has ended, with what it wrote."""

    returncode: int | None
    """What it exited with; None if a signal ended it."""
    signal: int | None
    """The signal that ended it, by the guest's number."""
    stdout: bytes = attrs.field(repr=False)
    stderr: bytes = attrs.field(repr=False)
    stdout_truncated: bool = False
    """Whether it wrote more than was to be kept."""
    stderr_truncated: bool = False


class GuestOutput(trio.abc.ReceiveStream):
    """What a program writes to one of its outputs, as it comes. It ends when the program has ended.

    Not what a program that it left behind writes after that.

    Attributes:
        is_truncated: Whether the agent gave not all of it, which is so beyond 16 MiB in a guest without `/bin/sh`.
    """

    def __init__(self, process: GuestProcess, name: str) -> None:
        self.is_truncated = False
        self._process = process
        self._name = name
        self._file: GuestFile | None = None
        self._rest = b""
        self._is_end = False
        self._is_closed = False
        self._receiving = ConflictDetector("another task is receiving")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is; waits for at least one byte. Empty at the end.

        Raises:
            AgentLost: The agent was started anew, and knows the program no more.
            AtpError: As `QgaProtocol.execute`; it can be tried again.
            trio.BusyResourceError: Another task is receiving from here.
            trio.ClosedResourceError: It was closed, or the program was left.

        Cancellation: nothing is lost.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ConfigError(f"at least one byte is received, not {max_bytes}")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            while not self._rest and not self._is_end:
                await self._fetch()
        self._check_open()
        await trio.lowlevel.cancel_shielded_checkpoint()
        size = len(self._rest) if max_bytes is None else max_bytes
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def aclose(self) -> None:
        """Receive no more. The program may go on writing."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As `aclose`."""
        self._is_closed = True
        file, self._file = self._file, None
        if file is not None:
            self._process.errands.start(file.close)

    def give(self, data: bytes, *, is_truncated: bool) -> None:
        """All of it, from an agent that tells it at the end."""
        self._rest, self.is_truncated, self._is_end = data, is_truncated, True

    async def _fetch(self) -> None:
        self._check_open()
        process = self._process
        if process.place is None:
            await process.poll()
            return
        # Asked before: what was written before the end is then there to be read.
        has_ended = process.status is not None
        if self._file is None and not await self._open(process.place, has_ended):
            return
        assert self._file is not None
        data, is_at_end = await self._file.read()
        self._check_open()
        self._rest = data
        self._is_end = has_ended and is_at_end
        if data:
            process.hurry()
        elif not self._is_end:
            await process.poll()

    async def _open(self, place: str, has_ended: bool) -> bool:
        """Open the file, unless the shell has not made it yet."""
        try:
            file = await acquire_guest_file(self._process.agent, self._process.errands, f"{place}.{self._name}", "r")
        except AgentUnavailable:
            raise
        except QgaError as error:
            if has_ended:
                raise QgaError(f"the guest has no place for the output of a program: {error}") from error
            await self._process.poll()
            return False
        if self._is_closed:
            self._process.errands.start(file.close)
            self._check_open()
        self._file = file
        return True

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this output was closed")


class GuestProcess:
    """A program that runs in a guest, or has; `QgaProtocol.exec` gives it.

    Attributes:
        pid: Its number in the guest.
        stdout, stderr: What it writes. It need not be received: the program never waits for that.
        status: How it ended; None as long as that is not known.
    """

    def __init__(self, agent: QgaAgent, errands: Errands, broom: Broom, pid: int, place: str | None) -> None:
        self.agent = agent
        self.errands = errands
        self.pid = pid
        self._broom = broom
        self.place = place
        self.status: ExitStatus | None = None
        self.stdout = GuestOutput(self, "out")
        self.stderr = GuestOutput(self, "err")
        self.is_detached = False
        self._delay = FIRST_DELAY
        self._polling: Errand | None = None
        self._failure: AtpError | None = None

    def __repr__(self) -> str:
        return f"<GuestProcess {self.pid} {self.status or 'running'}>"

    async def wait(self) -> ExitStatus:
        """Wait until it has ended.

        Raises:
            AgentLost: The agent was started anew, and knows the program no more.
            AtpError: As `QgaProtocol.execute`; it can be tried again.

        Cancellation: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while self.status is None:
            await self.poll()
        return self.status

    async def kill(self, signal: str = "KILL") -> None:
        """Send it a signal, by its name without SIG. Those that it started get none. Without effect if it has ended.

        Raises:
            LocalProtocolError: The guest has no `/bin/sh`.
            AgentLost: The agent was started anew, and knows the program no more.
            AtpError: As `QgaProtocol.execute`.
        """
        if self.place is None:
            raise LocalProtocolError("the guest has no shell to kill a program with")
        # Its number may be another's by now, where it has ended, or was started by an agent that has gone.
        self.hurry()
        await self.poll()
        if self.status is None:
            await run_shell(self.agent, self.errands, _KILL, str(self.pid), signal)

    def detach(self) -> None:
        """Let it go on when the block is left."""
        self.is_detached = True

    def hurry(self) -> None:
        """It is at work: ask soon again."""
        self._delay = FIRST_DELAY

    async def poll(self) -> None:
        """Wait a little, and ask once whether it has ended; together with others who do so."""
        if self.status is not None:
            return
        if self._polling is None:
            self._failure = None
            self._polling = self.errands.start(self._ask_soon, limit=math.inf)
        polling = self._polling
        await polling.wait()
        if self._failure is not None:
            raise self._failure
        if polling.is_given_up:
            raise ConnectionLost("it was disconnected meanwhile")

    async def leave(self) -> None:
        """Clean up; ends it unless it is detached."""
        self.stdout.close()
        self.stderr.close()
        if self.status is None and not self.is_detached and self.place is not None:
            with trio.CancelScope(shield=True):  # for `ERRAND_SECONDS` at most
                await self.errands.start(self._kill_surely).wait()
        if self.place is not None:
            self._broom.sweep(*(f"{self.place}.{name}" for name in ("out", "err", "in")))

    async def _kill_surely(self) -> None:
        await self.kill()
        await self.wait()

    async def _ask_soon(self) -> None:
        try:
            await trio.sleep(self._delay)
            self._delay = longer_delay(self._delay)
            self._take(await self._ask())
        except AtpError as error:
            self._failure = error
        finally:
            self._polling = None

    async def _ask(self) -> Any:
        try:
            return await self.agent.ask("guest-exec-status", pid=self.pid)
        except AgentUnavailable:
            raise
        except QgaError as error:
            raise AgentLost("the agent was started anew, and does not know the program any more") from error

    def _take(self, told: Any) -> None:
        if not member(told, "exited", bool):
            return
        returncode, signal = told.get("exitcode"), told.get("signal")
        if type(returncode) is not int and type(signal) is not int:
            raise MalformedMessage("the guest agent does not tell how the program ended")
        if self.place is None:
            for output, name in ((self.stdout, "out"), (self.stderr, "err")):
                output.give(decode_data(told.get(f"{name}-data", "")), is_truncated=told.get(f"{name}-truncated") is True)
        self.status = ExitStatus(None if signal is not None else returncode, signal)
