"""GLZ: LZ with a dictionary that spans images, decoded in C, where the dictionary, or *window*, is as well.

Theory of operation. All display channels of a connection share one window and one counter of image ids. Each image says
how far back it, and every later one, may refer: its *head*. Channels deliver independently, so images arrive out of order;
what lies below the head of an image may be released only when all images before that one have been decoded. An image that
refers to one still on its way cannot be decoded yet: `GlzImageMissing`. One that cannot be decoded at all leaves a
placeholder, or others would wait for it for ever.

The pixels of images that are decoded here are numpy's, and held here until C has released the image. Small images that
are decoded while C draws have theirs in a ring, which nobody sees from outside.

Source:
    Image codec reference, chapter 4.
"""

from __future__ import annotations

import enum
import heapq

import attrs
import numpy as np

from _spice_codec import ffi, lib
from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels, address, as_rows, untouched

__all__ = ["GlzHeader", "GlzImageMissing", "GlzImages", "GlzType", "GlzWindow", "read_glz_header"]

_SENTENCES = {
    lib.GLZ_BAD_HEADER: "it does not begin with a GLZ header",
    lib.GLZ_TRUNCATED: "it ends before the image does",
    lib.GLZ_OVERRUN: "an item passes the end of the image",
    lib.GLZ_BAD_REFERENCE: "a copy refers to pixels that no image has",
}
# What is held in the ring is released nearly, not quite, in the order of decoding: a part of the window's size is to spare.
_RING_SLACK = 4


class GlzType(enum.IntEnum):
    """What a GLZ stream's pixels are."""

    RGB16 = 6
    """5 bits a colour; kept, and referred to, as 32-bit pixels."""
    RGB24 = 7
    RGB32 = 8
    RGBA = 9


@attrs.frozen
class GlzHeader:
    """What a stream says of itself."""

    type: GlzType
    width: int
    height: int
    top_down: bool
    """Whether the stream's first row is the top one."""
    id: int
    """The image's place in the dictionary's sequence."""
    head_distance: int
    """How many ids before this one the oldest image is that this one or a later one may refer to."""

    @property
    def head(self) -> int:
        """The id of that oldest image."""
        return max(0, self.id - self.head_distance)


class GlzImageMissing(ImageError):
    """An image refers to another one that has not been decoded yet; it can be decoded when that one has been.

    Attributes:
        id: The id of the one that is missing.
    """

    def __init__(self, id: int) -> None:  # noqa: A002 - the dictionary's own name
        super().__init__(f"a GLZ image refers to image {id}, which has not been decoded yet")
        self.id = id


def read_glz_header(data: Buffer) -> GlzHeader:
    """What the stream's header says. The size is the sender's claim, not checked against a limit.

    Raises:
        ImageError: There is no valid header.
    """
    header = ffi.new("struct glz_header *")
    if lib.glz_read_header(ffi.from_buffer(data), len(data), header) != lib.GLZ_OK:
        raise ImageError("a GLZ image cannot be decoded: it does not begin with a valid header")
    kind, top_down = GlzType(header.type), bool(header.top_down)
    return GlzHeader(kind, header.width, header.height, top_down, header.id, header.head_distance)


