"""What the channels of a machine share."""

from __future__ import annotations

import numpy as np

from atp_trio.spice.channels.session import Session
from atp_trio.spice.imaging.pixel import Picture
from atp_trio.spice.messages.display import SurfaceFormat


def test_caches_begin_empty_under_a_number_of_their_own():
    session = Session()
    numbers = []
    for _ in range(256):
        session.begin_caches()
        assert len(session.images) == 0
        session.images.put(1, Picture(np.zeros((1, 1), np.uint32), SurfaceFormat.FMT_32_xRGB))
        assert len(session.images) == 1
        numbers.append(session.cache_id)
    assert numbers == [*range(1, 256), 1]  # bytes, and never 0
