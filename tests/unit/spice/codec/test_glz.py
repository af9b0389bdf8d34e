from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.glz import GlzImageMissing, GlzType, GlzWindow, read_glz_header
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.raster import expand_555

from . import codec_oracle as oracle
from .pictures import assert_only_inside, assert_same, outcome, pictures, strided

TOPS = {GlzType.RGB16: (np.uint16, 0x7FFF), GlzType.RGBA: (np.uint32, 2**32 - 1)}


def stream(image_id, distance, body, width=10, height=1, kind=0x18):
    """An image of these items."""
    return struct.pack(">IIBIIIQI", 0x20205A4C, 0x10001, kind, width, height, 4 * width, image_id, distance) + bytes.fromhex(body)


def plain(image_id, distance, width=10, height=1, kind=0x18):
    """An image of one black pixel, repeated."""
    total = width * height
    run = "00000000" + (f"e0{total - 8:02x}0000" if total > 7 else "")
    return stream(image_id, distance, run, width, height, kind)


@st.composite
def sequences(draw):
    """Images of mixed types that resemble each other, encoded one after the other."""
    base = draw(pictures(np.uint32, max_width=24))
    made = []
    encoder = GlzEncoder(draw(st.integers(base.size, 6 * base.size)), next_id=draw(st.sampled_from([0, 1000, 2**40])))
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(GlzType))
        dtype, top = TOPS.get(kind, (np.uint32, 0xFFFFFF))
        picture = np.roll(base, draw(st.integers(0, 30))) & top
        if draw(st.booleans()):
            picture[draw(st.integers(0, picture.shape[0] - 1))] ^= 0x10101
        picture = (picture & top).astype(dtype)
        made.append((kind, picture, encoder.encode(picture, type=kind, top_down=draw(st.booleans()))))
    return encoder.max_pixels, made


def decode(window, data, **options):
    header = read_glz_header(data)
    return window.decode(data, width=header.width, height=header.height, **options)


def as_decoded(kind, picture):
    if kind != GlzType.RGB16:
        return picture
    wide = np.empty(picture.shape, np.uint32)
    expand_555(picture, wide)
    return wide


def test_the_example_of_the_reference():
    window = GlzWindow(1 << 20)
    first = stream(0, 0, "09" + "".join(f"{i:02x}0000" for i in range(1, 11)))
    second = stream(1, 1, "02aabbcc010000020000 e2000001 010a0000555555", width=12)
    assert window.decode(first, width=10, height=1).tolist() == [list(range(1, 11))]
    assert window.decode(second, width=12, height=1).tolist() == [[0xCCBBAA, *range(1, 11), 0x555555]]
    assert len(window) == 2
    assert window.pixels == 22


@given(sequences())
def test_decoding_undoes_encoding(made):
    max_pixels, images = made
    window = GlzWindow(max_pixels)
    for kind, picture, data in images:
        np.testing.assert_array_equal(decode(window, data), as_decoded(kind, picture))
        assert window.pixels <= max_pixels + picture.size


@settings(max_examples=50)
@given(sequences(), st.lists(st.tuples(st.integers(33, 1 << 16), st.integers(0, 255)), max_size=3))
def test_it_agrees_with_the_plain_decoder_on_damaged_streams(made, changes):
    window, plain_window = GlzWindow(1 << 20), {}
    for _, _, data in made[1]:
        damaged = bytearray(data)
        for at, value in changes:
            damaged[33 + at % (len(data) - 33)] = value
        before = len(window)
        expected = outcome(lambda d=bytes(damaged), w=plain_window: oracle.glz(d, w), oracle.Bad)
        assert_same(outcome(lambda d=damaged: decode(window, d, give_up=True), ImageError), expected)
        if expected is None:
            # From here on the windows differ: one has a placeholder.
            assert len(window) <= before + 1
            return
        head = read_glz_header(data).head
        plain_window = {key: image for key, image in plain_window.items() if key >= head}


