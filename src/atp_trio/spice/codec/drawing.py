"""The frequent drawing messages, drawn in C as they lie in the receive buffer: no message is made of them.

Theory of operation. One call takes the messages that a framer found, in order, and draws those that it understands completely:
fills of one colour, and raw, LZ, QUIC, GLZ, cached and surface images copied unscaled, to 32-bit surfaces, with few clip
rectangles or none, and moves within a surface. It stops before the first message that is anything else, damaged ones included,
and whoever handles messages one by one takes that one. So nothing here can fail, and the order of all messages is kept. What was
drawn is counted and its damage kept in C memory, in the `FrameDrawer`, until `take` collects it.

Images of the GLZ dictionary are decoded into it, and those of the cache found there. What is to be kept in the cache is put aside
until `take_kept` collects it, and found there as well. Larger operations are left out (`enum draw_limit`): they are worth a
thread. After some two milliseconds of work a call pauses, so that its caller can let others have their turn.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError
from atp_trio.spice.codec.framing import FrameTable
from atp_trio.spice.codec.glz import GlzImages
from atp_trio.spice.codec.pixel_table import PixelTable
from atp_trio.spice.codec.raster import Pixels, address, untouched

__all__ = ["DrawStatus", "FrameDrawer", "Kept", "Run", "Shared"]

# Rectangles: a table of frames has 512 rows, most of one rectangle each.
_DAMAGE_CAPACITY = 1024
# The QUIC decoder's table of short codewords.
_LOOKUP = ffi.new("uint16_t[]", lib.quic_lookup_size())
lib.quic_make_lookup(_LOOKUP)
# Pictures that are put aside: four of the largest that are decoded here; little enough to stay in a CPU's cache.
_KEPT_PIXELS: int = 4 * lib.DRAW_MAX_DECODED
_BYTES = ffi.typeof("uint8_t[]")
# The messages by `enum draw_kind`.
_MESSAGES = ("CopyBits", "DrawFill", "DrawCopy", "DrawBlend")
# struct draw_totals, native as C lays it out.
_unpack_totals = struct.Struct("=QII4I").unpack
_NO_TOTALS = bytes(ffi.sizeof("struct draw_totals"))
_DAMAGE_BYTES: int = ffi.sizeof("struct draw_damage")
_MAX_WORK: int = lib.DRAW_MAX_WORK
_MAX_DECODED: int = lib.DRAW_MAX_DECODED


class DrawStatus(enum.IntEnum):
    """Why a call has ended."""

    ALL = lib.DRAW_ALL
    """Every message is drawn."""
    OTHER = lib.DRAW_OTHER
    """The next message is to be handled by other means."""
    FULL = lib.DRAW_FULL
    """The next message's image is to be kept, and there is no room to put it aside: call `take_kept`, and again."""
    PAUSED = lib.DRAW_PAUSED
    """So much was drawn that others should have their turn: call `take`, and again."""


_STATUSES = list(DrawStatus)


@attrs.frozen(eq=False)
class Shared:
    """What display channels share, while nobody else uses it.

    Attributes:
        glz: The images of the GLZ dictionary.
        pictures: The images of the cache.
        room: What the cache can still take: pixels, and `PICTURE_COST` for each picture.
    """

    glz: GlzImages
    pictures: PixelTable
    room: int


@attrs.frozen(eq=False)
class Kept:
    """A picture that is to be kept in the cache.

    Attributes:
        id: Its id there.
        pixels: (height, width) uint32, rows tight and top-down.
        has_alpha: Whether the top byte is alpha.
    """

    id: int
    pixels: Pixels
    has_alpha: bool


class Run:
    """What was drawn since the last `take`.

    Attributes:
        messages: How many messages; each drew something.
        counts: The same by message name; names without any are left out.
        pixels: Pixels of the damage's rectangles.
    """

    __slots__ = ("_damage", "counts", "messages", "pixels")

    def __init__(self, messages: int, counts: Mapping[str, int], pixels: int, damage: bytes) -> None:
        self.messages = messages
        self.counts = counts
        self.pixels = pixels
        self._damage = damage

    def damage(self) -> npt.NDArray[np.uint32]:
        """The rectangles, in order: at most eight a message, the bounds of those of a message that has more.

        Returns:
            Shape (rectangles, 5): surface id, left, top, right and bottom, of which the last two lie outside.
        """
        return np.frombuffer(self._damage, np.uint32).reshape(-1, 5)


