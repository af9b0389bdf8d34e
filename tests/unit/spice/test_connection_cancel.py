"""Cancellation at every step of what the client can do: afterwards it works, and nothing is left behind."""

from __future__ import annotations

import pytest

from atp_trio.keyboard import Key
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages import inputs, main, playback, vdagent
from atp_trio.spice.messages.display import DisplayCap, VideoCodecType
from atp_trio.spice.messages.image import ImageCompression
from atp_trio.spice.messages.inputs import KeyboardModifierFlag
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode


async def test_connecting(serving, cancel_everywhere):
    async with serving(network_test=True) as server:

        async def connect():
            async with open_spice(server.uri) as vm:
                await vm.inputs.key_down("a")

        async def settle():
            await server.wait_until(lambda: not server.connections)
            assert server.keys_down == ()
            for one in server.closed:
                assert one.error is None
                if one.channel_type is ChannelType.DISPLAY:
                    # Once it was linked it began, and was read.
                    assert one.received["Init"] == 1
                    assert one.was_read
            server.closed.clear()

        assert await cancel_everywhere(connect, settle) > 50


async def round_trip(pair):
    """Everything sent on the inputs channel has been handled by the server, and everything it answered by the client."""
    pair.server.machine.events.clear()
    await pair.vm.inputs.press(Key.F12)
    done = inputs.KeyUp(code=Key.F12.scancode_up())
    await pair.server.wait_until(lambda: done in pair.server.events)
    told = pair.vm.inputs.modifiers_told
    modifiers = pair.server.machine.modifiers
    pair.server.send(inputs.KeyModifiers(modifiers=modifiers), ChannelType.INPUTS)
    await pair.vm.inputs.wait_modifiers(after=told)
    while pair.vm.inputs.modifiers != modifiers:
        await pair.vm.inputs.wait_modifiers()


async def _wait_change(vm):
    vm.server.cursor.move(1, 2)
    await vm.cursor.wait_change()


async def _flip_mouse_mode(vm):
    await vm.main.request_mouse_mode(MouseMode.SERVER)
    await vm.main.request_mouse_mode(MouseMode.CLIENT)


async def _motion(vm):
    await vm.main.request_mouse_mode(MouseMode.SERVER)
    for _ in range(2 * vm.inputs.motion_window):
        await vm.inputs.motion(1, 0)
    await vm.main.request_mouse_mode(MouseMode.CLIENT)


async def _wait_motion_on_a_full_window(vm):
    while vm.inputs.positions_nowait([(1, 1)] * vm.inputs.motion_window):
        pass
    await vm.inputs.wait_motion()


async def _wait_modifiers(vm):
    told = vm.inputs.modifiers_told
    vm.server.send(inputs.KeyModifiers(modifiers=0), ChannelType.INPUTS)
    await vm.inputs.wait_modifiers(after=told)


async def _receive_agent_message(vm):
    header = vdagent.Header(protocol=1, type=6, opaque=0, size=4)
    vm.server.send(main.AgentData(data=header.encode() + b"abcd"), ChannelType.MAIN)
    found, payload = await vm.main.receive_agent_message()
    assert (found, payload) == (header, b"abcd")


async def _prefer(vm):
    # The embedded server has no choice to offer; what it does not announce it takes and ignores.
    vm.display.server_caps |= {DisplayCap.PREF_COMPRESSION, DisplayCap.PREF_VIDEO_CODEC_TYPE}
    await vm.display.set_preferred_compression(ImageCompression.LZ)
    await vm.display.set_preferred_video_codecs([VideoCodecType.MJPEG])


async def _wait_closed(vm):
    channel = await vm.open_channel(ChannelType.CURSOR)
    channel.close_soon()
    await channel.wait_closed()


async def _aclose(vm):
    await (await vm.open_channel(ChannelType.DISPLAY)).aclose()


async def _reopen(vm):
    await vm.close_channel(ChannelType.DISPLAY)
    await vm.open_channel(ChannelType.DISPLAY)


