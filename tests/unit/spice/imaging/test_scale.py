import tracemalloc
from math import floor

import numpy as np
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.region import Area
from atp_trio.spice.imaging.scale import ONE, Axis, Repeat, Scaling, bilinear, nearest
from atp_trio.spice.messages.geometry import Rect

FAR = 2**31 - 1


def same(raw):
    return raw


def positions(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(("source", "box"), [((0, 7), (0, 3)), ((2, 5), (-4, 90)), ((-3, 1), (10, 11)), ((5, 6), (0, 1))])
def test_positions_are_the_reference_s(source, box):
    size, wanted = source[1] - source[0], box[1] - box[0]
    step = floor(size * 65536 / wanted)
    expected = [source[0] * 65536 + ((step * (2 * i + 1) + 1) >> 1) for i in range(wanted)]
    assert Axis.of(source, box).positions(*box).tolist() == expected


def test_positions_with_the_origin_in_whole_pixels():
    # Source 3..5 to 0..5: the origin is floor(3 * 5 / 2 + 0.5) = 8 pixels of the box.
    step = floor(2 * 65536 / 5)
    expected = [(step * (2 * (i + 8) + 1) + 1) >> 1 for i in range(5)]
    assert Axis.of((3, 5), (0, 5), whole_pixels=True).positions(0, 5).tolist() == expected


def test_an_empty_source_is_refused():
    for source in ((3, 3), (3, 2)):
        with pytest.raises(ImageError, match="source area"):
            Axis.of(source, (0, 5))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("source", "box"),
    [
        (Rect(top=-FAR, left=-FAR, bottom=FAR, right=FAR), Rect.at(0, 0, 4, 4)),
        (Rect.at(0, 0, 1, 1), Rect(top=-FAR, left=-FAR, bottom=FAR, right=FAR)),
        (Rect(top=FAR - 1, left=FAR - 1, bottom=FAR, right=FAR), Rect(top=-FAR, left=-FAR, bottom=FAR, right=FAR)),
    ],
)
@pytest.mark.parametrize("whole_pixels", [False, True])
def test_huge_areas_cost_only_what_is_seen(source, box, smooth, whole_pixels):
    scaling = Scaling.of(source, box, smooth=smooth, whole_pixels=whole_pixels)
    picture = np.full((64, 64), 0xFF123456, np.uint32)
    tracemalloc.start()
    argb = scaling.sample(picture, same, Area(0, 0, 4, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert argb.shape == (4, 4)
    assert peak < 64 << 10


def test_nearest_takes_the_pixel_that_the_position_lies_in():
    picture = np.array([[1, 2], [3, 4]], np.uint32)
    columns, rows = positions(0, 1, ONE, ONE + 1, 2 * ONE, 2 * ONE + 1)[None], positions(ONE, ONE + 1)[:, None]
    assert nearest(picture, same, columns, rows).tolist() == [[0, 1, 1, 2, 2, 0], [0, 3, 3, 4, 4, 0]]


@pytest.mark.parametrize(
    ("repeat", "expected"),
    [
        (Repeat.NONE, [0, 0, 7, 8, 9, 0, 0, 0]),
        (Repeat.NORMAL, [8, 9, 7, 8, 9, 7, 8, 9]),
        (Repeat.PAD, [7, 7, 7, 8, 9, 9, 9, 9]),
        (Repeat.REFLECT, [8, 7, 7, 8, 9, 9, 8, 7]),
    ],
)
def test_repeats(repeat, expected):
    columns = positions(*range(-2, 6))[None] * ONE + ONE // 2
    assert nearest(np.array([[7, 8, 9]], np.uint32), same, columns, positions(ONE)[None], repeat).tolist() == [expected]


def test_bilinear_is_the_weighted_mean_of_four():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 2**32, (5, 6), np.uint32)
    columns, rows = rng.integers(-ONE, 7 * ONE, (1, 40)), rng.integers(-ONE, 6 * ONE, (40, 1))
    got = bilinear(picture, same, columns, rows)

    def at(x, y, shift):
        return int(picture[y, x]) >> shift & 255 if 0 <= x < 6 and 0 <= y < 5 else 0

    for j, row in enumerate(rows[:, 0].tolist()):
        for i, column in enumerate(columns[0].tolist()):
            u, v = column - 32768, row - 32768
            x, y, wx, wy = u >> 16, v >> 16, ((u >> 9) & 127) * 2, ((v >> 9) & 127) * 2
            for shift in (0, 8, 16, 24):
                total = (
                    at(x, y, shift) * (256 - wx) * (256 - wy)
                    + at(x + 1, y, shift) * wx * (256 - wy)
                    + at(x, y + 1, shift) * (256 - wx) * wy
                    + at(x + 1, y + 1, shift) * wx * wy
                )
                assert int(got[j, i]) >> shift & 255 == total >> 16
