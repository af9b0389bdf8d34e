"""`send` and `receive` over a monitor: commands out, answers and events in, for programs that treat all protocols alike."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from atp_trio.errors import AtpError
from atp_trio.hypervisor.event import EventsMissed
from atp_trio.protocols.qmp.listening import DEFAULT_CAPACITY, QmpEvents
from atp_trio.protocols.qmp.message import QmpCommand, QmpEvent, QmpReply, encode_command
from atp_trio.protocols.qmp.monitor import QmpMonitor

__all__ = ["Conversation", "open_conversation"]

# Answers that were not received may be large; a program that pipelines needs no more than QEMU's eight and some in reserve.
MAX_OUTSTANDING: Final = 64


class Conversation:
    """One user's `send` and `receive`; made by `open_conversation`."""

    def __init__(self, monitor: QmpMonitor, nursery: trio.Nursery) -> None:
        self._monitor = monitor
        self._nursery = nursery
        self._replies: deque[QmpReply] = deque()
        self._outstanding = 0  # sent, and the answer not received
        self._events: QmpEvents | None = None  # from the first call on
        self._beginning = trio.Lock()
        self._room = trio.lowlevel.ParkingLot()
        self._is_receiving = False
        self._is_closed = False

    async def send(self, command: QmpCommand) -> None:
        """As `QmpProtocol.send`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        encode_command(command.name, command.arguments, oob=command.oob)  # what cannot be said is the sender's to know
        await self._listen()
        while self._outstanding >= MAX_OUTSTANDING:
            await self._room.park()
            self._check_open()
        self._outstanding += 1
        self._nursery.start_soon(self._execute, command)
        # The task runs before whatever is sent next: commands go in the order of the calls.
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> QmpReply | QmpEvent | EventsMissed:
        """As `QmpProtocol.receive`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving already")
        self._is_receiving = True
        try:
            events = await self._listen()
            while (found := self._take(events)) is None:
                await events.wait_changed()
        finally:
            self._is_receiving = False
        await trio.lowlevel.cancel_shielded_checkpoint()
        return found

    def close(self) -> None:
        """Who waits meets the end."""
        self._is_closed = True
        self._room.unpark_all()

    def _take(self, events: QmpEvents) -> QmpReply | QmpEvent | EventsMissed | None:
        if self._replies:
            self._outstanding -= 1
            self._room.unpark()
            return self._replies.popleft()
        try:
            return events.receive_nowait()
        except trio.WouldBlock:
            return None

    async def _execute(self, command: QmpCommand) -> None:
        try:
            value = await self._monitor.execute(command.name, command.arguments, oob=command.oob)
        except AtpError as error:
            self._replies.append(QmpReply(command, error=error))
        else:
            self._replies.append(QmpReply(command, value))
        assert self._events is not None
        self._events.notify()

    async def _listen(self) -> QmpEvents:
        """Begin to listen for events, if nobody did."""
        self._check_open()
        if self._events is None:
            async with self._beginning:
                if self._events is None:
                    self._events = await self._nursery.start(self._hold_events)
        return self._events

    async def _hold_events(self, *, task_status: trio.TaskStatus[QmpEvents]) -> None:
        async with self._monitor.listen(lambda _: True, DEFAULT_CAPACITY) as events:
            task_status.started(events)
            await trio.sleep_forever()

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("it was disconnected meanwhile")


@asynccontextmanager
async def open_conversation(monitor: QmpMonitor) -> AsyncIterator[Conversation]:
    """Be able to `send` and `receive` for the time of the block. Nothing is done before the first call."""
    async with trio.open_nursery() as nursery:
        conversation = Conversation(monitor, nursery)
        try:
            yield conversation
        finally:
            conversation.close()
            nursery.cancel_scope.cancel()
