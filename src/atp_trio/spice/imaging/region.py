"""Where a drawing message may touch a surface: its box, within the surface, within its clip, and later within its mask.

Theory of operation. A region is a list of `Area`s that do not overlap, so that an operation whose result depends on the old
pixels (a logical one, a blend) meets every pixel once. Few clip rectangles that do not overlap stay rectangles; all others become
one area with a coverage plane, built from the rectangles' corners in time proportional to their number plus the area's size, so
that 65536 rectangles of the whole surface cost no more than the surface.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from atp_trio.spice.messages.geometry import Clip, ClipType, DisplayBase, Rect

Coverage: TypeAlias = npt.NDArray[np.bool_]

# So many clip rectangles are compared with each other; what is beyond is rare and goes by coverage.
FEW = 32
# Operations work on so many pixels at a time: their temporaries stay in the processor's cache, and small beside the surface.
BAND = 1 << 17


class Area(NamedTuple):
    """A rectangle of a surface, right and bottom outside, of which perhaps only the pixels that `coverage` tells are meant.

    Attributes:
        left: The first column.
        top: The first row.
        right: The column after the last.
        bottom: The row after the last.
        coverage: Shape (height, width), rows top-down: whether a pixel is meant. None means all of them.
    """

    left: int
    top: int
    right: int
    bottom: int
    coverage: Coverage | None = None

    @property
    def rect(self) -> Rect:
        """The rectangle, as messages say it."""
        return Rect(top=self.top, left=self.left, bottom=self.bottom, right=self.right)

    def of(self, pixels: npt.NDArray[Any], x: int = 0, y: int = 0) -> npt.NDArray[Any]:
        """The view of `pixels` under this area, where `pixels`' first pixel lies at (x, y)."""
        return pixels[self.top - y : self.bottom - y, self.left - x : self.right - x]

    def within(self, left: int, top: int, right: int, bottom: int) -> Area | None:
        """What of this area lies in the rectangle; None where nothing does."""
        if left <= self.left and top <= self.top and right >= self.right and bottom >= self.bottom:
            return self
        left, top = max(left, self.left), max(top, self.top)
        right, bottom = min(right, self.right), min(bottom, self.bottom)
        if left >= right or top >= bottom:
            return None
        inner = Area(left, top, right, bottom)
        return inner if self.coverage is None else inner._replace(coverage=inner.of(self.coverage, self.left, self.top))

    def covered(self, coverage: Coverage) -> Area:
        """This area less what `coverage`, of its shape, leaves out."""
        return self._replace(coverage=coverage if self.coverage is None else coverage & self.coverage)


def region(base: DisplayBase, width: int, height: int) -> list[Area]:
    """The region of a drawing message on a surface of that size; empty where the message touches nothing."""
    box = base.box
    whole = Area(0, 0, width, height).within(box.left, box.top, box.right, box.bottom)
    return [] if whole is None else clipped(whole, base.clip)


def clipped(whole: Area, clip: Clip) -> list[Area]:
    """What of a plain area a clip leaves."""
    if clip.type != ClipType.RECTS:
        return [whole]
    rects = clip.rects or ()
    if len(rects) == 1:
        inner = whole.within(rects[0].left, rects[0].top, rects[0].right, rects[0].bottom)
        return [] if inner is None else [inner]
    return _union(whole, rects)


def _union(whole: Area, rects: Iterable[Rect]) -> list[Area]:
    edges = np.array([(rect.left, rect.top, rect.right, rect.bottom) for rect in rects], np.int64).reshape(-1, 4)
    np.clip(edges, (whole.left, whole.top) * 2, (whole.right, whole.bottom) * 2, out=edges)
    edges = edges[(edges[:, 0] < edges[:, 2]) & (edges[:, 1] < edges[:, 3])]
    areas = [Area(left, top, right, bottom) for left, top, right, bottom in edges.tolist()]
    if len(edges) <= FEW and not _overlap(edges):
        return areas
    hull = bounds(areas)
    return [hull._replace(coverage=_paint(hull, edges - (hull.left, hull.top) * 2))]


def _overlap(edges: npt.NDArray[np.int64]) -> bool:
    left, top, right, bottom = edges.T
    apart = (right[:, None] <= left) | (bottom[:, None] <= top)
    meeting = ~(apart | apart.T)
    return int(np.count_nonzero(meeting)) > len(edges)  # each meets itself


def _paint(hull: Area, edges: npt.NDArray[np.int64]) -> Coverage:
    """The union's plane: rectangles add 1 at two corners and take 1 at the others; the sums count the rectangles of a pixel."""
    depth = np.zeros((hull.bottom - hull.top + 1, hull.right - hull.left + 1), np.int32)
    left, top, right, bottom = edges.T
    np.add.at(depth, (top, left), 1)
    np.add.at(depth, (bottom, right), 1)
    np.subtract.at(depth, (top, right), 1)
    np.subtract.at(depth, (bottom, left), 1)
    np.cumsum(depth, axis=0, out=depth)
    np.cumsum(depth, axis=1, out=depth)
    return depth[:-1, :-1] > 0


def bounds(areas: Sequence[Area]) -> Area:
    """The smallest plain area that holds these, of which there is at least one."""
    return Area(
        min(area.left for area in areas),
        min(area.top for area in areas),
        max(area.right for area in areas),
        max(area.bottom for area in areas),
    )


def merged(areas: Sequence[Area]) -> Area:
    """One area of the same pixels."""
    if len(areas) == 1:
        return areas[0]
    whole = bounds(areas)
    coverage = np.zeros((whole.bottom - whole.top, whole.right - whole.left), np.bool_)
    for area in areas:
        area.of(coverage, whole.left, whole.top)[...] = True if area.coverage is None else area.coverage
    return whole._replace(coverage=coverage)


def bands(areas: Iterable[Area]) -> Iterator[Area]:
    """The same areas in pieces of whole rows, of about `BAND` pixels at most."""
    for area in areas:
        rows = max(1, BAND // (area.right - area.left))
        if area.bottom - area.top <= rows:
            yield area
            continue
        for top in range(area.top, area.bottom, rows):
            bottom = min(top + rows, area.bottom)
            part = None if area.coverage is None else area.coverage[top - area.top : bottom - area.top]
            yield Area(area.left, top, area.right, bottom, part)
