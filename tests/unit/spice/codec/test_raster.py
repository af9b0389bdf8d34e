"""Where pixels lie, as C is told; `as_rows` is tested with the decoders that use it."""

from __future__ import annotations

import numpy as np
import pytest

from _spice_codec import ffi
from atp_trio.spice.codec.raster import address, untouched

PIXELS = np.arange(12, dtype=np.uint32).reshape(3, 4)
READ_ONLY = PIXELS[:]
READ_ONLY.flags.writeable = False
CASES = {
    "tight": PIXELS,
    "read-only": READ_ONLY,
    "a part": PIXELS[1:, 1:3],
    "bottom-up": PIXELS[::-1],
    "rows of bytes": PIXELS.view(np.uint8)[1:],
}


@pytest.mark.parametrize("name", CASES)
def test_address_is_that_of_the_first_pixel(name):
    array = CASES[name]
    first = ffi.buffer(address(array), array.itemsize)
    assert bytes(first) == array.flat[0].tobytes()
    assert int(ffi.cast("uintptr_t", address(array))) == array.__array_interface__["data"][0]


@pytest.mark.parametrize(("count", "dtype"), [(0, np.uint8), (1, np.uint32), (5000, np.uint32), (2**30, np.uint8)])
def test_untouched_memory_is_zero_and_takes_no_room(count, dtype):
    array = untouched(count, dtype)
    assert (array.shape, array.dtype) == ((count,), dtype)
    assert not array[-10:].any()
    array[:3] = 7  # C writes there, too
    assert array[:3].tolist() == [7] * min(3, count)
