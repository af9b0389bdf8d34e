import numpy as np
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.imaging import pixel
from atp_trio.spice.messages.display import SurfaceFormat as Format

BYTES = np.arange(256, dtype=np.uint32)
# All pairs of bytes, in all four channels at once.
PAIRS_A, PAIRS_B = (axis.ravel() for axis in np.meshgrid(BYTES, BYTES))


def spread(channel):
    return channel * np.uint32(0x01010101)


def test_multiply_is_exact_rounding():
    expected = np.floor(PAIRS_A * PAIRS_B / 255 + 0.5).astype(np.uint32)
    assert (pixel.multiply(spread(PAIRS_A), PAIRS_B) == spread(expected)).all()


def test_add_saturates_channel_by_channel():
    assert (pixel.add(spread(PAIRS_A), spread(PAIRS_B)) == spread(np.minimum(PAIRS_A + PAIRS_B, 255))).all()
    assert pixel.add(np.uint32(0xFF00FF01), np.uint32(0x01020304)) == 0xFF02FF05


def test_over():
    source, dest = np.array([0xFF112233, 0x80402010, 0], np.uint32), np.array([0xFF556677] * 3, np.uint32)
    assert pixel.over(source, dest).tolist() == [0xFF112233, 0xFF6A534B, 0xFF556677]


@pytest.mark.parametrize("form", [Format.FMT_16_555, Format.FMT_16_565])
def test_16_bit_formats_survive_the_way_through_32(form):
    every = np.arange(0x8000 if form == Format.FMT_16_555 else 0x10000, dtype=np.uint16)
    assert (pixel.from_argb(pixel.to_argb(every, form), form) == every).all()


def test_bits_are_replicated():
    assert pixel.to_argb(np.array([0x7C00, 0x0421, 0x0210, 0xFFFF], np.uint16), Format.FMT_16_555).tolist() == [
        0xFFFF0000,
        0xFF080808,
        0xFF008484,
        0xFFFFFFFF,
    ]
    assert pixel.to_argb(np.array([0x0020, 0x0400, 0x07E0, 0x8410], np.uint16), Format.FMT_16_565).tolist() == [
        0xFF000400,
        0xFF008200,
        0xFF00FF00,
        0xFF848284,
    ]


def test_truncation():
    argb = np.array([0x80FF07F8], np.uint32)
    assert pixel.from_argb(argb, Format.FMT_16_555).tolist() == [0x7C1F]
    assert pixel.from_argb(argb, Format.FMT_16_565).tolist() == [0xF83F]
    assert pixel.from_argb(argb, Format.FMT_8_A).tolist() == [0x80]
    assert pixel.from_argb(np.array([0x7F000000, 0x80000000], np.uint32), Format.FMT_1_A).tolist() == [0, 255]


def test_32_bit_formats_keep_their_numbers():
    pixels = np.array([0x12345678], np.uint32)
    assert pixel.converted(pixels, Format.FMT_32_ARGB, Format.FMT_32_xRGB) is pixels
    assert pixel.converted(pixels, Format.FMT_32_xRGB, Format.FMT_32_ARGB) is pixels
    assert pixel.to_argb(pixels, Format.FMT_32_xRGB).tolist() == [0xFF345678]
    assert pixel.to_argb(pixels, Format.FMT_32_ARGB) is pixels


def test_alpha_is_a_colour_of_alpha_alone():
    assert pixel.converted(np.array([0x80], np.uint8), Format.FMT_8_A, Format.FMT_32_ARGB).tolist() == [0x80000000]


@pytest.mark.parametrize(
    ("form", "colour", "expected"),
    [
        (Format.FMT_32_xRGB, 0x1FFEEDDCC, 0xFFEEDDCC),
        (Format.FMT_16_565, 0x12345, 0x2345),
        (Format.FMT_8_A, 0x1FE, 0xFE),
        (Format.FMT_1_A, 3, 255),
        (Format.FMT_1_A, 2, 0),
    ],
)
def test_raw_colour_takes_the_low_bits(form, colour, expected):
    raw = pixel.raw_colour(form, colour)
    assert raw == expected
    assert raw.dtype == pixel.DTYPES[form]


def test_same_depth():
    pixel.require_same_depth(Format.FMT_32_ARGB, Format.FMT_32_xRGB)
    with pytest.raises(ImageError, match="FMT_16_555"):
        pixel.require_same_depth(Format.FMT_16_555, Format.FMT_32_xRGB)
