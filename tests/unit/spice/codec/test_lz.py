from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.lz import LzType, decode_lz, encode_lz, read_lz_header
from atp_trio.spice.codec.raster import expand_555

from . import codec_oracle as oracle
from .pictures import assert_only_inside, assert_same, damaged, outcome, pictures, strided

PALETTE = [0x102030 * i & 0xFFFFFF for i in range(16)]
# Examples of the reference, 3.5: type, size, stride, top_down, body, pixels.
EXAMPLES = [
    (8, 10, 1, 40, 1, "01aabbcc010203 a000 02010203010203010203", [[0xCCBBAA] + [0x030201] * 9]),
    (5, 16, 1, 16, 0, "02000102 e00102 02010203", [[PALETTE[i] for i in (0, 1, 2) * 5 + (3,)]]),
    (
        9,
        6,
        2,
        24,
        1,
        "02010000020000030000 c002 02010000020000030000 01ffff a000 02ffffff",
        [[0xFF000001 + i % 3 for i in range(6)]] * 2,
    ),
    (6, 3, 1, 6, 1, "027c0003e0001f", [[0x7C00, 0x03E0, 0x001F]]),
    (2, 7, 1, 1, 1, "0081", [[PALETTE[1]] + [PALETTE[0]] * 6]),
]
FIELDS = {LzType.A8: (np.uint8, 255), LzType.XXXA: (np.uint32, 2**32 - 1), LzType.RGBA: (np.uint32, 2**32 - 1)}
FIELDS |= {LzType.RGB16: (np.uint16, 0x7FFF), LzType.RGB24: (np.uint32, 0xFFFFFF), LzType.RGB32: (np.uint32, 0xFFFFFF)}


def header(kind, width, height, stride, top_down):
    return struct.pack(">7I", 0x20205A4C, 0x10001, kind, width, height, stride, top_down)


@st.composite
def typed_pictures(draw, **options):
    kind = draw(st.sampled_from(LzType))
    dtype, top = FIELDS.get(kind, (np.uint8, 2**kind.bits - 1))
    picture = draw(pictures(dtype, top=max(top, 7), **options))
    return kind, np.minimum(picture, dtype(top))


streams = st.builds(
    lambda made, top_down: encode_lz(made[1], type=made[0], top_down=top_down), typed_pictures(max_width=24), st.booleans()
)


def decode(stream, **options):
    header = read_lz_header(stream)
    if header.width * header.height > 1 << 20:
        raise ImageError("larger than a test wants")
    return decode_lz(stream, width=header.width, height=header.height, palette=PALETTE, **options)


def expected(kind, picture):
    if kind.has_palette:
        return np.array(PALETTE, np.uint32)[picture % 16]
    return (picture >> 24).astype(np.uint8) if kind == LzType.XXXA else picture


@pytest.mark.parametrize(("kind", "width", "height", "stride", "top_down", "body", "pixels"), EXAMPLES)
def test_the_examples_of_the_reference(kind, width, height, stride, top_down, body, pixels):
    stream = header(kind, width, height, stride, top_down) + bytes.fromhex(body)
    decoded = decode_lz(stream, width=width, height=height, palette=PALETTE, expand=False)
    assert decoded.tolist() == pixels
    assert oracle.lz(stream, PALETTE).tolist() == pixels


@given(typed_pictures(), st.booleans())
def test_decoding_undoes_encoding(made, top_down):
    kind, picture = made
    stream = encode_lz(picture, type=kind, top_down=top_down)
    assert read_lz_header(stream).top_down == top_down
    np.testing.assert_array_equal(decode(stream, expand=False), expected(kind, picture))


@settings(max_examples=50)
@given(streams)
def test_it_agrees_with_the_plain_decoder(stream):
    np.testing.assert_array_equal(decode(stream, expand=False), oracle.lz(stream, PALETTE))


@settings(max_examples=80)
@given(damaged(streams))
def test_it_agrees_with_the_plain_decoder_on_damaged_streams(stream):
    head = outcome(lambda: read_lz_header(stream), ImageError)
    if head is None or head.width * head.height <= 4096:
        assert_same(
            outcome(lambda: decode(stream, expand=False), ImageError), outcome(lambda: oracle.lz(stream, PALETTE), oracle.Bad)
        )


