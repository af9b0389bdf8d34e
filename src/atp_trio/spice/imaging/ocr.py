"""Reading the text in a picture, with the `ocr` extra: RapidOCR and its models, which come with it."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from itertools import accumulate
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
    """A line of text on a screen, or several as one.

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
        The lines, from above downwards, and from left to right.

    Raises:
        ConfigError: The extra `ocr` is not installed.
    """
    bgr = np.ascontiguousarray(area).view(np.uint8).reshape(*area.shape, 4)[:, :, :3]
    with _reading:
        result = _reader()(np.ascontiguousarray(bgr))
    if result.txts is None:
        return ()
    lines = (TextLine(text, _bounds(box, x, y), float(score)) for text, box, score in zip(*_parts(result), strict=True))
    return tuple(_in_reading_order(lines))


def _in_reading_order(lines: Iterable[TextLine]) -> Iterator[TextLine]:
    """From above downwards, and what stands beside each other from left to right."""
    left = sorted(lines, key=lambda line: line.region.top)
    while left:
        # Read boxes are not aligned: what begins above the middle of the uppermost line stands beside it.
        middle = (left[0].region.top + left[0].region.bottom) / 2
        row = [line for line in left if line.region.top < middle]
        yield from sorted(row, key=lambda line: line.region.left)
        left = left[len(row) :]


def find_text(lines: Sequence[TextLine], wanted: str | re.Pattern[str]) -> TextLine | None:
    r"""The first line that holds the text or matches the pattern anywhere; white space in a text does not count, case does.

    A text of several lines, with `\n` between them, may begin within a line, runs through whole lines, and may end within one.
    The lines that it lies in are given as one.
    """
    if isinstance(wanted, re.Pattern):
        return next((line for line in lines if wanted.search(line.text)), None)
    bare = _bare(wanted)
    if "\n" not in wanted.strip():
        return next((line for line in lines if bare in _bare(line.text)), None)
    texts = [_bare(line.text) for line in lines]
    start = "".join(texts).find(bare)
    if start < 0:
        return None
    ends = list(accumulate(map(len, texts)))
    return _joined(lines[bisect_right(ends, start) : bisect_left(ends, start + len(bare)) + 1])


def _joined(lines: Sequence[TextLine]) -> TextLine:
    """Several lines as one."""
    region = Rect(
        top=min(line.region.top for line in lines),
        left=min(line.region.left for line in lines),
        bottom=max(line.region.bottom for line in lines),
        right=max(line.region.right for line in lines),
    )
    return TextLine("\n".join(line.text for line in lines), region, min(line.score for line in lines))


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
