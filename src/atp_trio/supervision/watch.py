"""State changes for those who watch: the present state first, then every change, bounded for the slow.

A reader that falls behind never misses the newest state of anything: of what it did not read, the oldest changes of the same
subject are dropped, and `StateChange.missed` tells how many.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import attrs
import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import ConnectionLost
from atp_trio.supervision.state import ConnectionEvent, ConnectionState, StateChange, StateCore, Subject

__all__ = ["StateBoard", "StateReceiver", "StateSource"]

# Changes of one subject that wait to be read; a cut and a reconnect are four.
DEPTH: Final = 16


class StateReceiver(trio.abc.ReceiveChannel[StateChange]):
    """State changes, the oldest first; `StateSource.watch` and `StateBoard.watch` give it."""

    def __init__(self, listeners: set[StateReceiver]) -> None:
        self._listeners = listeners
        self._pending: OrderedDict[int, StateChange] = OrderedDict()
        self._numbers: dict[Subject, deque[int]] = {}
        self._last_number = 0
        self._receiving = ConflictDetector("another task is receiving")
        self._is_closed = False
        self._has_ended = False
        self._arrived = trio.lowlevel.ParkingLot()
        listeners.add(self)

    def put(self, change: StateChange) -> None:
        """Take a change for the reader."""
        numbers = self._numbers.setdefault(change.subject, deque())
        self._last_number += 1
        numbers.append(self._last_number)
        self._pending[self._last_number] = change
        if len(numbers) > DEPTH:
            dropped = self._pending.pop(numbers.popleft())
            self._pending[numbers[0]] = attrs.evolve(
                self._pending[numbers[0]], missed=self._pending[numbers[0]].missed + dropped.missed + 1
            )
        self._arrived.unpark_all()

    def end(self) -> None:
        """There will be no more changes."""
        self._has_ended = True
        self._arrived.unpark_all()

    async def receive(self) -> StateChange:
        """The next change; the first ones tell what is present.

        Raises:
            trio.EndOfChannel: What was watched is gone, and everything was received.
            trio.ClosedResourceError: This channel was closed.
            trio.BusyResourceError: Another task is receiving.

        Cancellation: nothing is lost.
        """
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            while not (self._pending or self._is_closed or self._has_ended):
                await self._arrived.park()
        change = self.receive_nowait()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return change

    def receive_nowait(self) -> StateChange:
        """The next change, without waiting.

        Raises:
            trio.WouldBlock: There is none.
            trio.EndOfChannel, trio.ClosedResourceError: As for `receive`.
        """
        if self._is_closed:
            raise trio.ClosedResourceError
        if not self._pending:
            raise trio.EndOfChannel if self._has_ended else trio.WouldBlock
        _, change = self._pending.popitem(last=False)
        numbers = self._numbers[change.subject]
        numbers.popleft()
        if not numbers:
            del self._numbers[change.subject]
        return change

    def close(self) -> None:
        """Receive no more."""
        self._is_closed = True
        self._listeners.discard(self)
        self._pending.clear()
        self._numbers.clear()
        self._arrived.unpark_all()

    async def aclose(self) -> None:
        """As `close`; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class _Wish:
    """Somebody who waits for states; what fulfilled it is kept, as the state may have gone on by the time the waiter runs."""

    states: frozenset[ConnectionState]
    fulfilled: StateChange | None = None
    woken: trio.Event = attrs.field(factory=trio.Event)