class FrameDrawer:
    """Draws on one channel's surfaces. For one thread at a time."""

    def __init__(self) -> None:
        self._rects = ffi.new("struct draw_damage[]", _DAMAGE_CAPACITY)
        self._damage = memoryview(ffi.buffer(self._rects))
        # Never touched but for compressed images, and then only as far as their size.
        self._scratch = untouched(lib.draw_scratch_words(lib.DRAW_MAX_COPIED), np.uint32)
        self._run = ffi.new("struct draw_run *")
        self._run.damage, self._run.damage_capacity = self._rects, _DAMAGE_CAPACITY
        self._totals = memoryview(ffi.buffer(ffi.addressof(self._run, "totals")))
        self._run.scratch = ffi.cast("uint32_t *", address(self._scratch))
        self._run.quic_lookup, self._run.max_decoded = _LOOKUP, _MAX_DECODED
        self._kept = ffi.new("struct draw_kept[]", lib.DRAW_MAX_KEPT)
        self._kept_pixels = untouched(_KEPT_PIXELS, np.uint32)
        self._run.kept, self._run.kept_capacity = self._kept, _KEPT_PIXELS
        self._run.kept_pixels = ffi.cast("uint32_t *", address(self._kept_pixels))
        self._surfaces: Any = ffi.NULL
        self._arrays: list[Pixels] = []

    @property
    def messages(self) -> int:
        """How many messages were drawn since the last `take`; to be read at any time, as are the next two."""
        return int(self._run.totals.drawn)

    @property
    def counts(self) -> Mapping[str, int]:
        """The same by message name."""
        return dict(zip(_MESSAGES, self._run.totals.counts, strict=True))

    @property
    def pixels(self) -> int:
        """Pixels of the damage's rectangles."""
        return int(self._run.totals.pixels)

    def set_surfaces(self, surfaces: Mapping[int, Pixels]) -> None:
        """Tell which surfaces there are from now on.

        Args:
            surfaces: Those of 32-bit pixels by id: (height, width) uint32, rows tight and top-down. They are held.

        Raises:
            ConfigError: A surface is not of this kind.
        """
        for pixels in surfaces.values():
            _require_plain(pixels)
        self._arrays = list(surfaces.values())
        self._surfaces = ffi.new(
            "struct draw_surface[]",
            [(id_, pixels.shape[1], pixels.shape[0], address(pixels)) for id_, pixels in surfaces.items()],
        )
        self._run.surfaces, self._run.surface_count = self._surfaces, len(self._arrays)

    def draw(
        self, table: FrameTable, row: int, buffer: bytes | bytearray | memoryview, shared: Shared | None = None
    ) -> tuple[int, DrawStatus]:
        """Draw the messages of a table, from this row on, until one is not for us.

        Args:
            table: What the framer found.
            row: The row to begin with.
            buffer: The buffer it looked at.
            shared: What other channels use as well; without it messages that need any of that are not for us.

        Returns:
            The row after the last message that was drawn, and why no more were.

        Raises:
            ConfigError: There is no such row.
        """
        if not 0 <= row <= table.count:
            raise ConfigError(f"row {row} of a table of {table.count}")
        run, before = self._run if shared is None else self.lend(shared), self.messages
        data = ffi.from_buffer(_BYTES, buffer)
        try:
            status = lib.draw_frames(run, data, len(data), table.frames + row, table.count - row)
        finally:
            ffi.release(data)  # see `Framer.frames`
            if shared is not None:
                self.take_back(shared)
        return row + self.messages - before, _STATUSES[status]

    def lend(self, shared: Shared, max_decoded: int = _MAX_DECODED) -> Any:
        """Let C use what other channels use as well, until `take_back`.

        Args:
            shared: That.
            max_decoded: Pixels of the largest compressed image that is drawn meanwhile.

        Returns:
            The `struct draw_run`.
        """
        run = self._run
        run.glz, run.pictures, run.room = shared.glz.struct, shared.pictures.struct, shared.room
        run.max_decoded = max_decoded
        return run

    def take_back(self, shared: Shared) -> None:
        """Let C use it no more."""
        run = self._run
        run.glz = run.pictures = ffi.NULL
        run.max_decoded = _MAX_DECODED
        shared.glz.tidy()

    def take_kept(self) -> list[Kept]:
        """What was put aside since the last time, in order. It is to be in the cache before the next call."""
        if not self._run.kept_count:
            return []
        taken = []
        for i in range(self._run.kept_count):
            one = self._kept[i]
            pixels = self._kept_pixels[one.offset :][: one.width * one.height].reshape(one.height, one.width)
            taken.append(Kept(one.id, pixels.copy(), bool(one.has_alpha)))
        self._run.kept_count = self._run.kept_used = 0
        return taken

    def take(self) -> Run:
        """What was drawn since the last time."""
        pixels, rects, messages, *counts = _unpack_totals(self._totals)
        taken = Run(
            messages,
            {name: count for name, count in zip(_MESSAGES, counts, strict=True) if count},
            pixels,
            bytes(self._damage[: rects * _DAMAGE_BYTES]),
        )
        self._totals[:] = _NO_TOTALS
        if self._run.work >= _MAX_WORK:
            self._run.work = 0
        return taken


def _require_plain(pixels: Pixels) -> None:
    if pixels.ndim != 2 or pixels.dtype != np.uint32 or not pixels.flags.c_contiguous:
        raise ConfigError(f"pixels are {pixels.shape} {pixels.dtype}, and not tight rows of uint32")
