"""Reading the text in a picture, with the `ocr` extra: RapidOCR and its models, which come with it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any, Final

import attrs
import numpy as np

from atp_trio.spice.imaging.extra import import_extra
from atp_trio.spice.imaging.pixel import Argb
from atp_trio.spice.messages.geometry import Rect

# One reader uses all the processors there are; two at a time would only be in each other's way.
_reading: Final = threading.Lock()


@attrs.frozen
class TextLine:
    """A line of text on a screen.

    Attributes:
        text: What was read. Spaces are often missing.
        region: Where on the screen.
        score: How sure the reader is, from 0 to 1.
    """

    text: str
    region: Rect
    score: float

    def __str__(self) -> str:
        return f"{self.text!r} at {self.region.left},{self.region.top}"


def read_text(area: Argb, *, x: int = 0, y: int = 0) -> tuple[TextLine, ...]:
    """Read a picture. Takes from tenths of a second to seconds, on all processors: in a thread, from a Trio task.

    Args:
        area: Shape (height, width), rows top-down, numbers `0x00RRGGBB`.
        x: Where on the screen it lies.
        y: The same, downwards.

    Returns:
        The lines, from above downwards.

    Raises:
        ConfigError: The extra `ocr` is not installed.
    """
    bgr = np.ascontiguousarray(area).view(np.uint8).reshape(*area.shape, 4)[:, :, :3]
    with _reading:
        result = _reader()(np.ascontiguousarray(bgr))
    if result.txts is None:
        return ()
    lines = (TextLine(text, _bounds(box, x, y), float(score)) for text, box, score in zip(*_parts(result), strict=True))
    return tuple(sorted(lines, key=lambda line: (line.region.top, line.region.left)))


def find_text(lines: Sequence[TextLine], wanted: str | re.Pattern[str]) -> TextLine | None:
    """The first line that holds the text or matches the pattern anywhere; white space in a text does not count, case does."""
    if isinstance(wanted, re.Pattern):
        return next((line for line in lines if wanted.search(line.text)), None)
    bare = _bare(wanted)
    return next((line for line in lines if bare in _bare(line.text)), None)


def nearest_text(lines: Sequence[TextLine], wanted: str | re.Pattern[str]) -> TextLine | None:
    """The line most like the text; None where there is no line."""
    bare = _bare(wanted.pattern if isinstance(wanted, re.Pattern) else wanted)
    return max(lines, key=lambda line: SequenceMatcher(None, bare, _bare(line.text)).ratio(), default=None)


@cache
def _reader() -> Any:
    return import_extra("rapidocr", "ocr").RapidOCR(params={"Global.log_level": "critical"})


def _parts(result: Any) -> tuple[Any, Any, Any]:
    return result.txts, result.boxes, result.scores


def _bounds(box: Any, x: int, y: int) -> Rect:
    """The upright rectangle around four corners."""
    (left, top), (right, bottom) = np.floor(box.min(axis=0)), np.ceil(box.max(axis=0))
    return Rect(top=y + int(top), left=x + int(left), bottom=y + int(bottom), right=x + int(right))


def _bare(text: str) -> str:
    return "".join(text.split())
