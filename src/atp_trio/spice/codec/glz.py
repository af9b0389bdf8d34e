"""GLZ: LZ with a dictionary that spans images, decoded in C; here is the dictionary, or *window*.

Theory of operation. All display channels of a connection share one window and one counter of image ids. Each image says
how far back it, and every later one, may refer: its *head*. Channels deliver independently, so images arrive out of order;
what lies below the head of an image may be released only when all images before that one have been decoded. An image that
refers to one still on its way cannot be decoded yet: `GlzImageMissing`. One that cannot be decoded at all leaves a
placeholder, or others would wait for it for ever.

Source:
    Image codec reference, chapter 4.
"""

from __future__ import annotations

import enum
from bisect import bisect_left

import attrs
import numpy as np

from _spice_codec import ffi, lib
from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels, address, as_rows

__all__ = ["GlzHeader", "GlzImageMissing", "GlzImages", "GlzType", "GlzWindow", "read_glz_header"]

_SENTENCES = {
    lib.GLZ_BAD_HEADER: "it does not begin with a GLZ header",
    lib.GLZ_TRUNCATED: "it ends before the image does",
    lib.GLZ_OVERRUN: "an item passes the end of the image",
    lib.GLZ_BAD_REFERENCE: "a copy refers to pixels that no image has",
}
_IMAGE_BYTES = ffi.sizeof("struct glz_image")


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
    """Decoded images by id, in the table that C reads. The pixels are (count,) uint32 in the order of the stream.

    Attributes:
        pixels: How many are held.
    """

    def __init__(self) -> None:
        self.pixels = 0
        self._arrays: dict[int, Pixels] = {}
        self._ids: list[int] = []
        self._table = ffi.new("struct glz_image[]", 16)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: int) -> bool:  # noqa: A002
        return id in self._arrays

    @property
    def lowest(self) -> int:
        """The lowest id; there must be one."""
        return self._ids[0]

    def add(self, id: int, pixels: Pixels, kind: GlzType) -> None:  # noqa: A002
        """Hold an image, whose id is not there yet."""
        size = len(self._ids)
        if size == len(self._table):
            larger = ffi.new("struct glz_image[]", 2 * size)
            ffi.memmove(larger, self._table, size * _IMAGE_BYTES)
            self._table = larger
        at = bisect_left(self._ids, id)
        ffi.memmove(self._table + at + 1, self._table + at, (size - at) * _IMAGE_BYTES)
        self._table[at] = (id, ffi.cast("uint32_t *", address(pixels)), pixels.size, kind)
        self._ids.insert(at, id)
        self._arrays[id] = pixels
        self.pixels += pixels.size

    def release_below(self, id: int) -> None:  # noqa: A002
        """Let go of all images with lower ids."""
        count = bisect_left(self._ids, id)
        if not count:
            return
        for old in self._ids[:count]:
            self.pixels -= self._arrays.pop(old).size
        del self._ids[:count]
        ffi.memmove(self._table, self._table + count, len(self._ids) * _IMAGE_BYTES)

    def table(self) -> tuple[object, int]:
        """The `struct glz_image` array, by rising id, and its length; valid until the next change."""
        return self._table, len(self._ids)


