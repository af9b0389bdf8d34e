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
    """Read a picture. Takes up to seconds, by its size and how much text is in it, on all processors: in a thread, from Trio.

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


def _in_reading_order(parts: Iterable[TextLine]) -> Iterator[TextLine]:
    """What was read as lines, from above downwards and from left to right; words that were read singly become a line."""
    left = sorted(parts, key=lambda part: part.region.top)
    while left:
        # They are not aligned: what begins above the middle of the uppermost stands beside it.
        middle = (left[0].region.top + left[0].region.bottom) / 2
        row = sorted((part for part in left if part.region.top < middle), key=lambda part: part.region.left)
        left = left[len(row) :]
        line = [row[0]]
        for part in row[1:]:
            before = line[-1].region
            if part.region.left - before.right < before.height:
                line.append(part)
            else:
                yield _joined(line, " ")
                line = [part]
        yield _joined(line, " ")


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
    return _joined(lines[bisect_right(ends, start) : bisect_left(ends, start + len(bare)) + 1], "\n")


def _joined(lines: Sequence[TextLine], separator: str) -> TextLine:
    """Several as one."""
    region = Rect(
        top=min(line.region.top for line in lines),
        left=min(line.region.left for line in lines),
        bottom=max(line.region.bottom for line in lines),
        right=max(line.region.right for line in lines),
    )
    return TextLine(separator.join(line.text for line in lines), region, min(line.score for line in lines))


def nearest_text(lines: Sequence[TextLine], wanted: str | re.Pattern[str]) -> TextLine | None:
    """The line most like the text; None where there is no line."""
    bare = _bare(wanted.pattern if isinstance(wanted, re.Pattern) else wanted)
    return max(lines, key=lambda line: SequenceMatcher(None, bare, _bare(line.text)).ratio(), default=None)


@cache
def _reader() -> Any:
    # By default it enlarges pictures until their shorter side has 736 pixels. The text of a screen is large enough as it is, and
    # a small region would take ten times as long.
    params = {"Global.log_level": "critical", "Det.limit_type": "max", "Det.limit_side_len": 4096}
    return import_extra("rapidocr", "ocr").RapidOCR(params=params)


def _parts(result: Any) -> tuple[Any, Any, Any]:
    return result.txts, result.boxes, result.scores


def _bounds(box: Any, x: int, y: int) -> Rect:
    """The upright rectangle around four corners."""
    (left, top), (right, bottom) = np.floor(box.min(axis=0)), np.ceil(box.max(axis=0))
    return Rect(top=y + int(top), left=x + int(left), bottom=y + int(bottom), right=x + int(right))


def _bare(text: str) -> str:
    return "".join(text.split())
