from __future__ import annotations

import importlib.util
import struct

import lz4.block
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.lz4 import available, decode_lz4

from .pictures import assert_only_inside, damaged, outcome, pictures, strided

# The example of the reference, chapter 6: 5x3 pixels in blocks of two rows and one.
EXAMPLE = bytes.fromhex("0108 0000000e 4f01020300 0400 0c 50 0001020300 00000009 0b 2800 50 0001020300")
FORMATS = {6: (np.uint16, 0x7FFF), 8: (np.uint32, 2**32 - 1), 9: (np.uint32, 2**32 - 1)}


def encode(raw_rows, bitmap_format, top_down, rows_a_block):
    stream, done = bytearray([top_down, bitmap_format]), b""
    for at in range(0, len(raw_rows), rows_a_block):
        rows = b"".join(raw_rows[at : at + rows_a_block])
        block = lz4.block.compress(rows, store_size=False, dict=done[-65536:])
        stream += struct.pack(">I", len(block)) + block
        done += rows
    return bytes(stream)


@st.composite
def images(draw):
    bitmap_format = draw(st.sampled_from(list(FORMATS)))
    dtype, top = FORMATS[bitmap_format]
    picture = draw(pictures(dtype, top=top))
    top_down = draw(st.booleans())
    rows = [row.tobytes() for row in (picture if top_down else picture[::-1])]
    return bitmap_format, picture, encode(rows, bitmap_format, top_down, draw(st.integers(1, 8)))


def test_it_is_available_where_the_package_is():
    assert available()


def test_without_the_package_it_is_an_error(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert not available()
    with pytest.raises(ImageError, match="lz4 is not installed"):
        decode_lz4(EXAMPLE, width=5, height=3)


def test_the_example_of_the_reference():
    assert decode_lz4(EXAMPLE, width=5, height=3).tolist() == [[0x030201] * 5] * 3


@given(images())
def test_decoding_undoes_encoding(image):
    bitmap_format, picture, stream = image
    height, width = picture.shape
    expected = picture & 0xFFFFFF if bitmap_format == 8 else picture
    out, whole = strided(width, height, picture.dtype)
    decoded = decode_lz4(stream, width=width, height=height, expand=False, out=out)
    assert decoded is out
    np.testing.assert_array_equal(decoded, expected)
    assert_only_inside(whole)


def test_three_bytes_a_pixel_and_expanded_16_bits():
    rows = [bytes(range(at, at + 9)) for at in (1, 11)]
    assert decode_lz4(encode(rows, 7, 0, 2), width=3, height=2).tolist() == [
        [0x0D0C0B, 0x100F0E, 0x131211],
        [0x030201, 0x060504, 0x090807],
    ]
    rows = [np.array([0x7FFF, 0x0421], "<u2").tobytes()]
    assert decode_lz4(encode(rows, 6, 1, 1), width=2, height=1).tolist() == [[0xFFFFFF, 0x080808]]


@given(damaged(st.just(EXAMPLE)))
def test_a_damaged_stream_gives_pixels_or_an_error(stream):
    decoded = outcome(lambda: decode_lz4(stream, width=5, height=3, expand=False), ImageError)
    assert decoded is None or decoded.shape == (3, 5)


@pytest.mark.parametrize("end", range(len(EXAMPLE)))
def test_a_stream_cut_anywhere_is_an_error(end):
    with pytest.raises(ImageError, match="LZ4 image"):
        decode_lz4(EXAMPLE[:end], width=5, height=3)


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (b"\x01\x05", "bitmap format"),
        (EXAMPLE + b"\0\0\0\0", "empty or reaches beyond"),
        (EXAMPLE + EXAMPLE[2:], "cannot be decompressed|no number of rows"),
        (encode([bytes(20)] * 2, 8, 1, 1), "40 bytes of pixels, and not 60"),
        (encode([bytes(10)] * 6, 8, 1, 1), "no number of rows of 20"),
    ],
)
def test_blocks_that_do_not_make_up_the_image_are_errors(stream, sentence):
    with pytest.raises(ImageError, match=sentence):
        decode_lz4(stream, width=5, height=3)


def test_a_size_over_the_limit_and_an_array_that_does_not_fit_are_refused():
    with pytest.raises(ImageError, match="over the limit"):
        decode_lz4(EXAMPLE, width=20000, height=3)
    with pytest.raises(ConfigError, match="out is"):
        decode_lz4(EXAMPLE, width=5, height=3, out=np.empty((3, 4), np.uint32))
