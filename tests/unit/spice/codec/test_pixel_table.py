import random

import numpy as np
import pytest

from _spice_codec import ffi, lib
from atp_trio.spice.codec.pixel_table import PixelTable

PIXELS = np.arange(6, dtype=np.uint32).reshape(2, 3)


def seen(table, number):
    """What C finds: the pixels and whether they are lossy."""
    entry = lib.pixel_table_find(table.struct, number)
    if entry == ffi.NULL:
        return None
    rows = np.frombuffer(ffi.buffer(entry.pixels, entry.width * entry.height * 4), np.uint32)
    return rows.reshape(entry.height, entry.width).tolist(), bool(entry.is_lossy)


def test_what_is_put_is_found_until_it_is_dropped():
    table = PixelTable()
    table.put(7, PIXELS)
    table.put(2**64 - 1, PIXELS + 1, lossy=True)
    assert seen(table, 7) == (PIXELS.tolist(), False)
    assert seen(table, 2**64 - 1) == ((PIXELS + 1).tolist(), True)
    table.put(7, PIXELS[:1])
    assert seen(table, 7) == (PIXELS[:1].tolist(), False)
    table.discard(7)
    table.discard(7)
    assert seen(table, 7) is None
    assert len(table) == 1
    table.clear()
    assert seen(table, 2**64 - 1) is None


@pytest.mark.parametrize(
    "pixels", [PIXELS[::-1], PIXELS[:, ::2], PIXELS[0], PIXELS.astype(np.uint8), PIXELS[:0], PIXELS.astype(">u4")]
)
def test_pixels_that_c_cannot_draw_are_not_there(pixels):
    table = PixelTable()
    table.put(1, PIXELS)
    table.put(1, pixels)
    assert seen(table, 1) is None
    assert len(table) == 0


@pytest.mark.parametrize("spread", [1, 64, 2**56 + 1])
def test_it_is_a_dictionary_whatever_ids_there_are(spread):
    chance, table, plain = random.Random(spread), PixelTable(), {}
    for step in range(3000):
        number = chance.randrange(200) * spread
        if chance.random() < 0.55:
            plain[number] = np.full((1, 1), step, np.uint32)
            table.put(number, plain[number])
        else:
            table.discard(number)
            plain.pop(number, None)
        assert len(table) == table.struct.count == len(plain)
    for number in range(200):
        expected = plain.get(number * spread)
        assert seen(table, number * spread) == (None if expected is None else (expected.tolist(), False))
