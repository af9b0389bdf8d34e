"""Damage: what of a screen was drawn on, for those who wait for it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import attrs
import trio

from atp_trio.errors import ChannelNotAvailable
from atp_trio.spice.imaging.fast import Drawn
from atp_trio.spice.imaging.screen import Damage
from atp_trio.spice.messages.geometry import Rect

# So many rectangles are kept for a slow reader; what comes beyond makes one of them all.
MAX_RECTS: Final = 32


@attrs.define(eq=False)
class Watch:
    """Somebody who waits for a part of the screen to be drawn on.

    Attributes:
        region: The part; None for all of it.
        is_touched: Whether it was drawn on since this was last set to False.
    """

    region: Rect | None
    is_touched: bool = False

    def touch(self, damage: Damage) -> None:
        """The screen was drawn on."""
        if damage.surface_id == 0 and (
            self.region is None or any(not rect.intersection(self.region).is_empty for rect in damage.rects)
        ):
            self.is_touched = True

    def touch_all(self, drawn: Drawn) -> None:
        """The same, by many messages at once."""
        if not self.is_touched and drawn.touches(0, self.region):
            self.is_touched = True


@attrs.define(eq=False)
class CollectingWatch(Watch):
    """A watch that keeps the rectangles, as few as say it.

    Attributes:
        rects: What was drawn on, the oldest first.
    """

    rects: deque[Rect] = attrs.field(factory=deque)

    def touch(self, damage: Damage) -> None:
        """The screen was drawn on."""
        if damage.surface_id == 0:
            self._take(damage.rects)

    def touch_all(self, drawn: Drawn) -> None:
        """The same, by many messages at once."""
        self._take(drawn.rects(0))

    def _take(self, rects: Iterable[Rect]) -> None:
        inner = rects if self.region is None else (rect.intersection(self.region) for rect in rects)
        seen = [rect for rect in inner if not rect.is_empty]
        for rect in seen if len(seen) <= MAX_RECTS else [_bounds(seen)]:
            self._add(rect)

    def _add(self, rect: Rect) -> None:
        if any(one.intersection(rect) == rect for one in self.rects):
            return
        # A reader that keeps up has no others.
        if self.rects:
            kept = [one for one in self.rects if one.intersection(rect) != one]
            self.rects = deque(kept if len(kept) < MAX_RECTS else [_bounds(kept)])
        self.rects.append(rect)


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
        self._is_receiving = False
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
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving")
        self._is_receiving = True
        try:
            await self._wait_until(lambda: bool(self._watch.rects) or self._is_closed)
        except ChannelNotAvailable:
            raise trio.EndOfChannel from None
        finally:
            self._is_receiving = False
        if self._is_closed:
            raise trio.ClosedResourceError
        return self._watch.rects.popleft()

    def close(self) -> None:
        """Receive no more, and keep nothing more for it."""
        self._is_closed = True
        self._watch.rects.clear()

    async def aclose(self) -> None:
        """As `close`; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()
