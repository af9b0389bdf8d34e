"""LZ: SPICE's byte-oriented LZ77 with pixel-sized units, decoded and encoded in C.

Source:
    Image codec reference, chapter 3.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs
import numpy as np

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels, address, as_rows

__all__ = ["LzHeader", "LzType", "decode_lz", "encode_lz", "read_lz_header"]

_SENTENCES = {
    lib.LZ_BAD_HEADER: "it does not begin with a valid LZ header",
    lib.LZ_SIZE_MISMATCH: "its header gives another size than the message",
    lib.LZ_TRUNCATED: "it ends before the image does",
    lib.LZ_OVERRUN: "an item passes the end of the image",
    lib.LZ_BAD_REFERENCE: "a copy refers to before the start of the image",
    lib.LZ_NO_PALETTE: "it needs a palette",
}


class LzType(enum.IntEnum):
    """What an LZ stream's units are."""

    PLT1_LE = 1
    """Indices of one bit, the lowest one leftmost."""
    PLT1_BE = 2
    PLT4_LE = 3
    """Indices of four bits, the low ones leftmost."""
    PLT4_BE = 4
    PLT8 = 5
    RGB16 = 6
    """5 bits a colour."""
    RGB24 = 7
    RGB32 = 8
    RGBA = 9
    XXXA = 10
    """Only the alpha of 32-bit pixels."""
    A8 = 11

    @property
    def bits(self) -> int:
        """Bits that a pixel takes in the image that was compressed."""
        return _BITS[self]

    @property
    def has_palette(self) -> bool:
        """Whether the units are indices."""
        return self <= LzType.PLT8


_BITS = dict(zip(LzType, (1, 1, 4, 4, 8, 16, 24, 32, 32, 32, 8), strict=True))
_BYTE_TYPES = (LzType.XXXA, LzType.A8)


@attrs.frozen
class LzHeader:
    """What a stream says of itself."""

    type: LzType
    width: int
    height: int
    top_down: bool
    """Whether the stream's first row is the top one."""


def read_lz_header(data: Buffer) -> LzHeader:
    """What the stream's header says. The size is the sender's claim, not checked against a limit.

    Raises:
        ImageError: There is no valid header.
    """
    header = ffi.new("struct lz_header *")
    _check(lib.lz_read_header(ffi.from_buffer(data), len(data), header))
    return LzHeader(LzType(header.type), header.width, header.height, bool(header.top_down))


def decode_lz(
    data: Buffer,
    *,
    width: int,
    height: int,
    palette: Sequence[int] | Pixels | None = None,
    expand: bool = True,
    out: Pixels | None = None,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Decode an LZ image.

    Args:
        data: The stream.
        width: What the image descriptor says; the stream must say the same.
        height: Likewise.
        palette: The colours `0x00RRGGBB` of a palette type; an index past the end counts modulo their number.
        expand: Whether RGB16 becomes 32-bit pixels, rather than 16-bit 555.
        out: Where to decode to, rows at any distance; a new array without it. After an error its contents are undefined.
        limit: The limit on the size.

    Returns:
        (height, width), rows top-down whatever the stream's order: uint32 BGRX with X = 0, BGRA for RGBA; uint8 for A8 and
        XXXA; uint16 555 if not expanded.

    Raises:
        ImageError: The stream is malformed, ends early, is of another size, or has no palette where it needs one.
        ConfigError: `out` does not fit.
    """
    check_size(width, height, limit)
    header = read_lz_header(data)
    if (header.width, header.height) != (width, height):
        _check(lib.LZ_SIZE_MISMATCH)
    dtype = np.uint8 if header.type in _BYTE_TYPES else np.uint16 if header.type == LzType.RGB16 and not expand else np.uint32
    colours = np.ascontiguousarray(() if palette is None else palette, np.uint32)
    rows = as_rows(out, width, height, dtype)
    is_direct = not header.type.has_palette and rows.strides[0] == width * rows.itemsize
    scratch = np.empty(0 if is_direct else width * height, np.uint32)
    _check(
        lib.lz_decode(
            ffi.from_buffer(data),
            len(data),
            width,
            height,
            ffi.cast("uint32_t *", address(colours)),
            colours.size,
            expand,
            address(rows),
            rows.strides[0],
            ffi.cast("uint32_t *", address(scratch)),
        ),
    )
    return rows


def encode_lz(pixels: Pixels, *, type: LzType = LzType.RGB32, top_down: bool = True) -> bytes:  # noqa: A002 - its own name
    """Encode rows, top-down, as an LZ stream.

    Args:
        pixels: (height, width): uint8 indices for palette types (those over the type's range are cut), uint8 for A8, uint16
            555 for RGB16, else uint32.
        type: What they are. RGB24 and RGB32 leave X out, XXXA all but the alpha.
        top_down: Whether the stream has the top row first.

    Raises:
        ConfigError: The array is not of the type's kind.
        ImageError: The size is over the limit.
    """
    is_byte = type.has_palette or type == LzType.A8
    dtype = np.uint8 if is_byte else np.uint16 if type == LzType.RGB16 else np.uint32
    if pixels.ndim != 2 or pixels.dtype != dtype:
        raise ConfigError(f"{type.name} is encoded from (height, width) {np.dtype(dtype)}, not {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape
    check_size(width, height)
    units = np.ascontiguousarray(_pack(pixels if top_down else pixels[::-1], type))
    header = ffi.new("struct lz_header *", (type, width, height, (width * type.bits + 7) // 8, top_down))
    # At the worst all is literals, with a byte before each 32.
    out = np.empty(64 + (units.nbytes + units.size // 8 + 2) * 2, np.uint8)
    hash_table = np.empty(lib.lz_hash_words(), np.uint32)
    written = ffi.new("size_t *")
    table = ffi.cast("uint32_t *", address(hash_table))
    _check(lib.lz_encode(header, address(units), address(out), out.size, table, written))
    return out[: written[0]].tobytes()


def _pack(pixels: Pixels, type: LzType) -> Pixels:  # noqa: A002
    """Indices of less than eight bits as bytes of two or eight; all else as it is."""
    if type in (LzType.PLT1_LE, LzType.PLT1_BE):
        return np.packbits(pixels & 1, axis=1, bitorder="little" if type == LzType.PLT1_LE else "big")
    if type in (LzType.PLT4_LE, LzType.PLT4_BE):
        even, odd = pixels[:, ::2] & 15, np.zeros_like(pixels[:, ::2])
        odd[:, : pixels.shape[1] // 2] = pixels[:, 1::2] & 15
        return even | odd << 4 if type == LzType.PLT4_LE else even << 4 | odd
    return pixels


def _check(status: int) -> None:
    if status != lib.LZ_OK:
        raise ImageError(f"an LZ image cannot be decoded: {_SENTENCES[status]}")
