"""JPEG, and JPEG_ALPHA: colours in a JPEG, alpha in an LZ image behind it.

Source:
    Image codec reference, chapter 7.
"""

from __future__ import annotations

import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.lz import LzType, decode_lz, read_lz_header
from atp_trio.spice.codec.raster import Buffer, Pixels, as_rows

__all__ = ["decode_jpeg", "decode_jpeg_alpha"]


def decode_jpeg(
    data: Buffer,
    *,
    width: int | None = None,
    height: int | None = None,
    out: Pixels | None = None,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Decode a JPEG image with the accurate transform and smooth chroma.

    Args:
        data: The JPEG.
        width: What the image descriptor says; without it, as for a frame of a video stream, what the JPEG says.
        height: Likewise.
        out: Where to decode to, rows at any distance; a new array without it. After an error its contents are undefined.
        limit: The limit on the size.

    Returns:
        (height, width) uint32, rows top-down, BGRX with X = 0.

    Raises:
        ImageError: It is no JPEG, ends early, or is of another size.
        ConfigError: `out` does not fit.
    """
    import simplejpeg

    try:
        actual_height, actual_width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise ImageError(f"a JPEG image cannot be decoded: {error}") from error
    width, height = width or actual_width, height or actual_height
    check_size(width, height, limit)
    if (width, height) != (actual_width, actual_height):
        raise ImageError(f"a JPEG image is {actual_width}x{actual_height}, and not {width}x{height}")
    rows = as_rows(out, width, height)
    # The library writes contiguous rows only, and ones into X.
    whole = rows if rows.flags.c_contiguous else np.empty((height, width), np.uint32)
    try:
        simplejpeg.decode_jpeg(data, "BGRX", buffer=whole)
    except ValueError as error:
        raise ImageError(f"a JPEG image cannot be decoded: {error}") from error
    np.bitwise_and(whole, 0xFFFFFF, out=rows)
    return rows


def decode_jpeg_alpha(
    data: Buffer,
    *,
    jpeg_size: int,
    width: int,
    height: int,
    top_down: bool | None = None,
    out: Pixels | None = None,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Decode a JPEG_ALPHA image.

    Args:
        data: The JPEG, and behind it the LZ image of the alpha.
        jpeg_size: How many bytes the JPEG has.
        width: What the image descriptor says; both parts must say the same.
        height: Likewise.
        top_down: The message's TOP_DOWN flag, which concerns the alpha only; None leaves it to the LZ image.
        out: Where to decode to, rows at any distance; a new array without it. After an error its contents are undefined.
        limit: The limit on the size.

    Returns:
        (height, width) uint32, rows top-down, BGRA, premultiplied as the sender had it.

    Raises:
        ImageError: Either part cannot be decoded, or they and the message disagree.
        ConfigError: `out` does not fit.
    """
    if not 0 < jpeg_size < len(data):
        raise ImageError(f"a JPEG_ALPHA image of {len(data)} bytes cannot have a JPEG of {jpeg_size} and alpha behind it")
    check_size(width, height, limit)
    view = memoryview(data)
    header = read_lz_header(view[jpeg_size:])
    if header.type != LzType.XXXA:
        raise ImageError(f"the alpha of a JPEG_ALPHA image is LZ of type {header.type.name}, and not XXXA")
    if top_down is not None and header.top_down != top_down:
        raise ImageError("the alpha of a JPEG_ALPHA image has another orientation than the message says")
    alpha = decode_lz(view[jpeg_size:], width=width, height=height, limit=limit)
    rows = decode_jpeg(view[:jpeg_size], width=width, height=height, out=out, limit=limit)
    rows |= alpha.astype(np.uint32) << 24
    return rows