@given(st.sampled_from(GlzType), st.binary(max_size=100))
def test_any_items_agree_with_the_plain_decoder(kind, body):
    earlier = stream(3, 0, "0b" + "".join(f"{i:02x}{i:02x}{i:02x}" for i in range(1, 13)) + "0b" + "00" * 12, 12, 1, 0x19)
    data = stream(4, 1, body.hex(), 20, 3, 0x10 | kind)
    window, plain_window = GlzWindow(1 << 20), {}
    assert_same(decode(window, earlier), oracle.glz(earlier, plain_window))
    assert_same(
        outcome(lambda: decode(window, data, give_up=True), ImageError),
        outcome(lambda: oracle.glz(data, plain_window), oracle.Bad),
    )


@given(st.binary(max_size=64))
def test_any_bytes_give_an_error(data):
    window = GlzWindow(1 << 20)
    assert outcome(lambda: window.decode(data, width=3, height=2), ImageError) is None


@settings(max_examples=30)
@given(sequences())
def test_a_stream_cut_anywhere_is_an_error(made):
    _, _, data = made[1][0]
    header = read_glz_header(data)
    for end in range(len(data)):
        with pytest.raises(ImageError, match=r"before the image does|header"):
            GlzWindow(1 << 20).decode(data[:end], width=header.width, height=header.height)


@given(sequences())
def test_it_copies_into_rows_of_any_distance(made):
    kind, picture, data = made[1][0]
    height, width = picture.shape
    out, whole = strided(width, height, np.uint32)
    window = GlzWindow(made[0])
    assert decode(window, data, out=out) is out
    np.testing.assert_array_equal(out, as_decoded(kind, picture))
    assert_only_inside(whole)


def test_the_windows_copy_cannot_be_written_to():
    pixels = decode(GlzWindow(1 << 20), plain(0, 0))
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 1


def test_an_image_that_is_ahead_waits_for_what_it_refers_to():
    encoder = GlzEncoder(1 << 20)
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 1 << 24, (4, 50), np.uint32)
    first, second = encoder.encode(picture), encoder.encode(picture ^ np.eye(4, 50, dtype=np.uint32))
    window = GlzWindow(1 << 20)
    with pytest.raises(GlzImageMissing, match="image 0") as caught:
        decode(window, second)
    assert caught.value.id == 0
    assert len(window) == 0
    decode(window, first)
    np.testing.assert_array_equal(decode(window, second), picture ^ np.eye(4, 50, dtype=np.uint32))


def test_what_lies_below_the_head_is_released_when_all_before_it_have_come():
    window = GlzWindow(1 << 20)
    for number, distance in [(0, 0), (1, 1), (2, 2)]:
        decode(window, plain(number, distance))
    decode(window, plain(4, 1))  # ahead: image 3 may still refer to image 0
    assert len(window) == 4
    decode(window, plain(3, 3))
    assert len(window) == 2  # 3 and 4
    decode(window, plain(5, 0))
    assert len(window) == 1


def test_a_sequence_that_began_earlier_than_it_seemed_is_put_in_order():
    window = GlzWindow(1 << 20)
    decode(window, plain(1002, 0))
    decode(window, plain(1001, 1))
    decode(window, plain(1000, 0))
    assert len(window) == 1
    decode(window, plain(1003, 0))
    assert len(window) == 1
    with pytest.raises(GlzImageMissing, match="999"):
        decode(window, stream(1004, 5, "e0040005", 11))


def test_a_reference_to_what_was_released_is_an_error_for_good():
    window = GlzWindow(1 << 20)
    for number in range(3):
        decode(window, plain(number, 0))
    with pytest.raises(ImageError, match="not in the window any more") as caught:
        decode(window, stream(3, 0, "e0030002"))
    assert not isinstance(caught.value, GlzImageMissing)


