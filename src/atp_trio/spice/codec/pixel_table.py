"""Pictures by id, in a table that C can look into while it draws."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from _spice_codec import ffi, lib
from atp_trio.spice.codec.raster import Pixels

__all__ = ["PICTURE_COST", "PixelTable"]

PICTURE_COST: int = lib.DRAW_KEPT_COST
"""What a picture costs a cache beside its pixels, in pixels, so that very many tiny ones are bounded as well."""

_BITS = 6
_NUMBERS = np.dtype(np.uint32)
_POINTER = ffi.typeof("uint32_t[]")


class PixelTable:
    """Pixels by id. Those of any other kind than C draws from are not put in.

    One thread at a time may use it, C included.
    """

    def __init__(self) -> None:
        # Secret, so that no server can choose ids that collide.
        self._struct = ffi.new("struct pixel_table *", {"multiplier": secrets.randbits(64) | 1})
        self._arrays: dict[int, Pixels] = {}
        self._resize(_BITS)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def struct(self) -> Any:
        """The `struct pixel_table`."""
        return self._struct

    def put(self, id: int, pixels: Pixels, *, lossy: bool = False) -> None:  # noqa: A002 - the protocol's name
        """Hold pixels, in place of any of that id, or no more than drop those if they are not (height, width) uint32, rows tight.

        Args:
            id: 64 bits.
            pixels: They must not change from now on.
            lossy: Whether they are only nearly what the server has.
        """
        if pixels.ndim != 2 or pixels.dtype != _NUMBERS or not pixels.flags.c_contiguous or not pixels.size:
            self.discard(id)
            return
        height, width = pixels.shape
        lib.pixel_table_put(self._struct, id, ffi.from_buffer(_POINTER, pixels), width, height, lossy)
        self._arrays[id] = pixels
        if 2 * self._struct.count > 1 << self._struct.bits:
            self._resize(self._struct.bits + 1)

    def discard(self, id: int) -> None:  # noqa: A002
        """Drop those of that id, if there are any."""
        if self._arrays.pop(id, None) is not None:
            lib.pixel_table_remove(self._struct, id)

    def clear(self) -> None:
        """Drop all."""
        self._arrays.clear()
        self._resize(_BITS)

    def _resize(self, bits: int) -> None:
        old, size = (self._entries, 1 << self._struct.bits) if self._arrays else (ffi.NULL, 0)
        self._entries: Any = ffi.new("struct pixel_entry[]", 1 << bits)
        self._struct.entries, self._struct.bits, self._struct.count = self._entries, bits, 0
        for i in range(size):
            entry = old[i]
            if entry.pixels:
                lib.pixel_table_put(self._struct, entry.id, entry.pixels, entry.width, entry.height, entry.is_lossy)
