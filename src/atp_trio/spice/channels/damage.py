"""Damage: what of a screen was drawn on, for those who wait for it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import attrs
import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import ChannelNotAvailable
from atp_trio.spice.imaging.fast import Drawn
from atp_trio.spice.imaging.screen import Damage
from atp_trio.spice.imaging.viewport import Place, Viewport
from atp_trio.spice.messages.geometry import Rect

# So many rectangles are kept for a slow reader; what comes beyond makes one of them all.
MAX_RECTS: Final = 32


@attrs.define(eq=False)
class Watch:
    """Somebody who waits for what he looks at to be drawn on.

    Attributes:
        view: What he looks at.
        is_touched: Whether it was drawn on since the last look.
    """

    view: Viewport
    is_touched: bool = False
    _seen: Place | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = self.view.place()

    @property
    def is_due(self) -> bool:
        """Whether there may be something new to see since the last look: it was drawn on, or the monitor was moved."""
        return self.is_touched or self.view.place() != self._seen

    def look(self) -> None:
        """What is there now is being looked at."""
        self.is_touched, self._seen = False, self.view.place()

    def touch(self, damage: Damage) -> None:
        """A surface was drawn on."""
        place = self.view.place()
        if place is not None and damage.surface_id == place.surface_id:
            rect = place.rect
            if rect is None or any(not one.intersection(rect).is_empty for one in damage.rects):
                self.is_touched = True

    def touch_all(self, drawn: Drawn) -> None:
        """The same, by many messages at once."""
        if not self.is_touched and (place := self.view.place()) and drawn.touches(place.surface_id, place.rect):
            self.is_touched = True


@attrs.define(eq=False)
class CollectingWatch(Watch):
    """A watch that keeps the rectangles, as few as say it.

    Attributes:
        rects: What was drawn on, the oldest first, in the pixels that the view's region counts.
    """

    rects: deque[Rect] = attrs.field(factory=deque)

    def touch(self, damage: Damage) -> None:
        """A surface was drawn on."""
        place = self.view.place()
        if place is not None and damage.surface_id == place.surface_id:
            self._take(damage.rects, place)

    def touch_all(self, drawn: Drawn) -> None:
        """The same, by many messages at once."""
        if place := self.view.place():
            self._take(drawn.rects(place.surface_id), place)

    def check(self) -> bool:
        """Whether there are rectangles. What a monitor that was moved shows now has changed as a whole."""
        place = self.view.place()
        if place != self._seen:
            self._seen = place
            self.rects.clear()
            if place is not None and place.rect is not None:
                self._take([place.rect], place)
        return bool(self.rects)

    def _take(self, rects: Iterable[Rect], place: Place) -> None:
        inner = rects if place.rect is None else (rect.intersection(place.rect) for rect in rects)
        seen = [rect for rect in inner if not rect.is_empty]
        if place.x or place.y:
            seen = [Rect.at(rect.left - place.x, rect.top - place.y, rect.width, rect.height) for rect in seen]
        for rect in seen if len(seen) <= MAX_RECTS else [_bounds(seen)]:
            self._add(rect)

    def _add(self, rect: Rect) -> None:
        if any(_holds(one, rect) for one in self.rects):
            return
        # A reader that keeps up has no others.
        if self.rects:
            kept = [one for one in self.rects if not _holds(rect, one)]
            self.rects = deque(kept if len(kept) < MAX_RECTS else [_bounds(kept)])
        self.rects.append(rect)


def _holds(outer: Rect, inner: Rect) -> bool:
    return outer.left <= inner.left and outer.top <= inner.top and outer.right >= inner.right and outer.bottom >= inner.bottom


def _bounds(rects: list[Rect]) -> Rect:
    return Rect(
        top=min(rect.top for rect in rects),
        left=min(rect.left for rect in rects),
        bottom=max(rect.bottom for rect in rects),
        right=max(rect.right for rect in rects),
    )


@contextlib.contextmanager
def watching(watches: set[Watch], watch: Watch) -> Iterator[None]:
    """Watch the screen for the time of the block."""
    watches.add(watch)
    try:
        yield
    finally:
        watches.discard(watch)


class DamageReceiver(trio.abc.ReceiveChannel[Rect]):
    """The rectangles of a screen that were drawn on; `DisplayChannel.damage` gives it."""

    def __init__(self, watch: CollectingWatch, wait_until: Callable[[Callable[[], bool]], Awaitable[None]]) -> None:
        self._watch = watch
        self._wait_until = wait_until
        self._receiving = ConflictDetector("another task is receiving")
        self._is_closed = False

    async def receive(self) -> Rect:
        """The next rectangle that was drawn on, within the region.

        Raises:
            trio.EndOfChannel: The display channel was closed, and everything was received.
            ConnectionLost: The same, but it ended by itself.
            trio.ClosedResourceError: This channel was closed.
            trio.BusyResourceError: Another task is receiving.

        Cancellation: nothing is lost.
        """
        await self._wait()
        return self._watch.rects.popleft()

    async def receive_all(self) -> list[Rect]:
        """All rectangles that were drawn on and not received yet, at least one: for a reader of displays that draw much.

        Raises:
            trio.EndOfChannel: As `receive` does, and the others.

        Cancellation: nothing is lost.
        """
        await self._wait()
        rects = list(self._watch.rects)
        self._watch.rects.clear()
        return rects

    async def _wait(self) -> None:
        with self._receiving:
            try:
                await self._wait_until(lambda: self._watch.check() or self._is_closed)
            except ChannelNotAvailable:
                raise trio.EndOfChannel from None
        if self._is_closed:
            raise trio.ClosedResourceError

    def close(self) -> None:
        """Receive no more, and keep nothing more for it."""
        self._is_closed = True
        self._watch.rects.clear()

    async def aclose(self) -> None:
        """As `close`; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()
