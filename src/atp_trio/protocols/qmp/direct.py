"""A monitor reached directly: over its UNIX or TCP socket, or any stream.

Theory of operation. A reader task feeds the core, with no checkpoint between receiving and feeding; a writer task alone is ever
inside `send_all`, so no caller's cancellation can cut a command in two. Whoever executes a command parks until the reader finds
its answer. What can be expected (QEMU ends, or what answers is not QEMU) ends both tasks, and is the cause that callers meet.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConfigError, ConnectionLost
from atp_trio.protocols.qmp.core import Execution, Failure, Negotiated, QmpCore, Reply
from atp_trio.protocols.qmp.listening import EventFilter, QmpEvents
from atp_trio.protocols.qmp.message import QmpEvent
from atp_trio.protocols.qmp.monitor import QmpMonitor
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.streams.base import AdaptedStream, ByteStream
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.unix import open_unix_stream

__all__ = ["Address", "DirectMonitor", "open_direct_monitor"]

Address = str | os.PathLike[str] | trio.abc.Stream

_READ_SIZE: Final = 64 * 1024


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
        self._stream = stream
        self._core = core
        self._outbox = Outbox(stream)
        self._waiters: dict[Execution, _Waiter] = {}
        self._scope = trio.CancelScope()
        self._settled = trio.Event()  # negotiated, or ended before
        self._is_ended = False
        self._cause: AtpError | None = None

    # --- for callers

    async def execute(self, command: str, arguments: Mapping[str, Any], *, oob: bool = False) -> Any:
        """As `QmpProtocol.execute`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_alive()
        execution = self._core.execute(command, arguments, oob=oob)
        self._flush()
        waiter = self._waiters[execution] = _Waiter(trio.lowlevel.current_task())

        def give_up(_: Any) -> trio.lowlevel.Abort:
            del self._waiters[execution]
            self._core.forget(execution)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        if waiter.error is not None:
            raise waiter.error from self._cause
        return waiter.value

    @asynccontextmanager
    async def listen(self, accepts: EventFilter, capacity: int) -> AsyncIterator[QmpEvents]:
        """Listen for events for the time of the block."""
        await trio.lowlevel.checkpoint()
        self._check_alive()
        with self.listeners.add(accepts, capacity) as events:
            yield events

    async def wait_negotiated(self) -> None:
        """Wait until commands can be executed.

        Raises:
            RemoteProtocolError: The peer is no QMP monitor.
            ConnectionLost: The connection ended before.
        """
        await self._settled.wait()
        if self._is_ended:
            raise self._cause or ConnectionLost("the connection to the monitor was closed")

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
        with self._ending():
            await self._outbox.run()

    async def _read(self) -> None:
        with self._ending():
            buffer = memoryview(bytearray(_READ_SIZE))
            while received := await self._stream.receive_into(buffer):
                self._outbox.heard()
                self._core.receive_data(bytes(buffer[:received]))
                while (event := self._core.next_event()) is not None:
                    self._handle(event)
                self._flush()
            raise ConnectionLost("QEMU closed the connection to its monitor")

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except AtpError as error:
            self._end(error)

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

    def _end(self, cause: AtpError | None) -> None:
        """Nothing more comes: who waits meets the cause."""
        if self._is_ended:
            return
        self._is_ended, self._cause = True, cause
        self._scope.cancel()
        self._outbox.close()
        self._settled.set()
        for execution in list(self._waiters):
            lost = f"the connection to the monitor was lost; whether {execution.command!r} was executed is not known"
            self._answer(execution, None, ConnectionLost(lost))
        self.listeners.end(cause)

    def _check_alive(self) -> None:
        if self._is_ended:
            raise ConnectionLost("the connection to the monitor has ended") from self._cause

    def _flush(self) -> None:
        if output := self._core.data_to_send():
            self._outbox.put(list(output))


@asynccontextmanager
async def open_direct_monitor(address: Address, *, max_reply: int) -> AsyncIterator[DirectMonitor]:
    """Connect to a monitor, ready to execute commands, for the time of the block."""
    core = QmpCore(max_reply=max_reply)
    stream = await _open_stream(address)
    monitor = DirectMonitor(stream, core)
    async with open_background() as nursery:
        nursery.start_soon(monitor.run)
        await monitor.wait_negotiated()
        yield monitor


async def _open_stream(address: Address) -> ByteStream:
    if isinstance(address, ByteStream):
        return address
    if isinstance(address, trio.abc.Stream):
        return AdaptedStream(address, address="the monitor")
    text = os.fspath(address)
    if not isinstance(address, str):
        return await open_unix_stream(text)
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return await open_unix_stream(rest)
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isascii() and port.isdecimal() and len(port) < 6:
        return await open_tcp_stream(host.removeprefix("[").removesuffix("]"), int(port))
    raise ConfigError(f"{text!r} is no monitor's address: that is unix:PATH or tcp:HOST:PORT")
