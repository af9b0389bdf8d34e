from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.jpeg import decode_jpeg, decode_jpeg_alpha
from atp_trio.spice.codec.lz import LzType, encode_lz

from .pictures import assert_only_inside, damaged, outcome, strided

Y, X = np.mgrid[0:20, 0:33].astype(np.uint32)
SMOOTH = X * 7 << 16 | Y * 11 << 8 | X * 3 + Y
ALPHA = (X * 5 + Y & 0xFF).astype(np.uint32) << 24
JPEG = simplejpeg.encode_jpeg(np.ascontiguousarray(SMOOTH).view(np.uint8).reshape(20, 33, 4), 95, "BGRX", "444")
SIZE = {"width": 33, "height": 20}


def channels(pixels):
    return np.ascontiguousarray(pixels).view(np.uint8).reshape(*pixels.shape, 4).astype(int)


def test_colours_are_near_and_x_is_0():
    decoded = decode_jpeg(JPEG, **SIZE)
    assert decoded.dtype == np.uint32
    assert abs(channels(decoded) - channels(SMOOTH)).max() <= 8
    assert not (decoded >> 24).any()


def test_the_size_can_be_the_jpegs_own():
    np.testing.assert_array_equal(decode_jpeg(JPEG), decode_jpeg(JPEG, **SIZE))


def test_grey_is_decoded():
    grey = simplejpeg.encode_jpeg(np.full((4, 5, 1), 77, np.uint8), 95, "GRAY")
    assert (decode_jpeg(grey, width=5, height=4) == 0x4D4D4D).all()


def test_it_decodes_into_rows_of_any_distance():
    out, whole = strided(33, 20, np.uint32)
    assert decode_jpeg(JPEG, **SIZE, out=out) is out
    np.testing.assert_array_equal(out, decode_jpeg(JPEG, **SIZE))
    assert_only_inside(whole)


@pytest.mark.parametrize(("width", "height", "sentence"), [(33, 21, "33x20, and not 33x21"), (20000, 1, "over the limit")])
def test_another_size_is_an_error(width, height, sentence):
    with pytest.raises(ImageError, match=sentence):
        decode_jpeg(JPEG, width=width, height=height)


def test_an_array_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="out is"):
        decode_jpeg(JPEG, **SIZE, out=np.empty((3, 3), np.uint32))


@given(st.binary(max_size=80))
def test_any_bytes_give_an_error(data):
    with pytest.raises(ImageError):
        decode_jpeg(data, **SIZE)


@given(damaged(st.just(JPEG)))
def test_a_damaged_jpeg_gives_pixels_or_an_error(data):
    decoded = outcome(lambda: decode_jpeg(data, **SIZE), ImageError)
    assert decoded is None or decoded.shape == (20, 33)


@pytest.mark.parametrize("cut", [1, 10, 200, 600])
def test_a_jpeg_cut_short_is_an_error(cut):
    assert len(JPEG) > 600
    decoded = outcome(lambda: decode_jpeg(JPEG[:-cut], **SIZE), ImageError)
    # Without its last byte it lacks half of the end marker only, which the library forgives.
    assert decoded is None or cut == 1


@pytest.mark.parametrize("top_down", [True, False])
def test_alpha_comes_from_the_lz_image(top_down):
    data = JPEG + encode_lz(ALPHA, type=LzType.XXXA, top_down=top_down)
    for flag in (top_down, None):
        decoded = decode_jpeg_alpha(data, jpeg_size=len(JPEG), **SIZE, top_down=flag)
        np.testing.assert_array_equal(decoded, decode_jpeg(JPEG, **SIZE) | ALPHA)
    with pytest.raises(ImageError, match="orientation"):
        decode_jpeg_alpha(data, jpeg_size=len(JPEG), **SIZE, top_down=not top_down)


def test_alpha_is_decoded_into_rows_of_any_distance():
    out, whole = strided(33, 20, np.uint32)
    data = JPEG + encode_lz(ALPHA, type=LzType.XXXA)
    assert decode_jpeg_alpha(data, jpeg_size=len(JPEG), **SIZE, out=out) is out
    np.testing.assert_array_equal(out, decode_jpeg(JPEG, **SIZE) | ALPHA)
    assert_only_inside(whole)


@pytest.mark.parametrize("jpeg_size", [-1, 0, len(JPEG) + 40, 2**32 - 1])
def test_a_jpeg_size_beyond_the_data_is_an_error(jpeg_size):
    with pytest.raises(ImageError, match="cannot have a JPEG of"):
        decode_jpeg_alpha(JPEG + bytes(40), jpeg_size=jpeg_size, **SIZE)


def test_another_alpha_is_an_error():
    with pytest.raises(ImageError, match="A8, and not XXXA"):
        decode_jpeg_alpha(JPEG + encode_lz(np.zeros((20, 33), np.uint8), type=LzType.A8), jpeg_size=len(JPEG), **SIZE)
    with pytest.raises(ImageError, match="another size"):
        decode_jpeg_alpha(JPEG + encode_lz(ALPHA[:5], type=LzType.XXXA), jpeg_size=len(JPEG), **SIZE)
    with pytest.raises(ImageError, match="valid LZ header"):
        decode_jpeg_alpha(JPEG + bytes(100), jpeg_size=len(JPEG), **SIZE)
