"""Keyboard and mouse, against the embedded server."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ConfigError, LocalProtocolError
from atp_trio.keyboard import Key
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import KeyboardModifierFlag, MouseButton, MouseButtonMask
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode

SERVER_MODE = {"mouse_mode": MouseMode.SERVER}


def down(key):
    return inputs.KeyDown(code=key.scancode_down())


def up(key):
    return inputs.KeyUp(code=key.scancode_up())


async def received(pair, count):
    await pair.server.wait_until(lambda: len(pair.server.events) >= count)
    return list(pair.server.events)


async def test_a_chord_goes_down_in_order_and_up_in_reverse(pair):
    await pair.vm.inputs.press("ctrl+alt+f2")
    keys = [Key.LEFTCTRL, Key.LEFTALT, Key.F2]
    assert await received(pair, 6) == [*map(down, keys), *map(up, reversed(keys))]


async def test_a_key_that_is_held_stays_down_in_a_chord(pair):
    await pair.vm.inputs.key_down("shift")
    await pair.vm.inputs.press("shift+a")
    assert pair.vm.inputs.held_keys == (Key.LEFTSHIFT,)
    events = await received(pair, 4)
    assert events[-1] == up(Key.A)
    assert pair.server.keys_down == (Key.LEFTSHIFT,)
    await pair.vm.inputs.key_up("shift")
    assert pair.vm.inputs.held_keys == ()


async def test_typing(pair):
    await pair.vm.inputs.type_text("aB\n", interval=0)
    expected = [
        down(Key.A),
        up(Key.A),
        down(Key.LEFTSHIFT),
        down(Key.B),
        up(Key.B),
        up(Key.LEFTSHIFT),
        down(Key.ENTER),
        up(Key.ENTER),
    ]
    assert await received(pair, 8) == expected


async def test_typing_takes_the_time_it_is_given(pair, monkeypatch):
    slept = []

    async def sleep_until(when):
        slept.append(when)

    monkeypatch.setattr(trio, "sleep_until", sleep_until)
    await pair.vm.inputs.type_text("abc", interval=0.25)
    assert [round(when - slept[0], 6) for when in slept] == [0, 0.25, 0.5]


async def test_typing_that_is_late_makes_up_for_it_without_a_burst(pair, monkeypatch):
    now, woken = 100.0, []

    async def sleep_until(when):
        nonlocal now
        now = max(now, when) + (1.0 if len(woken) == 1 else 0.0)  # the second time, a second late
        woken.append(now)

    with monkeypatch.context() as patch:
        patch.setattr(trio, "sleep_until", sleep_until)
        patch.setattr(trio, "current_time", lambda: now)
        await pair.vm.inputs.press("z")
        await pair.vm.inputs.type_text("abcde", interval=0.25)
    # After the press, too, an interval passes.
    assert woken == [100.25, 101.5, 101.625, 101.75, 101.875]


async def test_a_text_that_cannot_be_typed_types_nothing(pair):
    with pytest.raises(ConfigError):
        await pair.vm.inputs.type_text("ab\N{SNOWMAN}")
    with pytest.raises(ConfigError):
        await pair.vm.inputs.type_text("a", layout="no such layout")
    with pytest.raises(ConfigError):
        await pair.vm.inputs.press("no such key")
    with pytest.raises(ConfigError, match="more than one key"):
        await pair.vm.inputs.key_down("ctrl+a")
    await pair.vm.inputs.press("z")
    assert await received(pair, 2) == [down(Key.Z), up(Key.Z)]


async def test_caps_lock_is_off_while_typing(pair):
    assert await pair.vm.inputs.wait_modifiers(after=0) == 0
    await pair.vm.inputs.press(Key.CAPSLOCK)
    assert await pair.vm.inputs.wait_modifiers(after=1) == KeyboardModifierFlag.CAPS_LOCK
    await pair.vm.inputs.type_text("a", interval=0)
    events = await received(pair, 6)
    assert events[2:] == [
        inputs.KeyModifiers(modifiers=0),
        down(Key.A),
        up(Key.A),
        inputs.KeyModifiers(modifiers=KeyboardModifierFlag.CAPS_LOCK),
    ]


async def test_raw_scancodes(pair):
    await pair.vm.inputs.send_scancodes(b"\x1e\x9e\xe0\x4d")
    (event,) = await received(pair, 1)
    assert event.data == b"\x1e\x9e\xe0\x4d"
    assert pair.server.keys_down == (Key.RIGHT,)
    pair.vm.inputs.server_caps = frozenset()
    with pytest.raises(LocalProtocolError, match="raw scancodes"):
        await pair.vm.inputs.send_scancodes(b"\x1e")


async def test_buttons(pair):
    await pair.vm.inputs.button_down(MouseButton.LEFT)
    await pair.vm.inputs.button_down(MouseButton.RIGHT)
    assert pair.vm.inputs.held_buttons == MouseButtonMask.LEFT | MouseButtonMask.RIGHT
    await pair.vm.inputs.button_up(MouseButton.LEFT)
    events = await received(pair, 3)
    assert events[1] == inputs.MousePress(button=MouseButton.RIGHT, buttons_state=5)
    assert events[2] == inputs.MouseRelease(button=MouseButton.LEFT, buttons_state=4)
    assert pair.server.buttons == {MouseButtonMask.RIGHT}
    with pytest.raises(ConfigError, match="no mouse button"):
        await pair.vm.inputs.button_down(99)
    await pair.vm.inputs.release_all()
    await received(pair, 4)
    assert not pair.server.buttons


async def test_the_wheel(pair):
    await pair.vm.inputs.wheel(2)
    await pair.vm.inputs.wheel(-1)
    events = await received(pair, 6)
    assert [event.button for event in events] == [MouseButton.UP] * 4 + [MouseButton.DOWN] * 2


async def test_a_click_on_a_pixel(pair):
    await pair.vm.inputs.click(12, 34)
    position, press, release = await received(pair, 3)
    assert position == inputs.MousePosition(x=12, y=34)
    assert (press.button, release.button) == (MouseButton.LEFT, MouseButton.LEFT)
    assert pair.server.machine.pointer == (12, 34)
    with pytest.raises(ConfigError, match="both x and y"):
        await pair.vm.inputs.click(12)


async def test_motions_are_acknowledged_by_fours(connected):
    async with connected(client=SERVER_MODE) as pair:
        channel = pair.vm.inputs
        for _ in range(7):
            await channel.motion(1, 2)
        await channel.wait_motions_acknowledged()
        assert channel.motions_sent == 7
        assert channel.motion_acks == 1
        assert channel.unacknowledged_motions == 3
        await pair.server.wait_until(lambda: pair.server.machine.motions == 7)
        assert pair.server.machine.pointer == (7, 14)


async def test_the_window_of_motions(connected):
    async with connected(client=SERVER_MODE) as pair:
        channel = pair.vm.inputs
        for _ in range(8):
            channel.motion_nowait(1, 0)
        with pytest.raises(trio.WouldBlock):
            channel.motion_nowait(1, 0)
        await channel.wait_motion()
        channel.motion_nowait(1, 0)
        channel.motion_window = 1000
        for _ in range(990):
            channel.motion_nowait(0, 0)
        await channel.wait_motions_acknowledged()
        assert channel.motion_acks == 999 // 4
        await pair.server.wait_until(lambda: pair.server.machine.motions == 999)


async def test_the_kind_of_movement_that_the_mouse_mode_forbids(pair, connected):
    with pytest.raises(LocalProtocolError, match="CLIENT: send positions"):
        await pair.vm.inputs.motion(1, 1)
    async with connected(client=SERVER_MODE) as other:
        with pytest.raises(LocalProtocolError, match="SERVER: send motions"):
            await other.vm.inputs.position(1, 1)


async def test_positions_wait_for_the_mode_that_is_asked_for(pair):
    """Right after connecting the mode may not have been granted yet: the first position waits for it."""
    session = pair.vm.inputs.session
    await pair.vm.inputs.position(1, 1)
    await pair.vm.main.request_mouse_mode(MouseMode.SERVER)
    assert session.mouse_mode is MouseMode.SERVER
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.vm.main.request_mouse_mode, MouseMode.CLIENT)
        while session.requested_mouse_mode is not MouseMode.CLIENT:
            await trio.lowlevel.checkpoint()
        await pair.vm.inputs.position(9, 9)
    await pair.server.wait_until(lambda: pair.server.machine.pointer == (9, 9))


async def test_keys_are_released_when_the_channel_is_closed(pair):
    await pair.vm.inputs.key_down("ctrl")
    await pair.vm.inputs.button_down()
    await pair.vm.close_channel(ChannelType.INPUTS)
    await pair.server.wait_until(lambda: bool(pair.server.closed))
    assert pair.server.keys_down == ()
    assert not pair.server.buttons
    assert pair.server.closed[0].received["KeyUp"] == 1
    assert pair.server.closed[0].received["MouseRelease"] == 1
