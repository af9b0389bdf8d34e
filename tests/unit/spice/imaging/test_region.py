import numpy as np
import pytest

from atp_trio.spice.imaging.region import BAND, FEW, Area, bands, clipped, merged, region
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Rect

FAR = 2**31 - 1


def plane(areas, width=20, height=10):
    """How often each pixel of a surface is in the areas."""
    counts = np.zeros((height, width), int)
    for area in areas:
        area.of(counts)[...] += 1 if area.coverage is None else area.coverage
    return counts


def oracle(box, clip, width=20, height=10):
    counts = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            inside = box.left <= x < box.right and box.top <= y < box.bottom
            if clip.rects is not None:
                inside &= any(one.left <= x < one.right and one.top <= y < one.bottom for one in clip.rects)
            counts[y, x] = inside
    return counts


@pytest.mark.parametrize(
    "box",
    [
        Rect.at(2, 3, 5, 4),
        Rect.at(-3, -3, 100, 100),
        Rect(top=-FAR - 1, left=-FAR - 1, bottom=FAR, right=FAR),
        Rect.at(5, 5, 0, 3),
        Rect(top=9, left=9, bottom=1, right=1),
        Rect.at(20, 0, 5, 5),
    ],
)
@pytest.mark.parametrize(
    "clip",
    [
        Clip(),
        Clip.to(),
        Clip.to(Rect.at(4, 4, 100, 2)),
        Clip.to(Rect.at(30, 30, 5, 5)),
        Clip.to(Rect.at(0, 0, 5, 5), Rect.at(5, 0, 5, 5), Rect.at(-4, 8, 400, 1)),
        Clip.to(Rect.at(0, 0, 5, 5), Rect.at(4, 4, 5, 5), Rect.at(4, 4, 1, 1)),
        Clip.to(Rect(top=-FAR - 1, left=-FAR - 1, bottom=FAR, right=FAR), Rect.at(0, 0, 0, 0)),
        Clip.to(*(Rect.at(x, x % 7, 1, 1) for x in range(2 * FEW))),
    ],
)
def test_every_pixel_once(box, clip):
    areas = region(DisplayBase(0, box, clip), 20, 10)
    assert (plane(areas) == oracle(box, clip)).all()


def test_disjoint_rectangles_stay_rectangles():
    areas = clipped(Area(0, 0, 20, 10), Clip.to(Rect.at(0, 0, 5, 5), Rect.at(5, 0, 5, 5)))
    assert areas == [Area(0, 0, 5, 5), Area(5, 0, 10, 5)]


def test_the_order_of_the_rectangles_is_kept_and_empty_ones_go():
    areas = clipped(Area(0, 0, 20, 10), Clip.to(Rect.at(9, 0, 2, 2), Rect.at(0, 0, 0, 9), Rect.at(1, 1, 2, 2)))
    assert areas == [Area(9, 0, 11, 2), Area(1, 1, 3, 3)]


def test_very_many_rectangles_make_one_area():
    whole = Rect.at(0, 0, 300, 200)
    areas = clipped(Area(0, 0, 300, 200), Clip.to(*[whole] * 65536))
    assert len(areas) == 1
    assert areas[0].coverage.all()


def test_within_cuts_the_coverage_too():
    coverage = np.arange(12).reshape(3, 4) % 2 == 0
    inner = Area(10, 20, 14, 23, coverage).within(11, 21, 99, 99)
    assert inner[:4] == (11, 21, 14, 23)
    assert (inner.coverage == coverage[1:, 1:]).all()
    assert Area(0, 0, 4, 4).within(4, 0, 9, 9) is None


def test_bands_are_the_same_pixels():
    areas = [Area(0, 0, 1000, 1000), Area(3, 1500, 5, 1600, np.arange(200).reshape(100, 2) % 3 == 0)]
    pieces = list(bands(areas))
    assert len(pieces) > len(areas)
    assert all((one.right - one.left) * (one.bottom - one.top) <= BAND for one in pieces)
    assert (plane(pieces, 1000, 1600) == plane(areas, 1000, 1600)).all()


def test_a_row_wider_than_a_band_is_a_band():
    assert list(bands([Area(0, 0, 2 * BAND, 2)])) == [Area(0, 0, 2 * BAND, 1), Area(0, 1, 2 * BAND, 2)]


def test_merged_is_the_same_pixels():
    areas = [Area(1, 1, 3, 3), Area(5, 2, 9, 4, np.eye(2, 4, dtype=bool))]
    assert (plane([merged(areas)]) == plane(areas)).all()
    assert merged(areas[:1]) is areas[0]
