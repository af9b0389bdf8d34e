"""What the channels of a machine share."""

from __future__ import annotations

import numpy as np
import trio
import trio.testing

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


async def test_who_begins_to_wait_wakes_who_waits_for_it(autojump_clock):
    session, done = Session(), []

    async def first() -> None:
        await session.wait_until(lambda: "second" in done)
        done.append("first")
        session.changed()

    async def second() -> None:
        done.append("second")  # in the middle of what it received: nobody is told, but by its wait
        await session.wait_until(lambda: "first" in done)

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(second)
    assert done == ["second", "first"]
