"""LZ4: blocks of rows, each compressed with the rows before it as dictionary. Needs the `lz4` extra.

Source:
    Image codec reference, chapter 6.
"""

from __future__ import annotations

import importlib.util

from atp_trio.errors import ImageError
from atp_trio.spice.codec.bitmap import BITS, decode_bitmap
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels

__all__ = ["available", "decode_lz4"]

_FORMATS = (6, 7, 8, 9)  # 16BIT, 24BIT, 32BIT, RGBA
_DICTIONARY = 64 * 1024  # how far back a match reaches


def available() -> bool:
    """Whether the `lz4` package is there; a client announces LZ4 to the server only then."""
    return importlib.util.find_spec("lz4") is not None


def decode_lz4(
    data: Buffer,
    *,
    width: int,
    height: int,
    expand: bool = True,
    out: Pixels | None = None,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Decode an LZ4 image.

    Args:
        data: The two bytes of header, and the blocks.
        width: What the image descriptor says.
        height: Likewise.
        expand: Whether 16BIT becomes 32-bit pixels, rather than 16-bit 555.
        out: Where to decode to, rows at any distance; a new array without it. After an error its contents are undefined.
        limit: The limit on the size.

    Returns:
        (height, width), rows top-down whatever the stream's order: uint32 BGRX with X = 0, BGRA for RGBA; uint16 555 if not
        expanded.

    Raises:
        ImageError: The blocks are malformed, or do not make up the image; or there is no `lz4` package.
        ConfigError: `out` does not fit.
    """
    check_size(width, height, limit)
    if len(data) < 2 or data[1] not in _FORMATS:
        raise ImageError("an LZ4 image does not begin with a bitmap format that LZ4 can have")
    bitmap_format, top_down = data[1], bool(data[0])
    row = width * BITS[bitmap_format] // 8
    return decode_bitmap(
        _decompress(memoryview(data)[2:], row, height),
        format=bitmap_format,
        width=width,
        height=height,
        stride=row,
        top_down=top_down,
        expand=expand,
        out=out,
        limit=limit,
    )


def _decompress(blocks: memoryview, row: int, height: int) -> bytearray:
    """The raw rows of all blocks."""
    if not available():
        raise ImageError("an LZ4 image cannot be decoded: the package lz4 is not installed")
    import lz4.block

    raw = bytearray()
    while blocks:
        size = int.from_bytes(blocks[:4], "big")
        if len(blocks) < 4 or not 0 < size <= len(blocks) - 4:
            raise ImageError("an LZ4 image has a block that is empty or reaches beyond the data")
        room = row * height - len(raw)
        try:
            rows = lz4.block.decompress(blocks[4 : 4 + size], uncompressed_size=room, dict=bytes(raw[-_DICTIONARY:]))
        except (lz4.block.LZ4BlockError, ValueError) as error:
            raise ImageError(f"an LZ4 image has a block that cannot be decompressed: {error}") from error
        # Whole rows only, and so no more blocks than rows, whose room is allocated each time.
        if not rows or len(rows) % row:
            raise ImageError(f"an LZ4 image has a block of {len(rows)} bytes, which is no number of rows of {row}")
        raw += rows
        blocks = blocks[4 + size :]
    if len(raw) != row * height:
        raise ImageError(f"an LZ4 image has {len(raw)} bytes of pixels, and not {row * height}")
    return raw
