"""Looking for pictures in pictures: in place with numpy, anywhere with OpenCV."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.imaging.search import Needle, find
from atp_trio.spice.messages.geometry import Rect


@pytest.fixture
def noise():
    """A screen where no two places look the same."""
    return np.random.default_rng(7).integers(0, 1 << 24, (90, 120), np.uint32)


@pytest.fixture
def flat():
    return np.full((90, 120), 0xF0F0F0, np.uint32)


def cut(pixels, x, y, width, height):
    return Needle(pixels[y : y + height, x : x + width])


def test_in_place_it_takes_no_extra(noise, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    match = find(noise, [Needle(noise)], x=5, y=6)
    assert (match.index, match.region, match.wrong, match.is_found) == (0, Rect.at(5, 6, 120, 90), 0.0, True)
    other = noise.copy()
    other[:9] ^= 1
    match = find(other, [Needle(noise)])
    assert (match.is_found, match.wrong) == (False, 0.1)
    assert str(match) == "picture 0 at 0,0, where 10.00% of its pixels differ"


def test_searching_without_the_extra_says_which(noise, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"pip install 'atp-trio\[vision\]'"):
        find(noise, [cut(noise, 3, 4, 10, 10)])


@pytest.mark.parametrize(("x", "y", "width", "height"), [(0, 0, 1, 1), (37, 21, 30, 20), (110, 85, 10, 5), (0, 1, 120, 89)])
def test_found_wherever_it_is(noise, x, y, width, height):
    match = find(noise, [cut(noise, x, y, width, height)], x=100, y=200)
    assert (match.region, match.wrong) == (Rect.at(100 + x, 200 + y, width, height), 0.0)


def test_what_the_top_byte_holds_does_not_count(noise):
    assert find(noise | 0xFF000000, [cut(noise, 3, 4, 10, 10)]).is_found
    assert find(noise, [cut(noise | 0xFF000000, 3, 4, 10, 10)]).is_found


def test_one_pixel_of_another_shade_is_not_found(flat):
    """The place that floating point cannot tell from the right one."""
    screen = flat.copy()
    screen[40, 60] ^= 1
    match = find(flat, [cut(screen, 40, 30, 50, 40)])
    assert not match.is_found
    assert match.wrong == 1 / 2000
    assert find(screen, [cut(screen, 40, 30, 50, 40)]).region == Rect.at(40, 30, 50, 40)


def test_another_colour_of_the_same_grey_is_not_found():
    red, blue = np.full((30, 30), 0x260000, np.uint32), np.full((8, 8), 0x000064, np.uint32)  # both are grey level 11
    assert find(red, [Needle(blue)]).wrong == 1.0


def test_tolerance_is_for_every_channel_of_every_pixel(noise):
    needle = noise[10:30, 20:60].copy()
    needle[3, 5] ^= 0x080000  # red by 8
    assert not find(noise, [Needle(needle)], 7).is_found
    match = find(noise, [Needle(needle)], 8)
    assert match.region == Rect.at(20, 10, 40, 20)


def test_noise_within_the_tolerance_is_found_and_beyond_it_is_not(flat):
    rng = np.random.default_rng(3)
    screen = flat - sum(rng.integers(0, 6, flat.shape, np.uint32) << shift for shift in (0, 8, 16))
    needle = cut(flat, 0, 0, 30, 30)
    assert find(screen, [needle], 5).is_found
    assert not find(screen, [needle], 4).is_found


def test_what_the_mask_leaves_out_may_be_anything(noise):
    pixels, mask = noise[10:30, 20:60].copy(), np.ones((20, 40), bool)
    pixels[5:15, 10:30], mask[5:15, 10:30] = 0, False
    assert not find(noise, [Needle(pixels)]).is_found
    assert find(noise, [Needle(pixels, mask)]).region == Rect.at(20, 10, 40, 20)
    assert find(noise[10:30, 20:60], [Needle(pixels, mask)]).is_found


def test_the_first_of_several_that_is_there_wins_and_otherwise_the_nearest(noise, flat):
    here, there = cut(noise, 1, 2, 9, 9), cut(noise, 50, 60, 9, 9)
    nowhere = cut(flat, 0, 0, 9, 9)
    assert find(noise, [nowhere, there, here]).index == 1
    almost = noise[60:69, 50:59].copy()
    almost[0, 0] ^= 0xFF
    match = find(noise, [nowhere, Needle(almost)])
    assert (match.index, match.region) == (1, Rect.at(50, 60, 9, 9))
    assert match.wrong == pytest.approx(1 / 81)


def test_a_needle_that_does_not_fit_is_nowhere(noise):
    assert find(noise[:5], [Needle(noise[:6])]) is None
    assert find(noise[:0], [Needle(noise)]) is None


def test_a_flat_needle_on_a_flat_screen_with_dots_everywhere(flat):
    """Nearly right everywhere and right nowhere: is looked at completely, and not for ever."""
    screen = flat.copy()
    screen[::7, ::7] ^= 1
    assert not find(screen, [cut(flat, 0, 0, 20, 20)]).is_found
    screen[43:70, 64:91] = flat[0, 0]
    assert find(screen, [cut(flat, 0, 0, 27, 27)]).region == Rect.at(64, 43, 27, 27)


@pytest.mark.parametrize(
    ("pixels", "mask"),
    [
        (np.zeros((0, 5), np.uint32), None),
        (np.zeros(5, np.uint32), None),
        (np.zeros((5, 5, 3), np.uint8), None),
        (np.zeros((5, 5), np.uint32), np.ones((5, 4), bool)),
        (np.zeros((5, 5), np.uint32), np.zeros((5, 5), bool)),
    ],
)
def test_what_is_no_needle(pixels, mask):
    with pytest.raises(ConfigError):
        Needle(pixels, mask)


def test_a_needle_is_a_copy(noise):
    pixels = noise[:4, :4].copy()
    needle = Needle.of(Screenshot(pixels))
    pixels[...] = 0
    assert np.array_equal(needle.pixels, noise[:4, :4])
    assert Needle.of(needle) is needle
    assert Needle.of(needle, np.eye(4, dtype=bool)).mask is not None


def test_from_a_file_with_what_is_transparent_left_out(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[...] = (1, 2, 3, 255)
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    needle = Needle.load(tmp_path / "opaque.png")
    assert needle.mask is None
    assert (needle.pixels == 0x010203).all()
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "hole.png")
    assert Needle.load(tmp_path / "hole.png").mask.sum() == 5


def test_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "screen.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(ConfigError, match="no picture"):
        Needle.load(tmp_path / "screen.png")
    with pytest.raises(FileNotFoundError):
        Needle.load(tmp_path / "nowhere.png")
