"""A picture of a screen as programs use it: an array, and a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging.cursor import CursorShape
from atp_trio.spice.imaging.pixel import RGB, Argb

FORMATS = (".png", ".ppm")


@attrs.frozen(eq=False)
class Screenshot:
    """What a screen shows.

    Attributes:
        pixels: Shape (height, width), rows top-down, numbers `0x00RRGGBB` (in memory the bytes B, G, R, 0).
    """

    pixels: npt.NDArray[np.uint32] = attrs.field(repr=False)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    def region(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint32]:
        """A part, as a view; what lies outside the picture is left out."""
        return self.pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]

    def to_rgb(self) -> npt.NDArray[np.uint8]:
        """A copy of shape (height, width, 3): red, green, blue."""
        channels: npt.NDArray[np.uint8] = np.ascontiguousarray(self.pixels).view(np.uint8).reshape(self.height, self.width, 4)
        return np.ascontiguousarray(channels[:, :, 2::-1])

    def equals(self, other: Self) -> bool:
        """Whether size and colours are the same."""
        return bool(np.array_equal(self.pixels & 0xFFFFFF, other.pixels & 0xFFFFFF))

    def save(self, path: str | Path) -> None:
        """Write a PNG or PPM file, as the name's ending says. Blocks for tens of milliseconds: in a thread, from a Trio task.

        Raises:
            ConfigError: The name ends in neither `.png` nor `.ppm`.
            OSError: The file cannot be written.
        """
        target = check_format(path)
        if target.suffix.lower() == ".ppm":
            target.write_bytes(b"P6\n%d %d\n255\n" % (self.width, self.height) + self.to_rgb().tobytes())
            return
        from PIL import Image

        image: Any = Image.fromarray(self.to_rgb())
        # The fastest level: a screen is mostly flat, and better ones take many times as long for a few percent.
        image.save(target, format="PNG", compress_level=1)


def check_format(path: str | Path) -> Path:
    """The path, if its ending names a format that can be written.

    Raises:
        ConfigError: It does not.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"{target.name}: a picture's name ends in {' or '.join(FORMATS)}")
    return target


def draw_cursor(pixels: Argb, shape: CursorShape, x: int, y: int) -> None:
    """Draw a pointer into a picture.

    Args:
        pixels: The picture, shape (height, width), numbers `0x00RRGGBB`; changed in place.
        shape: The pointer.
        x: The column of the picture that its hot spot is at; what of the pointer lies outside is left out.
        y: The row.
    """
    left, top = x - shape.hot_x, y - shape.hot_y
    below = pixels[max(top, 0) : max(top + shape.pixels.shape[0], 0), max(left, 0) : max(left + shape.pixels.shape[1], 0)]
    rows, columns = max(-top, 0), max(-left, 0)
    over = shape.pixels[rows : rows + below.shape[0], columns : columns + below.shape[1]]
    clear = 255 - (over >> 24)
    mixed = np.zeros_like(below)
    for shift in (0, 8, 16):
        # Premultiplied; a shape whose colours exceed its alpha must not spill into the next one.
        level = (over >> shift & 255) + ((below >> shift & 255) * clear + 127) // 255
        mixed |= np.minimum(level, 255) << shift
    below[...] = mixed & RGB
