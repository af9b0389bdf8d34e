"""DRAW_STROKE: lines and curves one pixel wide."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from atp_trio.errors import ImageError
from atp_trio.spice.imaging import rop
from atp_trio.spice.imaging.draw import Drawing
from atp_trio.spice.imaging.path import Budget, Dots, dashed, polylines, round_half_down, solid
from atp_trio.spice.imaging.region import Area, merged
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import LineFlag, Ropd


def draw_stroke(drawing: Drawing, message: display.DrawStroke) -> None:
    """The brush along the path, combined with the surface line by line.

    A pixel that several solid lines touch is combined with each; one of a dashed polyline only once.
    """
    operation = rop.BINARY[rop.binary(message.fore_mode, Ropd.INVERS_BRUSH)]
    region = merged(drawing.areas)
    area = region._replace(coverage=None)
    brush, dest = drawing.brush(message.brush)(area), area.of(drawing.surface.pixels)
    for columns, rows in dots(message, area):
        x, y = columns - area.left, rows - area.top
        if region.coverage is not None:
            seen = region.coverage[y, x]
            x, y = x[seen], y[seen]
        dest[y, x] = operation(brush[y, x] if brush.ndim else brush, dest[y, x])


def dots(message: display.DrawStroke, area: Area) -> Iterator[Dots]:
    """The pixels of a path in an area, in the sets that are drawn together.

    Raises:
        ImageError: There is no path, or one that is too long.
    """
    if message.path is None:
        raise ImageError("a stroke without a path")
    attr, budget = message.attr, Budget()
    lengths = [round_half_down(int(length * 16)) & 255 for length in attr.style or ()]
    if len(lengths) % 2:
        lengths *= 2
    if attr.flags & LineFlag.START_WITH_GAP:
        lengths = [0, *lengths, 0]
    for corners in polylines(message.path, budget):
        if attr.flags & LineFlag.STYLED:
            yield dashed(corners, lengths, area, budget)
            continue
        for start, end in pairwise(corners):
            line = solid(start, end, area)
            budget.spend(len(line[0]))
            yield line
