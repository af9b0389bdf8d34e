"""The sender's side of a GLZ dictionary, encoded in C: for servers under test.

Source:
    Image codec reference, chapter 4, in particular 4.7.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.glz import GlzType
from atp_trio.spice.codec.limit import check_size
from atp_trio.spice.codec.raster import Pixels, address, expand_555

__all__ = ["GlzEncoder"]

# At the worst all is literals, with a byte before each 32; or copies, which are longer than what they take.
_MAX_PIXEL_BYTES = 10
_IMAGE_BYTES: int = ffi.sizeof("struct glz_image")
_PIXEL_BYTES = {GlzType.RGB16: 2, GlzType.RGB24: 3, GlzType.RGB32: 4, GlzType.RGBA: 4}


class _Images:
    """The images that a next one may refer to, in the table that C reads: flat pixels, in the order of the stream.

    Attributes:
        pixels: How many are held.
    """

    def __init__(self) -> None:
        self.pixels = 0
        self._arrays: deque[Pixels] = deque()
        self._table = ffi.new("struct glz_image[]", 16)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def lowest(self) -> int:
        """The lowest id; there must be one."""
        return int(self._table[0].id)

    def add(self, id: int, pixels: Pixels, kind: GlzType) -> None:  # noqa: A002 - the dictionary's own name
        """Hold an image, whose id is above all others."""
        size = len(self)
        if size == len(self._table):
            larger = ffi.new("struct glz_image[]", 2 * size)
            ffi.memmove(larger, self._table, size * _IMAGE_BYTES)
            self._table = larger
        self._table[size] = (id, ffi.cast("uint32_t *", address(pixels)), pixels.size, kind)
        self._arrays.append(pixels)
        self.pixels += pixels.size

    def release_first(self) -> None:
        """Let go of the image with the lowest id."""
        self.pixels -= self._arrays.popleft().size
        ffi.memmove(self._table, self._table + 1, len(self) * _IMAGE_BYTES)

    def table(self) -> tuple[object, int]:
        """The `struct glz_image` array, by rising id, and its length; valid until the next change."""
        return self._table, len(self)


class GlzEncoder:
    """Encodes images in sequence and keeps as many as the client's window holds, to refer to.

    Attributes:
        max_pixels: The window size the client announced.
        next_id: The id that the next image gets.
    """

    def __init__(self, max_pixels: int, *, next_id: int = 0) -> None:
        self.max_pixels = max_pixels
        self.next_id = next_id
        self._images = _Images()
        self._entries = np.zeros(lib.glz_hash_entries() * ffi.sizeof("struct glz_entry"), np.uint8)

    def encode(self, pixels: Pixels, *, type: GlzType = GlzType.RGB32, top_down: bool = True) -> bytes:  # noqa: A002
        """Encode the next image.

        Args:
            pixels: (height, width), rows top-down: uint16 555 for RGB16, else uint32.
            type: What they are; the X of all but RGBA is left out.
            top_down: Whether the stream has the top row first.

        Raises:
            ConfigError: The array is not of the type's kind.
            ImageError: The size is over the limit, or the image is larger than the window.
        """
        dtype = np.uint16 if type == GlzType.RGB16 else np.uint32
        if pixels.ndim != 2 or pixels.dtype != dtype:
            raise ConfigError(f"{type.name} is encoded from (height, width) {np.dtype(dtype)}, not {pixels.shape} {pixels.dtype}")
        height, width = pixels.shape
        check_size(width, height)
        if width * height > self.max_pixels:
            raise ImageError(f"a GLZ image of {width}x{height} is larger than the window of {self.max_pixels} pixels")
        while len(self._images) and self._images.pixels + width * height > self.max_pixels:
            self._images.release_first()
        stream_order = _copy(pixels if top_down else pixels[::-1], type)
        stream = self._encode(stream_order, width, height, type, top_down=top_down)
        self._images.add(self.next_id, stream_order, type)
        self.next_id += 1
        return stream

    def _encode(self, pixels: Pixels, width: int, height: int, kind: GlzType, *, top_down: bool) -> bytes:
        head = self._images.lowest if len(self._images) else self.next_id
        stride = width * _PIXEL_BYTES[kind]
        header = ffi.new("struct glz_header *", (kind, top_down, width, height, stride, self.next_id, self.next_id - head))
        out = np.empty(64 + _MAX_PIXEL_BYTES * pixels.size, np.uint8)
        written = ffi.new("size_t *")
        table, size = self._images.table()
        entries = ffi.cast("struct glz_entry *", address(self._entries))
        source = ffi.cast("uint32_t *", address(pixels))
        if lib.glz_encode(header, source, table, size, address(out), out.size, entries, written) != lib.GLZ_OK:
            raise ImageError(f"a GLZ image of {width}x{height} pixels takes more than {out.size} bytes")
        return out[: written[0]].tobytes()


def _copy(pixels: Pixels, kind: GlzType) -> Pixels:
    """The pixels as the window holds them: flat, 32-bit, X = 0."""
    copy = np.empty(pixels.shape, np.uint32)
    if kind == GlzType.RGB16:
        expand_555(pixels, copy)
    else:
        np.bitwise_and(pixels, 0xFFFFFFFF if kind == GlzType.RGBA else 0xFFFFFF, out=copy)
    return copy.reshape(-1)
