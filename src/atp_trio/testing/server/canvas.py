"""What a display of the server shows: every operation changes its pixels and is sent to who watches, so both show the same.

Operations lie wholly on the canvas; their bodies are encoded once and kept, as scenes repeat themselves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import Brush
from atp_trio.spice.messages.geometry import DisplayBase, Point, Rect
from atp_trio.spice.wire import Role
from atp_trio.spice.wire.kind import Buffer
from atp_trio.testing.server.picture import DRAW_COPY, Picture, Pixels, encode_raw

_DRAW_FILL: Final = display.DrawFill.number(Role.SERVER)
_COPY_BITS: Final = display.CopyBits.number(Role.SERVER)


class Viewer(Protocol):
    """Who watches a canvas: a display channel."""

    def draw(self, number: int, *pieces: Buffer) -> None:
        """Something was drawn: the message's number and body. The pieces do not change any more."""

    def posted(self) -> None:
        """There is a fill to be drawn as soon as there is room for it: `Canvas.draw_posted`."""


class Canvas:
    """The pixels of one display.

    Attributes:
        width: In pixels.
        height: In pixels.
        viewer: Who watches, if anybody.
        operations: How many operations were drawn so far.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.viewer: Viewer | None = None
        self.operations = 0
        self._pixels = _background(width, height)
        self._is_shared = False  # the pixels are a picture's own, to be copied before they are changed
        self._posted: dict[Rect, int] = {}

    def copy(self) -> Pixels:
        """A copy of the pixels: shape (height, width), rows top-down, numbers `0x00RRGGBB`."""
        return self._pixels.copy()

    def whole(self) -> Picture:
        """A picture of all that is there now."""
        return encode_raw(self._pixels)

    def fill(self, rect: Rect, colour: int) -> None:
        """Paint a rectangle in one colour (DRAW_FILL)."""
        self._own()[rect.top : rect.bottom, rect.left : rect.right] = colour
        self._tell(_DRAW_FILL, _fill_body(rect, colour))

    def move(self, rect: Rect, x: int, y: int) -> None:
        """Copy what lies at (x, y) to a rectangle (COPY_BITS); they may overlap."""
        pixels = self._own()
        # numpy copies as if the source had been set aside before.
        pixels[rect.top : rect.bottom, rect.left : rect.right] = pixels[y : y + rect.height, x : x + rect.width]
        self._tell(_COPY_BITS, _copy_bits_body(rect, x, y))

    def paint(self, x: int, y: int, picture: Picture) -> None:
        """Put a picture at (x, y) (DRAW_COPY)."""
        if (picture.width, picture.height) == (self.width, self.height):
            self._pixels, self._is_shared = picture.pixels, True
        else:
            self._own()[y : y + picture.height, x : x + picture.width] = picture.pixels
        self._tell(DRAW_COPY, picture.head(x, y), picture.data)

    def post(self, rect: Rect, colour: int) -> None:
        """Fill a rectangle now or, where the viewer cannot take more, as soon as it can, then in the last colour posted."""
        self._posted[rect] = colour
        if self.viewer is None:
            self.draw_posted()
        else:
            self.viewer.posted()

    @property
    def has_posted(self) -> bool:
        """Whether fills wait for `draw_posted`."""
        return bool(self._posted)

    def draw_posted(self) -> None:
        """Draw the fills that wait."""
        while self._posted:
            self.fill(*self._posted.popitem())

    def _own(self) -> Pixels:
        if self._is_shared:
            self._pixels, self._is_shared = self._pixels.copy(), False
        return self._pixels

    def _tell(self, number: int, *pieces: Buffer) -> None:
        self.operations += 1
        if self.viewer is not None:
            self.viewer.draw(number, *pieces)


def _background(width: int, height: int) -> Pixels:
    """A picture in which every place looks different from its neighbours, so that a shift by one pixel shows."""
    across: npt.NDArray[np.uint32] = np.arange(width, dtype=np.uint32)[None, :]
    down: npt.NDArray[np.uint32] = np.arange(height, dtype=np.uint32)[:, None]
    return np.asarray((across & 255) << 16 | (down & 255) << 8 | ((across >> 4) + (down >> 4) & 15) << 4, np.uint32)


@lru_cache(maxsize=8192)
def _fill_body(rect: Rect, colour: int) -> bytes:
    return display.DrawFill(base=DisplayBase(0, rect), brush=Brush.solid(colour)).encode()


@lru_cache(maxsize=8192)
def _copy_bits_body(rect: Rect, x: int, y: int) -> bytes:
    return display.CopyBits(base=DisplayBase(0, rect), src_pos=Point(x, y)).encode()
