"""A monitor reached directly: over its UNIX or TCP socket, or any stream.

Theory of operation. The connection's reader feeds the core. Whoever executes a command parks until the reader finds its answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from atp_trio.errors import AtpError, ConnectionLost
from atp_trio.protocols.direct import Address, DirectConnection, open_stream
from atp_trio.protocols.qmp.core import Execution, Failure, Negotiated, QmpCore, Reply
from atp_trio.protocols.qmp.listening import EventFilter, QmpEvents
from atp_trio.protocols.qmp.message import QmpEvent
from atp_trio.protocols.qmp.monitor import QmpMonitor
from atp_trio.spice.streams.base import ByteStream
from atp_trio.spice.streams.tcp import open_tcp_stream

__all__ = ["Address", "DirectMonitor", "open_direct_monitor"]

_MONITOR: Final = "the monitor"


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for an answer."""

    task: trio.lowlevel.Task
    value: Any = None
    error: AtpError | None = None


class DirectMonitor(QmpMonitor):
    """One connection to a monitor; made by `open_direct_monitor`."""

    def __init__(self, stream: ByteStream, core: QmpCore) -> None:
        super().__init__()
        self._connection = DirectConnection(_MONITOR, stream, self._take, self._ended)
        self._core = core
        self._waiters: dict[Execution, _Waiter] = {}
        self._settled = trio.Event()  # negotiated, or ended before

    # --- for callers

    async def execute(self, command: str, arguments: Mapping[str, Any], *, oob: bool = False) -> Any:
        """As `QmpProtocol.execute`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._connection.check()
        execution = self._core.execute(command, arguments, oob=oob)
        self._flush()
        waiter = self._waiters[execution] = _Waiter(trio.lowlevel.current_task())

        def give_up(_: Any) -> trio.lowlevel.Abort:
            del self._waiters[execution]
            self._core.forget(execution)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        if waiter.error is not None:
            raise waiter.error from self._connection.cause
        return waiter.value

    @asynccontextmanager
    async def listen(self, accepts: EventFilter, capacity: int) -> AsyncIterator[QmpEvents]:
        """Listen for events for the time of the block."""
        await trio.lowlevel.checkpoint()
        self._connection.check()
        with self.listeners.add(accepts, capacity) as events:
            yield events

    # --- the connection

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve the connection for the time of the block, which begins when commands can be executed.

        Raises:
            RemoteProtocolError: The peer is no QMP monitor.
            ConnectionLost: The connection ended before.
        """
        async with self._connection.serve():
            await self._settled.wait()
            if self._connection.is_ended:
                raise self._connection.cause or ConnectionLost("the connection to the monitor was closed")
            yield

    def _take(self, data: memoryview) -> None:
        self._core.receive_data(bytes(data))
        while (event := self._core.next_event()) is not None:
            self._handle(event)
        self._flush()

    def _handle(self, event: Negotiated | Reply | Failure | QmpEvent) -> None:
        if isinstance(event, Reply):
            self._answer(event.execution, event.value)
        elif isinstance(event, Failure):
            self._answer(event.execution, None, event.error)
        elif isinstance(event, QmpEvent):
            self.listeners.put(event)
        else:
            self.greeting = event.greeting
            self._settled.set()

    def _answer(self, execution: Execution, value: Any, error: AtpError | None = None) -> None:
        waiter = self._waiters.pop(execution)
        waiter.value, waiter.error = value, error
        trio.lowlevel.reschedule(waiter.task)

    def _ended(self) -> None:
        """Nothing more comes: who waits meets the cause."""
        self._settled.set()
        for execution in list(self._waiters):
            lost = f"the connection to the monitor was lost; whether {execution.command!r} was executed is not known"
            self._answer(execution, None, ConnectionLost(lost))
        self.listeners.end(self._connection.cause)

    def _flush(self) -> None:
        if output := self._core.data_to_send():
            self._connection.outbox.put(list(output))


@asynccontextmanager
async def open_direct_monitor(address: Address, *, max_reply: int) -> AsyncIterator[DirectMonitor]:
    """Connect to a monitor, ready to execute commands, for the time of the block."""
    core = QmpCore(max_reply=max_reply)
    monitor = DirectMonitor(await _open_stream(address), core)
    async with monitor.serve():
        yield monitor


async def _open_stream(address: Address) -> ByteStream:
    if isinstance(address, str):
        host, _, port = address.removeprefix("tcp:").rpartition(":")
        if address.startswith("tcp:") and host and port.isascii() and port.isdecimal() and len(port) < 6:
            return await open_tcp_stream(host.removeprefix("[").removesuffix("]"), int(port))
    return await open_stream(address, _MONITOR, forms="unix:PATH or tcp:HOST:PORT")
