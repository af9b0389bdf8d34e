"""Looking at a screen and waiting for what it shows: the part of the display channel that programs use.

Theory of operation. Whoever waits has a `Watch`, which the drawing touches; then the channel wakes all who wait, and those whose
watch was touched look again. Between two looks any number of updates may come: only what the screen shows now is looked at, so
nothing queues up behind a slow look. Pictures are compared on a copy in a worker thread, one at a time for a display; a wait that
is cancelled abandons its thread, as the copy is its own.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import trio

from atp_trio.errors import ChannelNotAvailable, ConfigError
from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.cursor import CursorChannel
from atp_trio.spice.channels.damage import CollectingWatch, DamageReceiver, Watch, watching
from atp_trio.spice.channels.recording import Recording, View, open_recording
from atp_trio.spice.channels.session import Session
from atp_trio.spice.imaging.ocr import TextLine, find_text, nearest_text, read_text
from atp_trio.spice.imaging.pixel import Argb
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.imaging.screenshot import Screenshot, draw_cursor
from atp_trio.spice.imaging.search import Mask, Match, Needle, find
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType

Picture = Needle | Screenshot | npt.NDArray[np.uint32]
Found = TypeVar("Found")

# Copying more pixels than these takes longer than the hop to a thread and back is worth.
INLINE_PIXELS: Final = 256 * 1024


@attrs.frozen
class Monitor:
    """A monitor: which part of which surface it shows."""

    id: int
    surface_id: int
    x: int
    y: int
    width: int
    height: int


@attrs.frozen(eq=False)
class LiveScreen:
    """The screen as it is at this moment: what a predicate of `wait_until` looks at."""

    _screen: Screen

    @property
    def width(self) -> int:
        """In pixels."""
        return self._screen.surfaces[0].width

    @property
    def height(self) -> int:
        """In pixels."""
        return self._screen.surfaces[0].height

    @property
    def pixels(self) -> npt.NDArray[np.uint32]:
        """A copy of everything: shape (height, width), rows top-down, numbers `0x00RRGGBB`."""
        return self._screen.copy()

    def region(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint32]:
        """A copy of a part, as `pixels`; what lies outside the screen is left out."""
        return self._screen.copy(Rect.at(x, y, width, height))


@attrs.frozen(eq=False)
class Evidence:
    """What a wait saw that was cut short: as a string, a sentence about it.

    Attributes:
        wanted: What was waited for.
        region: The part of the screen that was looked at; None for all of it.
        looks: How often it was looked at.
        picture: What was seen in the last look that came to an end; None where there was none.
        nearest: What in it came nearest to what was wanted, where that can be said.
    """

    wanted: str
    region: Rect | None
    looks: int
    picture: Screenshot | None
    nearest: Match | TextLine | None

    def __str__(self) -> str:
        if self.picture is None:
            return f"{self.wanted}: there was no picture to look at"
        nearest = f"; the nearest was {self.nearest}" if self.nearest else ""
        return f"{self.wanted}: not in {self.looks} look{'s' if self.looks != 1 else ''}{nearest}"


@attrs.define(eq=False)
class _Looking:
    """What a wait has seen so far."""

    looks: int = 0
    picture: Screenshot | None = None
    nearest: Match | TextLine | None = None

    def saw(self, picture: Screenshot, nearest: Match | TextLine | None = None) -> None:
        self.looks, self.picture, self.nearest = self.looks + 1, picture, nearest


class WatchedChannel(SpiceChannel):
    """A channel with a screen that programs look at. Regions are in pixels of the primary surface.

    Attributes:
        screen: The surfaces, and what was counted while drawing on them. To be looked at between checkpoints only: while the
            channel's task waits for a worker thread, that thread draws.
        last_wait: What the last `wait_until`, `wait_change`, `wait_still`, `wait_image` or `wait_text` saw that was cut short,
            by the caller's deadline or by an error; None before there was one. After a `trio.move_on_after` around a wait, it is
            that wait's, whatever other tasks do.
    """

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.screen = Screen(session.images, session.glz, max_pixels=session.limits.surface_pixels)
        self.last_wait: Evidence | None = None
        self._drawing = trio.Lock()  # held while pixels change in a thread, and while they are read in one
        self._watches: set[Watch] = set()
        self._judging = trio.CapacityLimiter(1)

    @property
    def is_ready(self) -> bool:
        """Whether there is a complete picture."""
        return self.screen.primary is not None and self.screen.marked

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the primary surface in pixels; None while there is none."""
        primary = self.screen.primary
        return (primary.width, primary.height) if primary else None

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """The monitors that the guest has set up; one as large as the screen where it says nothing."""
        heads = [Monitor(one.monitor_id, one.surface_id, one.x, one.y, one.width, one.height) for one in self.screen.monitors]
        if not heads and self.size:
            heads = [Monitor(0, 0, 0, 0, *self.size)]
        return tuple(heads)

    async def wait_ready(self) -> None:
        """Wait until there is a complete picture.

        Raises:
            ConnectionLost: The channel has ended.
        """
        await self._wait_until(lambda: self.is_ready)

    async def screenshot(self, region: Rect | None = None, *, monitor: int | None = None, cursor: bool = False) -> Screenshot:
        """What the screen shows, or a part of it, as soon as there is a complete picture.

        Args:
            region: The part; with a monitor, in pixels of that monitor.
            monitor: Only what the monitor of this id shows; by default the primary surface.
            cursor: Whether to draw the pointer in, as the cursor channel of the same id tells it; servers say nothing of where it
                is while the client puts it there (mouse mode CLIENT).

        Raises:
            ConfigError: There is no such monitor.
            ChannelNotAvailable: The pointer is wanted, but its channel is not open.
            ConnectionLost: The channel has ended.
        """
        await self.wait_ready()
        async with self._drawing:
            surface_id, area = 0, region
            if monitor is not None:
                surface_id, area = self._monitor_area(monitor, region)
            pixels = self.screen.copy(area, surface_id)
        if cursor:
            self._draw_cursor(pixels, (max(area.left, 0), max(area.top, 0)) if area else (0, 0))
        return Screenshot(pixels)

    def _monitor_area(self, number: int, region: Rect | None) -> tuple[int, Rect]:
        one = next((one for one in self.monitors if one.id == number), None)
        if one is None:
            there = ", ".join(str(one.id) for one in self.monitors)
            raise ConfigError(f"{self.name} has no monitor {number}; it has {there or 'none'}")
        whole = Rect.at(one.x, one.y, one.width, one.height)
        if region is None:
            return one.surface_id, whole
        return one.surface_id, Rect.at(one.x + region.left, one.y + region.top, region.width, region.height).intersection(whole)

    def _draw_cursor(self, pixels: Argb, origin: tuple[int, int]) -> None:
        pointer = self.session.channels.get((ChannelType.CURSOR, self.channel_id))
        if not isinstance(pointer, CursorChannel) or not pointer.is_open:
            raise ChannelNotAvailable(f"cursor:{self.channel_id} is not open")
        if pointer.is_visible and pointer.shape is not None:
            draw_cursor(pixels, pointer.shape, pointer.position[0] - origin[0], pointer.position[1] - origin[1])

    @contextlib.asynccontextmanager
    async def damage(self, region: Rect | None = None) -> AsyncIterator[DamageReceiver]:
        """A channel of the rectangles that are drawn on from now on, within the region, for the time of the block.

        What is drawn on again before it was received is told once. For a reader that is slow, rectangles become one that holds
        them: all that changed lies in what it receives, but not all in it has changed.
        """
        watch = CollectingWatch(region)
        receiver = DamageReceiver(watch, self._wait_until)
        with watching(self._watches, watch):
            try:
                yield receiver
            finally:
                receiver.close()
                self._changed.unpark_all()

    @contextlib.asynccontextmanager
    async def record(
        self, path: str | os.PathLike[str], region: Rect | None = None, *, fps: float | None = None
    ) -> AsyncIterator[Recording]:
        """Film the screen, or a part of it, for the time of the block; with the extra `video`.

        Every change is a frame, with the time it was seen; changes while a frame is being encoded become one frame.

        Args:
            path: A name that ends in `.mp4` (H.264) or `.webm` (VP8). What is there is overwritten.
            region: The part.
            fps: At most so many frames a second; by default as many as can be encoded.

        Returns:
            What tells of the recording. It begins with the first complete picture, and has the size of that.

        Raises:
            ConfigError: The name or the rate cannot be meant, the region shows nothing, or the extra is not installed.
            OSError: The file cannot be written; if it happens later, at the end of the block.
            ConnectionLost: The channel has ended; if it happens later, at the end of the block. The film is whole until then.

        Cancellation: the film is ended properly.
        """
        watch = Watch(region)
        view = View(
            look=partial(self._look, region, watch),
            wait_damage=partial(self._wait_watch, watch),
            has_news=lambda: watch.is_touched and self.is_ready and self.is_open,
        )
        with watching(self._watches, watch):
            async with open_recording(path, view, fps) as recording:
                yield recording

    # --- waiting

    async def wait_damage(self, region: Rect | None = None) -> None:
        """Wait until the server draws something that touches the region (or anything).

        Raises:
            ConnectionLost: The channel has ended.
        """
        watch = Watch(region)
        with watching(self._watches, watch):
            await self._wait_watch(watch)

    async def wait_until(self, predicate: Callable[[LiveScreen], bool], region: Rect | None = None) -> None:
        """Wait until the screen is as wanted: the predicate is asked at once and after every change that touches the region.

        Args:
            predicate: Is given the screen as it is, and must not take long.
            region: Changes outside of it are not looked at.

        Raises:
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what the screen showed then.
        """
        watch = Watch(region)
        with self._evidence("what the program waits for", region) as seen, watching(self._watches, watch):
            try:
                await self.wait_ready()
                while True:
                    async with self._drawing:
                        if self.screen.primary is not None and predicate(LiveScreen(self.screen)):
                            return
                        seen.looks += 1
                    await self._wait_watch(watch)
            except BaseException:
                # The one look that costs a copy. If a thread is drawing, what it draws is seen in part.
                if self.is_ready:
                    seen.picture = Screenshot(self.screen.copy(region))
                raise

    async def wait_change(self, region: Rect | None = None, *, since: Screenshot | None = None) -> Screenshot:
        """Wait until the screen looks otherwise than it did; drawing the same again is no change.

        Args:
            region: The part that counts.
            since: What it looked like, taken by `screenshot` of the same region before doing something about it; by default what
                it looks like now.

        Returns:
            What the region shows then.

        Raises:
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen.
        """

        def judge(picture: Screenshot) -> tuple[Screenshot | None, None]:
            nonlocal since
            since = since or picture
            return (None if picture.equals(since) else picture), None

        return await self._wait_judged("a change", region, judge)

    async def wait_still(self, seconds: float, region: Rect | None = None) -> Screenshot:
        """Wait until the screen has looked the same for so many seconds on end, beginning now; drawing the same again is allowed.

        Returns:
            What the region shows.

        Raises:
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen.
        """
        if not seconds >= 0:  # NaN is neither
            raise ConfigError(f"{seconds} s without a change")
        watch = Watch(region)
        with self._evidence(f"{seconds:g} s without a change", region) as seen, watching(self._watches, watch):
            picture = await self._look(region, watch)
            while True:
                seen.saw(picture)
                changed = await self._next_change(picture, trio.current_time() + seconds, watch)
                if changed is None:
                    return picture
                picture = changed

    async def _next_change(self, picture: Screenshot, deadline: float, watch: Watch) -> Screenshot | None:
        """What comes after this picture; None where that does not come in time."""
        while True:
            with trio.move_on_at(deadline) as scope:
                await self._wait_watch(watch)
            # What was drawn in time counts, even if we look at it late; but we look once only, as it may be drawn for ever.
            is_late = scope.cancelled_caught
            if is_late and not watch.is_touched:
                return None
            latest = await self._look(watch.region, watch)
            if not await trio.to_thread.run_sync(latest.equals, picture, limiter=self._judging):
                return latest
            if is_late:
                return None

    async def wait_image(
        self,
        pictures: Picture | Sequence[Picture],
        region: Rect | None = None,
        *,
        tolerance: int = 0,
        mask: Mask | None = None,
    ) -> Match:
        """Wait until the screen shows a picture, or one of several.

        Args:
            pictures: What to look for: screenshots, arrays of shape (height, width) with numbers `0x00RRGGBB`, or `Needle`s.
            region: Where to look. A picture of just this size is compared in place; a smaller one is searched, which takes the
                extra `vision`.
            tolerance: By how much red, green and blue may each differ in every pixel, 0 to 255.
            mask: Which pixels count, as an array of the pictures' shape; for those that have no mask of their own.

        Returns:
            Which was found, and where: the first of the pictures that is there.

        Raises:
            ConfigError: A picture, mask or tolerance that cannot be meant, or the extra is not installed.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen, and what came nearest.
        """
        several = [pictures] if isinstance(pictures, Needle | Screenshot | np.ndarray) else list(pictures)
        needles = [Needle.of(one, mask) for one in several]
        if not needles or not 0 <= tolerance <= 255:
            raise ConfigError(f"{len(needles)} pictures to look for, with a tolerance of {tolerance}")
        if region is not None and any(one.width > region.width or one.height > region.height for one in needles):
            raise ConfigError(f"a picture to look for is larger than the region of {region.width}x{region.height}")
        x, y = _origin(region)

        def judge(picture: Screenshot) -> tuple[Match | None, Match | None]:
            match = find(picture.pixels, needles, tolerance, x=x, y=y)
            return (match if match and match.is_found else None), match

        return await self._wait_judged("the picture" if len(needles) == 1 else "one of the pictures", region, judge)

    async def wait_text(self, text: str | re.Pattern[str], region: Rect | None = None) -> TextLine:
        """Wait until the screen shows a text; with the extra `ocr`. A look takes seconds for a whole screen: give a region.

        Args:
            text: A part of a line, in which case counts and white space does not; or a pattern to be found in a line.
            region: Where to look.

        Returns:
            The uppermost line that has it.

        Raises:
            ConfigError: The text is empty, or the extra is not installed.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen, and which line came nearest.
        """
        if isinstance(text, str) and not text.strip():
            raise ConfigError("no text to wait for")
        x, y = _origin(region)

        def judge(picture: Screenshot) -> tuple[TextLine | None, TextLine | None]:
            lines = read_text(picture.pixels, x=x, y=y)
            line = find_text(lines, text)
            return line, line or nearest_text(lines, text)

        return await self._wait_judged(f"the text {text!r}", region, judge)

    async def _wait_judged(
        self, wanted: str, region: Rect | None, judge: Callable[[Screenshot], tuple[Found | None, Match | TextLine | None]]
    ) -> Found:
        """Wait until the judge, who works in a thread, finds something; what else it gives is what came nearest."""
        watch = Watch(region)
        with self._evidence(wanted, region) as seen, watching(self._watches, watch):
            while True:
                picture = await self._look(region, watch)
                seen.picture = seen.picture or picture
                found, nearest = await trio.to_thread.run_sync(judge, picture, abandon_on_cancel=True, limiter=self._judging)
                if found is not None:
                    return found
                seen.saw(picture, nearest)
                await self._wait_watch(watch)

    async def _look(self, region: Rect | None, watch: Watch) -> Screenshot:
        """A copy of what the screen shows, made in a thread if it is large; the watch is touched by what comes later."""
        while True:
            await self.wait_ready()
            async with self._drawing:
                primary = self.screen.primary
                if primary is None:
                    continue
                watch.is_touched = False
                copy = partial(self.screen.copy, region)
                pixels = primary.pixels.size if region is None else region.width * region.height
                return Screenshot(copy() if pixels <= INLINE_PIXELS else await trio.to_thread.run_sync(copy))

    async def _wait_watch(self, watch: Watch) -> None:
        await self._wait_until(lambda: watch.is_touched)
        watch.is_touched = False

    @contextlib.contextmanager
    def _evidence(self, wanted: str, region: Rect | None) -> Iterator[_Looking]:
        """Keep what a wait has seen, if it does not come to its end."""
        seen = _Looking()
        try:
            yield seen
        except BaseException:
            self.last_wait = Evidence(wanted, region, seen.looks, seen.picture, seen.nearest)
            raise


def _origin(region: Rect | None) -> tuple[int, int]:
    """Where on the screen a copy of the region begins."""
    return (max(region.left, 0), max(region.top, 0)) if region else (0, 0)
