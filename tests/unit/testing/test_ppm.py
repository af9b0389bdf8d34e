"""PPM pictures, whole and not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import HypervisorError
from atp_trio.testing.ppm import parse_ppm


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_screendump_pixels(width, height, data):
    body = data.draw(st.binary(min_size=width * height * 3, max_size=width * height * 3))
    pixels = parse_ppm(b"P6\n%d %d\n255\n" % (width, height) + body)
    assert (pixels.shape, pixels.dtype) == ((height, width), np.uint32)
    assert [int(pixel) for pixel in pixels.flat] == [int.from_bytes(body[i : i + 3], "big") for i in range(0, len(body), 3)]


@pytest.mark.parametrize("data", [b"", b"P5\n1 1\n255\nx", b"P6\n1 1\n255\nab", b"P6\n1 1\n255\nabcd", b"P6\n1 1\n65535\nabcdef"])
def test_screendump_that_is_none(data):
    with pytest.raises(HypervisorError, match="no whole PPM image"):
        parse_ppm(data)
