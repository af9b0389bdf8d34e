"""Damage as a channel of rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectionLost
from atp_trio.spice.channels.damage import MAX_RECTS, CollectingWatch, Watch
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Damage, Screen
from atp_trio.spice.imaging.viewport import Viewport
from atp_trio.spice.messages.display import Head, MonitorsConfig
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType

ONE, TWO = Rect.at(1, 2, 3, 4), Rect.at(30, 20, 5, 6)


def view(region=None, monitor=None):
    return Viewport(Screen(ImageCache(1), GlzWindow(1)), region, monitor)


def touch(watch, *rects, surface_id=0):
    watch.touch(Damage(surface_id, rects))


def test_a_watch_sees_what_touches_its_region_on_the_primary_surface():
    watch = Watch(view(Rect.at(10, 10, 10, 10)))
    touch(watch, Rect.at(0, 0, 10, 10), Rect.at(20, 10, 5, 5))
    touch(watch, Rect.at(12, 12, 1, 1), surface_id=1)
    assert not watch.is_touched
    touch(watch, ONE, Rect.at(19, 19, 9, 9))
    assert watch.is_touched


def test_a_watch_of_a_monitor_follows_it():
    seen = view(Rect.at(0, 0, 5, 5), monitor=2)
    watch = Watch(seen)
    touch(watch, ONE)
    assert not watch.is_due  # there is no such monitor
    seen.screen.apply(MonitorsConfig(max_allowed=1, heads=(Head(2, 1, 10, 10, 100, 200),)))
    assert watch.is_due
    watch.look()
    touch(watch, Rect.at(105, 200, 5, 5), surface_id=1)
    touch(watch, Rect.at(100, 200, 5, 5), surface_id=0)
    assert not watch.is_due
    touch(watch, Rect.at(104, 204, 5, 5), surface_id=1)
    assert watch.is_due


def test_rectangles_on_a_monitor_are_in_its_pixels_and_all_of_it_when_it_moves():
    seen = view(monitor=2)
    watch = CollectingWatch(seen)
    touch(watch, ONE)
    assert not watch.check()
    seen.screen.apply(MonitorsConfig(max_allowed=1, heads=(Head(2, 1, 30, 20, 100, 200),)))
    assert watch.check()
    assert list(watch.rects) == [Rect.at(0, 0, 30, 20)]
    watch.rects.clear()
    touch(watch, Rect.at(90, 190, 20, 13), surface_id=1)
    assert list(watch.rects) == [Rect.at(0, 0, 10, 3)]
    seen.screen.apply(MonitorsConfig(max_allowed=1, heads=(Head(2, 1, 30, 20, 0, 0),)))
    assert watch.check()
    assert list(watch.rects) == [Rect.at(0, 0, 30, 20)]


def test_rectangles_are_kept_in_order_cut_to_the_region():
    watch = CollectingWatch(view(Rect.at(2, 2, 40, 40)))
    touch(watch, ONE)
    touch(watch, TWO, surface_id=1)
    touch(watch, TWO, Rect.at(50, 50, 1, 1))
    assert list(watch.rects) == [Rect.at(2, 2, 2, 4), TWO]


def test_what_another_holds_is_told_once():
    watch = CollectingWatch(view())
    touch(watch, ONE)
    touch(watch, ONE)
    assert list(watch.rects) == [ONE]
    touch(watch, Rect.at(2, 3, 1, 1))
    assert list(watch.rects) == [ONE]
    touch(watch, Rect.at(0, 0, 20, 20))
    assert list(watch.rects) == [Rect.at(0, 0, 20, 20)]


@pytest.mark.parametrize("together", [True, False])
def test_for_a_slow_reader_nothing_is_lost_and_little_is_kept(together):
    watch = CollectingWatch(view())
    rects = [Rect.at(int(x), int(y), 1, 1) for x, y in np.random.default_rng(1).integers(0, 1000, (500, 2))]
    if together:
        touch(watch, *rects)
    else:
        for rect in rects:
            touch(watch, rect)
    assert len(watch.rects) <= MAX_RECTS
    assert all(any(kept.intersection(rect) == rect for kept in watch.rects) for rect in rects)


async def test_receiving_what_the_server_draws(pair):
    canvas = pair.server.machine.canvases[0]
    await pair.vm.display.wait_ready()
    async with pair.vm.display.damage() as everything, pair.vm.display.damage(Rect.at(25, 10, 50, 50)) as part:
        canvas.post(ONE, 0)
        assert await everything.receive() == ONE
        canvas.post(TWO, 1)
        assert await part.receive() == TWO
        assert await everything.receive() == TWO
        with trio.move_on_after(0):
            await part.receive()
            pytest.fail("there was more")
        canvas.post(ONE, 2)
        await pair.vm.display.wait_until(lambda screen: screen.pixels[ONE.top, ONE.left] == 2)
        canvas.post(TWO, 3)
        await pair.vm.display.wait_until(lambda screen: screen.pixels[TWO.bottom - 1, TWO.right - 1] == 3)
        assert await everything.receive_all() == [ONE, TWO]
        assert await part.receive_all() == [TWO]
        with trio.move_on_after(0):
            await part.receive_all()
            pytest.fail("there was more")


async def test_many_drawn_at_once_are_received_at_once(connected):
    async with connected(scene="rectangles") as pair, pair.vm.display.damage() as damage:
        canvas = pair.server.machine.canvases[0]
        start = canvas.operations
        await pair.server.wait_until(lambda: canvas.operations > start + 400)
        pair.server.pause_scene()
        await pair.vm.display.wait_until(lambda screen: np.array_equal(screen.pixels, pair.server.surface()))
        seen = np.zeros((48, 64), bool)
        while not seen.all():
            rect = await damage.receive()
            seen[rect.top : rect.bottom, rect.left : rect.right] = True


async def test_a_new_screen_is_damage_as_a_whole(connected):
    async with connected() as pair:
        await pair.vm.close_channel(ChannelType.DISPLAY)
        display = await pair.vm.open_channel(ChannelType.DISPLAY)
        async with display.damage() as damage:
            assert await damage.receive() == Rect.at(0, 0, 64, 48)


async def test_cancelled_anywhere_nothing_is_lost(pair, cancel_everywhere):
    display = pair.vm.display
    await display.wait_ready()
    received = []
    async with display.damage() as damage:

        async def receive():
            received.append(await damage.receive())

        async def draw():
            if not received:
                pair.server.machine.canvases[0].post(ONE, 5)
                await display.wait_until(lambda screen: screen.pixels[3, 2] == 5)

        assert await cancel_everywhere(receive, draw) > 0
    assert received == [ONE]


async def test_the_ends_of_it(pair):
    display = pair.vm.display
    await display.wait_ready()
    async with display.damage() as closed, display.damage() as left, display.damage() as busy:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await busy.receive()
            pair.server.machine.canvases[0].post(ONE, 0)
        await closed.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await closed.receive()
        assert await left.receive() == ONE
        await pair.vm.close_channel(ChannelType.DISPLAY)
        with pytest.raises(trio.EndOfChannel):
            await left.receive()
    with pytest.raises(trio.ClosedResourceError):
        await left.receive()


async def test_leaving_the_block_wakes_who_still_receives(pair):
    await pair.vm.display.wait_ready()
    async with trio.open_nursery() as nursery:

        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await damage.receive()

        async with pair.vm.display.damage() as damage:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()


async def test_the_connection_is_lost(pair):
    await pair.vm.display.wait_ready()
    async with pair.vm.display.damage() as damage:
        pair.server.drop(ChannelType.DISPLAY)
        with pytest.raises(ConnectionLost):
            await damage.receive()
