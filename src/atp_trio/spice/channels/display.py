"""The display channel: what a screen shows, and waiting for it.

Source: SPICE protocol reference, sections 9 to 11.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Final

import attrs
import numpy as np
import numpy.typing as npt
import trio

from atp_trio.spice.channels.base import SpiceChannel, log
from atp_trio.spice.channels.session import GLZ_WINDOW_PIXELS, PIXMAP_CACHE_PIXELS, Session
from atp_trio.spice.codec import lz4
from atp_trio.spice.imaging.cache import ImagePending
from atp_trio.spice.imaging.screen import Damage, Screen
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import DisplayCap
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.image import Image, ImageType
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message

# A hop to a worker thread and back costs about 60 us, in which a compressed image of this many pixels is decoded.
INLINE_PIXELS: Final = 16 * 1024
# Copying is some thirty times as fast as decoding.
INLINE_COPY_PIXELS: Final = 2 * 1024 * 1024
COPIED: Final = (ImageType.BITMAP, ImageType.FROM_CACHE, ImageType.FROM_CACHE_LOSSLESS, ImageType.SURFACE)
# How many of the newest latencies are kept.
LATENCIES: Final = 65536


@attrs.frozen
class DisplayStatistics:
    """What a display channel did so far.

    Attributes:
        updates: Messages that changed a surface.
        pixels: Pixels of the rectangles they touched.
        drawing_seconds: Time spent decoding and drawing.
        drawn: Drawing operations by name.
        not_drawn: Operations and image types that this version cannot draw, by name: what they would show is missing.
        failed: Operations that could not be drawn because what the server sent was wrong, by reason.
    """

    updates: int
    pixels: int
    drawing_seconds: float
    drawn: Mapping[str, int]
    not_drawn: Mapping[str, int]
    failed: Mapping[str, int]


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


@attrs.define(eq=False)
class _Watch:
    """Somebody who waits for a part of the screen to be drawn on."""

    region: Rect | None
    seen: trio.Event = attrs.field(factory=trio.Event)

    def touch(self, damage: Damage) -> None:
        if damage.surface_id == 0 and (
            self.region is None or any(not rect.intersection(self.region).is_empty for rect in damage.rects)
        ):
            self.seen.set()


class DisplayChannel(SpiceChannel):
    """The screen of one graphics device.

    Attributes:
        screen: The surfaces, and what was counted while drawing on them. To be looked at between checkpoints only: while the
            channel's task waits for a worker thread, that thread draws.
    """

    # MULTI_CODEC without any codec says that we take no video streams, and a server then sends plain images.
    caps: ClassVar[frozenset[int]] = frozenset(
        {DisplayCap.MONITORS_CONFIG, DisplayCap.A8_SURFACE, DisplayCap.PREF_COMPRESSION, DisplayCap.MULTI_CODEC}
        # A server uses it only for who asks, with PreferredCompression.
        | ({DisplayCap.LZ4_COMPRESSION} if lz4.available() else set())
    )

    # DISPLAY_INIT goes out as soon as the channel is open; a server may die when it closes before its first message was read.
    needs_first_message = True

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.screen = Screen(session.images, session.glz)
        self._drawing = trio.Lock()  # held while pixels change in a thread, and while they are read in one
        self._watches: set[_Watch] = set()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._updates = 0
        self._pixels = 0
        self._drawing_seconds = 0.0
        self._handlers |= {
            display.InvalAllPixmaps: self._inval_all_pixmaps,
            # Servers send it with every new primary surface. We ask for no streams, so there are none to destroy.
            display.StreamDestroyAll: lambda _: None,
        }

    # --- for callers

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

    @property
    def latencies(self) -> tuple[float, ...]:
        """Seconds from receiving to the surface, of the last 65536 updates."""
        return tuple(self._latencies)

    def display_statistics(self) -> DisplayStatistics:
        """The counters of drawing; `statistics()` gives those of the channel."""
        return DisplayStatistics(
            updates=self._updates,
            pixels=self._pixels,
            drawing_seconds=self._drawing_seconds,
            drawn=dict(self.screen.drawn),
            not_drawn=dict(self.screen.not_drawn),
            failed=dict(self.screen.failed),
        )

    async def wait_ready(self) -> None:
        """Wait until there is a complete picture.

        Raises:
            ConnectionLost: The channel has ended.
        """
        await trio.lowlevel.checkpoint()
        await self._wait_until(lambda: self.is_ready)

    async def screenshot(self, region: Rect | None = None) -> Screenshot:
        """What the screen shows, or a part of it, as soon as there is a complete picture.

        Raises:
            ConnectionLost: The channel has ended.
        """
        await self.wait_ready()
        async with self._drawing:
            return Screenshot(self.screen.copy(region))

    async def wait_damage(self, region: Rect | None = None) -> None:
        """Wait until the server draws something that touches the region (or anything).

        Raises:
            ConnectionLost: The channel has ended.
        """
        with _watching(self._watches, region) as watch:
            await trio.lowlevel.checkpoint()
            await self._wait_watch(watch)

    async def wait_until(self, predicate: Callable[[LiveScreen], bool], region: Rect | None = None) -> None:
        """Wait until the screen is as wanted: the predicate is asked at once and after every change that touches the region.

        Args:
            predicate: Is given the screen as it is, and must not take long.
            region: Changes outside of it are not looked at.

        Raises:
            ConnectionLost: The channel has ended.
        """
        with _watching(self._watches, region) as watch:
            await self.wait_ready()
            while True:
                async with self._drawing:
                    if self.screen.primary is not None and predicate(LiveScreen(self.screen)):
                        return
                await self._wait_watch(watch)

    async def _wait_watch(self, watch: _Watch) -> None:
        await self._wait_until(watch.seen.is_set)
        watch.seen = trio.Event()

    # --- what the server says

    def _opened(self) -> None:
        # Display channels that are open at the same time name the same cache and dictionary, so that they share them.
        if not any(isinstance(one, DisplayChannel) and one.is_open for one in self.session.channels.values() if one is not self):
            self.session.begin_caches()
        self._put(
            display.Init(
                pixmap_cache_id=self.session.cache_id,
                pixmap_cache_size=PIXMAP_CACHE_PIXELS,
                glz_dictionary_id=self.session.cache_id,
                glz_dictionary_window_size=GLZ_WINDOW_PIXELS,
            )
        )

    def _handle(self, message: Message) -> Awaitable[None] | None:
        if type(message) in self._handlers:
            return super()._handle(message)
        if self._drawing.locked() or _is_heavy(message):
            return self._draw_in_thread(message)
        started = time.perf_counter()
        try:
            damage = self.screen.apply(message)
        except ImagePending:
            return self._draw_in_thread(message)
        self._drawn(damage, started)
        return None

    async def _draw_in_thread(self, message: Message) -> None:
        """Draw without holding up the other tasks, once whatever the message refers to is there."""
        give_up = False
        while True:
            async with self._drawing:
                started = time.perf_counter()
                try:
                    # Waited for to the end, as the pixels are ours and the message is a view of the receive buffer.
                    damage = await trio.to_thread.run_sync(partial(self.screen.apply, message, give_up=give_up))
                except ImagePending as pending:
                    log.debug("%s: waits: %s", self.name, pending)
                else:
                    self._drawn(damage, started)
                    return
            give_up = not await self._wait_for_others()

    async def _wait_for_others(self) -> bool:
        """Wait until another display channel has moved on; False where there is none that could."""
        others = [
            channel for channel in self.session.channels.values() if isinstance(channel, DisplayChannel) and channel is not self
        ]
        if not others or self._closing:
            return False
        seen = {channel: channel.last_serial for channel in others}
        await self.session.wait_until(
            lambda: self._closing or any(channel.last_serial > seen[channel] or not channel.is_open for channel in others)
        )
        return True

    def _drawn(self, damage: Damage | None, started: float) -> None:
        now = time.perf_counter()
        self._drawing_seconds += now - started
        if damage is not None:
            self._updates += 1
            self._pixels += sum(rect.width * rect.height for rect in damage.rects)
            self._latencies.append(now - self._received_at)
            for watch in self._watches:
                watch.touch(damage)
        self._changed.unpark_all()

    async def _inval_all_pixmaps(self, message: display.InvalAllPixmaps) -> None:
        await self._wait_for_channels(message)
        self.screen.apply(message)


def _is_heavy(message: Message) -> bool:
    """Whether drawing this would hold up the other tasks for longer than handing it to a thread."""
    base: Any = getattr(message, "base", None)
    if base is None:
        return False
    image: Image | None = getattr(message, "src_image", None)
    copied = image is None or image.type in (
        ImageType.BITMAP,
        ImageType.FROM_CACHE,
        ImageType.FROM_CACHE_LOSSLESS,
        ImageType.SURFACE,
    )
    pixels = max(base.box.width * base.box.height, image.width * image.height if image else 0)
    return bool(pixels > (INLINE_COPY_PIXELS if copied else INLINE_PIXELS))


@contextlib.contextmanager
def _watching(watches: set[_Watch], region: Rect | None) -> Iterator[_Watch]:
    """Watch the screen for the time of the block."""
    watch = _Watch(region)
    watches.add(watch)
    try:
        yield watch
    finally:
        watches.discard(watch)
