"""An agent reached directly: on the UNIX socket of its port, or any stream that is connected to it.

Theory of operation. One task at a time has the turn: it synchronizes where that is needed, sends its command, and parks until the
reader has found the answer. A reader task feeds the core, a writer task alone is ever inside `send_all`. QEMU does not tell who
opens the port in the guest: an agent that is not there is one that does not answer.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AgentUnresponsive, AtpError, ConfigError, ConnectionLost
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.core import Answer, QgaCore, QgaPhase, Synced
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.streams.base import ByteStream, as_byte_stream
from atp_trio.spice.streams.unix import open_unix_stream

__all__ = ["Address", "open_direct_agent"]

Address = str | os.PathLike[str] | trio.abc.Stream

_READ_SIZE: Final = 64 * 1024
_SYNC_SECONDS: Final = 5.0  # libvirt's own patience with an agent


@attrs.define(eq=False)
class _Waiter:
    """The task that has the turn, waiting for what comes next."""

    event: Synced | Answer | None = None
    arrived: trio.Event = attrs.field(factory=trio.Event)


class DirectAgent(QgaAgent):
    """One connection to an agent's port; made by `open_direct_agent`."""

    max_data = 1024 * 1024

    def __init__(self, stream: ByteStream, core: QgaCore) -> None:
        super().__init__()
        self._stream = stream
        self._core = core
        self._outbox = Outbox(stream)
        self._turn = trio.Lock()
        self._waiter: _Waiter | None = None
        # Who disconnects may have something to tell the agent before: `close` ends the tasks, no cancellation from outside.
        self._scope = trio.CancelScope(shield=True)
        self._is_ended = False
        self._cause: AtpError | None = None

    async def transact(self, command: str, arguments: Mapping[str, Any], limit: float | None) -> Any:
        """As in the base class."""
        async with self._turn:
            self._check_alive()
            if self._core.phase is not QgaPhase.READY:
                await self._exchange(self._core.sync(), min(_SYNC_SECONDS, limit or math.inf), "guest-sync-delimited")
            answer = await self._exchange(self._core.execute(command, arguments), math.inf if limit is None else limit, command)
            assert isinstance(answer, Answer)
        if answer.error is not None:
            raise answer.error
        return answer.value

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """As in the base class."""
        await trio.lowlevel.checkpoint()
        # Asking takes its time already: whoever opens the port meanwhile finds our question, and answers.
        yield trio.lowlevel.checkpoint

    def close(self) -> None:
        """End the connection."""
        self._end(None)

    async def _exchange(self, data: bytes, limit: float, command: str) -> Synced | Answer:
        waiter = self._waiter = _Waiter()
        try:
            with trio.move_on_after(limit):
                await self._outbox.wait_room()
                self._outbox.put([data])
                await waiter.arrived.wait()
        finally:
            self._waiter = None
            if waiter.event is None:
                self._core.forget()
        if waiter.event is not None:
            return waiter.event
        if self._is_ended:
            raise ConnectionLost("the connection to the guest agent's port ended in the middle of a command") from self._cause
        raise AgentUnresponsive(f"{command}: the guest agent did not answer within {limit:g} s")

    # --- the tasks

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve the connection until it ends: the body of its task."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
        finally:
            self._end(None)
            await trio.aclose_forcefully(self._stream)

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except AtpError as error:
            self._end(error)

    async def _read(self) -> None:
        buffer = memoryview(bytearray(_READ_SIZE))
        try:
            while received := await self._stream.receive_into(buffer):
                self._outbox.heard()
                self._core.receive_data(buffer[:received])
                while (event := self._core.next_event()) is not None:
                    self._hand_over(event)
        except AtpError as error:
            self._end(error)
        else:
            self._end(ConnectionLost("QEMU closed the connection to the guest agent's port"))

    def _hand_over(self, event: Synced | Answer) -> None:
        # The core tells of nothing that nobody waits for: who goes tells it to forget.
        assert self._waiter is not None
        self._waiter.event = event
        self._waiter.arrived.set()

    def _end(self, cause: AtpError | None) -> None:
        if self._is_ended:
            return
        self._is_ended, self._cause = True, cause
        self._scope.cancel()
        self._outbox.close()
        if self._waiter is not None:
            self._waiter.arrived.set()

    def _check_alive(self) -> None:
        if self._is_ended:
            raise ConnectionLost("the connection to the guest agent's port has ended") from self._cause


@asynccontextmanager
async def open_direct_agent(address: Address, *, max_reply: int) -> AsyncIterator[DirectAgent]:
    """Connect to an agent's port for the time of the block; nothing is sent yet."""
    core = QgaCore(secrets.randbits(60), max_reply=max_reply)
    agent = DirectAgent(await _open_stream(address), core)
    async with open_background() as nursery:
        nursery.start_soon(agent.run)
        try:
            yield agent
        finally:
            agent.close()


async def _open_stream(address: Address) -> ByteStream:
    if isinstance(address, trio.abc.Stream):
        return as_byte_stream(address, address="the guest agent's port")
    text = os.fspath(address)
    if not isinstance(address, str):
        return await open_unix_stream(text)
    kind, _, path = text.partition(":")
    if kind == "unix" and path:
        return await open_unix_stream(path)
    raise ConfigError(f"{text!r} is no address of a guest agent's port: that is unix:PATH")
