import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ImageError
from atp_trio.spice.imaging import path
from atp_trio.spice.imaging.path import Budget, Fixed, Pixel
from atp_trio.spice.imaging.region import Area
from atp_trio.spice.messages.display import Path, PathFlag, PathSegment
from atp_trio.spice.messages.geometry import PointFix

AREA = Area(0, 0, 40, 30)
FAR = 2**27 - 1
points = st.builds(Pixel, st.integers(-60, 100), st.integers(-60, 100))


def bresenham(start, end):
    """The reference's loop, pixel by pixel."""
    dx, dy = end.x - start.x, end.y - start.y
    x_major = abs(dx) > abs(dy)
    along, across = (dx, dy) if x_major else (dy, dx)
    a, b, bias = abs(along), abs(across), int(along < 0)
    major, minor = (start.x, start.y) if x_major else (start.y, start.x)
    e = 2 * b - a - bias
    for _ in range(a):
        yield (major, minor) if x_major else (minor, major)
        if e >= 0:
            minor += 1 if across > 0 else -1
            e -= 2 * a
        e += 2 * b
        major += 1 if along > 0 else -1


@given(start=points, end=points)
def test_solid_lines_are_bresenham_s_wherever_they_are_clipped(start, end):
    expected = [(x, y) for x, y in bresenham(start, end) if 0 <= x < 40 and 0 <= y < 30]
    columns, rows = path.solid(start, end, AREA)
    assert list(zip(columns.tolist(), rows.tolist(), strict=True)) == expected


def test_a_line_from_afar_costs_what_is_seen():
    columns, rows = path.solid(Pixel(-FAR, -FAR), Pixel(FAR, FAR), AREA)
    assert columns.tolist() == rows.tolist() == list(range(30))


def figures(*segments):
    made = Path(tuple(PathSegment(flags, tuple(PointFix(x / 16, y / 16) for x, y in where)) for flags, where in segments))
    return list(path.polylines(made, Budget()))


def test_segments_make_polylines():
    begin, end, close = PathFlag.BEGIN, PathFlag.END, PathFlag.CLOSE
    assert figures((begin, [(0, 0), (16, 0)]), (end, [(16, 16)]), (begin | end | close, [(32, 32), (48, 32)])) == [
        [(0, 0), (1, 0), (1, 1)],
        [(2, 2), (3, 2), (2, 2)],
    ]
    # What a BEGIN cuts off is drawn, and what no END follows.
    assert figures((begin, [(0, 0), (16, 0)]), (begin, [(32, 0)])) == [[(0, 0), (1, 0)], [(2, 0)]]
    assert figures((end, []), (0, [(16, 16), (32, 16)])) == [[(1, 1), (2, 1)]]


def test_halves_round_down():
    assert [path.round_half_down(value) for value in (-9, -8, -7, 0, 7, 8, 9, 16, 24, 25)] == [-1, -1, 0, 0, 0, 0, 1, 1, 1, 2]


def test_a_straight_curve_is_one_line():
    ends = list(path.flattened(Fixed(0, 0), Fixed(160, 0), Fixed(320, 0), Fixed(480, 0)))
    assert ends == [Fixed(480, 0)]


def test_a_bent_curve_ends_where_it_should_and_turns():
    ends = list(path.flattened(Fixed(0, 0), Fixed(0, 1600), Fixed(1600, 1600), Fixed(1600, 0)))
    assert len(ends) > 4
    assert ends[-1] == Fixed(1600, 0)
    assert max(end.y for end in ends) == pytest.approx(1200, abs=40)


def test_a_curve_of_one_point_ends():
    assert list(path.flattened(*[Fixed(5, 5)] * 4)) == [Fixed(5, 5)]


def test_curves_come_in_threes():
    where = [(0, 0), (160, 0), (320, 0), (480, 0), (999, 999)]
    assert figures((PathFlag.BEGIN | PathFlag.BEZIER, where)) == [[(0, 0), (30, 0)]]


@given(st.lists(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2), min_size=4, max_size=13))
def test_any_curve_ends(where):
    try:
        corners = figures((PathFlag.BEGIN | PathFlag.BEZIER, where))
    except ImageError:
        return
    assert corners


def test_too_many_corners_are_refused():
    segment = PathSegment(PathFlag.BEGIN, tuple(PointFix(float(n % 7), 0.0) for n in range(40000)))
    with pytest.raises(ImageError, match="too many"):
        list(path.polylines(Path((segment, segment)), Budget()))


def test_dashes_count_along_the_pixels():
    columns, rows = path.dashed([Pixel(2, 5), Pixel(14, 5)], [3, 2], AREA, Budget())
    assert columns.tolist() == [2, 3, 4, 7, 8, 9, 12, 13]
    assert set(rows.tolist()) == {5}


def test_dashes_go_on_around_corners():
    columns, rows = path.dashed([Pixel(0, 0), Pixel(4, 0), Pixel(4, 6)], [3, 3], AREA, Budget())
    assert set(zip(columns.tolist(), rows.tolist(), strict=True)) == {(0, 0), (1, 0), (2, 0), (4, 2), (4, 3), (4, 4)}


def test_dashes_without_length_draw_nothing():
    assert len(path.dashed([Pixel(0, 0), Pixel(9, 0)], [0, 0], AREA, Budget())[0]) == 0
    assert len(path.dashed([Pixel(0, 0), Pixel(0, 0)], [1, 1], AREA, Budget())[0]) == 0


def test_dashes_from_afar_cost_what_is_seen():
    columns, _ = path.dashed([Pixel(-FAR, 7), Pixel(FAR, 7)], [1, 1], AREA, Budget())
    assert len(columns) == 20
    assert np.diff(columns).tolist() == [2] * 19
    assert len(path.dashed([Pixel(-FAR, 70), Pixel(FAR, 70)], [1, 1], AREA, Budget())[0]) == 0


def test_dashes_have_a_budget():
    there_and_back = [Pixel(0, 0), Pixel(39, 29)] * 30000
    with pytest.raises(ImageError, match="too many"):
        path.dashed(there_and_back, [1, 1], AREA, Budget())
