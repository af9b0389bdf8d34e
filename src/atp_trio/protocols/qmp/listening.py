"""Who listens for events: each listener has a filter and a queue of its own."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from atp_trio.errors import AtpError, ConfigError, ConnectionLost
from atp_trio.hypervisor.event import EventsMissed
from atp_trio.protocols.qmp.message import QmpEvent

__all__ = ["DEFAULT_CAPACITY", "EventFilter", "QmpEvents", "make_filter"]

# A machine that changes its mind quickly sends some ten events a second; so this is a minute or more.
DEFAULT_CAPACITY: Final = 1000

EventFilter = Callable[[str], bool]


def make_filter(names: tuple[str, ...], pattern: str | re.Pattern[str] | None) -> EventFilter:
    """What tells whether an event of that name is wanted: it is one of these, or the pattern matches all of it; else any is.

    Raises:
        ConfigError: The pattern is no regular expression.
    """
    if not names and pattern is None:
        return lambda _: True
    try:
        matches = re.compile(pattern).fullmatch if pattern is not None else None
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}") from error
    wanted = frozenset(names)
    return lambda name: name in wanted or (matches is not None and matches(name) is not None)


class QmpEvents(trio.abc.ReceiveChannel["QmpEvent | EventsMissed"]):
    """The events that a listener has asked for, oldest first, from when it began to listen.

    It keeps a bounded number. If more come, the oldest are lost, and one `EventsMissed` in their place says how many.
    Iteration ends when we disconnect; after a lost connection what came before is given first, then `ConnectionLost` is raised.
    """

    def __init__(self, accepts: EventFilter, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise ConfigError(f"a listener keeps at least one event, not {capacity}")
        self._accepts = accepts
        self._capacity = capacity
        self._queue: deque[QmpEvent | EventsMissed] = deque()
        self._missed: int | None = 0  # None: some, but nobody knows how many
        self._is_ended = self._is_closed = False
        self._cause: AtpError | None = None
        self._changed = trio.lowlevel.ParkingLot()

    async def receive(self) -> QmpEvent | EventsMissed:
        """The next event.

        Raises:
            trio.EndOfChannel: We have disconnected, and everything was received.
            ConnectionLost: The connection was lost, and everything was received.
            trio.ClosedResourceError: The listener's own block has ended.

        Cancellation: nothing is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                event = self.receive_nowait()
            except trio.WouldBlock:
                await self._changed.park()
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return event

    def receive_nowait(self) -> QmpEvent | EventsMissed:
        """As `receive`, without waiting.

        Raises:
            trio.WouldBlock: There is none now.
        """
        if self._is_closed:
            raise trio.ClosedResourceError("this listener is closed")
        if self._missed != 0:
            missed, self._missed = self._missed, 0
            return EventsMissed(count=missed)
        if self._queue:
            return self._queue.popleft()
        if not self._is_ended:
            raise trio.WouldBlock
        if self._cause is None:
            raise trio.EndOfChannel
        raise ConnectionLost("the connection to the monitor was lost") from self._cause

    async def aclose(self) -> None:
        """Listen no more."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As `aclose`, without a checkpoint."""
        self._is_closed = True
        self._queue.clear()
        self._changed.unpark_all()

    # --- for the monitor and the conversation

    async def wait_changed(self) -> None:
        """Wait until there may be something to receive, or until `notify`."""
        await self._changed.park()

    def notify(self) -> None:
        """Let who waits look again."""
        self._changed.unpark_all()

    def put(self, event: QmpEvent) -> None:
        """Something happened: keep it, if it is wanted."""
        if self._accepts(event.name):
            self._keep(event)

    def put_missed(self) -> None:
        """Here nobody knows what happened."""
        self._keep(EventsMissed(count=None))

    def _keep(self, event: QmpEvent | EventsMissed) -> None:
        if self._is_closed or self._is_ended:
            return
        if len(self._queue) == self._capacity:
            lost = self._queue.popleft()
            is_counted = self._missed is not None and isinstance(lost, QmpEvent)
            self._missed = (self._missed or 0) + 1 if is_counted else None
        self._queue.append(event)
        self._changed.unpark()

    def end(self, cause: AtpError | None) -> None:
        """There will be no more; None if that is our own doing."""
        if not self._is_ended:
            self._is_ended, self._cause = True, cause
            self._changed.unpark_all()


class Listeners:
    """All who listen on one monitor."""

    def __init__(self) -> None:
        self._listeners: set[QmpEvents] = set()

    @contextmanager
    def add(self, accepts: EventFilter, capacity: int) -> Iterator[QmpEvents]:
        """One more, for the time of the block."""
        events = QmpEvents(accepts, capacity)
        self._listeners.add(events)
        try:
            yield events
        finally:
            self._listeners.discard(events)
            events.close()

    def put(self, event: QmpEvent) -> None:
        """Something happened."""
        for events in self._listeners:
            events.put(event)

    def end(self, cause: AtpError | None) -> None:
        """There will be no more events; None if that is our own doing."""
        for events in self._listeners:
            events.end(cause)
