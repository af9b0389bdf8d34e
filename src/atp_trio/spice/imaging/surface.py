"""Surfaces: the pictures that drawing messages work on."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import check_size
from atp_trio.spice.imaging.pixel import DTYPES, RGB, Argb, Pixels, to_argb
from atp_trio.spice.messages.display import SurfaceFormat

MAX_SURFACES = 1024
# All surfaces of a channel together: 512 MiB at 32 bits a pixel.
MAX_PIXELS = 1 << 27


@attrs.define(eq=False)
class Surface:
    """A surface.

    Attributes:
        id: Its number; 0 is the primary one, the screen.
        format: What its pixels are.
        pixels: Shape (height, width), rows top-down; see `imaging.pixel` for the type.
    """

    id: int
    format: SurfaceFormat
    pixels: Pixels = attrs.field(repr=False)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    def copy(self, left: int, top: int, right: int, bottom: int) -> Argb:
        """A copy of a rectangle as `0x00RRGGBB`; what of it lies outside of the surface is left out."""
        part = self.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        return to_argb(part, self.format) & RGB


class Surfaces:
    """The surfaces of a display channel, by id.

    Attributes:
        pixels: How many pixels they have together.
        changes: How often a surface came or went.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.pixels = 0
        self.changes = 0
        self._max_pixels = max_pixels
        self._surfaces: dict[int, Surface] = {}

    def __len__(self) -> int:
        return len(self._surfaces)

    def __iter__(self) -> Iterator[Surface]:
        return iter(self._surfaces.values())

    def get(self, id: int) -> Surface | None:  # noqa: A002 - the protocol's name
        """The surface of that id, if there is one."""
        return self._surfaces.get(id)

    def __getitem__(self, id: int) -> Surface:  # noqa: A002
        """The surface of that id.

        Raises:
            ImageError: There is none.
        """
        try:
            return self._surfaces[id]
        except KeyError:
            raise ImageError(f"there is no surface {id}") from None

    def create(self, id: int, width: int, height: int, surface_format: SurfaceFormat) -> Surface:  # noqa: A002
        """A new surface, all zero. One of that id is replaced, unless it is just the same: then it stays, pixels and all.

        Raises:
            ImageError: An id, a format or a size that cannot be.
        """
        old = self._surfaces.get(id)
        if old and (old.width, old.height, old.format) == (width, height, surface_format):
            return old
        if not 0 <= id < MAX_SURFACES:
            raise ImageError(f"surface {id}, when there can be {MAX_SURFACES}")
        if surface_format not in DTYPES:
            raise ImageError(f"a surface of format {surface_format}")
        check_size(width, height)
        self.destroy(id)
        if self.pixels + width * height > self._max_pixels:
            raise ImageError(f"surface {id} of {width}x{height}: the surfaces would have more than {self._max_pixels} pixels")
        self.pixels += width * height
        self.changes += 1
        surface = self._surfaces[id] = Surface(id, surface_format, np.zeros((height, width), DTYPES[surface_format]))
        return surface

    def destroy(self, id: int) -> None:  # noqa: A002
        """Drop a surface, if it is there."""
        old = self._surfaces.pop(id, None)
        if old is not None:
            self.pixels -= old.pixels.size
            self.changes += 1