METHODS = {
    "inputs.key_down": lambda vm: vm.inputs.key_down("a"),
    "inputs.key_up": lambda vm: vm.inputs.key_up("a"),
    "inputs.press": lambda vm: vm.inputs.press("ctrl+alt+f2"),
    "inputs.type_text": lambda vm: vm.inputs.type_text("Hi there", interval=0.001),
    "inputs.send_scancodes": lambda vm: vm.inputs.send_scancodes(b"\x1e\x9e"),
    "inputs.set_modifiers": lambda vm: vm.inputs.set_modifiers(0),
    "inputs.position": lambda vm: vm.inputs.position(3, 4),
    "inputs.wait_motion": lambda vm: vm.inputs.wait_motion(),
    "inputs.wait_motion, full window": _wait_motion_on_a_full_window,
    "inputs.motion": _motion,
    "inputs.wait_modifiers": _wait_modifiers,
    "inputs.wait_motions_acknowledged": lambda vm: vm.inputs.wait_motions_acknowledged(),
    "inputs.button_down": lambda vm: vm.inputs.button_down(),
    "inputs.button_up": lambda vm: vm.inputs.button_up(),
    "inputs.click": lambda vm: vm.inputs.click(5, 6),
    "inputs.wheel": lambda vm: vm.inputs.wheel(2),
    "inputs.release_all": lambda vm: vm.inputs.release_all(),
    "inputs.send": lambda vm: vm.inputs.send(inputs.KeyUp(code=Key.A.scancode_up())),
    "inputs.wait_sent": lambda vm: vm.inputs.wait_sent(),
    "inputs.wait_open": lambda vm: vm.inputs.wait_open(),
    "display.wait_ready": lambda vm: vm.display.wait_ready(),
    "display.screenshot": lambda vm: vm.display.screenshot(),
    "display.wait_damage": lambda vm: vm.display.wait_damage(),
    "display.wait_until": lambda vm: vm.display.wait_until(lambda screen: screen.width == 64),
    "display.set_preferred_compression, set_preferred_video_codecs": _prefer,
    "cursor.wait_change": _wait_change,
    "main.wait_offered": lambda vm: vm.main.wait_offered(),
    "main.request_mouse_mode": _flip_mouse_mode,
    "main.send_agent_message": lambda vm: vm.main.send_agent_message(6, b"x" * 5000),
    "main.receive_agent_message": _receive_agent_message,
    "channel.wait_closed": _wait_closed,
    "channel.aclose": _aclose,
    "open_channel": lambda vm: vm.open_channel(ChannelType.CURSOR),
    "close_channel": lambda vm: vm.close_channel(ChannelType.CURSOR),
    "close_and_open_channel": _reopen,
}


@pytest.mark.parametrize("name", METHODS)
async def test_methods(connected, cancel_everywhere, name):
    async with connected(scene="rectangles", rate=500, agent=True) as pair:
        vm, server = pair.vm, pair.server
        vm.server = server
        assert vm.inputs.session.mouse_mode in MouseMode

        async def settle():
            """The connection works: a keystroke gets through, and the screen is there."""
            for kind in (ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR):
                await vm.open_channel(kind)
            await vm.inputs.release_all()
            await round_trip(pair)
            assert server.keys_down == ()
            assert not server.buttons
            await vm.display.wait_ready()
            assert vm.channels[0] is vm.main
            assert len(vm.channels) == 4

        await settle()
        assert await cancel_everywhere(lambda: METHODS[name](vm), settle) >= 1
        assert all(channel.error is None for channel in server.closed)


async def test_receiving_raw_messages(connected, cancel_everywhere):
    offered = [(kind, 0) for kind in (ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.PLAYBACK)]
    async with connected(channels=offered) as pair:
        vm, server = pair.vm, pair.server

        async def receive():
            channel = await vm.open_channel(ChannelType.PLAYBACK)
            server.send(playback.Stop(), ChannelType.PLAYBACK)
            assert await channel.receive() == playback.Stop()

        async def settle():
            await vm.close_channel(ChannelType.PLAYBACK)
            await server.wait_until(lambda: (ChannelType.PLAYBACK, 0) not in server.open_channels)
            await round_trip(pair)

        assert await cancel_everywhere(receive, settle) >= 1


async def test_disconnecting(serving, cancel_everywhere):
    async with serving() as server:

        async def disconnect():
            async with open_spice(server.uri) as vm:
                await vm.inputs.key_down("a")
                await vm.disconnect_all()
                assert vm.channels == ()

        async def settle():
            await server.wait_until(lambda: not server.connections)
            assert server.keys_down == ()
            assert all(one.error is None for one in server.closed)
            server.closed.clear()

        assert await cancel_everywhere(disconnect, settle) > 50


async def test_typing_leaves_caps_lock_as_it_was(connected, cancel_everywhere):
    async with connected() as pair:
        vm, server = pair.vm, pair.server
        caps = KeyboardModifierFlag.CAPS_LOCK
        await vm.inputs.wait_modifiers(after=0)  # the first message
        await vm.inputs.set_modifiers(caps)
        assert await vm.inputs.wait_modifiers(after=1) == caps

        async def settle():
            await round_trip(pair)
            assert server.machine.modifiers == caps
            assert vm.inputs.modifiers == caps
            assert server.keys_down == ()

        await settle()
        assert await cancel_everywhere(lambda: vm.inputs.type_text("aB", interval=0.0), settle) >= 1
