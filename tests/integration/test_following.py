"""A display that nobody looks at is followed by a thread, and is back as soon as somebody does: on the embedded server."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager

import attrs
import numpy as np
import pytest
import trio

from atp_trio.errors import ConnectionLost
from atp_trio.spice.channels import following
from atp_trio.spice.connection import SpiceVmConnection, open_spice
from atp_trio.spice.messages import display
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.image import ImageCompression
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.testing.certificate import make_tls_dir
from atp_trio.testing.server import SpiceServer, open_spice_server

WITHIN = 20
RATE = 2000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="channels are followed on Linux only")


async def until(holds):
    """Wait for this, without being one who waits for the channel."""
    with trio.fail_after(WITHIN):
        while not holds():  # noqa: ASYNC110 - see above
            await trio.sleep(0.005)


async def still(pair):
    """Wait until all that the server has drawn is there."""
    await until(lambda: pair.vm.display.display_statistics().updates >= pair.server.machine.canvases[0].operations)


async def followed(channel):
    """Wait until it is being followed."""
    await until(lambda: channel._following._is_going)


@attrs.define(eq=False)
class Pair:
    """A server that draws all the time, and a client."""

    server: SpiceServer
    vm: SpiceVmConnection


@asynccontextmanager
async def moving(*, client=None, **options):
    defaults = {"scene": "rectangles", "rate": RATE, "ack_window": 20, "size": (64, 48), "network_test": False}
    async with open_spice_server(**defaults | options) as server, open_spice(server.uri, **client or {}) as vm:
        yield Pair(server, vm)


@pytest.mark.parametrize(("scene", "codec"), [("rectangles", "raw"), ("rectangles", "lz"), ("scroll", "quic"), ("text", "lz")])
async def test_what_is_followed_is_the_servers(scene, codec):
    async with moving(scene=scene, codec=codec) as pair:
        channel, canvas = pair.vm.display, pair.server.machine.canvases[0]
        await channel.wait_ready()
        await until(lambda: channel.display_statistics().ahead > 500)
        pair.server.pause_scene()
        await still(pair)
        assert np.array_equal((await channel.screenshot()).pixels, pair.server.surface())
        counted, traffic = channel.display_statistics(), channel.statistics()
        assert not counted.failed
        assert not counted.not_drawn
        assert len(channel.latencies) == counted.updates
        assert 0 <= traffic.messages_received // 20 - traffic.acks_sent <= 1  # what came before the window does not count
        assert traffic.messages_received == channel.last_serial
        assert traffic.bytes_received > 100 * canvas.operations


async def test_a_unix_socket_is_followed_too(tmp_path):
    async with moving(port=None, unix_path=tmp_path / "spice") as pair:
        channel = pair.vm.display
        await until(lambda: channel.display_statistics().ahead > 500)
        pair.server.pause_scene()
        await still(pair)
        assert np.array_equal((await channel.screenshot()).pixels, pair.server.surface())


async def test_what_is_encrypted_is_not_followed(tmp_path):
    files = make_tls_dir(tmp_path / "made", hosts=["localhost"])
    cert, key = files.directory / "server-cert.pem", files.directory / "server-key.pem"
    tls = {"port": None, "tls_port": 0, "cert_file": cert, "key_file": key}
    async with moving(client={"tls": SpiceTlsConfig.insecure()}, **tls) as pair:
        channel = pair.vm.display
        await until(lambda: channel.display_statistics().updates > 600)
        pair.server.pause_scene()
        await still(pair)
        assert channel.display_statistics().ahead == 0
        assert np.array_equal((await channel.screenshot()).pixels, pair.server.surface())


async def test_counters_are_true_meanwhile():
    async with moving() as pair:
        channel = pair.vm.display
        await channel.wait_ready()
        for _ in range(50):
            await followed(channel)
            drawn, received = channel.display_statistics(), channel.statistics()
            await trio.lowlevel.checkpoint()
            later, received_later = channel.display_statistics(), channel.statistics()
            assert later.updates >= drawn.updates
            assert later.ahead >= drawn.ahead
            assert later.pixels >= drawn.pixels
            assert sum(later.drawn.values()) >= sum(drawn.drawn.values())
            assert received_later.messages_received >= received.messages_received
            assert received_later.bytes_received >= received.bytes_received
            assert received_later.acks_sent >= received.acks_sent
            await trio.sleep(0.002)


async def test_who_waits_calls_it_back():
    """Nothing that is drawn after a wait has begun is missed by it."""
    async with moving(regions={"key": Rect.at(8, 8, 4, 4)}) as pair:
        channel = pair.vm.display
        await channel.wait_ready()
        for number in range(1, 6):
            await followed(channel)
            with trio.fail_after(WITHIN):
                async with channel.damage(Rect.at(8, 8, 4, 4)) as rects:
                    await pair.vm.inputs.press("a")
                    async for _ in rects:
                        if pair.server.machine.echoes.get("key") == number:
                            break
            with trio.fail_after(WITHIN):
                await followed(channel)
                await channel.wait_damage()


async def test_damage_is_told_from_the_moment_on_in_which_it_is_asked_for():
    async with moving(rate=400) as pair:
        channel, missing, changes = pair.vm.display, 0, 0
        await channel.wait_ready()
        for _ in range(10):
            pair.server.resume_scene()
            await followed(channel)
            async with channel.damage() as rects:
                before = channel.screen.copy()  # of what the thread may still draw on
                drawn = channel.display_statistics().updates
                await until(lambda drawn=drawn: channel.display_statistics().updates > drawn + 3)
                pair.server.pause_scene()
                await still(pair)
                told = np.zeros(before.shape, bool)
                for rect in await rects.receive_all():
                    told[rect.top : rect.bottom, rect.left : rect.right] = True
                changed = (await channel.screenshot()).pixels != before
                changes += int(changed.sum())
                missing += int((changed & ~told).sum())
        assert changes > 0
        assert missing == 0


async def test_a_look_sees_what_had_come():
    async with moving() as pair:
        channel = pair.vm.display
        await channel.wait_ready()
        for _ in range(5):
            await followed(channel)
            pair.server.pause_scene()
            await trio.sleep(0.05)  # on its way
            seen = await channel.screenshot()
            assert np.array_equal(seen.pixels, pair.server.surface())
            pair.server.resume_scene()


async def test_what_is_sent_meanwhile_arrives():
    async with moving() as pair:
        channel = pair.vm.display
        await channel.wait_ready()
        channel.server_caps |= {display.DisplayCap.PREF_COMPRESSION}
        told: list[display.PreferredCompression] = []
        pair.server._session.channels[ChannelType.DISPLAY, 0]._handlers[display.PreferredCompression] = told.append
        for number in range(1, 4):
            await followed(channel)
            await channel.set_preferred_compression(ImageCompression.OFF)
            with trio.fail_after(WITHIN):
                await pair.server.wait_until(lambda number=number: len(told) == number)


async def test_leaving_calls_it_back():
    with trio.fail_after(WITHIN):
        for _ in range(3):
            async with moving() as pair:
                await pair.vm.display.wait_ready()
                await followed(pair.vm.display)
            assert following._at_work.get() == 0
        async with moving() as pair:
            await followed(pair.vm.display)
            await pair.vm.close_channel(ChannelType.DISPLAY)
            assert following._at_work.get() == 0


async def test_cancellation_calls_it_back():
    with trio.fail_after(WITHIN):
        async with trio.open_nursery() as nursery:

            async def live():
                async with moving() as pair:
                    await followed(pair.vm.display)
                    nursery.cancel_scope.cancel()
                    await trio.sleep_forever()

            nursery.start_soon(live)
        assert following._at_work.get() == 0


async def test_the_end_of_the_connection_is_met():
    async with moving() as pair:
        channel = pair.vm.display
        await followed(channel)
        with trio.fail_after(WITHIN):
            pair.server.drop(ChannelType.DISPLAY)
            await channel.wait_closed()
        assert isinstance(channel.closed_by, ConnectionLost)


async def test_no_more_threads_than_may_be(monkeypatch):
    monkeypatch.setattr(following, "MOST", 0)
    async with moving() as pair:
        channel = pair.vm.display
        await channel.wait_ready()
        await until(lambda: channel.display_statistics().updates > 600)
        assert channel.display_statistics().ahead == 0


async def test_a_display_with_another_beside_it_is_not_followed():
    async with moving(channels=[(ChannelType.DISPLAY, 0), (ChannelType.DISPLAY, 1)]) as pair:
        for number in (0, 1):
            with trio.fail_after(WITHIN):
                await pair.vm.get_display(number).wait_ready()
        await until(lambda: pair.vm.get_display(0).display_statistics().updates > 600)
        assert pair.vm.get_display(0).display_statistics().ahead == 0
