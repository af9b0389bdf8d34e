"""Cursor shapes: every form the cursor channel sends them in, made one; and the cache of them.

A pixel that inverts what lies below it cannot be said in ARGB; it becomes, as on most screens that show SPICE, one of a
checker of half transparent black and white, which is seen on any ground.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import check_size
from atp_trio.spice.imaging.pixel import OPAQUE, RGB, Argb, to_argb
from atp_trio.spice.messages.cursor import Cursor, CursorFlag, CursorHeader, CursorType
from atp_trio.spice.messages.display import SurfaceFormat

MAX_CURSORS = 256
INVERT_DARK, INVERT_LIGHT = np.uint32(0x80000000), np.uint32(0x80808080)


@attrs.frozen(eq=False)
class CursorShape:
    """The pointer's look.

    Attributes:
        unique: Its key in the cursor cache.
        pixels: Shape (height, width), rows top-down, numbers `0xAARRGGBB` with premultiplied alpha; not writable.
        hot_x: The column that points, within the shape.
        hot_y: The row that points, within the shape.
    """

    unique: int
    pixels: Argb = attrs.field(repr=False)
    hot_x: int
    hot_y: int


class CursorCache:
    """The shapes that the server told us to keep; it counts on 256 and says what to drop."""

    def __init__(self) -> None:
        self._shapes: dict[int, CursorShape] = {}

    def __len__(self) -> int:
        return len(self._shapes)

    def shape(self, cursor: Cursor) -> CursorShape | None:
        """The shape that a message brings or names; None where it brings none. Kept if the message says so.

        Raises:
            ImageError: The shape is not in the cache, or its data do not make one. Nothing is kept then.
        """
        header = cursor.header
        if header is None:
            return None
        if cursor.flags & CursorFlag.FROM_CACHE:
            try:
                return self._shapes[header.unique]
            except KeyError:
                raise ImageError(f"cursor {header.unique:#x} is not in the cursor cache") from None
        shape = decode_cursor(header, cursor.data)
        if cursor.flags & CursorFlag.CACHE_ME:
            self._shapes.pop(header.unique, None)
            if len(self._shapes) >= MAX_CURSORS:
                del self._shapes[next(iter(self._shapes))]
            self._shapes[header.unique] = shape
        return shape

    def discard(self, unique: int) -> None:
        """INVAL_ONE: drop a shape, if it is there."""
        self._shapes.pop(unique, None)

    def clear(self) -> None:
        """INVAL_ALL, INIT and RESET: drop all."""
        self._shapes.clear()


def decode_cursor(header: CursorHeader, data: bytes) -> CursorShape:
    """The shape that a cursor's data make.

    Raises:
        ImageError: An unknown type, no pixels, or too few data.
    """
    width, height = header.width, header.height
    check_size(width, height)
    decoder = DECODERS.get(header.type)
    if decoder is None:
        raise ImageError(f"a cursor of type {header.type}")
    pixels = decoder(_Data(data), width, height)
    pixels.flags.writeable = False
    return CursorShape(header.unique, pixels, min(header.hot_spot_x, width - 1), min(header.hot_spot_y, height - 1))


class _Data:
    """The data, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._at = 0

    def rows(self, height: int, stride: int) -> npt.NDArray[np.uint8]:
        """So many rows of so many bytes."""
        part = self._data[self._at : self._at + height * stride]
        if len(part) < height * stride:
            raise ImageError(f"a cursor of {len(self._data)} bytes, when {self._at + height * stride} are needed")
        self._at += height * stride
        return part.reshape(height, stride)

    def bits(self, width: int, height: int) -> npt.NDArray[np.bool_]:
        """A mask: bit 7 leftmost, rows of whole bytes."""
        return np.unpackbits(self.rows(height, (width + 7) // 8), axis=1, count=width).astype(bool)

    def numbers(self, width: int, height: int) -> Argb:
        """Pixels or colours of 32 bits."""
        return self.rows(height, width * 4).view("<u4").astype(np.uint32)


def _alpha(data: _Data, width: int, height: int) -> Argb:
    return data.numbers(width, height)


def _mono(data: _Data, width: int, height: int) -> Argb:
    keep, white = data.bits(width, height), data.bits(width, height)
    return _behind_mask(np.where(white, RGB, np.uint32(0)), keep)


def _color4(data: _Data, width: int, height: int) -> Argb:
    packed = data.rows(height, (width + 1) // 2)
    indices = np.stack((packed >> 4, packed & 15), axis=2).reshape(height, -1)[:, :width]
    return _behind_mask(data.numbers(16, 1)[0][indices], data.bits(width, height))


def _color8(data: _Data, width: int, height: int) -> Argb:
    indices = data.rows(height, width)
    return _behind_mask(data.numbers(256, 1)[0][indices], data.bits(width, height))


def _color16(data: _Data, width: int, height: int) -> Argb:
    colours = to_argb(data.rows(height, width * 2).view("<u2"), SurfaceFormat.FMT_16_555)
    return _behind_mask(colours, data.bits(width, height))


def _color24(data: _Data, width: int, height: int) -> Argb:
    samples: Any = data.rows(height, width * 3).reshape(height, width, 3).astype(np.uint32)
    colours = samples[..., 2] << 16 | samples[..., 1] << 8 | samples[..., 0]
    return _behind_mask(colours, data.bits(width, height))


def _color32(data: _Data, width: int, height: int) -> Argb:
    return _behind_mask(data.numbers(width, height), data.bits(width, height))


def _behind_mask(colours: Argb, keep: npt.NDArray[np.bool_]) -> Argb:
    """Opaque colours; where the AND mask keeps the ground, black is transparent and white (anything else) inverts."""
    colours = colours & RGB
    odd = np.add.outer(np.arange(keep.shape[0]), np.arange(keep.shape[1])) & 1
    invert = np.where(odd, INVERT_LIGHT, INVERT_DARK)
    return np.where(keep, np.where(colours != 0, invert, np.uint32(0)), colours | OPAQUE)


DECODERS: dict[int, Callable[[_Data, int, int], Argb]] = {
    CursorType.ALPHA: _alpha,
    CursorType.MONO: _mono,
    CursorType.COLOR4: _color4,
    CursorType.COLOR8: _color8,
    CursorType.COLOR16: _color16,
    CursorType.COLOR24: _color24,
    CursorType.COLOR32: _color32,
}
