"""The main and the cursor channel, against the embedded server."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import LocalProtocolError
from atp_trio.spice.messages import base, cursor, inputs, main, vdagent
from atp_trio.spice.messages.cursor import Cursor, CursorFlag, CursorHeader, CursorType
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode


async def test_the_network_test_is_answered(connected):
    async with connected(network_test=True) as pair:
        await pair.server.wait_until(lambda: len(pair.server.pings) == 3)
        assert all(0 < one < 20 for one in pair.server.pings)
        assert pair.vm.main.statistics().pings_answered == 3
        assert pair.vm.main.statistics().bytes_received > 256_000


async def test_what_is_offered(connected):
    offered = [(ChannelType.DISPLAY, 0), (ChannelType.PORT, 2)]
    async with connected(channels=offered, client={"channels": ()}) as pair:
        assert [(one.type, one.id) for one in await pair.vm.main.wait_offered()] == offered
        pair.server.send(main.ChannelsList(channels=(main.ChannelId(ChannelType.PORT, 9),)), ChannelType.MAIN)
        while len(pair.vm.main.offered) < 3:
            await trio.lowlevel.checkpoint()
        assert pair.vm.main.offered[2].id == 9


async def test_notifications_are_kept(pair):
    notify = base.Notify(
        time_stamp=1, severity=base.NotifySeverity.WARN, visibility=base.NotifyVisibility.HIGH, message=b"keyboard"
    )
    pair.server.send(notify, ChannelType.MAIN)
    while not pair.vm.main.notifications:
        await trio.lowlevel.checkpoint()
    (kept,) = pair.vm.main.notifications
    assert kept.message == b"keyboard"
    assert kept.severity is base.NotifySeverity.WARN


async def test_the_multimedia_clock(pair):
    minute = 60_000
    # It goes on from what it was set to, and around.
    for start in (0, 2**31, 2**32 - 1):
        pair.server.send(main.MultiMediaTime(time=start), ChannelType.MAIN)
        while (pair.vm.main.multi_media_time - start) % 2**32 > minute:
            await trio.lowlevel.checkpoint()
    while pair.vm.main.multi_media_time > minute:
        await trio.lowlevel.checkpoint()


async def test_a_mouse_mode_that_the_server_takes_back_is_asked_for_again(pair):
    back = main.MouseModeChanged(supported_modes=3, current_mode=MouseMode.SERVER)
    pair.server.send(back, ChannelType.MAIN)
    session = pair.server._session
    session.mouse_mode = MouseMode.SERVER
    await pair.server.wait_until(lambda: session.mouse_mode is MouseMode.CLIENT)


async def test_agent_messages_go_out_as_tokens_come(connected):
    async with connected(agent=True) as pair:
        payload = bytes(range(256)) * 256
        assert pair.vm.main.agent.is_connected
        await pair.vm.main.send_agent_message(4, payload)
        size = len(payload) + 20
        await pair.server.wait_until(lambda: sum(map(len, pair.server.agent_data)) >= size)
        data = b"".join(pair.server.agent_data)
        assert data[20:] == payload
        assert vdagent.Header.decode(data[:20]).type == 4
        assert max(map(len, pair.server.agent_data)) == 2048


async def test_agent_messages_wait_for_a_busy_agent(connected):
    async with connected(agent=True) as pair:
        pair.server.set_agent_busy(True)
        await pair.vm.main.send_agent_message(4, bytes(2048 * 14))
        await pair.server.wait_until(lambda: len(pair.server.agent_data) == 10)
        assert pair.vm.main.agent.tokens == 0
        assert pair.vm.main.agent.queued == 5
        pair.server.set_agent_busy(False)
        await pair.server.wait_until(lambda: len(pair.server.agent_data) == 15)


async def test_agent_messages_are_put_together(connected):
    async with connected(agent=True) as pair:
        await pair.server.wait_until(lambda: ChannelType.MAIN in dict(pair.server.open_channels))
        data = vdagent.Header(protocol=1, type=6, opaque=0, size=3000).encode() + b"y" * 3000
        for at in range(0, len(data), 1000):
            pair.server.send(main.AgentData(data=data[at : at + 1000]), ChannelType.MAIN)
        header, payload = await pair.vm.main.receive_agent_message()
        assert (header.type, payload) == (6, b"y" * 3000)


async def test_no_agent(pair):
    with pytest.raises(LocalProtocolError, match="no guest agent"):
        await pair.vm.main.send_agent_message(4, b"")
    pair.server.send(main.AgentConnectedTokens(num_tokens=3), ChannelType.MAIN)
    while not pair.vm.main.agent.is_connected:
        await trio.lowlevel.checkpoint()
    assert pair.vm.main.agent.tokens == 3
    pair.server.send(main.AgentDisconnected(error_code=0), ChannelType.MAIN)
    while pair.vm.main.agent.is_connected:
        await trio.lowlevel.checkpoint()


async def test_messages_that_do_not_belong(pair):
    with pytest.raises(LocalProtocolError, match="does not belong on this channel"):
        await pair.vm.main.send(inputs.KeyDown(code=1))
    with pytest.raises(LocalProtocolError, match="never sends"):
        await pair.vm.main.send(main.MultiMediaTime(time=1))
    assert pair.vm.main.is_open


# --- cursor


async def change(pair, do):
    """Do something that changes the pointer, and wait until the client knows."""
    seen = pair.vm.cursor.changes
    do()
    await pair.vm.cursor.wait_change(after=seen)
    assert pair.vm.cursor.changes == seen + 1


async def first_shape(pair):
    await pair.vm.cursor.wait_change(after=0)
    assert pair.vm.cursor.shape is not None


async def test_the_first_shape(pair):
    await first_shape(pair)
    channel = pair.vm.cursor
    assert channel.is_visible
    assert channel.shape.pixels.shape[:2] == (8, 8)
    assert channel.position == (0, 0)


async def test_moving_hiding_and_changing(pair):
    await first_shape(pair)
    channel, machine = pair.vm.cursor, pair.server.cursor
    await change(pair, lambda: machine.move(5, 6))
    assert channel.position == (5, 6)
    await change(pair, machine.hide)
    assert not channel.is_visible
    shape = Cursor(CursorFlag.CACHE_ME, CursorHeader(77, CursorType.ALPHA, 2, 1, 1, 0), b"\x01\x02\x03\xff" * 2)
    await change(pair, lambda: machine.set(shape, position=(9, 9)))
    assert channel.is_visible
    assert channel.shape.pixels.shape[:2] == (1, 2)
    await change(pair, lambda: machine.set(None))
    assert channel.shape is None
    cached = Cursor(CursorFlag.FROM_CACHE, CursorHeader(77, CursorType.ALPHA, 2, 1, 1, 0))
    await change(pair, lambda: machine.set(cached))
    assert channel.shape.pixels.shape[1] == 2


async def test_a_shape_that_makes_no_sense_is_counted(pair):
    await first_shape(pair)
    short = Cursor(0, CursorHeader(1, CursorType.ALPHA, 100, 100, 0, 0), b"short")
    await change(pair, lambda: pair.server.cursor.set(short))
    assert pair.vm.cursor.failed == 1
    assert pair.vm.cursor.shape is None
    await change(pair, lambda: pair.server.send(cursor.Trail(length=3, frequency=4), ChannelType.CURSOR))
    assert pair.vm.cursor.trail == (3, 4)
