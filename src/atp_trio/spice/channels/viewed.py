"""Looking at a screen: what is shown now, the rectangles that are drawn on, films.

Theory of operation. Whoever waits for what is drawn has a `Watch`, which the drawing touches; then the channel wakes all who
wait, and those whose watch was touched look again. Between two looks any number of updates may come: only what the screen shows
now is looked at, so nothing queues up behind a slow look.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Final

import trio

from atp_trio.errors import ChannelNotAvailable
from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.cursor import CursorChannel
from atp_trio.spice.channels.damage import CollectingWatch, DamageReceiver, Watch, watching
from atp_trio.spice.channels.heavy import are_heavy
from atp_trio.spice.channels.inputs import InputsChannel
from atp_trio.spice.channels.recording import Recording, View, open_recording
from atp_trio.spice.channels.session import Session
from atp_trio.spice.imaging.pixel import Argb
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.imaging.screenshot import Screenshot, draw_cursor
from atp_trio.spice.imaging.viewport import Monitor, Place, Viewport, monitors
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode

# Copying more pixels than these takes longer than the hop to a thread and back is worth.
INLINE_PIXELS: Final = 256 * 1024


class ViewedChannel(SpiceChannel):
    """A channel with a screen that programs look at. Regions are in pixels of the primary surface, or of a given monitor.

    Attributes:
        screen: The surfaces, and what was counted while drawing on them. To be looked at between checkpoints only: while the
            channel's task waits for a worker thread, that thread draws.
        caches: The image cache, which displays that share a cache and a dictionary have in common.
    """

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.caches = session.images
        self.screen = Screen(session.images, session.glz, max_pixels=session.limits.surface_pixels)
        self._drawing = trio.Lock()  # held while pixels change in a thread, and while they are read in one
        self._watches: set[Watch] = set()

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
        return monitors(self.screen)

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
            cursor: Whether to draw the pointer in, as the cursor channel of the same id tells it. In mouse mode CLIENT no server
                says where the client has put it: it is drawn where `InputsChannel` last did.

        Raises:
            ConfigError: There is no such monitor.
            ChannelNotAvailable: The pointer is wanted, but its channel is not open.
            ConnectionLost: The channel has ended.
        """
        view = Viewport(self.screen, region, monitor)
        await self.wait_ready()
        async with self._looking():
            place, pixels = view.checked_place(), view.copy()
        if cursor:
            self._draw_cursor(pixels, place)
        return Screenshot(pixels)

    def _draw_cursor(self, pixels: Argb, place: Place) -> None:
        pointer = self.session.channels.get((ChannelType.CURSOR, self.channel_id))
        if not isinstance(pointer, CursorChannel) or not pointer.is_open:
            raise ChannelNotAvailable(f"cursor:{self.channel_id} is not open")
        left, top = (max(place.rect.left, 0), max(place.rect.top, 0)) if place.rect else (0, 0)
        if pointer.is_visible and pointer.shape is not None and (position := self._pointer_position(pointer)):
            draw_cursor(pixels, pointer.shape, position[0] - left, position[1] - top)

    def _pointer_position(self, pointer: CursorChannel) -> tuple[int, int] | None:
        """Where on the surface the pointer is; None where it is on another screen."""
        inputs = self.session.channels.get((ChannelType.INPUTS, 0))
        if self.session.mouse_mode is MouseMode.CLIENT and isinstance(inputs, InputsChannel) and inputs.last_position:
            display_id, x, y = inputs.last_position
            return (x, y) if display_id == self.channel_id else None
        return pointer.position

    @contextlib.asynccontextmanager
    async def damage(self, region: Rect | None = None, *, monitor: int | None = None) -> AsyncIterator[DamageReceiver]:
        """A channel of the rectangles that are drawn on from now on, within the region, for the time of the block.

        What is drawn on again before it was received is told once. For a reader that is slow, rectangles become one that holds
        them: all that changed lies in what it receives, but not all in it has changed. With a monitor they are in pixels of that
        monitor; one that the guest puts elsewhere has changed as a whole, and one that is not there says nothing until it comes.
        """
        watch = CollectingWatch(Viewport(self.screen, region, monitor))
        receiver = DamageReceiver(watch, self._wait_until)
        with self._watching(watch):
            try:
                yield receiver
            finally:
                receiver.close()
                self._changed.unpark_all()

    @contextlib.asynccontextmanager
    async def record(
        self, path: str | os.PathLike[str], region: Rect | None = None, *, monitor: int | None = None, fps: float | None = None
    ) -> AsyncIterator[Recording]:
        """Film the screen, or a part of it, for the time of the block; with the extra `video`.

        Every change is a frame, with the time it was seen; changes while a frame is being encoded become one frame.

        Args:
            path: A name that ends in `.mp4` (H.264) or `.webm` (VP8). What is there is overwritten.
            region: The part; with a monitor, in pixels of that monitor.
            monitor: Only what the monitor of this id shows; by default the primary surface.
            fps: At most so many frames a second; by default as many as can be encoded.

        Returns:
            What tells of the recording. It begins with the first complete picture, and has the size of that.

        Raises:
            ConfigError: The name or the rate cannot be meant, there is no such monitor, the region shows nothing, or the extra is
                not installed.
            OSError: The file cannot be written; if it happens later, at the end of the block.
            ConnectionLost: The channel has ended; if it happens later, at the end of the block. The film is whole until then.

        Cancellation: the film is ended properly.
        """
        watch = self._watch(region, monitor)
        view = View(
            look=partial(self._look, watch),
            wait_damage=partial(self._wait_watch, watch),
            has_news=lambda: watch.is_due and self.is_ready and self.is_open,
        )
        with self._watching(watch):
            async with open_recording(path, view, fps) as recording:
                yield recording

    # --- for those who look and wait

    @contextlib.asynccontextmanager
    async def _looking(self) -> AsyncIterator[None]:
        """While the block runs, the pixels are complete and stay as they are."""
        self.recall()
        if self._drawing.locked():
            await self._drawing.acquire()
        else:
            # Without the checkpoint, of which all who look have others: a turn of the loop costs 80 us in one that was asleep.
            self._drawing.acquire_nowait()
        try:
            if are_heavy(self.screen.deferred.values()):
                await trio.to_thread.run_sync(self.screen.settle)
            else:
                self.screen.settle()
            yield
        finally:
            self._drawing.release()

    @contextlib.contextmanager
    def _watching(self, watch: Watch) -> Iterator[None]:
        """Let the watch be touched by what is drawn from now on, for the time of the block."""
        with watching(self._watches, watch):
            self.recall()
            yield

    def _watch(self, region: Rect | None, monitor: int | None) -> Watch:
        return Watch(Viewport(self.screen, region, monitor))

    async def _look(self, watch: Watch) -> Screenshot:
        """A copy of what is seen, made in a thread if it is large; the watch is touched by what comes later."""
        view = watch.view
        while True:
            await self.wait_ready()
            async with self._looking():
                place = view.checked_place()
                if self.screen.surfaces.get(place.surface_id) is not None:
                    watch.look()
                    width, height = view.size
                    is_small = width * height <= INLINE_PIXELS
                    return Screenshot(view.copy() if is_small else await trio.to_thread.run_sync(view.copy))
            await self._wait_until(lambda: self._is_there(view))

    def _is_there(self, view: Viewport) -> bool:
        """Whether looking makes sense: there is something to be seen, or it can be said that there is not."""
        place = view.place()
        return place is None or self.screen.surfaces.get(place.surface_id) is not None

    async def _wait_watch(self, watch: Watch) -> None:
        """Wait until there may be something new to see. What comes from now on is new again."""
        await self._wait_until(lambda: watch.is_due)
        watch.look()
