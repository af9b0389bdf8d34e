"""A stroke's path: polylines of whole pixels, and the pixels of their lines, solid or dashed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.region import Area
from atp_trio.spice.messages.display import Path, PathFlag
from atp_trio.spice.messages.geometry import PointFix

Coordinates: TypeAlias = npt.NDArray[np.int64]
# Columns and rows of pixels.
Dots: TypeAlias = tuple[Coordinates, Coordinates]
# A first number and the one after the last.
Interval: TypeAlias = tuple[int, int]

MAX_DEPTH = 24
# What a message's path may cost: a solid pixel costs 1. All of it takes a second or two.
MAX_COST = 1 << 24
COST_OF_CORNER = 256
COST_OF_DASH = 16


class Budget:
    """What is left to spend on a path: a few bytes of message can ask for curves and crossings without end."""

    def __init__(self) -> None:
        self._left = MAX_COST

    def spend(self, cost: int) -> None:
        """Take from what is left.

        Raises:
            ImageError: Nothing is.
        """
        self._left -= cost
        if self._left < 0:
            raise ImageError("a path of too many corners or pixels")


class Pixel(NamedTuple):
    """A pixel's place on the surface."""

    x: int
    y: int


class Fixed(NamedTuple):
    """A point in 28.4 fixed-point numbers."""

    x: int
    y: int

    @classmethod
    def of(cls, point: PointFix) -> Fixed:
        """What a message holds as fractions."""
        return cls(int(point.x * 16), int(point.y * 16))

    @property
    def pixel(self) -> Pixel:
        """The nearest pixel; one half rounds down."""
        return Pixel(round_half_down(self.x), round_half_down(self.y))


def round_half_down(value: int) -> int:
    """A 28.4 number's nearest integer."""
    return (value + 7) >> 4


def polylines(path: Path, budget: Budget) -> Iterator[list[Pixel]]:
    """The figures of a path, each the corners of a polyline.

    Raises:
        ImageError: There are too many corners.
    """
    corners: list[Pixel] = []
    for segment in path.segments:
        points = [Fixed.of(point) for point in segment.points]
        if segment.flags & PathFlag.BEGIN:
            if corners:
                yield corners
            corners = []
        if not corners and points:
            corners = [points.pop(0).pixel]
        more = curves(corners[-1], points) if segment.flags & PathFlag.BEZIER and corners else iter(points)
        for point in more:
            corners.append(point.pixel)
            budget.spend(COST_OF_CORNER)
        if segment.flags & PathFlag.END and corners:
            if segment.flags & PathFlag.CLOSE:
                corners.append(corners[0])
            yield corners
            corners = []
    if corners:
        yield corners


def curves(start: Pixel, points: Sequence[Fixed]) -> Iterator[Fixed]:
    """The ends of the lines that stand for curves; points come in threes, two controls and the end."""
    for first in range(0, len(points) - 2, 3):
        p1, p2, p3 = points[first : first + 3]
        yield from flattened(Fixed(start.x * 16, start.y * 16), p1, p2, p3)
        start = p3.pixel


def flattened(p0: Fixed, p1: Fixed, p2: Fixed, p3: Fixed, depth: int = 0) -> Iterator[Fixed]:
    """A curve's lines: halved until both controls lie close to the chord."""
    if depth == MAX_DEPTH or p0 == p1 == p2 == p3 or _is_flat(p0, p1, p2, p3):
        yield p3
        return
    p01, p12, p23 = _middle(p0, p1), _middle(p1, p2), _middle(p2, p3)
    p012, p123 = _middle(p01, p12), _middle(p12, p23)
    half = _middle(p012, p123)
    yield from flattened(p0, p01, p012, half, depth + 1)
    yield from flattened(half, p123, p23, p3, depth + 1)


def _is_flat(p0: Fixed, p1: Fixed, p2: Fixed, p3: Fixed) -> bool:
    a, b, c = _dot(p0, p1, p0, p1), _dot(p0, p3, p0, p3), _dot(p3, p2, p3, p2)
    ab, cb = _dot(p0, p1, p0, p3), _dot(p3, p2, p3, p0)
    return (a * b - ab * ab) >> 3 < b and (c * b - cb * cb) >> 3 < b


def _dot(a: Fixed, b: Fixed, c: Fixed, d: Fixed) -> int:
    """The product of the vectors from a to b and from c to d."""
    return ((b.x - a.x) * (d.x - c.x) + (b.y - a.y) * (d.y - c.y)) >> 4


