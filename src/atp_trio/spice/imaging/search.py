"""Looking for pictures in a picture.

Theory of operation. Where a needle can lie in one place only, numpy compares it there. Otherwise OpenCV scores every place by
the squared differences of the grey levels, which takes tens of milliseconds for a whole screen. Grey levels cannot differ by
more than colours do, so all true places are among those that score well; of these, a few telling pixels leave hardly any, and
the rest are compared in full. The score is computed in floating point, and decides nothing but what is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging.extra import import_extra
from atp_trio.spice.imaging.pixel import RGB, Argb
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.messages.geometry import Rect

Mask: TypeAlias = npt.NDArray[np.bool_]
Indices: TypeAlias = npt.NDArray[np.intp]

# What rounding may add to a score, for each pixel and at all; about ten times what was seen on white.
SLACK: Final = 1.0
SLACK_AT_ALL: Final = 64.0
# So many pixels of the needle's rarest colours, and as many spread over it, are looked at before whole needles are compared.
TELLING: Final = 64


@attrs.frozen(eq=False)
class Needle:
    """A picture to look for.

    Attributes:
        pixels: Shape (height, width), rows top-down, numbers `0x00RRGGBB`; a copy of what it is made with.
        mask: Shape (height, width): which pixels are to be as in the picture. None means all of them.
    """

    pixels: Argb = attrs.field(repr=False)
    mask: Mask | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        pixels: Any = np.array(self.pixels)
        if pixels.ndim != 2 or pixels.dtype != np.uint32 or not pixels.size:
            raise ConfigError(f"a picture to look for is two-dimensional and uint32, not {pixels.shape} and {pixels.dtype}")
        object.__setattr__(self, "pixels", pixels & RGB)
        if self.mask is None:
            return
        mask = np.array(self.mask, np.bool_)
        if mask.shape != pixels.shape or not mask.any():
            raise ConfigError(f"a mask of shape {mask.shape} for a picture of {pixels.shape}, or one that leaves no pixel")
        object.__setattr__(self, "mask", mask)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a PNG or PPM file; pixels that are wholly transparent may look like anything. Blocks: in a thread, from Trio.

        Raises:
            ConfigError: It is no picture.
            OSError: The file cannot be read.
        """
        from PIL import Image

        try:
            with Image.open(path, formats=["PNG", "PPM"]) as image:
                rgba = np.asarray(image.convert("RGBA")).astype(np.uint32)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the system's, not the picture's
            raise ConfigError(f"{path} is no picture in PNG or PPM") from error
        seen = rgba[..., 3] > 0
        pixels: Argb = np.asarray(rgba[..., 0] << 16 | rgba[..., 1] << 8 | rgba[..., 2], np.uint32)
        return cls(pixels, None if seen.all() else seen)

    @classmethod
    def of(cls, picture: Needle | Screenshot | Argb, mask: Mask | None = None) -> Needle:
        """A picture in any form as a needle, with this mask unless it has its own.

        Raises:
            ConfigError: It is no picture, or the mask does not fit.
        """
        if isinstance(picture, Needle):
            return picture if mask is None or picture.mask is not None else cls(picture.pixels, mask)
        return cls(picture.pixels if isinstance(picture, Screenshot) else picture, mask)

    def wrong(self, area: Argb, tolerance: int) -> float:
        """The share, from 0 to 1, of the pixels that count and differ from an area of the same size."""
        differs = _differs(area, self.pixels, tolerance)
        return float(differs.mean() if self.mask is None else differs[self.mask].mean())


@attrs.frozen
class Match:
    """Where a picture was found, or came nearest to being found.

    Attributes:
        index: Which of the pictures that were looked for, from 0.
        region: Where on the screen.
        wrong: The share of its pixels that are not as wanted, from 0 to 1: 0 when it was found.
    """

    index: int
    region: Rect
    wrong: float

    @property
    def is_found(self) -> bool:
        """Whether every pixel is as wanted."""
        return not self.wrong

    def __str__(self) -> str:
        at = f"picture {self.index} at {self.region.left},{self.region.top}"
        return at if self.is_found else f"{at}, where {max(self.wrong, 0.0001):.2%} of its pixels differ"


