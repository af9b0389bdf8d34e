import struct

import numpy as np
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.cursor import INVERT_DARK, INVERT_LIGHT, MAX_CURSORS, CursorCache, decode_cursor
from atp_trio.spice.messages.cursor import Cursor, CursorFlag, CursorHeader, CursorType

BLACK, WHITE, CLEAR = 0xFF000000, 0xFFFFFFFF, 0


def header(kind, width=3, height=2, hot=(1, 1), unique=9):
    return CursorHeader(unique, kind, width, height, *hot)


def shape(kind, data, **size):
    return decode_cursor(header(kind, **size), data).pixels.tolist()


def test_alpha():
    numbers = [[0x80402010, 0xFF112233, 0], [1, 2, 3]]
    assert shape(CursorType.ALPHA, np.array(numbers, "<u4").tobytes()) == numbers


def test_mono():
    # Columns: black, white, transparent, inverting; the bits behind the width are to be ignored.
    keep, white = bytes([0b00111111] * 2), bytes([0b01011111] * 2)
    assert shape(CursorType.MONO, keep + white, width=4) == [
        [BLACK, WHITE, CLEAR, INVERT_LIGHT],
        [BLACK, WHITE, CLEAR, INVERT_DARK],
    ]


# The last pixel of each row is behind the mask: transparent where black, inverting where white.
MASK = bytes([0b00100000] * 2)
EXPECTED = [[0xFF112233, 0xFF445566, CLEAR], [0xFF112233, 0xFF445566, INVERT_LIGHT]]
COLOURS = [0x112233, 0x445566, 0x000000, 0xFFFFFF]
INDICES = [[0, 1, 2], [0, 1, 3]]


def test_color4():
    palette = struct.pack("<16I", *COLOURS, *[0] * 12)
    assert shape(CursorType.COLOR4, bytes([0x01, 0x2F, 0x01, 0x3F]) + palette + MASK) == EXPECTED


def test_color8():
    palette = struct.pack("<256I", *COLOURS, *[0] * 252)
    assert shape(CursorType.COLOR8, np.array(INDICES, np.uint8).tobytes() + palette + MASK) == EXPECTED


def test_color16():
    data = struct.pack("<6H", 0x7C00, 0x03E0, 0, 0x001F, 0x7FFF, 0x7FFF)
    assert shape(CursorType.COLOR16, data + MASK) == [[0xFFFF0000, 0xFF00FF00, CLEAR], [0xFF0000FF, WHITE, INVERT_LIGHT]]


def test_color24():
    data = b"".join(struct.pack("<I", COLOURS[index])[:3] for row in INDICES for index in row)
    assert shape(CursorType.COLOR24, data + MASK) == EXPECTED


def test_color32():
    data = b"".join(struct.pack("<I", 0x77000000 | COLOURS[index]) for row in INDICES for index in row)
    assert shape(CursorType.COLOR32, data + MASK) == EXPECTED


def test_the_hot_spot_is_brought_inside():
    made = decode_cursor(header(CursorType.ALPHA, hot=(50, 1)), bytes(24))
    assert (made.hot_x, made.hot_y, made.unique) == (2, 1, 9)


def test_shapes_do_not_change():
    made = decode_cursor(header(CursorType.ALPHA), bytes(24))
    with pytest.raises(ValueError, match="read-only"):
        made.pixels[0, 0] = 1


@pytest.mark.parametrize("kind", list(CursorType))
def test_too_few_data_are_refused(kind):
    for size in range(18):
        with pytest.raises(ImageError, match=r"needed"):
            decode_cursor(header(kind, width=9, height=9), bytes(size))


def test_what_cannot_be_is_refused():
    with pytest.raises(ImageError, match="no size"):
        decode_cursor(header(CursorType.ALPHA, width=0), b"")
    with pytest.raises(ImageError, match="over the limit"):
        decode_cursor(header(CursorType.ALPHA, width=65535, height=65535), bytes(100))
    with pytest.raises(ImageError, match="type"):
        decode_cursor(header(CursorType(77)), bytes(100))


def cursor(flags, unique=9, data=bytes(24)):
    return Cursor(flags, header(CursorType.ALPHA, unique=unique), data)


def test_the_cache_keeps_what_it_is_told():
    cache = CursorCache()
    kept = cache.shape(cursor(CursorFlag.CACHE_ME))
    assert cache.shape(cursor(CursorFlag.FROM_CACHE, data=b"")) is kept
    other = cache.shape(cursor(0, unique=10))
    assert other.unique == 10
    with pytest.raises(ImageError, match="0xa is not in"):
        cache.shape(cursor(CursorFlag.FROM_CACHE, unique=10))
    assert cache.shape(Cursor(CursorFlag.NONE)) is None
    cache.discard(9)
    cache.discard(9)
    with pytest.raises(ImageError, match="0x9 is not in"):
        cache.shape(cursor(CursorFlag.FROM_CACHE))


def test_the_cache_is_bounded():
    cache = CursorCache()
    for unique in range(MAX_CURSORS + 3):
        cache.shape(cursor(CursorFlag.CACHE_ME, unique))
    assert len(cache) == MAX_CURSORS
    assert cache.shape(cursor(CursorFlag.FROM_CACHE, MAX_CURSORS + 2)).unique == MAX_CURSORS + 2
    with pytest.raises(ImageError):
        cache.shape(cursor(CursorFlag.FROM_CACHE, 2))
    cache.clear()
    assert not len(cache)


def test_a_bad_shape_is_not_kept():
    cache = CursorCache()
    with pytest.raises(ImageError):
        cache.shape(cursor(CursorFlag.CACHE_ME, data=b""))
    assert not len(cache)
