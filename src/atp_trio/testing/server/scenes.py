"""What a display of the embedded server shows: one class a scene, and one row of `SCENES`.

A scene draws on its canvas, an update a step, for ever. It repeats itself after a while, so that all it sends is encoded once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.server.canvas import Canvas
from atp_trio.testing.server.picture import CODECS, Picture, Pixels


class Scene:
    """The base of all scenes.

    Args:
        canvas: Where it draws.
        codec: How its pictures are sent: a name of `CODECS`.

    Attributes:
        is_still: Whether there is nothing to do after the first picture.
    """

    is_still: ClassVar[bool] = False

    def __init__(self, canvas: Canvas, codec: str) -> None:
        self.canvas = canvas
        self.encode = CODECS[codec]
        self.steps = 0

    def step(self) -> None:
        """Draw one update."""
        self.steps += 1


class Still(Scene):
    """The background, and nothing that moves."""

    is_still = True


class Text(Scene):
    """A text console that types, cell by cell, and scrolls when it is full."""

    CELL: Final = (8, 16)
    TEXT: Final = (
        "[    0.412007] pci 0000:00:02.0: reg 0x10: [mem 0xfd000000-0xfdffffff pref]\n"
        "[    1.190443] e1000 0000:00:03.0 eth0: (PCI:33MHz:32-bit) 52:54:00:12:34:56\n\n"
        "login: root\n# ls -l /usr/bin | wc -l\n1486\n# while sleep 1; do date; done\n"
    )
    INK, PAPER = 0xAAAAAA, 0x000000

    def __init__(self, canvas: Canvas, codec: str) -> None:
        super().__init__(canvas, codec)
        width, height = self.CELL
        self.columns, self.rows = max(canvas.width // width, 1), max(canvas.height // height, 1)
        # A display smaller than a cell shows the part of it that fits.
        self.cell = min(width, canvas.width), min(height, canvas.height)
        self._glyphs = {char: self._glyph(char) for char in set(self.TEXT) - {"\n"}}
        self._column = self._row = 0

    def step(self) -> None:
        """Type a character, or begin a line."""
        char = self.TEXT[self.steps % len(self.TEXT)]
        super().step()
        if char == "\n" or self._column == self.columns:
            self._new_line()
        if char != "\n":
            width, height = self.cell
            self.canvas.paint(self._column * width, self._row * height, self._glyphs[char])
            self._column += 1

    def _new_line(self) -> None:
        self._column = 0
        width, height = self.canvas.width, self.cell[1]
        if self._row < self.rows - 1:
            self._row += 1
            return
        if self.rows > 1:
            self.canvas.move(Rect.at(0, 0, width, self._row * height), 0, height)
        self.canvas.fill(Rect.at(0, self._row * height, width, height), self.PAPER)

    def _glyph(self, char: str) -> Picture:
        from PIL import Image, ImageDraw, ImageFont

        image = Image.new("L", self.cell)
        ImageDraw.Draw(image).text((0, 1), char, fill=255, font=ImageFont.load_default())
        ink = np.asarray(image) > 127
        return self.encode(np.where(ink, self.INK, self.PAPER).astype(np.uint32))


class Rectangles(Scene):
    """Filled, moved and copied rectangles, in turn: many small updates."""

    PERIOD: Final = 3 * 512
    SIDES: Final = (16, 64)

    def __init__(self, canvas: Canvas, codec: str) -> None:
        super().__init__(canvas, codec)
        dice = random.Random(3)  # noqa: S311 - the same scene in every run
        self._rects = [self._rect(dice) for _ in range(self.PERIOD)]
        self._sources = [self._inside(dice, rect) for rect in self._rects]
        self._colours = [dice.randrange(1 << 24) for _ in range(self.PERIOD)]
        # As many pictures as there are in a period, but of eight kinds.
        tiles = [self._tile(dice) for _ in range(8)]
        self._tiles = [tiles[number % 8] for number in range(self.PERIOD)]

    def step(self) -> None:
        """One operation on one rectangle."""
        at = self.steps % self.PERIOD
        super().step()
        rect = self._rects[at]
        if at % 3 == 0:
            self.canvas.fill(rect, self._colours[at])
        elif at % 3 == 1:
            self.canvas.move(rect, *self._sources[at])
        else:
            tile = self._tiles[at]
            x, y = min(rect.left, self.canvas.width - tile.width), min(rect.top, self.canvas.height - tile.height)
            self.canvas.paint(x, y, tile)

    def _rect(self, dice: random.Random) -> Rect:
        width, height = (min(dice.randint(*self.SIDES), side) for side in (self.canvas.width, self.canvas.height))
        empty = Rect.at(0, 0, width, height)
        return Rect.at(*self._inside(dice, empty), width, height)

    def _inside(self, dice: random.Random, rect: Rect) -> tuple[int, int]:
        return dice.randint(0, self.canvas.width - rect.width), dice.randint(0, self.canvas.height - rect.height)

    def _tile(self, dice: random.Random) -> Picture:
        return self.encode(_waves(min(32, self.canvas.width), min(32, self.canvas.height), dice.random() * 6))


class Video(Scene):
    """Pictures of the whole display, one a step, out of a few."""

    FRAMES: Final = 4

    def __init__(self, canvas: Canvas, codec: str) -> None:
        super().__init__(canvas, codec)
        self._frames = [self.encode(_waves(canvas.width, canvas.height, number / 3)) for number in range(self.FRAMES)]

    def step(self) -> None:
        """The next frame."""
        self.canvas.paint(0, 0, self._frames[self.steps % self.FRAMES])
        super().step()


class Scroll(Scene):
    """A page that scrolls: everything moves up, and a new strip comes in at the bottom."""

    STRIP: Final = 16
    STRIPS: Final = 64

    def __init__(self, canvas: Canvas, codec: str) -> None:
        super().__init__(canvas, codec)
        self._height = min(self.STRIP, canvas.height)
        page = _waves(canvas.width, self._height * self.STRIPS, 1.0)
        self._strips = [self.encode(page[at : at + self._height]) for at in range(0, len(page), self._height)]

    def step(self) -> None:
        """One strip up."""
        canvas, above = self.canvas, self.canvas.height - self._height
        if above:
            canvas.move(Rect.at(0, 0, canvas.width, above), 0, self._height)
        canvas.paint(0, above, self._strips[self.steps % self.STRIPS])
        super().step()


def _waves(width: int, height: int, phase: float) -> Pixels:
    """A soft picture with some grain, as photographs have: numbers `0x00RRGGBB`."""
    across, down = np.arange(width) / 23 + phase, (np.arange(height) / 31 - phase)[:, None]
    grain = np.random.default_rng(int(phase * 100)).integers(0, 4, (height, width), np.uint32)
    red, green, blue = (
        (124 + 60 * np.sin(across * turn + phase) + 60 * np.cos(down / turn)).astype(np.uint32) + grain
        for turn in (1.0, 0.6, 1.7)
    )
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


SCENES: Final[Mapping[str, type[Scene]]] = {
    "still": Still,
    "text": Text,
    "rectangles": Rectangles,
    "video": Video,
    "scroll": Scroll,
}
