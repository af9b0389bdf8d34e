"""Pixels in memory, as the codecs hand them to C: rows top-down, any distance between them."""

from __future__ import annotations

import mmap
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from _spice_codec import ffi
from atp_trio.errors import ConfigError

__all__ = ["Buffer", "Pixels", "address", "as_rows", "expand_555", "truncate_555", "untouched"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What a codec reads from: contiguous bytes."""
Pixels: TypeAlias = npt.NDArray[Any]
"""(height, width) uint32: `0xXXRRGGBB`, bytes B, G, R, X. Also uint16 (555) or uint8 (alpha, grey) where it is said."""

_BYTES = ffi.typeof("uint8_t *")


def as_rows(out: Pixels | None, width: int, height: int, dtype: npt.DTypeLike = np.uint32) -> Pixels:
    """The array to decode into: `out` if it is given and fits, else a new one, not initialised.

    Raises:
        ConfigError: `out` is of another shape or type, read-only, or its pixels are not next to each other.
    """
    if out is None:
        return np.empty((height, width), dtype)
    item = out.itemsize
    if out.shape != (height, width) or out.dtype != dtype:
        raise ConfigError(f"out is {out.shape} {out.dtype}, and not {(height, width)} {np.dtype(dtype)}")
    if (width > 1 and out.strides[1] != item) or not (out.flags.writeable and out.flags.aligned):
        raise ConfigError("out is read-only, not aligned, or its rows are not contiguous")
    return out


def untouched(count: int, dtype: npt.DTypeLike) -> Pixels:
    """Zeros that cost no memory before they are written to, page by page: for tables that are mostly never filled.

    What numpy allocates may be memory that was used before, and is then held whole.
    """
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype, count)


def address(array: Pixels) -> Any:
    """Where the first pixel lies, for C; valid as long as the array is kept."""
    if array.flags.c_contiguous:
        return ffi.from_buffer(_BYTES, array)  # a fifth of the price of what follows, which takes any rows
    return ffi.cast(_BYTES, array.__array_interface__["data"][0])


def expand_555(pixels: Pixels, out: Pixels) -> None:
    """Write 555 numbers as 32-bit pixels: each 5-bit value, followed by its own upper bits, fills its byte."""
    wide = pixels.astype(np.uint32)
    lanes = (wide & 0x7C00) << 6 | (wide & 0x3E0) << 3 | wide & 0x1F
    np.bitwise_or(lanes << 3, lanes >> 2 & 0x070707, out=out)


def truncate_555(pixels: Pixels) -> Pixels:
    """32-bit pixels as 555 numbers: the upper five bits of each colour."""
    return (pixels >> 9 & 0x7C00 | pixels >> 6 & 0x3E0 | pixels >> 3 & 0x1F).astype(np.uint16)
