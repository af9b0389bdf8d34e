"""Raw bitmaps, of every format that SPICE has.

Source:
    Image codec reference, chapter 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels, as_rows, expand_555

__all__ = ["BITS", "decode_bitmap"]

BITS = {1: 1, 2: 1, 3: 4, 4: 4, 5: 8, 6: 16, 7: 24, 8: 32, 9: 32, 10: 8}
"""Bits a pixel, by SPICE bitmap format: 1BIT_LE, 1BIT_BE, 4BIT_LE, 4BIT_BE, 8BIT, 16BIT, 24BIT, 32BIT, RGBA, 8BIT_A."""

_1BIT_LE, _1BIT_BE, _4BIT_LE, _4BIT_BE, _8BIT, _16BIT, _24BIT, _32BIT, _RGBA, _8BIT_A = BITS


def decode_bitmap(
    data: Buffer,
    *,
    format: int,  # noqa: A002 - the message's own name for it
    width: int,
    height: int,
    stride: int,
    top_down: bool,
    palette: Sequence[int] | Pixels | None = None,
    expand: bool = True,
    out: Pixels | None = None,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Bring a raw bitmap into the usual form.

    Args:
        data: `stride * height` bytes; more are ignored.
        format: SPICE's bitmap format, 1 to 10.
        width: In pixels.
        height: In pixels.
        stride: Bytes from one row to the next; what follows a row's pixels is ignored.
        top_down: Whether the first row is the top one.
        palette: The colours `0x00RRGGBB` of an indexed format; an index past the end counts modulo their number.
        expand: Whether 16BIT becomes 32-bit pixels, rather than 16-bit 555.
        out: Where to write to, rows at any distance; a new array without it.
        limit: The limit on the size.

    Returns:
        (height, width), rows top-down: uint32 BGRX with X = 0, BGRA for RGBA; uint8 for 8BIT_A; uint16 555 if not expanded.

    Raises:
        ImageError: There is no such format, the data are too short, or a palette is missing.
        ConfigError: `out` does not fit.
    """
    check_size(width, height, limit)
    if format not in BITS:
        raise ImageError(f"there is no bitmap format {format}")
    row = (width * BITS[format] + 7) // 8
    if stride < row or len(data) < stride * height:
        raise ImageError(f"a bitmap of {width}x{height} pixels, format {format}, stride {stride}, has only {len(data)} bytes")
    raw = np.frombuffer(data, np.uint8, stride * height).reshape(height, stride)[:, :row]
    if not top_down:
        raw = raw[::-1]
    if format <= _8BIT:
        return _from_palette(_indices(raw, format, width), palette, as_rows(out, width, height))
    if format == _8BIT_A:
        rows = as_rows(out, width, height, np.uint8)
        rows[...] = raw
    elif format == _16BIT:
        rows = as_rows(out, width, height, np.uint32 if expand else np.uint16)
        if expand:
            expand_555(raw.view("<u2"), rows)
        else:
            rows[...] = raw.view("<u2")
    elif format == _24BIT:
        rows = as_rows(out, width, height)
        blue, green, red = (raw[:, channel::3].astype(np.uint32) for channel in range(3))
        np.bitwise_or(blue | green << 8, red << 16, out=rows)
    else:
        rows = as_rows(out, width, height)
        np.bitwise_and(raw.view("<u4"), 0xFFFFFFFF if format == _RGBA else 0xFFFFFF, out=rows)
    return rows


def _indices(raw: Pixels, bitmap_format: int, width: int) -> Pixels:
    """The palette indices of packed rows."""
    if bitmap_format in (_1BIT_LE, _1BIT_BE):
        order: Literal["little", "big"] = "little" if bitmap_format == _1BIT_LE else "big"
        return np.unpackbits(raw, axis=1, count=width, bitorder=order)
    if bitmap_format in (_4BIT_LE, _4BIT_BE):
        low, high = raw & 15, raw >> 4
        pair = (low, high) if bitmap_format == _4BIT_LE else (high, low)
        return np.stack(pair, axis=2).reshape(len(raw), -1)[:, :width]
    return raw


def _from_palette(indices: Pixels, palette: Sequence[int] | Pixels | None, rows: Pixels) -> Pixels:
    if palette is None or not len(palette):
        raise ImageError("a bitmap of palette indices needs a palette")
    colours = np.resize(np.asarray(palette, np.uint32) & np.uint32(0xFFFFFF), 256)
    np.take(colours, indices, out=rows)
    return rows
