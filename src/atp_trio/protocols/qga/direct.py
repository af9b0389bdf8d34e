"""An agent reached directly: on the UNIX socket of its port, or any stream that is connected to it.

Theory of operation. One task at a time has the turn: it synchronizes where that is needed, sends its command, and parks until the
connection's reader, which feeds the core, has found the answer. QEMU does not tell who opens the port in the guest: an agent that
is not there is one that does not answer.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from atp_trio.errors import AgentUnresponsive, ConnectionLost
from atp_trio.protocols.direct import Address, DirectConnection, open_stream
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.core import Answer, QgaCore, QgaPhase, Synced
from atp_trio.spice.streams.base import ByteStream

__all__ = ["Address", "open_direct_agent"]

_PORT: Final = "the guest agent's port"
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
        self.connection = DirectConnection(_PORT, stream, self._take, self._ended)
        self._core = core
        self._turn = trio.Lock()
        self._waiter: _Waiter | None = None

    async def transact(self, command: str, arguments: Mapping[str, Any], limit: float | None) -> Any:
        """As in the base class."""
        async with self._turn:
            self.connection.check()
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

    async def _exchange(self, data: bytes, limit: float, command: str) -> Synced | Answer:
        waiter = self._waiter = _Waiter()
        try:
            with trio.move_on_after(limit):
                await self.connection.outbox.wait_room()
                self.connection.outbox.put([data])
                await waiter.arrived.wait()
        finally:
            self._waiter = None
            if waiter.event is None:
                self._core.forget()
        if waiter.event is not None:
            return waiter.event
        if self.connection.is_ended:
            raise ConnectionLost(f"the connection to {_PORT} ended in the middle of a command") from self.connection.cause
        raise AgentUnresponsive(f"{command}: the guest agent did not answer within {limit:g} s")

    # --- called by the connection

    def _take(self, data: memoryview) -> None:
        self._core.receive_data(data)
        while (event := self._core.next_event()) is not None:
            self._hand_over(event)

    def _hand_over(self, event: Synced | Answer) -> None:
        # The core tells of nothing that nobody waits for: who goes tells it to forget.
        assert self._waiter is not None
        self._waiter.event = event
        self._waiter.arrived.set()

    def _ended(self) -> None:
        if self._waiter is not None:
            self._waiter.arrived.set()


@asynccontextmanager
async def open_direct_agent(address: Address, *, max_reply: int) -> AsyncIterator[DirectAgent]:
    """Connect to an agent's port for the time of the block; nothing is sent yet."""
    core = QgaCore(secrets.randbits(60), max_reply=max_reply)
    agent = DirectAgent(await open_stream(address, _PORT), core)
    async with agent.connection.serve():
        yield agent
