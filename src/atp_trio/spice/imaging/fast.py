"""The fast path of a screen: frequent drawing messages, drawn as they lie in the receive buffer.

Theory of operation. What `Screen.apply` does with a message object, `codec.drawing` does in C with the message's bytes, for the
messages and forms of it that servers mostly send. It stops before whatever else comes, which is then applied as always; so the
two take turns on the same surfaces, and what they draw and count is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import attrs
import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec.drawing import DrawStatus, FrameDrawer, Run, WantedImage
from atp_trio.spice.codec.framing import FrameTable
from atp_trio.spice.codec.glz import GlzImageMissing, GlzWindow
from atp_trio.spice.imaging.cache import ImageCache, ImagePending
from atp_trio.spice.imaging.pixel import Pixels
from atp_trio.spice.imaging.surface import Surfaces
from atp_trio.spice.messages.display import SurfaceFormat
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.image import ImageType

FORMATS = (SurfaceFormat.FMT_32_xRGB, SurfaceFormat.FMT_32_ARGB)


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


class FastPath:
    """Draws on the surfaces of one screen."""

    def __init__(self, surfaces: Surfaces, cache: ImageCache, window: GlzWindow, reasons: deque[str]) -> None:
        self._surfaces = surfaces
        self._cache = cache
        self._window = window
        self._reasons = reasons
        self._drawer = FrameDrawer()
        self._known = -1  # the surfaces that the drawer knows, as `Surfaces.changes`

    def draw(self, table: FrameTable, row: int, buffer: memoryview) -> Drawn | None:
        """Draw the messages of a table from a row on; None where already the first one is for others."""
        first = row
        if self._known != self._surfaces.changes:
            self._drawer.set_surfaces({one.id: one.pixels for one in self._surfaces if one.format in FORMATS})
            self._known = self._surfaces.changes
        row, status = self._drawer.draw(table, row, buffer)
        while status is DrawStatus.IMAGE and (picture := self._find(buffer)) is not None:
            row, status = self._drawer.draw(table, row, buffer, picture)
        is_paused = status is DrawStatus.PAUSED
        return Drawn(self._drawer.take(), is_paused) if row > first or is_paused else None

    def _find(self, buffer: memoryview) -> Pixels | None:
        """The pixels of the image that is wanted; None where they are not there, or not as the message says."""
        wanted = self._drawer.wanted
        assert wanted is not None
        if wanted.type == ImageType.GLZ_RGB:
            return self._decode_glz(buffer[wanted.offset : wanted.offset + wanted.size], wanted)
        try:
            found = self._cache.get(wanted.id, lossless=wanted.type == ImageType.FROM_CACHE_LOSSLESS)
        except ImagePending:
            return None
        return found.pixels if found.format in FORMATS and found.pixels.shape == (wanted.height, wanted.width) else None

    def _decode_glz(self, data: memoryview, wanted: WantedImage) -> Pixels | None:
        # An image that cannot be decoded, for now or for good, is for the ordinary path, which says so. It finds then that the
        # dictionary knows the one that is bad already: that one is counted once, with both reasons.
        with self._cache.lock:
            try:
                return self._window.decode(data, width=wanted.width, height=wanted.height)
            except GlzImageMissing:
                return None
            except ImageError as error:
                self._reasons.append(f"{error}")
                return None