def test_a_failed_image_leaves_a_placeholder():
    window = GlzWindow(1 << 20)
    with pytest.raises(ImageError, match=r"before the image does"):
        decode(window, stream(0, 0, "00010203"))
    # Image 1 copies all of image 0: one pixel that was decoded, and zeros.
    assert decode(window, stream(1, 1, "e0030001")).tolist() == [[0x030201, *[0] * 9]]


def test_giving_up_leaves_a_placeholder():
    window = GlzWindow(1 << 20)
    needs_another = stream(7, 3, "e0030001")
    with pytest.raises(GlzImageMissing):
        decode(window, needs_another)
    with pytest.raises(ImageError, match="not in the window"):
        decode(window, needs_another, give_up=True)
    assert decode(window, stream(8, 1, "e0030001")).tolist() == [[0] * 10]
    window.give_up(stream(9, 0, ""))
    window.give_up(stream(9, 0, ""))
    with pytest.raises(ImageError, match="pixels that no image has"):
        decode(window, stream(10, 1, "e0030001"))


@pytest.mark.parametrize(
    ("data", "size", "sentence"),
    [
        (plain(0, 0), (10, 2), "10x1, and not 10x2"),
        (plain(0, 0, 20000, 1), (20000, 1), "over the limit"),
        (plain(0, 0, 101, 1), (101, 1), "larger than the window"),
        (stream(0, 0, "e0030000"), (10, 1), "pixels that no image has"),
        (stream(0, 0, "e0030001"), (10, 1), "pixels that no image has"),
        (stream(0, 0, "00000000e0040000"), (10, 1), "passes the end"),
        (stream(0, 0, "0a" + "000000" * 11), (10, 1), "passes the end"),
    ],
)
def test_images_that_break_a_rule_are_errors_and_leave_placeholders(data, size, sentence):
    window = GlzWindow(100)
    with pytest.raises(ImageError, match=sentence):
        window.decode(data, width=size[0], height=size[1])
    assert len(window) == 1
    with pytest.raises(ImageError, match="id 0, which another one had"):
        window.decode(data, width=size[0], height=size[1])


@pytest.mark.parametrize(("at", "value"), [(0, 0), (5, 0), (8, 0x15), (8, 0x1A), (12, 0), (16, 0)])
def test_a_header_that_is_wrong_is_an_error(at, value):
    data = bytearray(plain(0, 0))
    data[at] = value
    with pytest.raises(ImageError, match="header"):
        GlzWindow(100).decode(data, width=10, height=1)


@pytest.mark.parametrize("step", [1, 2, -2])
def test_the_window_is_bounded_whatever_ids_come(step):
    window = GlzWindow(100, max_images=16)
    for number in range(500):
        image_id = 5000 + step * number
        decode(window, plain(image_id, image_id))
        assert window.pixels <= 200
        assert len(window) <= 16
    assert window.images.struct.ahead_count <= 16


def test_very_many_tiny_images_are_bounded():
    window = GlzWindow(1000, max_images=16)
    for number in range(50):
        decode(window, plain(number, number, 1, 1))
    assert len(window) == 16
    with pytest.raises(ImageError, match="not in the window any more"):
        decode(window, stream(50, 50, "200032", 1, 1))


def test_clearing_forgets_everything():
    window = GlzWindow(100)
    decode(window, plain(5, 0))
    window.clear()
    assert (len(window), window.pixels) == (0, 0)
    decode(window, plain(5, 0))
    assert repr(window) == "<GlzWindow: 1 images, 10 of 100 pixels>"


def test_what_does_not_fit_is_refused():
    window = GlzWindow(100)
    with pytest.raises(ConfigError, match="out is"):
        decode(window, plain(0, 0), out=np.empty((2, 2), np.uint32))
    assert len(window) == 0
    encoder = GlzEncoder(100)
    with pytest.raises(ConfigError, match="RGB16 is encoded from"):
        encoder.encode(np.zeros((2, 2), np.uint32), type=GlzType.RGB16)
    with pytest.raises(ImageError, match="larger than the window"):
        encoder.encode(np.zeros((2, 51), np.uint32))