class GlzWindow:
    """The dictionary of a connection: it decodes GLZ images and keeps them for later ones to refer to.

    No honest server needs more than the announced size for the images that are in order, and as much again for those that
    are ahead of one still on its way. Beyond that the oldest are released early, and references to them are errors.
    For one decode at a time: a lock, or the decoding thread, is the caller's.

    Attributes:
        max_pixels: The window size announced in DISPLAY_INIT; an image larger than it cannot be in the window.
        max_images: Bounds the images of few pixels.
    """

    def __init__(self, max_pixels: int, *, max_images: int = 65536) -> None:
        self.max_pixels = max_pixels
        self.max_images = max_images
        self.clear()

    def __len__(self) -> int:
        return len(self._images)

    def __repr__(self) -> str:
        return f"<GlzWindow: {len(self)} images, {self.pixels} of {self.max_pixels} pixels>"

    @property
    def pixels(self) -> int:
        """How many pixels are held."""
        return self._images.pixels

    def clear(self) -> None:
        """Forget everything, as on a new connection."""
        self._images = GlzImages()
        # Every id from the first to the last one has been decoded. Ranges ahead of that: first id to last id and its head.
        self._first: int | None = None
        self._last = 0
        self._head = 0
        self._ahead: dict[int, tuple[int, int]] = {}
        self._floor = 0  # the ids from the first to below this one are released

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
        header = read_glz_header(data)
        target = None if out is None else as_rows(out, width, height)
        if self._is_used(header.id):
            raise ImageError(f"a GLZ image has the id {header.id}, which another one had")
        try:
            self._check(header, width, height, limit)
        except ImageError:
            self._keep(header, np.zeros(0, np.uint32))
            raise
        pixels = np.zeros(width * height, np.uint32)  # zeros, for what a failed image leaves
        try:
            self._fill(pixels, data, header, give_up=give_up)
        except GlzImageMissing:
            raise
        except ImageError:
            self._keep(header, pixels)
            raise
        self._keep(header, pixels)
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
        if not self._is_used(header.id):
            self._keep(header, np.zeros(0, np.uint32))

    def _check(self, header: GlzHeader, width: int, height: int, limit: SizeLimit) -> None:
        check_size(width, height, limit)
        if (header.width, header.height) != (width, height):
            raise ImageError(f"a GLZ image is {header.width}x{header.height}, and not {width}x{height} as the message says")
        if width * height > self.max_pixels:
            raise ImageError(f"a GLZ image of {width}x{height} is larger than the window of {self.max_pixels} pixels")

    def _fill(self, pixels: Pixels, data: Buffer, header: GlzHeader, *, give_up: bool) -> None:
        missing = ffi.new("uint64_t *")
        table, size = self._images.table()
        target = ffi.cast("uint32_t *", address(pixels))
        # Released at once: a memoryview that is still exported when the garbage collector clears it, as in the traceback of an
        # error that someone keeps, crashes the interpreter.
        with ffi.from_buffer(data) as stream:
            status = lib.glz_decode(stream, len(data), header.width, header.height, table, size, target, missing)
        if status == lib.GLZ_OK:
            return
        if status != lib.GLZ_MISSING:
            raise ImageError(f"a GLZ image cannot be decoded: {_SENTENCES[status]}")
        if give_up or self._is_released(missing[0]):
            raise ImageError(f"a GLZ image refers to image {missing[0]}, which is not in the window any more")
        raise GlzImageMissing(missing[0])

    def _is_released(self, id: int) -> bool:  # noqa: A002
        return self._first is not None and self._first <= id < self._floor

    def _is_used(self, id: int) -> bool:  # noqa: A002
        return id in self._images or (self._first is not None and self._first <= id <= self._last)

    def _keep(self, header: GlzHeader, pixels: Pixels) -> None:
        """Hold an image, move on over what is in order now, and release what none of that, nor a later one, may refer to."""
        self._images.add(header.id, pixels, header.type)
        if self._first is None or header.id < self._first:
            # Only now do we know that the sequence begins here: what was taken for in order was ahead.
            if self._first is not None:
                self._ahead[self._first] = (self._last, self._head)
            self._first = self._last = self._floor = header.id
            self._head = header.head
        else:
            self._ahead[header.id] = (header.id, header.head)
        while following := self._ahead.pop(self._last + 1, None):
            self._last, self._head = following
        self._release_below(self._head)
        while self.pixels > 2 * self.max_pixels or len(self) > self.max_images:
            self._release_below(self._images.lowest + 1)
        if len(self._ahead) > self.max_images:
            self._ahead.clear()  # an id that never comes; from here on only the bounds release

    def _release_below(self, id: int) -> None:  # noqa: A002
        self._floor = max(self._floor, id)
        self._images.release_below(id)