class GlzImages:
    """The images of a dictionary, in tables that C reads and changes.

    Attributes:
        struct: The `struct glz_window`. After a call into C that may decode comes `tidy`.
    """

    def __init__(self, max_pixels: int, max_images: int) -> None:
        images = untouched((2 * max_images + lib.GLZ_WINDOW_SLACK) * ffi.sizeof("struct glz_image"), np.uint8)
        ahead = untouched((max_images + 1) * ffi.sizeof("struct glz_range"), np.uint8)
        ring = untouched(max_pixels + max_pixels // _RING_SLACK, np.uint32)
        self._memory = images, ahead, ring
        self.struct = ffi.new("struct glz_window *")
        self.struct.images = ffi.cast("struct glz_image *", address(images))
        self.struct.ahead = ffi.cast("struct glz_range *", address(ahead))
        self.struct.ring, self.struct.ring_size = ffi.cast("uint32_t *", address(ring)), ring.size
        self.struct.max_pixels, self.struct.max_images = max_pixels, max_images
        self._arrays: list[tuple[int, int, Pixels]] = []  # a heap, by id; the second tells equal ids apart
        self._kept = 0

    def __len__(self) -> int:
        return int(self.struct.count)

    def __contains__(self, id: int) -> bool:  # noqa: A002
        """Whether an image has this id, or had it."""
        return bool(lib.glz_window_is_used(self.struct, id))

    @property
    def pixels(self) -> int:
        """How many are held."""
        return int(self.struct.pixels)

    def fill(self, pixels: Pixels, data: Buffer, header: GlzHeader, *, give_up: bool) -> None:
        """Decode an image. See `GlzWindow.decode`; nothing is kept.

        Args:
            pixels: Where to: as many as the header says, in the order of the stream.
            data: The stream.
            header: What it says.
            give_up: Whether an image that is missing will not come any more.
        """
        missing = ffi.new("uint64_t *")
        table, size = self.struct.images + self.struct.start, self.struct.count
        target = ffi.cast("uint32_t *", address(pixels))
        # Released at once: a memoryview that is still exported when the garbage collector clears it, as in the traceback of an
        # error that someone keeps, crashes the interpreter.
        with ffi.from_buffer(data) as stream:
            status = lib.glz_decode(stream, len(data), header.width, header.height, table, size, target, missing)
        if status == lib.GLZ_OK:
            return
        if status != lib.GLZ_MISSING:
            raise ImageError(f"a GLZ image cannot be decoded: {_SENTENCES[status]}")
        if give_up or (self.struct.is_begun and self.struct.first <= missing[0] < self.struct.floor):
            raise ImageError(f"a GLZ image refers to image {missing[0]}, which is not in the window any more")
        raise GlzImageMissing(missing[0])

    def keep(self, header: GlzHeader, pixels: Pixels) -> None:
        """Hold an image, whose id is new, and release what need not be held any more. The pixels are flat."""
        told = ffi.new("struct glz_header *", {"id": header.id, "head_distance": header.head_distance, "type": header.type})
        heapq.heappush(self._arrays, (header.id, self._kept, pixels))
        self._kept += 1
        lib.glz_window_keep(self.struct, told, ffi.cast("uint32_t *", address(pixels)), pixels.size)
        self.tidy()

    def tidy(self) -> None:
        """Let go of the pixels of images that C has released: those below the lowest that it holds."""
        table = self.struct
        while self._arrays and not (table.count and table.images[table.start].id <= self._arrays[0][0]):
            heapq.heappop(self._arrays)


class GlzWindow:
    """The dictionary of a connection: it decodes GLZ images and keeps them for later ones to refer to.

    No honest server needs more than the announced size for the images that are in order, and as much again for those that
    are ahead of one still on its way. Beyond that the oldest are released early, and references to them are errors.
    For one decode at a time: a lock, or the decoding thread, is the caller's.

    Attributes:
        max_pixels: The window size announced in DISPLAY_INIT; an image larger than it cannot be in the window.
        max_images: Bounds the images of few pixels.
        images: What it holds; until `clear`.
    """

    def __init__(self, max_pixels: int, *, max_images: int = 65536) -> None:
        self.max_pixels = max_pixels
        self.max_images = max_images
        self.images = GlzImages(max_pixels, max_images)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"<GlzWindow: {len(self)} images, {self.pixels} of {self.max_pixels} pixels>"

    @property
    def pixels(self) -> int:
        """How many pixels are held."""
        return self.images.pixels

    def clear(self) -> None:
        """Forget everything, as on a new connection. A decode that another thread is still at ends with what is forgotten."""
        self.images = GlzImages(self.max_pixels, self.max_images)

    def decode(
        self,
        data: Buffer,
        *,
        width: int,
        height: int,
        out: Pixels | None = None,
        give_up: bool = False,
        limit: SizeLimit = DEFAULT_LIMIT,
    ) -> Pixels:
        """Decode a GLZ image and keep it.

        Args:
            data: The stream.
            width: What the image descriptor says; the stream must say the same.
            height: Likewise.
            out: Where to put a copy, rows at any distance.
            give_up: Whether an image that is missing will not come any more, so that this one fails for good.
            limit: The limit on the size.

        Returns:
            (height, width) uint32, rows top-down, BGRX with X = 0, BGRA for RGBA. Without `out` it is a read-only view of the
            window's own copy, whose rows may be in reverse order in memory.

        Raises:
            GlzImageMissing: It refers to an image that has not been decoded yet. Nothing has changed: decode it again then.
            ImageError: It is malformed, ends early, is of another size, or refers to what was released. A placeholder is kept.
            ConfigError: `out` does not fit.
        """
        images, header = self.images, read_glz_header(data)
        target = None if out is None else as_rows(out, width, height)
        if header.id in images:
            raise ImageError(f"a GLZ image has the id {header.id}, which another one had")
        try:
            self._check(header, width, height, limit)
        except ImageError:
            images.keep(header, np.zeros(0, np.uint32))
            raise
        pixels = np.zeros(width * height, np.uint32)  # zeros, for what a failed image leaves
        try:
            images.fill(pixels, data, header, give_up=give_up)
        except GlzImageMissing:
            raise
        except ImageError:
            images.keep(header, pixels)
            raise
        images.keep(header, pixels)
        rows = pixels.reshape(height, width)[:: 1 if header.top_down else -1]
        rows.flags.writeable = False
        if target is None:
            return rows
        target[...] = rows
        return target

    def give_up(self, data: Buffer) -> None:
        """Keep an empty placeholder for an image that will not be decoded; `data` is at least its header.

        Raises:
            ImageError: There is no valid header, and so no id.
        """
        header = read_glz_header(data)
        if header.id not in self.images:
            self.images.keep(header, np.zeros(0, np.uint32))

    def _check(self, header: GlzHeader, width: int, height: int, limit: SizeLimit) -> None:
        check_size(width, height, limit)
        if (header.width, header.height) != (width, height):
            raise ImageError(f"a GLZ image is {header.width}x{header.height}, and not {width}x{height} as the message says")
        if width * height > self.max_pixels:
            raise ImageError(f"a GLZ image of {width}x{height} is larger than the window of {self.max_pixels} pixels")
