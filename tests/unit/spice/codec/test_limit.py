from __future__ import annotations

import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import SizeLimit, check_size


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16384, 4096), (4096, 16384), (8192, 8192)])
def test_sizes_up_to_the_limit_are_allowed(width, height):
    check_size(width, height)


@pytest.mark.parametrize(
    ("width", "height"), [(0, 1), (1, 0), (-1, 5), (16385, 1), (1, 16385), (8193, 8192), (65535, 65535), (2**32 - 1, 2**32 - 1)]
)
def test_other_sizes_are_refused(width, height):
    with pytest.raises(ImageError, match=f"{width}x{height}"):
        check_size(width, height)


def test_the_limit_can_be_another():
    check_size(70000, 3, SizeLimit(side=70000))
    with pytest.raises(ImageError, match="limit of 10 a side"):
        check_size(11, 1, SizeLimit(side=10))
