"""What a server tells us to keep: decoded images by id, for all display channels of a connection, and palettes, for one channel.

The server manages both and says what to drop; the bounds here only stop one that does not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import attrs

from atp_trio.errors import AtpError, ImageError
from atp_trio.spice.codec.pixel_table import PICTURE_COST, PixelTable
from atp_trio.spice.imaging.pixel import Picture
from atp_trio.spice.messages.display import SurfaceFormat

Palette = tuple[int, ...]
MAX_PALETTES = 128
# Pixels that are copied to a surface of 32 bits as they are.
DIRECT = (SurfaceFormat.FMT_32_xRGB, SurfaceFormat.FMT_32_ARGB)


@attrs.frozen
class Awaited:
    """What another display channel may still bring.

    Attributes:
        id: The image's id: the one of the image cache, or the one of the GLZ dictionary.
        glz: Whether it is the GLZ dictionary's.
        lossless: Whether only a lossless copy will do.
    """

    id: int
    glz: bool = False
    lossless: bool = False


class ImagePending(AtpError):
    """A message needs an image that is not there yet, and nothing was drawn: apply it again when another channel has moved on.

    Attributes:
        awaited: The image.
    """

    def __init__(self, awaited: Awaited) -> None:
        where = "the GLZ dictionary" if awaited.glz else "the image cache"
        super().__init__(f"image {awaited.id:#x} is not in {where} yet")
        self.awaited = awaited


class ImageCache:
    """Decoded images by id, shared by the display channels of a connection.

    Attributes:
        lock: Held while the cache changes, and to be held while the GLZ window decodes: channels may draw in their own threads.
        budget: How many pixels the client announced in DISPLAY_INIT. Twice as many are refused, as no honest server sends them.
        pixels: How many are held.
        table: Those that the fast path can draw, for whoever holds the lock.
    """

    def __init__(self, budget: int) -> None:
        self.lock = threading.RLock()
        self.budget = budget
        self.pixels = 0
        self.table = PixelTable()
        self._pictures: dict[int, Picture] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def room(self) -> int:
        """How many more pixels can be held at least, with `PICTURE_COST` for each picture."""
        return max(0, 2 * self.budget - self.pixels)

    def put(self, id: int, picture: Picture) -> None:  # noqa: A002 - the protocol's name
        """Keep a picture, in place of any of that id. Its pixels must not change from now on.

        Raises:
            ImageError: The cache would hold more than twice its budget.
        """
        with self.lock:
            old = self._pictures.get(id)
            pixels = self.pixels + _cost(picture) - (_cost(old) if old else 0)
            if pixels > 2 * self.budget:
                raise ImageError(f"image {id:#x} fills the cache of {self.budget} pixels to {pixels}")
            picture.pixels.flags.writeable = False
            self._pictures[id] = picture
            self.pixels = pixels
            if picture.format in DIRECT:
                self.table.put(id, picture.pixels, lossy=picture.lossy)
            else:
                self.table.discard(id)

    def get(self, id: int, *, lossless: bool = False) -> Picture:  # noqa: A002
        """The picture of that id.

        Raises:
            ImagePending: It is not there, or only in a lossy copy where a lossless one is asked for.
        """
        found = self._pictures.get(id)
        if found is None or (lossless and found.lossy):
            raise ImagePending(Awaited(id, lossless=lossless))
        return found

    def discard(self, ids: Iterable[int]) -> None:
        """Drop these; ids that are not there are none of our business."""
        with self.lock:
            for id in ids:  # noqa: A001
                old = self._pictures.pop(id, None)
                self.pixels -= _cost(old) if old else 0
                self.table.discard(id)

    def clear(self) -> None:
        """Drop everything."""
        with self.lock:
            self._pictures.clear()
            self.table.clear()
            self.pixels = 0


def _cost(picture: Picture) -> int:
    return picture.pixels.size + PICTURE_COST


class PaletteCache:
    """A display channel's palettes by id: entries `0x00RRGGBB`, or 555 numbers, as the server sent them."""

    def __init__(self) -> None:
        self._palettes: dict[int, Palette] = {}

    def __len__(self) -> int:
        return len(self._palettes)

    def put(self, id: int, palette: Palette) -> None:  # noqa: A002
        """Keep a palette; beyond 128 the oldest goes."""
        self._palettes.pop(id, None)
        if len(self._palettes) >= MAX_PALETTES:
            del self._palettes[next(iter(self._palettes))]
        self._palettes[id] = palette

    def get(self, id: int) -> Palette:  # noqa: A002
        """The palette of that id.

        Raises:
            ImageError: It is not there; as the cache belongs to this channel alone, nothing will bring it.
        """
        try:
            return self._palettes[id]
        except KeyError:
            raise ImageError(f"palette {id:#x} is not in the palette cache") from None

    def discard(self, id: int) -> None:  # noqa: A002
        """Drop one, if it is there."""
        self._palettes.pop(id, None)

    def clear(self) -> None:
        """Drop all."""
        self._palettes.clear()
