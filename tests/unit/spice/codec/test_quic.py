from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.quic import QuicType, decode_quic, encode_quic, read_quic_header
from atp_trio.spice.codec.raster import expand_555

from . import codec_oracle as oracle
from .pictures import assert_only_inside, assert_same, damaged, outcome, pictures, strided

# Examples of the reference, 2.10: the stream's code words and its pixels.
EXAMPLES = [
    (4, 2, 2, "81a0c0e0 05b18480 00000001 00000000", [[0x302010, 0x2F2012], [0x302010, 0x302011]]),
    (4, 6, 2, "808a8c8e 21848080 bd922411 00c0c255 00000000", [[0x070605] * 6, [0x070605] * 5 + [0x090605]]),
    (2, 3, 1, "4a29638c 000000ca 00000000", [[0x7FFF, 0, 0x7C1F]]),
    (5, 1, 1, "7f828486 00000000", [[0x80030201]]),
]
KINDS = {QuicType.GRAY: (np.uint8, 0xFF), QuicType.RGB16: (np.uint16, 0x7FFF)}


def example(kind, width, height, words):
    header = b"QUIC" + b"".join(number.to_bytes(4, "little") for number in (0, kind, width, height))
    return header + bytes.fromhex(words)


@st.composite
def typed_pictures(draw, **options):
    kind = draw(st.sampled_from(QuicType))
    dtype, top = KINDS.get(kind, (np.uint32, 0xFFFFFFFF if kind == QuicType.RGBA else 0xFFFFFF))
    return kind, draw(pictures(dtype, top=top, **options))


streams = typed_pictures(max_width=24, max_height=6).map(lambda made: encode_quic(made[1], type=made[0]))


def decode(stream, **options):
    header = read_quic_header(stream)
    if header.width * header.height > 1 << 16:
        raise ImageError("larger than a test wants")
    return decode_quic(stream, width=header.width, height=header.height, **options)


@pytest.mark.parametrize(("kind", "width", "height", "words", "pixels"), EXAMPLES)
def test_the_examples_of_the_reference(kind, width, height, words, pixels):
    stream = example(kind, width, height, words)
    decoded = decode_quic(stream, width=width, height=height, expand=False)
    assert decoded.tolist() == pixels
    assert oracle.quic(stream).tolist() == pixels
    assert encode_quic(decoded, type=QuicType(kind)) == stream