def _middle(a: Fixed, b: Fixed) -> Fixed:
    # Halved towards zero.
    return Fixed(*(total // 2 if total >= 0 else -(-total // 2) for total in (a.x + b.x, a.y + b.y)))


def solid(start: Pixel, end: Pixel, within: Area) -> Dots:
    """The pixels of a line in an area, its end excluded: Bresenham's, wherever the line is clipped."""
    dx, dy = end.x - start.x, end.y - start.y
    if abs(dx) > abs(dy):
        return _line(start.x, start.y, dx, dy, (within.left, within.right), (within.top, within.bottom))
    rows, columns = _line(start.y, start.x, dy, dx, (within.top, within.bottom), (within.left, within.right))
    return columns, rows


def _line(major: int, minor: int, along: int, across: int, majors: Interval, minors: Interval) -> Dots:
    """The coordinates of a line's pixels along its major axis and across it.

    After t steps Bresenham's error term has moved the minor coordinate floor((2*b*t + a - bias) / (2*a)) times.
    """
    sign, a, b = (1 if along >= 0 else -1), abs(along), abs(across)
    first, last = (majors[0] - major, majors[1] - major) if sign > 0 else (major - majors[1] + 1, major - majors[0] + 1)
    steps = np.arange(max(first, 0), min(last, a), dtype=np.int64)
    if not len(steps):
        return steps, steps
    moved = (2 * b * steps + (a - (along < 0))) // (2 * a)
    columns, rows = major + sign * steps, minor + (moved if across >= 0 else -moved)
    inside = (rows >= minors[0]) & (rows < minors[1])
    return columns[inside], rows[inside]


def dashed(corners: Sequence[Pixel], lengths: Sequence[int], within: Area, budget: Budget) -> Dots:
    """The pixels of a polyline's dashes in an area, each once.

    Args:
        corners: The polyline.
        lengths: Of dash and gap in turn, in pixels; their number is even.
        within: The area.
        budget: What the path may still cost.

    Raises:
        ImageError: That is not enough.
    """
    pattern = [0, *accumulate(lengths)]
    found: set[Pixel] = set()
    travelled = 0.0
    for start, end in pairwise(corners):
        length = math.hypot(end.x - start.x, end.y - start.y)
        for dash in _dashes(start, end, length, travelled, pattern, within):
            budget.spend(COST_OF_DASH)
            for pixel in _filled(start, end, length, dash, within):
                budget.spend(COST_OF_DASH)
                found.add(pixel)
        travelled += length
    dots = np.array(sorted(found), np.int64).reshape(-1, 2)
    return dots[:, 0], dots[:, 1]


def _dashes(
    start: Pixel, end: Pixel, length: float, travelled: float, pattern: Sequence[int], within: Area
) -> Iterator[tuple[float, float]]:
    """The stretches of a line that are dashes, as distances from its start; only those near the area."""
    if not length or not pattern[-1]:
        return
    # The line's stretch within a pixel of the area, axis by axis.
    near, far = 0.0, length
    axes = ((start.x, end.x, within.left, within.right), (start.y, end.y, within.top, within.bottom))
    for first, last, low, high in axes:
        slope = (last - first) / length
        if not slope:
            if not low - 1 <= first <= high + 1:
                return
            continue
        t0, t1 = sorted(((low - 1 - first) / slope, (high + 1 - first) / slope))
        near, far = max(near, t0), min(far, t1)
    period = pattern[-1]
    for turn in range(int((travelled + near) // period), int((travelled + far) // period) + 1):
        for dash in range(0, len(pattern) - 1, 2):
            t0, t1 = (turn * period + pattern[dash + n] - travelled for n in (0, 1))
            if t1 > max(near, 0) and t0 < far and t1 > t0:
                yield max(t0, 0.0), min(t1, length)


def _filled(start: Pixel, end: Pixel, length: float, dash: tuple[float, float], within: Area) -> Iterator[Pixel]:
    """The pixels of a dash: a rectangle one pixel wide, its left and upper edges inside."""
    ux, uy = (end.x - start.x) / length, (end.y - start.y) / length
    points = [
        (start.x + ux * t - uy * side, start.y + uy * t + ux * side)
        for t, side in ((dash[0], 0.5), (dash[1], 0.5), (dash[1], -0.5), (dash[0], -0.5))
    ]
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    top = max(within.top, math.ceil(min(y for _, y in points)))
    bottom = min(within.bottom, math.ceil(max(y for _, y in points)))
    for y in range(top, bottom):
        crossings = [x0 + (x1 - x0) * (y - y0) / (y1 - y0) for (x0, y0), (x1, y1) in edges if min(y0, y1) <= y < max(y0, y1)]
        if crossings:
            left, right = math.ceil(min(crossings)), math.ceil(max(crossings))
            for x in range(max(left, within.left), min(right, within.right)):
                yield Pixel(x, y)
