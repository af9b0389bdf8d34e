"""Scaled images: which pixels of the source a pixel of the box shows.

Positions are 16.16 fixed point. Only the pixels that are wanted are computed, however large the box is, and only they read the
source, however large that is.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.pixel import Argb, Pixels
from atp_trio.spice.imaging.region import Area
from atp_trio.spice.messages.geometry import Rect

Positions: TypeAlias = npt.NDArray[np.int64]

# Raw pixels to 32_ARGB: what a format means is the caller's business.
ToArgb: TypeAlias = Callable[[Pixels], Argb]

ONE = 1 << 16


@attrs.frozen
class Axis:
    """How one coordinate maps from the box to the source.

    Attributes:
        start: Where the box begins, on the surface.
        offset: The source position of the box's first pixel centre, in 17 bits of fraction: before it is halved and rounded.
        step: The source's pixels for one of the box, in 16 bits of fraction.
    """

    start: int
    offset: int
    step: int

    @classmethod
    def of(cls, source: tuple[int, int], box: tuple[int, int], *, whole_pixels: bool = False) -> Axis:
        """The axis that maps one interval to another.

        Args:
            source: The source area's first coordinate and the one after its last.
            box: The same of the box.
            whole_pixels: Whether the source's origin is first rounded to pixels of the box, as ROP3 has it.

        Raises:
            ImageError: The source area is empty.
        """
        size, wanted = source[1] - source[0], box[1] - box[0]
        if size <= 0:
            raise ImageError(f"a source area from {source[0]} to {source[1]}")
        step = size * ONE // wanted
        if whole_pixels:
            origin = (2 * source[0] * wanted + size) // (2 * size)
            return cls(box[0], step * (2 * origin + 1) + 1, step)
        return cls(box[0], 2 * ONE * source[0] + step + 1, step)

    def positions(self, first: int, last: int) -> Positions:
        """The source positions of the surface's coordinates from `first` to before `last`."""
        index = np.arange(first - self.start, last - self.start, dtype=np.int64)
        return (2 * self.step * index + self.offset) >> 1


@attrs.frozen
class Scaling:
    """How a box shows an area of a picture.

    Attributes:
        x: The columns' mapping.
        y: The rows' mapping.
        smooth: Whether to interpolate between pixels (scale mode INTERPOLATE).
    """

    x: Axis
    y: Axis
    smooth: bool

    @classmethod
    def of(cls, source: Rect, box: Rect, *, smooth: bool, whole_pixels: bool = False) -> Scaling:
        """The scaling of a source area to a box; see `Axis.of`."""
        return cls(
            Axis.of((source.left, source.right), (box.left, box.right), whole_pixels=whole_pixels),
            Axis.of((source.top, source.bottom), (box.top, box.bottom), whole_pixels=whole_pixels),
            smooth,
        )

    def sample(self, pixels: Pixels, to_argb: ToArgb, area: Area) -> Argb:
        """What the pixels of `area` show, as 32_ARGB; outside of the picture is transparent black."""
        columns = self.x.positions(area.left, area.right)[None, :]
        rows = self.y.positions(area.top, area.bottom)[:, None]
        return (bilinear if self.smooth else nearest)(pixels, to_argb, columns, rows)


class Repeat(IntEnum):
    """What lies outside of a picture, as X's Render extension numbers it."""

    NONE = 0
    NORMAL = 1
    PAD = 2
    REFLECT = 3


def nearest(pixels: Pixels, to_argb: ToArgb, columns: Positions, rows: Positions, repeat: Repeat = Repeat.NONE) -> Argb:
    """The pixels that lie under these positions, as 32_ARGB.

    Args:
        pixels: The picture.
        to_argb: What its pixels are as 32_ARGB.
        columns: 16.16 positions; these and `rows` are broadcast to the shape of the result.
        rows: 16.16 positions.
        repeat: What lies outside of the picture; NONE is transparent black.
    """
    return _gather(pixels, to_argb, columns - 1 >> 16, rows - 1 >> 16, repeat)


def bilinear(pixels: Pixels, to_argb: ToArgb, columns: Positions, rows: Positions, repeat: Repeat = Repeat.NONE) -> Argb:
    """The weighted means of the four pixels around each position; see `nearest`."""
    columns, rows = columns - ONE // 2, rows - ONE // 2
    x, y = columns >> 16, rows >> 16
    wx, wy = _weights(columns), _weights(rows)
    upper = [_gather(pixels, to_argb, x + dx, y, repeat) for dx in (0, 1)]
    lower = [_gather(pixels, to_argb, x + dx, y + 1, repeat) for dx in (0, 1)]
    mixed: Argb = np.zeros_like(upper[0])
    for shift in (0, 8, 16, 24):
        above, below = ((left >> shift & 255) * (256 - wx) + (right >> shift & 255) * wx for left, right in (upper, lower))
        mixed |= (above * (256 - wy) + below * wy >> 16) << shift
    return mixed


def _weights(positions: Positions) -> Any:
    """What the right or lower neighbour weighs, of 256; seven bits of the fraction count."""
    return ((positions >> 9 & 127) * 2).astype(np.uint32)


def _gather(pixels: Pixels, to_argb: ToArgb, columns: Positions, rows: Positions, repeat: Repeat) -> Argb:
    height, width = pixels.shape
    found = to_argb(pixels[_within(rows, height, repeat), _within(columns, width, repeat)])
    if repeat == Repeat.NONE:
        outside_columns, outside_rows = (columns < 0) | (columns >= width), (rows < 0) | (rows >= height)
        if outside_columns.any() or outside_rows.any():
            found = np.where(outside_columns | outside_rows, np.uint32(0), found)
    return found


def _within(index: Positions, size: int, repeat: Repeat) -> Positions:
    if repeat == Repeat.NORMAL:
        return index % size
    if repeat == Repeat.REFLECT:
        return np.minimum(index % (2 * size), -1 - index % (2 * size) + 2 * size)
    return index.clip(0, size - 1)
