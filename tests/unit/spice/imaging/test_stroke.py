"""What the canvas vectors do not have: dash lists of odd length, pattern brushes, paths that cost too much."""

import numpy as np

from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import (
    Brush,
    BrushType,
    LineAttr,
    LineFlag,
    Path,
    PathFlag,
    PathSegment,
    Pattern,
    SurfaceFormat,
)
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, PointFix, Rect
from atp_trio.spice.messages.image import Bitmap, BitmapFlag, BitmapFormat, Image, ImageType


def stroke(*points, attr=None, brush=None, clip=None, rop=display.Ropd.OP_PUT):
    screen = Screen(ImageCache(1000), GlzWindow(1000))
    screen.apply(display.SurfaceCreate(surface_id=0, width=20, height=4, format=SurfaceFormat.FMT_32_xRGB, flags=0))
    path = Path((PathSegment(PathFlag.BEGIN | PathFlag.END, tuple(PointFix(float(x), float(y)) for x, y in points)),))
    base = DisplayBase(0, Rect.at(0, 0, 20, 4), clip or Clip())
    brush = brush or Brush.solid(1)
    screen.apply(display.DrawStroke(base=base, path=path, attr=attr or LineAttr(), brush=brush, fore_mode=rop))
    return screen


def dashes(*lengths, flags=0):
    return LineAttr(LineFlag.STYLED | flags, tuple(map(float, lengths)))


def first_row(screen):
    return "".join(".x"[number] for number in screen.copy()[0].tolist())


def test_an_odd_list_of_dashes_alternates():
    assert first_row(stroke((0, 0), (20, 0), attr=dashes(3, 2, 1))) == "xxx..x...xx.xxx..x.."
    assert first_row(stroke((0, 0), (20, 0), attr=dashes(3, 2, 1, flags=LineFlag.START_WITH_GAP))) == "...xx.xxx..x...xx.xx"


def test_lengths_are_kept_in_eight_bits():
    assert first_row(stroke((0, 0), (20, 0), attr=dashes(258, 2))) == "xx..xx..xx..xx..xx.."


def test_a_pattern_brush_is_anchored_to_the_surface():
    tile = np.array([[1, 2, 3]], np.uint32)
    image = Image(
        1, ImageType.BITMAP, 0, 3, 1, Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, 3, 1, 12, data=tile.tobytes())
    )
    screen = stroke((5, 1), (11, 1), brush=Brush(BrushType.PATTERN, pattern=Pattern(image, Point(4, 0))))
    assert screen.copy()[1].tolist() == [0] * 5 + [2, 3, 1, 2, 3, 1] + [0] * 9


def test_the_clip_may_be_anything():
    clip = Clip.to(Rect.at(0, 0, 3, 1), Rect.at(2, 0, 4, 1), Rect.at(9, 0, 1, 4))
    assert first_row(stroke((0, 0), (20, 0), clip=clip)) == "xxxxxx...x.........."


def test_crossings_are_drawn_again():
    # Twice over the same pixels with XOR leaves nothing but the last, which the way back begins with.
    assert first_row(stroke((0, 0), (5, 0), (0, 0), rop=display.Ropd.OP_XOR)) == "x....x.............."


def test_what_costs_too_much_fails():
    screen = stroke(*[(0, 0), (1, 1)] * 40000)
    assert screen.failed == {"DrawStroke": 1}
