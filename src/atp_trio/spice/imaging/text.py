"""DRAW_TEXT: glyphs, as planes of coverage through which a brush is painted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from atp_trio.spice.imaging import rop
from atp_trio.spice.imaging.draw import Drawing, put
from atp_trio.spice.imaging.pixel import HAVE_ALPHA, OPAQUE, RGB, from_argb, multiply, over, to_argb
from atp_trio.spice.imaging.place import Operand, tiled
from atp_trio.spice.imaging.region import Area, bands, bounds
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import (
    Brush,
    BrushType,
    RasterGlyph,
    RasterGlyphA1,
    RasterGlyphA4,
    RasterGlyphA8,
    String,
    StringFlag,
    SurfaceFormat,
)
from atp_trio.spice.messages.geometry import Point

Alpha: TypeAlias = npt.NDArray[np.uint8]


def draw_text(drawing: Drawing, message: display.DrawText) -> None:
    """The back brush on the back area, then the fore brush through the glyphs."""
    back = message.back_area
    if not back.is_empty:
        inside = (area.within(back.left, back.top, back.right, back.bottom) for area in drawing.areas)
        drawing.combine([area for area in inside if area], rop.COPY, drawing.brush(message.back_brush))
    glyphs = [glyph for glyph in _glyphs(message.str) if glyph.width and glyph.height]
    if message.fore_brush.type == BrushType.NONE or not glyphs or message.str is None:
        return
    colour = _ink(drawing, message.fore_brush, glyphs)
    form = drawing.surface.format
    whole, coverage = cover(glyphs, message.str.flags, bounds(drawing.areas))
    if whole is None:
        return
    written = (area.within(*whole[:4]) for area in drawing.areas)
    for area in bands(area for area in written if area):
        dest = area.of(drawing.surface.pixels)
        ink = multiply(colour(area), area.of(coverage, whole.left, whole.top).astype(np.uint32))
        painted = over(ink, to_argb(dest, form))
        put(dest, from_argb(painted if form in HAVE_ALPHA else painted & RGB, form), area)


def _glyphs(string: String | None) -> Sequence[RasterGlyph]:
    return (string.glyphs or ()) if string else ()


def corner(glyph: RasterGlyph) -> tuple[int, int]:
    """The left top corner of a glyph, on the surface."""
    return glyph.render_pos.x + glyph.glyph_origin.x, glyph.render_pos.y + glyph.glyph_origin.y


def _ink(drawing: Drawing, brush: Brush, glyphs: Sequence[RasterGlyph]) -> Operand:
    """The fore brush as 32_ARGB. A pattern counts from the corner of the string; a 16-bit colour is 555 on every surface."""
    form = drawing.surface.format
    if brush.type == BrushType.PATTERN and brush.pattern:
        pos, corners = brush.pattern.pos, [corner(glyph) for glyph in glyphs]
        anchor = Point(pos.x + min(x for x, _ in corners), pos.y + min(y for _, y in corners))
        tile = tiled(drawing.picture(brush.pattern.pat), anchor, drawing.surface)
        return lambda area: to_argb(tile(area), form)
    colour = brush.color or 0
    if form in (SurfaceFormat.FMT_16_555, SurfaceFormat.FMT_16_565):
        red, green, blue = ((colour >> shift & 31) * 255 // 31 for shift in (10, 5, 0))
        colour = red << 16 | green << 8 | blue
    ink = np.uint32(colour & 0xFFFFFF) | OPAQUE
    return lambda _: ink


def cover(glyphs: Sequence[RasterGlyph], flags: int, within: Area) -> tuple[Area | None, Alpha]:
    """The part of a plain area that the glyphs' boxes span, and its coverage, 0 to 255; overlapping glyphs combine by maximum."""
    corners = [corner(glyph) for glyph in glyphs]
    area = within.within(
        min(x for x, _ in corners),
        min(y for _, y in corners),
        max(x + glyph.width for (x, _), glyph in zip(corners, glyphs, strict=True)),
        max(y + glyph.height for (_, y), glyph in zip(corners, glyphs, strict=True)),
    )
    if area is None:
        return None, np.zeros((0, 0), np.uint8)
    coverage = np.zeros((area.bottom - area.top, area.right - area.left), np.uint8)
    for (x, y), glyph in zip(corners, glyphs, strict=True):
        part = area.within(x, y, x + glyph.width, y + glyph.height)
        if part is not None:
            rows = UNPACK[type(glyph)](glyph)[:: 1 if flags & StringFlag.RASTER_TOP_DOWN else -1]
            seen = part.of(coverage, area.left, area.top)
            np.maximum(seen, part.of(rows, x, y), out=seen)
    return area, coverage


def _a1(glyph: RasterGlyphA1) -> Alpha:
    rows = np.frombuffer(glyph.data, np.uint8).reshape(glyph.height, -1)
    return np.unpackbits(rows, axis=1, count=glyph.width) * np.uint8(255)


def _a4(glyph: RasterGlyphA4) -> Alpha:
    rows = np.frombuffer(glyph.data, np.uint8).reshape(glyph.height, -1)
    # The nibble stays where it is in its byte: 240 at most.
    return np.stack((rows & 0xF0, rows << 4), axis=2).reshape(glyph.height, -1)[:, : glyph.width]


def _a8(glyph: RasterGlyphA8) -> Alpha:
    return np.frombuffer(glyph.data, np.uint8).reshape(glyph.height, glyph.width)


UNPACK: dict[type[RasterGlyph], Callable[[Any], Alpha]] = {
    RasterGlyphA1: _a1,
    RasterGlyphA4: _a4,
    RasterGlyphA8: _a8,
}