def find(area: Argb, needles: Sequence[Needle], tolerance: int = 0, *, x: int = 0, y: int = 0) -> Match | None:
    """Look for pictures in another. May take a tenth of a second for each: in a thread, from a Trio task.

    Args:
        area: Where to look: shape (height, width), numbers `0x00RRGGBB`.
        needles: What to look for.
        tolerance: By how much red, green and blue may each differ in every pixel, 0 to 255.
        x: Where on the screen the area lies.
        y: The same, downwards.

    Returns:
        The first of the needles that is there; where none is, the one that comes nearest, or None if none fits into the area.

    Raises:
        ConfigError: A needle is smaller than the area, so that it has to be searched, and the extra `vision` is not installed.
    """
    nearest: Match | None = None
    for index, needle in enumerate(needles):
        place = _best_place(area, needle, tolerance)
        if place is None:
            continue
        row, column = place
        wrong = needle.wrong(area[row : row + needle.height, column : column + needle.width], tolerance)
        match = Match(index, Rect.at(x + column, y + row, needle.width, needle.height), wrong)
        if match.is_found:
            return match
        if nearest is None or match.wrong < nearest.wrong:
            nearest = match
    return nearest


def _best_place(area: Argb, needle: Needle, tolerance: int) -> tuple[int, int] | None:
    """The row and column where the needle is or comes nearest; None where it does not fit."""
    down, across = area.shape[0] - needle.height, area.shape[1] - needle.width
    if down < 0 or across < 0:
        return None
    if down == across == 0:
        return 0, 0
    scores = _scores(area, needle)
    counted = needle.pixels.size if needle.mask is None else int(np.count_nonzero(needle.mask))
    grey_tolerance = tolerance + 1 if tolerance else 0  # grey levels are rounded
    rows, columns = np.nonzero(scores <= counted * (grey_tolerance**2 + SLACK) + SLACK_AT_ALL)
    for row, column in zip(*_survivors(area, needle, tolerance, rows, columns), strict=True):
        if not needle.wrong(area[row : row + needle.height, column : column + needle.width], tolerance):
            return int(row), int(column)
    row, column = divmod(int(np.argmin(scores)), across + 1)
    return row, column


def _scores(area: Argb, needle: Needle) -> npt.NDArray[np.float32]:
    """For every place the squared differences of the grey levels, summed: shape (rows, columns)."""
    cv2 = import_extra("cv2", "vision")

    def grey(pixels: Argb) -> npt.NDArray[np.uint8]:
        levels = cv2.cvtColor(np.ascontiguousarray(pixels).view(np.uint8).reshape(*pixels.shape, 4), cv2.COLOR_BGRA2GRAY)
        return np.asarray(levels, np.uint8)

    mask = None if needle.mask is None else needle.mask.astype(np.uint8)
    scores = cv2.matchTemplate(grey(area), grey(needle.pixels), cv2.TM_SQDIFF, mask=mask)
    return np.asarray(scores, np.float32)


def _survivors(area: Argb, needle: Needle, tolerance: int, rows: Indices, columns: Indices) -> tuple[Indices, Indices]:
    """The places where the needle's telling pixels are as wanted."""
    for row, column in _telling(needle):
        if not len(rows):
            break
        differs = _differs(area[rows + row, columns + column], needle.pixels[row, column], tolerance)
        rows, columns = rows[~differs], columns[~differs]
    return rows, columns


def _telling(needle: Needle) -> list[tuple[int, int]]:
    """The row and column of pixels that tell the needle from others: those of rare colours, and some from everywhere."""
    mask = np.ones(needle.pixels.shape, np.bool_) if needle.mask is None else needle.mask
    rows, columns = np.nonzero(mask)
    _, inverse, counts = np.unique(needle.pixels[mask], return_inverse=True, return_counts=True)
    rare = np.argsort(counts[inverse], kind="stable")[:TELLING]
    spread = np.arange(0, len(rows), max(1, len(rows) // TELLING))
    chosen = np.concatenate((rare, spread))
    return list(zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True))


def _differs(one: Argb, other: Argb | np.uint32, tolerance: int) -> Mask:
    """Pixel by pixel, whether red, green or blue differs by more than the tolerance."""
    if not tolerance:
        return np.asarray((one ^ other) & RGB != 0)
    worst = np.zeros(one.shape, np.bool_)
    for shift in (0, 8, 16):
        ours, theirs = (one >> shift & 255).astype(np.int16), np.asarray(other >> shift & 255).astype(np.int16)
        worst |= np.abs(ours - theirs) > tolerance
    return worst