@pytest.mark.parametrize("apart", [300, 4000])
def test_rare_escapes_and_long_codewords_among_grain(apart):
    # The decoder reads pixels without an escape by a loop of their own, and returns to it a while after the last escape.
    random = np.random.default_rng(apart)
    picture = (random.integers(96, 104, (90, 200, 3)) + np.arange(200)[:, None] // 8).astype(np.uint32)
    dots = picture.reshape(-1, 3)[::apart]
    dots[:] = random.integers(0, 256, dots.shape)
    pixels = picture[..., 0] << 16 | picture[..., 1] << 8 | picture[..., 2]
    stream = encode_quic(pixels)
    np.testing.assert_array_equal(decode(stream), pixels)
    np.testing.assert_array_equal(oracle.quic(stream), pixels)


@pytest.mark.parametrize(("kind", "depth"), [(QuicType.RGB32, 8), (QuicType.RGB16, 5), (QuicType.GRAY, 8)])
def test_the_codes_of_every_bucket_of_contexts_change(kind, depth):
    # Rows of ever wider differences and back: each bucket is met with what its code does not suit.
    random = np.random.default_rng(depth)
    widths = np.array([*range(depth + 1), *range(depth, -1, -1)] * 4)
    channels = random.integers(0, 1 << widths[:, None, None], (len(widths), 300, 3))
    shifts = [0] if kind == QuicType.GRAY else [2 * depth, depth, 0]
    picture = sum(channels[..., i] << shift for i, shift in enumerate(shifts)).astype(KINDS.get(kind, (np.uint32,))[0])
    stream = encode_quic(picture, type=kind)
    np.testing.assert_array_equal(decode(stream, expand=False), picture)
    np.testing.assert_array_equal(oracle.quic(stream), picture)


def test_short_runs_end_anywhere_and_nothing_is_written_after_a_row():
    lengths = np.repeat(np.arange(1, 14), 2)[:, None]
    for width in range(40, 56):
        picture = (np.arange(width) // lengths).astype(np.uint32)
        out, whole = strided(width, len(picture), np.uint32)
        decode_quic(encode_quic(picture), width=width, height=len(picture), out=out)
        np.testing.assert_array_equal(out, picture)
        assert_only_inside(whole)


@given(typed_pictures())
def test_decoding_undoes_encoding(made):
    kind, picture = made
    stream = encode_quic(picture, type=kind)
    np.testing.assert_array_equal(decode(stream, expand=False), picture)


@settings(max_examples=40)
@given(typed_pictures(max_width=20, max_height=6))
def test_it_agrees_with_the_plain_decoder(made):
    kind, picture = made
    np.testing.assert_array_equal(oracle.quic(encode_quic(picture, type=kind)), picture)


@settings(max_examples=60)
@given(damaged(streams))
def test_it_agrees_with_the_plain_decoder_on_damaged_streams(stream):
    header = outcome(lambda: read_quic_header(stream), ImageError)
    if header is None or header.width * header.height <= 256:
        decoded = outcome(lambda: decode(stream, expand=False), ImageError)
        assert_same(decoded, outcome(lambda: oracle.quic(stream), oracle.Bad))


def test_every_pace_level_and_long_runs_agree_with_the_plain_decoder():
    # 2048 pixels a level; flat rows so that runs cross the changes, noise so that all codes occur.
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 1 << 32, (6, 4096), np.uint32)
    picture[2:4] = 0x11223344
    picture[4:] = picture[4:] & 0x03030303
    stream = encode_quic(picture, type=QuicType.RGBA)
    np.testing.assert_array_equal(oracle.quic(stream), picture)
    np.testing.assert_array_equal(decode(stream), picture)


@given(st.binary(max_size=200))
def test_any_bytes_after_a_header_give_pixels_or_an_error(words):
    for kind in QuicType:
        stream = example(kind, 9, 7, words.hex())
        decoded = outcome(lambda stream=stream: decode(stream), ImageError)
        assert decoded is None or decoded.shape == (7, 9)


@given(st.binary(max_size=64))
def test_any_bytes_give_pixels_or_an_error(data):
    assert outcome(lambda: decode_quic(data, width=3, height=2), ImageError) is None


@settings(max_examples=30)
@given(streams)
def test_a_stream_cut_in_its_codes_is_an_error(stream):
    header = read_quic_header(stream)
    size = {"width": header.width, "height": header.height}
    for end in range(0, len(stream) - 4, 4):  # the last word is only there for readers with a full window
        cut = stream[:end]
        with pytest.raises(ImageError, match=r"before the image does|header"):
            decode_quic(cut, **size)
    np.testing.assert_array_equal(decode_quic(stream[:-4], **size), decode_quic(stream + b"more", **size))


@given(typed_pictures(max_width=20, max_height=5))
def test_it_decodes_into_rows_of_any_distance(made):
    kind, picture = made
    height, width = picture.shape
    out, whole = strided(width, height, picture.dtype)
    result = decode_quic(encode_quic(picture, type=kind), width=width, height=height, expand=False, out=out)
    assert result is out
    np.testing.assert_array_equal(out, picture)
    assert_only_inside(whole)


@given(pictures(np.uint16, top=0x7FFF))
def test_16_bit_pixels_are_expanded(picture):
    expected = np.empty(picture.shape, np.uint32)
    expand_555(picture, expected)
    decoded = decode(encode_quic(picture, type=QuicType.RGB16))
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == np.uint32


@pytest.mark.parametrize(
    ("at", "value", "sentence"),
    [(0, 0, "header"), (4, 1, "header"), (8, 6, "header"), (8, 0, "header"), (12, 0, "header"), (12, 3, "another size")],
)
def test_a_header_that_is_wrong_is_an_error(at, value, sentence):
    stream = bytearray(example(*EXAMPLES[0][:4]))
    stream[at] = value
    with pytest.raises(ImageError, match=sentence):
        decode_quic(stream, width=2, height=2)


def test_a_size_over_the_limit_is_an_error_before_anything_is_allocated():
    stream = example(4, 1 << 14, 1 << 13, "00")
    with pytest.raises(ImageError, match="over the limit"):
        decode_quic(stream, width=1 << 14, height=1 << 13)


def test_a_run_past_its_segment_is_an_error():
    # A row above of zeros, three pixels of zeros, then a run of more than the one pixel that is left.
    flat = bytearray(encode_quic(np.zeros((2, 4), np.uint32)))
    words = int.from_bytes(flat[20:24], "little"), int.from_bytes(flat[24:28], "little")
    bits = f"{words[0]:032b}{words[1]:032b}"
    whole = "".join(f"{int.from_bytes(flat[at : at + 4], 'little'):032b}" for at in range(20, len(flat), 4))
    assert whole.startswith(bits)
    run = len(whole.rstrip("0"))  # the run of 1 is a 1 bit, and the last code
    longer = (whole[: run - 1] + "1" * 32).ljust(-(-(run + 32) // 32) * 32, "0")
    data = b"".join(int(longer[at : at + 32], 2).to_bytes(4, "little") for at in range(0, len(longer), 32))
    with pytest.raises(ImageError, match="run passes"):
        decode_quic(bytes(flat[:20]) + data, width=4, height=2)


@pytest.mark.parametrize("out", [np.empty((2, 3), np.uint32), np.empty((2, 2), np.uint16), np.empty((2, 4), np.uint32)[:, ::2]])
def test_an_array_that_does_not_fit_is_refused(out):
    with pytest.raises(ConfigError, match="out is"):
        decode_quic(example(*EXAMPLES[0][:4]), width=2, height=2, out=out)


def test_an_array_of_another_kind_is_not_encoded():
    with pytest.raises(ConfigError, match="RGB16 is encoded from"):
        encode_quic(np.zeros((2, 2), np.uint32), type=QuicType.RGB16)
