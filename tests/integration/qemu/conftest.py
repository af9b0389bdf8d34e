"""The pictures of the guest's `film`, as they are known here."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pytest

from atp_trio.spice.messages.geometry import Rect

Pixels = npt.NDArray[np.uint32]


class Film:
    """What `film` draws: numbered pictures."""

    WIDTH: Final = 1024
    MARKER: Final = 32
    BITS: Final = 8
    # Where a picture is shown, and where one that is larger.
    AREA: Final = Rect.at(0, 256, WIDTH, 256)
    LARGER: Final = Rect.at(0, 224, WIDTH, 320)

    def picture(self, number: int, *, larger: bool = False) -> Pixels:
        """The picture of this number, shape (height, width), numbers `0x00RRGGBB`."""
        return np.concatenate([self._marker(number), self._ramps(number), *([self._ramps(0)[:64]] if larger else [])])

    def _marker(self, number: int) -> Pixels:
        """The number in binary, and its complement, as white and black blocks."""
        bits = [number >> bit & 1 for bit in reversed(range(self.BITS))]
        levels = [0xFE if bit else 1 for bit in [*bits, *(1 - bit for bit in bits)]]
        return np.tile(np.repeat(np.array(levels, np.uint32) * 0x010101, self.WIDTH // len(levels)), (self.MARKER, 1))

    def _ramps(self, number: int) -> Pixels:
        """What is below the marker: eight pictures in turn, of bands of 32 rows."""
        level = (np.arange(self.WIDTH) + 1015 * (number % 8)) % 256
        level = np.where(level > 127, 255 - level, level)
        row = (level * 0.9 + 9).astype(np.uint32) << 8 | (120 - level / 2).astype(np.uint32) << 16
        return np.concatenate([np.tile(row | (band * 14 + 9), (32, 1)) for band in range(7)])

    def read_number(self, pixels: Pixels) -> int | None:
        """The number in the marker of a picture that may have been through a lossy codec; None where it cannot be read."""
        blocks = (pixels[8 : self.MARKER - 8] & 255).reshape(16, 2 * self.BITS, -1)[:, :, 16:-16]
        levels = blocks.mean((0, 2))
        bits = "".join(str(int(level > 128)) for level in levels)
        high, low = int(bits[: self.BITS], 2), int(bits[self.BITS :], 2)
        is_clear = bool(((levels < 64) | (levels > 192)).all())
        return high if is_clear and high ^ low == 2**self.BITS - 1 else None

    def judge(self, pixels: Pixels, *, larger: bool = False) -> tuple[int | None, float]:
        """The number in the marker, and how well this is the picture of that number, in decibels."""
        number = self.read_number(pixels)
        return number, 0.0 if number is None else self.psnr(pixels, self.picture(number, larger=larger))

    @staticmethod
    def psnr(ours: Pixels, theirs: Pixels) -> float:
        """Decibels, over the three colours."""
        levels = [np.ascontiguousarray(each).view(np.uint8).reshape(-1, 4)[:, :3].astype(np.float32) for each in (ours, theirs)]
        error = ((levels[0] - levels[1]) ** 2).mean()
        return float(10 * np.log10(255**2 / error)) if error else np.inf


@pytest.fixture(scope="session")
def film() -> Film:
    """What the guest's `film` draws."""
    return Film()
