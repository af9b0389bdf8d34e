"""What the canvas vectors do not have: glyphs of eight bits, TOP_DOWN strings, and glyphs that lie where nothing is seen."""

import numpy as np
import pytest

from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import Brush, RasterGlyphA1, RasterGlyphA8, String, StringFlag, SurfaceFormat
from atp_trio.spice.messages.geometry import DisplayBase, Point, Rect

FAR = 2**31 - 1


def write(flags, *glyphs, brush=None, back=None, clip_box=None):
    screen = Screen(ImageCache(1000), GlzWindow(1000))
    screen.apply(display.SurfaceCreate(surface_id=0, width=4, height=3, format=SurfaceFormat.FMT_32_xRGB, flags=0))
    message = display.DrawText(
        base=DisplayBase(0, clip_box or Rect.at(0, 0, 4, 3)),
        str=String(flags, glyphs),
        back_area=back or Rect.at(0, 0, 0, 0),
        fore_brush=brush or Brush.solid(0xFFFFFF),
        back_brush=Brush.solid(0x00FF00),
    )
    screen.apply(message)
    assert not screen.failed
    return screen.copy()


def a8(x, y, rows):
    data = np.array(rows, np.uint8)
    return RasterGlyphA8(Point(x, y), Point(0, 0), data.shape[1], data.shape[0], data.tobytes())


@pytest.mark.parametrize("flags", [StringFlag.RASTER_A8, StringFlag.RASTER_A8 | StringFlag.RASTER_TOP_DOWN])
def test_eight_bits_of_coverage(flags):
    seen = write(flags, a8(1, 0, [[255, 128], [0, 1]]))
    rows = [[0, 0xFFFFFF, 0x808080, 0], [0, 0, 0x010101, 0]]
    if not flags & StringFlag.RASTER_TOP_DOWN:
        rows.reverse()
    assert seen.tolist() == [*rows, [0] * 4]


def test_overlapping_glyphs_combine_by_maximum():
    seen = write(StringFlag.RASTER_A8, a8(0, 0, [[100, 100]]), a8(1, 0, [[50, 60]]))
    assert seen[0].tolist() == [0x646464, 0x646464, 0x3C3C3C, 0]


def test_what_lies_outside_is_left_out():
    far = RasterGlyphA1(Point(FAR, -FAR), Point(FAR, -FAR), 8, 1, b"\xff")
    near = RasterGlyphA1(Point(3, 2), Point(0, 0), 8, 1, b"\xff")
    assert write(StringFlag.RASTER_A1, far, near).tolist() == [[0] * 4, [0] * 4, [0, 0, 0, 0xFFFFFF]]
    assert not write(StringFlag.RASTER_A1, far).any()
    empty = RasterGlyphA1(Point(0, 0), Point(0, 0), 0, 5, b"")
    assert not write(StringFlag.RASTER_A1, empty).any()


def test_no_fore_brush_draws_only_the_back():
    seen = write(StringFlag.RASTER_A8, a8(0, 0, [[255]]), brush=Brush(), back=Rect.at(0, 0, 2, 1))
    assert seen.tolist() == [[0xFF00, 0xFF00, 0, 0], [0] * 4, [0] * 4]


def test_a_string_of_nothing():
    assert not write(0).any()
