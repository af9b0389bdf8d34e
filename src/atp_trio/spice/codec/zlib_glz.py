"""ZLIB_GLZ: a GLZ image inside a zlib stream.

Source:
    Image codec reference, chapter 5.
"""

from __future__ import annotations

import contextlib
import zlib

from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels

__all__ = ["decode_zlib_glz", "inflate"]

_GLZ_HEADER = 33
# What one pixel can take in both passes of RGBA if every copy is of a single one, with all its optional bytes.
_MAX_PIXEL_BYTES = 16


def inflate(data: Buffer, size: int) -> bytes:
    """Inflate a zlib stream that must come to exactly `size` bytes; never more than one byte beyond is produced.

    Raises:
        ImageError: It is malformed, ends early, or comes to another size.
    """
    inflater = zlib.decompressobj()
    try:
        whole = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise ImageError(f"a ZLIB_GLZ image cannot be inflated: {error}") from error
    if len(whole) != size or not inflater.eof:
        raise ImageError(f"a ZLIB_GLZ image does not inflate to {size} bytes, as the message says")
    return whole


def decode_zlib_glz(
    data: Buffer,
    *,
    glz_size: int,
    window: GlzWindow,
    width: int,
    height: int,
    out: Pixels | None = None,
    give_up: bool = False,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Decode a ZLIB_GLZ image and keep it in the window.

    Args:
        data: The zlib stream.
        glz_size: How many bytes it inflates to.
        window: The connection's GLZ dictionary.
        width: What the image descriptor says; the GLZ image must say the same.
        height: Likewise.
        out: See `GlzWindow.decode`.
        give_up: See `GlzWindow.decode`.
        limit: The limit on the size.

    Returns:
        See `GlzWindow.decode`.

    Raises:
        GlzImageMissing: See `GlzWindow.decode`.
        ImageError: It cannot be inflated, or see `GlzWindow.decode`. A placeholder is kept if as much as a header can be had.
        ConfigError: `out` does not fit.
    """
    try:
        check_size(width, height, limit)
        _check_glz_size(glz_size, width, height)
        glz = inflate(data, glz_size)
    except ImageError:
        with contextlib.suppress(ImageError, zlib.error):
            window.give_up(zlib.decompressobj().decompress(data, _GLZ_HEADER))
        raise
    return window.decode(glz, width=width, height=height, out=out, give_up=give_up, limit=limit)


def _check_glz_size(size: int, width: int, height: int) -> None:
    if not _GLZ_HEADER < size <= _GLZ_HEADER + _MAX_PIXEL_BYTES * width * height:
        raise ImageError(f"a ZLIB_GLZ image of {width}x{height} pixels cannot inflate to {size} bytes")