@given(st.sampled_from(LzType), st.binary(max_size=120))
def test_any_items_agree_with_the_plain_decoder(kind, body):
    stream = header(kind, 20, 3, (20 * kind.bits + 7) // 8, 1) + body
    assert_same(
        outcome(lambda: decode(stream, expand=False), ImageError), outcome(lambda: oracle.lz(stream, PALETTE), oracle.Bad)
    )


@given(st.binary(max_size=64))
def test_any_bytes_give_an_error(data):
    assert outcome(lambda: decode_lz(data, width=3, height=2), ImageError) is None


@settings(max_examples=30)
@given(streams)
def test_a_stream_cut_anywhere_is_an_error(stream):
    head = read_lz_header(stream)
    for end in range(len(stream)):
        with pytest.raises(ImageError, match=r"before the image does|header"):
            decode_lz(stream[:end], width=head.width, height=head.height, palette=PALETTE)
    np.testing.assert_array_equal(decode(stream + b"more"), decode(stream))


@given(typed_pictures(max_width=20), st.booleans())
def test_it_decodes_into_rows_of_any_distance(made, top_down):
    kind, picture = made
    height, width = picture.shape
    out, whole = strided(width, height, expected(kind, picture).dtype)
    stream = encode_lz(picture, type=kind, top_down=top_down)
    result = decode_lz(stream, width=width, height=height, palette=PALETTE, expand=False, out=out)
    assert result is out
    np.testing.assert_array_equal(out, expected(kind, picture))
    assert_only_inside(whole)


@given(pictures(np.uint16, top=0x7FFF), st.booleans())
def test_16_bit_pixels_are_expanded(picture, top_down):
    wide = np.empty(picture.shape, np.uint32)
    expand_555(picture, wide)
    np.testing.assert_array_equal(decode(encode_lz(picture, type=LzType.RGB16, top_down=top_down)), wide)


def test_far_copies_and_long_lengths():
    # A pattern that comes again at each kind of distance, and runs longer than two bytes of length extension.
    rng = np.random.default_rng(3)
    pattern, between = rng.integers(0, 1 << 24, 400, np.uint32), [100, 8191 - 400, 8192 - 400, 40000, 73725 - 400, 80000]
    parts = [pattern]
    for count in between:
        parts += [np.full(count, 5, np.uint32), pattern]
    picture = np.concatenate(parts)[None, :]
    wide = picture.reshape(1, -1)[:, : picture.size // 16 * 16].reshape(16, -1)
    stream = encode_lz(wide)
    assert len(stream) < wide.nbytes / 20
    np.testing.assert_array_equal(decode(stream), wide)
    np.testing.assert_array_equal(oracle.lz(stream), wide)


@pytest.mark.parametrize(("at", "value"), [(0, 0), (5, 0), (11, 0), (11, 12), (15, 0), (19, 0), (23, 41)])
def test_a_header_that_is_wrong_is_an_error(at, value):
    stream = bytearray(header(8, 10, 1, 40, 1) + bytes.fromhex("01aabbcc010203a00002010203010203010203"))
    stream[at] = value
    with pytest.raises(ImageError, match="header"):
        decode_lz(stream, width=10, height=1)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("a000", "before the start"),
        ("00010203 a001", "before the start"),
        ("00010203 ff00ff0000", "before the start"),
        ("00010203 e0ff", "before the image does"),
        ("00010203 e00a00", "passes the end"),
        ("0a" + "010203" * 11, "passes the end"),
        ("00010203 e0" + "ff" * 4000, "passes the end"),
    ],
)
def test_items_that_break_a_rule_are_errors(body, sentence):
    with pytest.raises(ImageError, match=sentence):
        decode_lz(header(8, 10, 1, 40, 1) + bytes.fromhex(body), width=10, height=1)


def test_another_size_and_no_palette_are_errors():
    stream = encode_lz(np.zeros((2, 3), np.uint8), type=LzType.PLT8)
    with pytest.raises(ImageError, match="another size"):
        decode_lz(stream, width=3, height=3, palette=PALETTE)
    with pytest.raises(ImageError, match="needs a palette"):
        decode_lz(stream, width=3, height=2)
    with pytest.raises(ImageError, match="over the limit"):
        decode_lz(stream, width=16384, height=8192)


def test_what_does_not_fit_is_refused():
    stream = encode_lz(np.zeros((2, 3), np.uint8), type=LzType.A8)
    with pytest.raises(ConfigError, match="out is"):
        decode_lz(stream, width=3, height=2, out=np.empty((2, 3), np.uint32))
    with pytest.raises(ConfigError, match="A8 is encoded from"):
        encode_lz(np.zeros((2, 3), np.uint32), type=LzType.A8)
