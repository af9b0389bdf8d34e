"""QUIC: SPICE's lossless predictor coder, decoded and encoded in C.

Source:
    Image codec reference, chapter 2.
"""

from __future__ import annotations

import enum

import attrs
import numpy as np

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels, address, as_rows

__all__ = ["QuicHeader", "QuicType", "decode_quic", "encode_quic", "read_quic_header"]

_SENTENCES = {
    lib.QUIC_BAD_HEADER: "it does not begin with a QUIC header",
    lib.QUIC_SIZE_MISMATCH: "its header gives another size than the message",
    lib.QUIC_BAD_RUN: "a run passes the end of its segment",
    lib.QUIC_TRUNCATED: "it ends before the image does",
}
# The decoder's table of short codewords, 26 KiB.
_LOOKUP = ffi.new("uint16_t[]", lib.quic_lookup_size())
lib.quic_make_lookup(_LOOKUP)
# A pixel takes at most three codewords of 26 bits, a fourth for alpha, and two run lengths of 16.
_MAX_PIXEL_BYTES = 17


class QuicType(enum.IntEnum):
    """What a QUIC stream's pixels are."""

    GRAY = 1
    RGB16 = 2
    """5 bits a colour."""
    RGB24 = 3
    RGB32 = 4
    RGBA = 5


_DTYPES = {QuicType.GRAY: np.uint8, QuicType.RGB16: np.uint16}


@attrs.frozen
class QuicHeader:
    """What a stream says of itself."""

    type: QuicType
    width: int
    height: int


def read_quic_header(data: Buffer) -> QuicHeader:
    """What the stream's header says. The size is the sender's claim, not checked against a limit.

    Raises:
        ImageError: There is no valid header.
    """
    header = ffi.new("struct quic_header *")
    _check(lib.quic_read_header(ffi.from_buffer(data), len(data), header))
    return QuicHeader(QuicType(header.type), header.width, header.height)


def decode_quic(
    data: Buffer,
    *,
    width: int,
    height: int,
    expand: bool = True,
    out: Pixels | None = None,
    limit: SizeLimit = DEFAULT_LIMIT,
) -> Pixels:
    """Decode a QUIC image.

    Args:
        data: The stream.
        width: What the image descriptor says; the stream must say the same.
        height: Likewise.
        expand: Whether RGB16 becomes 32-bit pixels, rather than 16-bit 555.
        out: Where to decode to, rows at any distance; a new array without it. After an error its contents are undefined.
        limit: The limit on the size.

    Returns:
        (height, width), rows top-down: uint32 BGRX with X = 0, BGRA for RGBA; uint8 for GRAY; uint16 555 if not expanded.

    Raises:
        ImageError: The stream is malformed, ends early or is of another size.
        ConfigError: `out` does not fit.
    """
    check_size(width, height, limit)
    header = read_quic_header(data)
    dtype = np.uint32 if expand and header.type == QuicType.RGB16 else _DTYPES.get(header.type, np.uint32)
    if (header.width, header.height) != (width, height):
        _check(lib.QUIC_SIZE_MISMATCH)
    rows = as_rows(out, width, height, dtype)
    scratch = ffi.new("uint32_t[]", lib.quic_scratch_words(width))
    # Released at once: a memoryview that is still exported when the garbage collector clears it, as in the traceback of an error
    # that someone keeps, crashes the interpreter.
    with ffi.from_buffer(data) as stream:
        status = lib.quic_decode(stream, len(data), width, height, expand, address(rows), rows.strides[0], _LOOKUP, scratch)
    _check(status)
    return rows


def encode_quic(pixels: Pixels, *, type: QuicType = QuicType.RGB32) -> bytes:  # noqa: A002 - the stream's own name for it
    """Encode rows of the type's pixels, top-down, as a QUIC stream.

    Args:
        pixels: (height, width): uint8 for GRAY, uint16 555 for RGB16, else uint32.
        type: What they are; the X of all but RGBA is left out.

    Raises:
        ConfigError: The array is not of the type's kind.
        ImageError: The size is over the limit.
    """
    dtype = _DTYPES.get(type, np.uint32)
    if pixels.ndim != 2 or pixels.dtype != dtype:
        raise ConfigError(f"{type.name} is encoded from (height, width) {np.dtype(dtype)}, not {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape
    check_size(width, height)
    rows = np.ascontiguousarray(pixels)
    out = np.empty(64 + _MAX_PIXEL_BYTES * width * height, np.uint8)
    scratch = ffi.new("uint32_t[]", lib.quic_scratch_words(width))
    written = ffi.new("size_t *")
    _check(
        lib.quic_encode(type, width, height, address(rows), rows.strides[0], address(out), out.size, scratch, written),
    )
    return out[: written[0]].tobytes()


def _check(status: int) -> None:
    if status != lib.QUIC_OK:
        raise ImageError(f"a QUIC image cannot be decoded: {_SENTENCES[status]}")
