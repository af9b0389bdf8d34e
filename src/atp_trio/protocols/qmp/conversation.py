"""`send` and `receive` over a monitor: commands out, answers and events in, for programs that treat all protocols alike.

Theory of operation. Each command that is sent is executed by a task. QEMU answers commands in their order, but of two tasks whose
answers came together either may run first: so every command in band has a slot, and the first slot is the next to be received.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.conflict import ConflictDetector
from atp_trio.errors import AtpError
from atp_trio.hypervisor.event import EventsMissed
from atp_trio.protocols.qmp.listening import DEFAULT_CAPACITY, QmpEvents
from atp_trio.protocols.qmp.message import QmpCommand, QmpEvent, QmpReply, encode_command
from atp_trio.protocols.qmp.monitor import QmpMonitor

__all__ = ["Conversation", "open_conversation"]

# Answers that were not received may be large; a program that pipelines needs no more than QEMU's eight and some in reserve.
MAX_OUTSTANDING: Final = 64


@attrs.define(eq=False)
class _Slot:
    """The place of an answer."""

    reply: QmpReply | None = None


class Conversation:
    """One user's `send` and `receive`; made by `open_conversation`."""

    def __init__(self, monitor: QmpMonitor, nursery: trio.Nursery) -> None:
        self._monitor = monitor
        self._nursery = nursery
        self._slots: deque[_Slot] = deque()  # commands in band, as they were sent; and answers of others, in front
        self._outstanding = 0  # sent, and the answer not received
        self._events: QmpEvents | None = None  # from the first call on
        self._beginning = trio.Lock()
        self._room = trio.lowlevel.ParkingLot()
        self._receiving = ConflictDetector("another task is receiving")
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
        slot = _Slot()
        if not command.oob:
            self._slots.append(slot)
        self._nursery.start_soon(self._execute, command, slot)
        # The task runs before whatever is sent next: commands go in the order of the calls.
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> QmpReply | QmpEvent | EventsMissed:
        """As `QmpProtocol.receive`."""
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            events = await self._listen()
            while (found := self._take(events)) is None:
                await events.wait_changed()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return found

    def close(self) -> None:
        """Who waits meets the end."""
        self._is_closed = True
        self._room.unpark_all()

    def _take(self, events: QmpEvents) -> QmpReply | QmpEvent | EventsMissed | None:
        if self._slots and self._slots[0].reply is not None:
            self._outstanding -= 1
            self._room.unpark()
            return self._slots.popleft().reply
        try:
            return events.receive_nowait()
        except trio.WouldBlock:
            return None

    async def _execute(self, command: QmpCommand, slot: _Slot) -> None:
        try:
            value = await self._monitor.execute(command.name, command.arguments, oob=command.oob)
        except AtpError as error:
            slot.reply = QmpReply(command, error=error)
        else:
            slot.reply = QmpReply(command, value)
        if command.oob:
            self._slots.appendleft(slot)
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
    async with open_background() as nursery:
        conversation = Conversation(monitor, nursery)
        try:
            yield conversation
        finally:
            conversation.close()
