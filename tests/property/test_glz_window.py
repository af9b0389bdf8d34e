"""The GLZ dictionary in C beside a plain one, whatever ids come; and its ring, whose pixels nobody may overwrite too early."""

import random

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _spice_codec import ffi, lib
from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzWindow

MAX_PIXELS, MAX_IMAGES = 60, 9


@attrs.define
class Plain:
    """What the dictionary is to do, in sets and dictionaries."""

    images: dict[int, list[int]] = attrs.field(factory=dict)
    ahead: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    first: int | None = None
    last: int = 0
    head: int = 0
    floor: int = 0

    def is_used(self, number):
        return number in self.images or (self.first is not None and self.first <= number <= self.last)

    def keep(self, number, distance, pixels):
        self.images[number] = pixels
        head = max(0, number - distance)
        if self.first is None or number < self.first:
            if self.first is not None:
                self.ahead[self.first] = self.last, self.head
            self.first = self.last = self.floor = number
            self.head = head
        else:
            self.ahead[number] = number, head
        while following := self.ahead.pop(self.last + 1, None):
            self.last, self.head = following
        self.release_below(self.head)
        while sum(map(len, self.images.values())) > 2 * MAX_PIXELS or len(self.images) > MAX_IMAGES:
            self.release_below(min(self.images) + 1)
        if len(self.ahead) > MAX_IMAGES:
            self.ahead.clear()

    def release_below(self, number):
        self.floor = max(self.floor, number)
        self.images = {key: pixels for key, pixels in self.images.items() if key >= number}


def stream(number, distance, pixels):
    """A GLZ image of one row, all literals."""
    header = np.array([0x20205A4C, 0x00010001], ">u4").tobytes() + b"\x18"
    header += np.array([len(pixels), 1, 4 * len(pixels), number >> 32, number & 0xFFFFFFFF, distance], ">u4").tobytes()
    literals = (pixels[at : at + 32] for at in range(0, len(pixels), 32))
    return header + b"".join(
        bytes((len(some) - 1,)) + np.array(some, "<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes() for some in literals
    )


def decode_in_ring(window, data, width):
    """As drawing does it. Gives the pixels, or None and nothing has changed."""
    header, pixels = ffi.new("struct glz_header *"), ffi.new("uint32_t **")
    status = lib.glz_window_decode(window.images.struct, data, len(data), width, 1, header, pixels)
    window.images.tidy()
    return ffi.unpack(pixels[0], width) if status == lib.GLZ_OK else None


def held(window):
    rows = window.images.struct.images[window.images.struct.start : window.images.struct.start + window.images.struct.count]
    return {row.id: ffi.unpack(row.pixels, row.count) for row in rows}


def some_ids(chance, count):
    """Ids nearly in order, with gaps, in reverse, or any."""
    start = chance.choice([0, 100, 2**32 - 5, 2**64 - 200])
    ids = list(range(start, start + count))
    for _ in range(chance.choice([0, 0, 3, 10])):
        at = chance.randrange(count)
        ids.insert(max(0, at + chance.randint(-6, 6)), ids.pop(at))
    return [number for number in ids if chance.random() < chance.choice([1, 1, 0.9])][:: chance.choice([1, 1, 1, -1])]


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_it_holds_what_a_plain_one_holds(seed):
    chance = random.Random(seed)
    window, plain = GlzWindow(MAX_PIXELS, max_images=MAX_IMAGES), Plain()
    for number in some_ids(chance, 120):
        pixels = [chance.randrange(1 << 24)] * chance.randint(1, chance.choice([5, 20]))
        distance = chance.choice([0, 1, chance.randint(0, 8), 200])
        data = stream(number, distance, pixels)
        if chance.random() < 0.8 and (drawn := decode_in_ring(window, data, len(pixels))) is not None:
            assert drawn == pixels
            assert not plain.is_used(number)
            plain.keep(number, distance, pixels)
        elif plain.is_used(number):
            with pytest.raises(ImageError, match="another one had"):
                window.decode(data, width=len(pixels), height=1)
        else:
            assert window.decode(data, width=len(pixels), height=1).tolist() == [pixels]
            plain.keep(number, distance, pixels)
        assert held(window) == plain.images
        assert (window.images.struct.first, window.images.struct.last, window.images.struct.floor) == (
            plain.first,
            plain.last,
            plain.floor,
        )
        assert {one.first for one in window.images.struct.ahead[0 : window.images.struct.ahead_count]} == set(plain.ahead)
        assert len(window.images._arrays) <= len(plain.images)


def test_a_long_run_in_order_stays_in_the_ring():
    window = GlzWindow(64 * 30)
    for number in range(5000):
        assert decode_in_ring(window, stream(number, min(number, 28), [number] * 64), 64) == [number] * 64
    assert len(window) == 29
    assert all(pixels == [number] * 64 for number, pixels in held(window).items())
