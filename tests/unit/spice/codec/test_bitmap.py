from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.bitmap import BITS, decode_bitmap

from .pictures import assert_only_inside, outcome, strided

PALETTE = [0xFF000000 | 0x0F1E2D * i & 0xFFFFFF for i in range(256)]


def plain(data, bitmap_format, width, height, stride, top_down, palette):
    """Pixel by pixel, as the reference has it."""
    rows = []
    for y in range(height):
        row = data[stride * y : stride * (y + 1)]
        rows.append([pixel(row, x, bitmap_format, palette) for x in range(width)])
    return rows if top_down else rows[::-1]


def pixel(row, x, bitmap_format, palette):
    bits = BITS[bitmap_format]
    if bits < 8:
        byte, place = row[x * bits // 8], x * bits % 8
        index = byte >> (place if bitmap_format in (1, 3) else 8 - bits - place) & (1 << bits) - 1
        return palette[index % len(palette)] & 0xFFFFFF
    value = int.from_bytes(row[x * bits // 8 : (x + 1) * bits // 8], "little")
    if bitmap_format == 5:
        return palette[value % len(palette)] & 0xFFFFFF
    if bitmap_format == 6:
        red, green, blue = ((value >> shift & 31) << 3 | (value >> shift & 31) >> 2 for shift in (10, 5, 0))
        return red << 16 | green << 8 | blue
    return value & 0xFFFFFF if bitmap_format == 8 else value


@given(
    st.sampled_from(list(BITS)),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(0, 5),
    st.booleans(),
    st.integers(1, 256),
    st.data(),
)
def test_every_format_agrees_with_the_plain_reading(bitmap_format, width, height, padding, top_down, colours, data):
    stride = (width * BITS[bitmap_format] + 7) // 8 + padding
    raw = data.draw(st.binary(min_size=stride * height, max_size=stride * height))
    palette = PALETTE[:colours]
    out, whole = strided(width, height, np.uint8 if bitmap_format == 10 else np.uint32)
    layout = {"format": bitmap_format, "width": width, "height": height, "stride": stride, "top_down": top_down}
    decoded = decode_bitmap(raw, **layout, palette=palette, out=out)
    assert decoded is out
    assert decoded.tolist() == plain(raw, bitmap_format, width, height, stride, top_down, palette)
    assert_only_inside(whole)
    np.testing.assert_array_equal(decode_bitmap(memoryview(raw), **layout, palette=np.array(palette, np.uint32)), decoded)


def test_16_bit_pixels_can_stay_as_they_are():
    layout = {"format": 6, "width": 2, "height": 2, "stride": 5, "top_down": False, "expand": False}
    decoded = decode_bitmap(bytes.fromhex("0100020099 0300ff7f99"), **layout)
    assert decoded.tolist() == [[3, 0x7FFF], [1, 2]]
    assert decoded.dtype == np.uint16


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 0}, "no bitmap format 0"),
        ({"format": 11}, "no bitmap format 11"),
        ({"stride": 15}, "stride 15, has only"),
        ({"stride": 2**32 - 1}, "stride 4294967295"),
        ({"height": 3}, "has only 32 bytes"),
        ({"width": 0}, "has no size"),
        ({"width": 65535, "height": 65535}, "over the limit"),
        ({"format": 5, "stride": 4}, "needs a palette"),
        ({"format": 1, "stride": 4, "palette": []}, "needs a palette"),
    ],
)
def test_what_cannot_be_a_bitmap_is_an_error(changes, sentence):
    layout = {"format": 8, "width": 4, "height": 2, "stride": 16, "top_down": True} | changes
    with pytest.raises(ImageError, match=sentence):
        decode_bitmap(bytes(32), **layout)


@given(st.integers(-1, 20), st.integers(-1, 40), st.integers(-1, 5), st.integers(-1, 50), st.binary(max_size=60))
def test_any_numbers_give_pixels_or_an_error(bitmap_format, width, height, stride, data):
    layout = {"format": bitmap_format, "width": width, "height": height, "stride": stride, "top_down": True}
    decoded = outcome(lambda: decode_bitmap(data, **layout, palette=PALETTE), ImageError)
    assert decoded is None or decoded.shape == (height, width)


def test_an_array_that_does_not_fit_is_refused():
    layout = {"format": 8, "width": 4, "height": 2, "stride": 16, "top_down": True}
    readonly = np.zeros((2, 4), np.uint32)
    readonly.flags.writeable = False
    for out in (np.empty((2, 4), np.uint8), readonly, np.empty((2, 8), np.uint32)[:, ::2]):
        with pytest.raises(ConfigError, match="out is"):
            decode_bitmap(bytes(32), **layout, out=out)