class StateSource:
    """The state of one connection, and those who watch it.

    Args:
        subject: Whose state it is.
        board: Where it is shown together with others.
    """

    def __init__(self, subject: Subject, board: StateBoard | None = None) -> None:
        self._core = StateCore(subject)
        self._board = board
        self._listeners: set[StateReceiver] = set()
        self._wishes: set[_Wish] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<StateSource {self._core.present}>"

    @property
    def subject(self) -> Subject:
        """Whose state it is."""
        return self._core.subject

    @property
    def state(self) -> ConnectionState:
        """The present state."""
        return self._core.state

    @property
    def present(self) -> StateChange:
        """The present state with its cause."""
        return self._core.present

    def allows(self, event: ConnectionEvent) -> bool:
        """Whether the event can be meant now."""
        return self._core.allows(event)

    def apply(
        self, event: ConnectionEvent, *, cause: BaseException | None = None, retry_at: float | None = None
    ) -> StateChange | None:
        """Something happened: tell everybody who watches; called within Trio.

        Args:
            event: What.
            cause: What went wrong, where something did.
            retry_at: When the next attempt begins, on Trio's clock.

        Returns:
            The change; None where it changed nothing.

        Raises:
            LocalProtocolError: The event cannot be meant in this state; nothing changed.
        """
        change = self._core.apply(event, now=trio.current_time(), cause=cause, retry_at=retry_at)
        if change is not None:
            self._tell(change)
        return change

    def _tell(self, change: StateChange) -> None:
        for listener in self._listeners:
            listener.put(change)
        if self._board is not None:
            self._board.show(change)
        for wish in [wish for wish in self._wishes if change.state in wish.states]:
            self._wishes.discard(wish)
            wish.fulfilled = change
            wish.woken.set()

    def watch(self) -> StateReceiver:
        """The present state, then every change; close it when done (`async with`)."""
        receiver = StateReceiver(self._listeners)
        receiver.put(self.present)
        if self._is_closed:
            receiver.end()
        return receiver

    async def wait_state(self, *states: ConnectionState) -> StateChange:
        """Wait until one of these states is entered, or is there already.

        A state that was left again at once counts: what is given is the change that entered it.

        Raises:
            ConnectionLost: Nobody keeps the connection any more, and it is in none of these states.

        Cancellation: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        if self.state in states:
            return self.present
        wish = _Wish(frozenset(states))
        if not self._is_closed:
            self._wishes.add(wish)
            try:
                await wish.woken.wait()
            finally:
                self._wishes.discard(wish)
        if wish.fulfilled is None:
            raise ConnectionLost(f"{self.present}, and stays so") from self.present.cause
        return wish.fulfilled

    def close(self) -> None:
        """Nobody keeps the connection any more: whoever watches is told that it ends, once everything is read."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()
        wishes, self._wishes = self._wishes, set()
        for wish in wishes:
            wish.woken.set()
        if self._board is not None:
            self._board.remove(self)


class StateBoard:
    """The states of many: hosts, machines and channels, as they come and go."""

    def __init__(self) -> None:
        self._sources: dict[Subject, StateSource] = {}
        self._listeners: set[StateReceiver] = set()

    def add(self, subject: Subject) -> StateSource:
        """A new subject; whoever watches is told its state. A subject that is there already is given as it is."""
        source = self._sources.get(subject)
        if source is None:
            source = self._sources[subject] = StateSource(subject, self)
            self.show(source.present)
        return source

    def remove(self, source: StateSource) -> None:
        """A subject that is kept no more; `StateSource.close` does this."""
        if self._sources.get(source.subject) is source:
            del self._sources[source.subject]

    def get(self, subject: Subject) -> StateSource | None:
        """The source of a subject, if it is there."""
        return self._sources.get(subject)

    @property
    def present(self) -> tuple[StateChange, ...]:
        """The present states, in the order in which the subjects came."""
        return tuple(source.present for source in self._sources.values())

    def show(self, change: StateChange) -> None:
        """Tell a change to everybody who watches."""
        for listener in self._listeners:
            listener.put(change)

    def watch(self) -> StateReceiver:
        """The present states of all, then every change of any; close it when done (`async with`)."""
        receiver = StateReceiver(self._listeners)
        for change in self.present:
            receiver.put(change)
        return receiver

    def close(self) -> None:
        """Close all of it."""
        for source in list(self._sources.values()):
            source.close()
        for listener in self._listeners:
            listener.end()
