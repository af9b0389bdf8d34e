"""What the display channel shows and how one waits for it, against the embedded server."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import trio
import trio.testing

from atp_trio.spice.messages import display
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.server import SCENES
from atp_trio.testing.server.picture import CODECS

KEY, CLICK = Rect.at(8, 8, 4, 4), Rect.at(40, 20, 16, 8)


def same(server):
    return lambda screen: np.array_equal(screen.pixels, server.surface())


def drawn(channel):
    """How many of the scene's operations were drawn: all but the first picture."""
    counted = channel.display_statistics().drawn
    return sum(counted.get(name, 0) for name in ("DrawCopy", "DrawFill", "CopyBits")) - 1


@pytest.mark.parametrize(("scene", "codec"), [*itertools.product(SCENES, CODECS)])
async def test_every_scene_pixel_by_pixel(connected, scene, codec):
    """At several moments of the scene, the client's pixels are the server's."""
    async with connected(scene=scene, codec=codec, size=(120, 72)) as pair:
        channel, canvas = pair.vm.display, pair.server.machine.canvases[0]
        for target in (1, 60, 500):
            pair.server.resume_scene()
            if scene != "still":
                await pair.server.wait_until(lambda target=target: canvas.operations >= target)
            pair.server.pause_scene()
            await channel.wait_until(same(pair.server))
        # Videos repeat themselves: what looks the same may still be a round behind.
        while drawn(channel) < canvas.operations:
            await channel.wait_damage()
        counted = channel.display_statistics()
        assert not counted.failed
        assert not counted.not_drawn
        assert np.array_equal((await channel.screenshot()).pixels, pair.server.surface())


async def test_a_scene_goes_on_for_the_next_client(connected):
    async with connected(scene="rectangles", rate=300) as pair:
        await pair.vm.display.wait_ready()
        await pair.vm.close_channel(ChannelType.DISPLAY)
        before = pair.server.surface()
        await pair.vm.open_channel(ChannelType.DISPLAY)
        await pair.vm.display.wait_until(lambda screen: not np.array_equal(screen.pixels, before))
        pair.server.pause_scene()
        await pair.vm.display.wait_until(same(pair.server))


async def test_the_first_picture(pair):
    channel = pair.vm.display
    await channel.wait_ready()
    assert channel.is_ready
    assert channel.size == (64, 48)
    (monitor,) = channel.monitors
    assert (monitor.width, monitor.height, monitor.x, monitor.y) == (64, 48, 0, 0)
    whole = await channel.screenshot()
    assert np.array_equal(whole.pixels, pair.server.surface())
    part = await channel.screenshot(Rect.at(10, 5, 20, 7))
    assert np.array_equal(part.pixels, pair.server.surface()[5:12, 10:30])


async def test_keys_and_clicks_show_in_their_regions(connected):
    async with connected(regions={"key": KEY, "click": CLICK}) as pair:
        vm = pair.vm
        for number in range(1, 4):
            await vm.inputs.press("a")
            await vm.display.wait_until(lambda screen, number=number: bool((screen.pixels[8:12, 8:12] == number).all()))
            await vm.inputs.click()
            await vm.display.wait_until(lambda screen, number=number: bool((screen.pixels[20:28, 40:56] == number).all()))
        assert pair.server.regions == {"key": KEY, "click": CLICK}
        assert pair.server.machine.echoes == {"key": 3, "click": 3}


async def test_waiting_for_damage_in_a_region(connected):
    async with connected(regions={"key": KEY, "click": CLICK}) as pair:
        vm = pair.vm
        await vm.display.wait_ready()
        seen = []

        async def wait(region, name):
            await vm.display.wait_damage(region)
            seen.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, CLICK, "click")
            nursery.start_soon(wait, KEY, "key")
            nursery.start_soon(wait, Rect.at(0, 0, 64, 48), "all")
            nursery.start_soon(wait, None, "any")
            await trio.testing.wait_all_tasks_blocked(0.01)
            await vm.inputs.press("a")
            await vm.display.wait_until(lambda screen: screen.pixels[8, 8] == 1)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert sorted(seen) == ["all", "any", "key"]
            await vm.inputs.click()
        assert seen[-1] == "click"


async def test_the_window_is_acknowledged(connected):
    """The server sends more than its window allows, which it can only when the client acknowledges."""
    async with connected(scene="rectangles", ack_window=3) as pair:
        await pair.server.wait_until(lambda: pair.server.machine.canvases[0].operations > 200)
        pair.server.pause_scene()
        counted = pair.vm.display.statistics()
        assert counted.ack_window == 3
        assert counted.acks_sent > 50


async def test_no_window(connected):
    async with connected(scene="rectangles", ack_window=0) as pair:
        await pair.server.wait_until(lambda: pair.server.machine.canvases[0].operations > 200)
        pair.server.pause_scene()
        await pair.vm.display.wait_until(same(pair.server))
        assert pair.vm.display.statistics().acks_sent == 0


async def test_another_size(pair):
    vm, server = pair.vm, pair.server
    await vm.display.wait_ready()
    server.send(display.SurfaceDestroy(surface_id=0), ChannelType.DISPLAY)
    create = display.SurfaceCreate(surface_id=0, width=30, height=20, format=display.SurfaceFormat.FMT_32_xRGB, flags=1)
    server.send(create, ChannelType.DISPLAY)
    server.send(display.Mark(), ChannelType.DISPLAY)
    await vm.display.wait_until(lambda screen: (screen.width, screen.height) == (30, 20))
    assert vm.display.size == (30, 20)


async def test_latencies_are_measured(pair):
    await pair.vm.display.wait_ready()
    latencies = pair.vm.display.latencies
    assert len(latencies) == pair.vm.display.display_statistics().updates
    assert all(0 < one < 10 for one in latencies)
