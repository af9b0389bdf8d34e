from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzImageMissing, GlzWindow
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.zlib_glz import decode_zlib_glz, inflate

from .pictures import pictures

PICTURE = np.random.default_rng(2).integers(0, 1 << 24, (6, 40), np.uint32)


@given(pictures(np.uint32, top=0xFFFFFF))
def test_decoding_undoes_encoding(picture):
    height, width = picture.shape
    glz = GlzEncoder(1 << 20).encode(picture)
    out = np.empty_like(picture)
    decoded = decode_zlib_glz(
        zlib.compress(glz), glz_size=len(glz), window=GlzWindow(1 << 20), width=width, height=height, out=out
    )
    assert decoded is out
    np.testing.assert_array_equal(decoded, picture)


@given(st.binary(max_size=100), st.integers(0, 200))
def test_any_bytes_give_an_error(data, glz_size):
    window = GlzWindow(1 << 20)
    with pytest.raises(ImageError):
        decode_zlib_glz(data, glz_size=glz_size, window=window, width=3, height=2)
    assert len(window) == 0


def test_inflating_stops_one_byte_after_the_size():
    bomb = zlib.compress(bytes(1 << 26))
    with pytest.raises(ImageError, match="does not inflate to 100 bytes"):
        inflate(bomb, 100)
    with pytest.raises(ImageError, match="does not inflate"):
        inflate(bomb, (1 << 26) + 1)
    assert len(inflate(bomb, 1 << 26)) == 1 << 26


def test_a_size_that_the_pixels_cannot_need_is_an_error():
    with pytest.raises(ImageError, match="cannot inflate to"):
        decode_zlib_glz(zlib.compress(bytes(99999)), glz_size=99999, window=GlzWindow(1 << 20), width=3, height=2)


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_an_image_cut_short_leaves_a_placeholder(cut):
    glz = GlzEncoder(1 << 20).encode(PICTURE)
    window = GlzWindow(1 << 20)
    with pytest.raises(ImageError, match="inflate"):
        decode_zlib_glz(zlib.compress(glz)[:-cut], glz_size=len(glz), window=window, width=40, height=6)
    assert len(window) == 1


def test_it_waits_for_what_it_refers_to():
    encoder = GlzEncoder(1 << 20)
    encoder.encode(PICTURE)
    glz = encoder.encode(PICTURE ^ 1 << 8 * (PICTURE & 1))
    glz = encoder.encode(PICTURE)
    window = GlzWindow(1 << 20)
    with pytest.raises(GlzImageMissing):
        decode_zlib_glz(zlib.compress(glz), glz_size=len(glz), window=window, width=40, height=6)
    with pytest.raises(ImageError, match="not in the window"):
        decode_zlib_glz(zlib.compress(glz), glz_size=len(glz), window=window, width=40, height=6, give_up=True)
    assert len(window) == 1
