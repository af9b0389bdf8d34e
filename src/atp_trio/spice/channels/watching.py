"""Waiting for what a screen shows: the part of the display channel that programs use most.

Theory of operation. A wait looks, judges, and looks again when what it looks at was drawn on: see `viewed`. Pictures are compared
on a copy in a worker thread, one at a time for a display; a wait that is cancelled abandons its thread, as the copy is its own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import trio

from atp_trio.errors import ConfigError
from atp_trio.spice.channels.damage import Watch
from atp_trio.spice.channels.session import Session
from atp_trio.spice.channels.viewed import ViewedChannel
from atp_trio.spice.imaging.ocr import TextLine, find_text, nearest_text, read_text
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.imaging.search import Mask, Match, Needle, find
from atp_trio.spice.imaging.viewport import Monitor, Viewport
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType

__all__ = ["Evidence", "LiveScreen", "Monitor", "WatchedChannel"]

Picture = Needle | Screenshot | npt.NDArray[np.uint32]
Found = TypeVar("Found")


@attrs.frozen(eq=False)
class LiveScreen:
    """The screen, or what a monitor shows, as it is at this moment: what a predicate of `wait_until` looks at."""

    _view: Viewport

    @property
    def width(self) -> int:
        """In pixels."""
        return self._view.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self._view.size[1]

    @property
    def pixels(self) -> npt.NDArray[np.uint32]:
        """A copy of everything: shape (height, width), rows top-down, numbers `0x00RRGGBB`."""
        return self._view.copy()

    def region(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint32]:
        """A copy of a part, as `pixels`; what lies outside the screen is left out."""
        return self._view.part(Rect.at(x, y, width, height)).copy()


@attrs.frozen(eq=False)
class Evidence:
    """What a wait saw that was cut short: as a string, a sentence about it.

    Attributes:
        wanted: What was waited for.
        region: The part of the screen, or of the monitor, that was looked at; None for all of it.
        monitor: The monitor's id; None for the primary surface.
        looks: How often it was looked at.
        picture: What was seen in the last look that came to an end; None where there was none.
        nearest: What in it came nearest to what was wanted, where that can be said.
    """

    wanted: str
    region: Rect | None
    monitor: int | None
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


class WatchedChannel(ViewedChannel):
    """A channel with a screen that programs wait for.

    Attributes:
        last_wait: What the last `wait_until`, `wait_change`, `wait_still`, `wait_image` or `wait_text` saw that was cut short,
            by the caller's deadline or by an error; None before there was one. After a `trio.move_on_after` around a wait, it is
            that wait's, whatever other tasks do.
    """

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.last_wait: Evidence | None = None
        self._judging = trio.CapacityLimiter(1)

    async def wait_damage(self, region: Rect | None = None, *, monitor: int | None = None) -> None:
        """Wait until the server draws something that touches the region (or anything).

        Raises:
            ConnectionLost: The channel has ended.
        """
        watch = self._watch(region, monitor)
        with self._watching(watch):
            await self._wait_watch(watch)

    async def wait_until(
        self, predicate: Callable[[LiveScreen], bool], region: Rect | None = None, *, monitor: int | None = None
    ) -> None:
        """Wait until the screen is as wanted: the predicate is asked at once and after every change that touches the region.

        Args:
            predicate: Is given the screen as it is, or what the monitor shows, and must not take long.
            region: Changes outside of it are not looked at.
            monitor: The monitor to look at; by default the primary surface.

        Raises:
            ConfigError: There is no such monitor, or no more.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what the screen showed then.
        """
        watch = self._watch(region, monitor)
        live = LiveScreen(watch.view.part(None))
        with self._evidence("what the program waits for", watch) as seen, self._watching(watch):
            try:
                await self._wait_true(lambda: predicate(live), watch, seen)
            except BaseException:
                # The one look that costs a copy. If a thread is drawing, what it draws is seen in part.
                if self.is_ready and self._is_there(watch.view) and watch.view.place():
                    seen.picture = Screenshot(watch.view.copy())
                raise

    async def _wait_true(self, holds: Callable[[], bool], watch: Watch, seen: _Looking) -> None:
        await self.wait_ready()
        while True:
            async with self._looking():
                watch.view.checked_place()
                if self.is_ready and self._is_there(watch.view):
                    if holds():
                        return
                    seen.looks += 1
            await self._wait_watch(watch)

    async def wait_change(
        self, region: Rect | None = None, *, monitor: int | None = None, since: Screenshot | None = None
    ) -> Screenshot:
        """Wait until the screen looks otherwise than it did; drawing the same again is no change.

        Args:
            region: The part that counts; with a monitor, in pixels of that monitor.
            monitor: The monitor to look at; by default the primary surface.
            since: What it looked like, taken by `screenshot` of the same region before doing something about it; by default what
                it looks like now.

        Returns:
            What the region shows then.

        Raises:
            ConfigError: There is no such monitor, or no more.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen.
        """

        def judge(picture: Screenshot) -> tuple[Screenshot | None, None]:
            nonlocal since
            since = since or picture
            return (None if picture.equals(since) else picture), None

        return await self._wait_judged("a change", self._watch(region, monitor), judge)

    async def wait_still(self, seconds: float, region: Rect | None = None, *, monitor: int | None = None) -> Screenshot:
        """Wait until the screen has looked the same for so many seconds on end, beginning now; drawing the same again is allowed.

        Args:
            seconds: For how long.
            region: The part that counts; with a monitor, in pixels of that monitor.
            monitor: The monitor to look at; by default the primary surface.

        Returns:
            What the region shows.

        Raises:
            ConfigError: The time cannot be meant, or there is no such monitor, or no more.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen.
        """
        if not seconds >= 0:  # NaN is neither
            raise ConfigError(f"{seconds} s without a change")
        watch = self._watch(region, monitor)
        with self._evidence(f"{seconds:g} s without a change", watch) as seen, self._watching(watch):
            picture = await self._look(watch)
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
            if is_late and not watch.is_due:
                return None
            latest = await self._look(watch)
            if not await trio.to_thread.run_sync(latest.equals, picture, limiter=self._judging):
                return latest
            if is_late:
                return None

    async def wait_image(
        self,
        pictures: Picture | Sequence[Picture],
        region: Rect | None = None,
        *,
        monitor: int | None = None,
        tolerance: int = 0,
        mask: Mask | None = None,
    ) -> Match:
        """Wait until the screen shows a picture, or one of several.

        Args:
            pictures: What to look for: screenshots, arrays of shape (height, width) with numbers `0x00RRGGBB`, or `Needle`s.
            region: Where to look; with a monitor, in pixels of that monitor. A picture of just this size is compared in place; a
                smaller one is searched, which takes the extra `vision`.
            monitor: The monitor to look at; by default the primary surface.
            tolerance: By how much red, green and blue may each differ in every pixel, 0 to 255.
            mask: Which pixels count, as an array of the pictures' shape; for those that have no mask of their own.

        Returns:
            Which was found, and where, in the pixels that the region counts: the first of the pictures that is there.

        Raises:
            ConfigError: A picture, mask or tolerance that cannot be meant, no such monitor, or the extra is not installed.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen, and what came nearest.
        """
        several = [pictures] if isinstance(pictures, Needle | Screenshot | np.ndarray) else list(pictures)
        needles = [Needle.of(one, mask) for one in several]
        if not needles or not 0 <= tolerance <= 255:
            raise ConfigError(f"{len(needles)} pictures to look for, with a tolerance of {tolerance}")
        if region is not None and any(one.width > region.width or one.height > region.height for one in needles):
            raise ConfigError(f"a picture to look for is larger than the region of {region.width}x{region.height}")
        watch = self._watch(region, monitor)
        x, y = watch.view.origin

        def judge(picture: Screenshot) -> tuple[Match | None, Match | None]:
            match = find(picture.pixels, needles, tolerance, x=x, y=y)
            return (match if match and match.is_found else None), match

        return await self._wait_judged("the picture" if len(needles) == 1 else "one of the pictures", watch, judge)

    async def wait_text(self, text: str | re.Pattern[str], region: Rect | None = None, *, monitor: int | None = None) -> TextLine:
        r"""Wait until the screen shows a text; with the extra `ocr`. A look takes seconds for a full screen: give a region.

        Args:
            text: A part of a line, in which case counts and white space does not; with `\n` in it, parts of lines one below the
                other; or a pattern to be found in a line.
            region: Where to look; with a monitor, in pixels of that monitor.
            monitor: The monitor to look at; by default the primary surface.

        Returns:
            The uppermost line that has it; several as one, with `\n` between them.

        Raises:
            ConfigError: The text is empty, there is no such monitor, or the extra is not installed.
            ConnectionLost: The channel has ended.

        Cancellation: `last_wait` tells what was seen, and which line came nearest.
        """
        if isinstance(text, str) and not text.strip():
            raise ConfigError("no text to wait for")
        watch = self._watch(region, monitor)
        x, y = watch.view.origin

        def judge(picture: Screenshot) -> tuple[TextLine | None, TextLine | None]:
            lines = read_text(picture.pixels, x=x, y=y)
            line = find_text(lines, text)
            return line, line or nearest_text(lines, text)

        return await self._wait_judged(f"the text {text!r}", watch, judge)

    async def _wait_judged(
        self, wanted: str, watch: Watch, judge: Callable[[Screenshot], tuple[Found | None, Match | TextLine | None]]
    ) -> Found:
        """Wait until the judge, who works in a thread, finds something; what else it gives is what came nearest."""
        with self._evidence(wanted, watch) as seen, self._watching(watch):
            while True:
                picture = await self._look(watch)
                seen.picture = seen.picture or picture
                found, nearest = await trio.to_thread.run_sync(judge, picture, abandon_on_cancel=True, limiter=self._judging)
                if found is not None:
                    return found
                seen.saw(picture, nearest)
                await self._wait_watch(watch)

    @contextlib.contextmanager
    def _evidence(self, wanted: str, watch: Watch) -> Iterator[_Looking]:
        """Keep what a wait has seen, if it does not come to its end."""
        seen = _Looking()
        try:
            yield seen
        except BaseException:
            view = watch.view
            self.last_wait = Evidence(wanted, view.region, view.monitor, seen.looks, seen.picture, seen.nearest)
            raise
