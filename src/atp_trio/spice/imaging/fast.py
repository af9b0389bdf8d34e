"""The fast path of a screen: frequent drawing messages, drawn as they lie in the receive buffer.

Theory of operation. What `Screen.apply` does with a message object, `codec.drawing` does in C with the message's bytes, for the
messages and forms of it that servers mostly send. It stops before whatever else comes, which is then applied as always; so the
two take turns on the same surfaces, and what they draw and count is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import attrs
import numpy as np

from atp_trio.spice.codec.drawing import DrawStatus, FrameDrawer, Kept, Run, Shared
from atp_trio.spice.codec.following import Files, Followed, Follower, FollowStatus, Gathering, Received
from atp_trio.spice.codec.framing import FrameTable
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import DIRECT, ImageCache
from atp_trio.spice.imaging.pixel import Picture
from atp_trio.spice.imaging.surface import Surfaces
from atp_trio.spice.messages.display import SurfaceFormat
from atp_trio.spice.messages.geometry import Rect


@attrs.frozen(eq=False)
class Drawn:
    """What the fast path drew.

    Attributes:
        is_paused: Whether it stopped only because others should have their turn.
    """

    _run: Run
    is_paused: bool

    @property
    def messages(self) -> int:
        """How many messages; each changed a surface, or may have."""
        return self._run.messages

    @property
    def counts(self) -> Mapping[str, int]:
        """The same by message name."""
        return self._run.counts

    @property
    def pixels(self) -> int:
        """Pixels of the rectangles of damage, message by message."""
        return self._run.pixels

    def rects(self, surface_id: int) -> Iterator[Rect]:
        """The rectangles within a surface that hold every changed pixel, in order; they may overlap."""
        damage = self._run.damage()
        for _, left, top, right, bottom in damage[damage[:, 0] == surface_id].tolist():
            yield Rect(top=top, left=left, bottom=bottom, right=right)

    def touches(self, surface_id: int, region: Rect | None = None) -> bool:
        """Whether anything was drawn on a surface, or on a region of it."""
        surface, left, top, right, bottom = self._run.damage().T.astype(np.int64)
        hit = surface == surface_id
        if region is not None:
            left, top = np.maximum(left, region.left), np.maximum(top, region.top)
            right, bottom = np.minimum(right, region.right), np.minimum(bottom, region.bottom)
            hit &= (left < right) & (top < bottom)
        return bool(hit.any())


class Ahead(NamedTuple):
    """How far a thread that follows is ahead of what it has told."""

    messages: int = 0  # that were drawn
    counts: Mapping[str, int] = {}  # the same by message name
    pixels: int = 0  # of their rectangles
    received: int = 0  # bytes
    acks: int = 0


class FastPath:
    """Draws on the surfaces of one screen.

    Attributes:
        follower: Draws in a thread what it receives there itself: see `follow`.
    """

    def __init__(self, surfaces: Surfaces, cache: ImageCache, window: GlzWindow) -> None:
        self._surfaces = surfaces
        self._cache = cache
        self._window = window
        self._drawer = FrameDrawer()
        self.follower = Follower(self._drawer)
        self._known = -1  # the surfaces that the drawer knows, as `Surfaces.changes`

    def draw(self, table: FrameTable, row: int, buffer: memoryview) -> Drawn | None:
        """Draw the messages of a table from a row on; None where already the first one is for others."""
        first = row
        self._see_surfaces()
        # Another channel's thread may hold the lock for as long as it decodes a large image. Nothing is waited for: what needs
        # neither the dictionary nor the cache is drawn, and the rest is for the ordinary path.
        if self._cache.lock.acquire(blocking=False):
            try:
                row, status = self._draw_shared(table, row, buffer)
            finally:
                self._cache.lock.release()
        else:
            row, status = self._drawer.draw(table, row, buffer)
        is_paused = status is DrawStatus.PAUSED
        return Drawn(self._drawer.take(), is_paused) if row > first or is_paused else None

    def _draw_shared(self, table: FrameTable, row: int, buffer: memoryview) -> tuple[int, DrawStatus]:
        status = DrawStatus.FULL
        while status is DrawStatus.FULL:
            shared = Shared(self._window.images, self._cache.table, self._cache.room)
            row, status = self._drawer.draw(table, row, buffer, shared)
            self._keep(self._drawer.take_kept())
        return row, status

    def follow(self, files: Files, received: Received, gathering: Gathering) -> tuple[FollowStatus, Followed]:
        """Receive and draw, in a thread: see `Follower.follow`. Nobody else may use the cache and the dictionary meanwhile.

        Returns:
            Why it ended, and what was done; `take` gives what was drawn.
        """
        self._see_surfaces()
        with self._cache.lock:
            shared = Shared(self._window.images, self._cache.table, self._cache.room)
            return self.follower.follow(files, received, gathering, shared, self._keep)

    def take(self) -> Drawn:
        """What was drawn by following since the last time."""
        return Drawn(self._drawer.take(), is_paused=False)

    @property
    def ahead(self) -> Ahead:
        """What a thread that follows has done up to now, and not told yet; to be asked at any time."""
        drawer, follower = self._drawer, self.follower
        return Ahead(drawer.messages, drawer.counts, drawer.pixels, follower.received, follower.acks)

    def _see_surfaces(self) -> None:
        if self._known != self._surfaces.changes:
            self._drawer.set_surfaces({one.id: one.pixels for one in self._surfaces if one.format in DIRECT})
            self._known = self._surfaces.changes

    def _keep(self, pictures: list[Kept]) -> int:
        """Put pictures into the cache; gives what room is left there."""
        for kept in pictures:
            form = SurfaceFormat.FMT_32_ARGB if kept.has_alpha else SurfaceFormat.FMT_32_xRGB
            self._cache.put(kept.id, Picture(kept.pixels, form))
        return self._cache.room
