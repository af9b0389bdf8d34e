"""The keyboard, against the embedded server."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ConfigError, LocalProtocolError, TransportError
from atp_trio.keyboard import Key
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import KeyboardModifierFlag
from atp_trio.spice.messages.link import ChannelType


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


async def test_typing_that_could_not_begin_owes_no_caps_lock(pair):
    channel = pair.vm.inputs
    await channel.press(Key.CAPSLOCK)
    await channel.wait_modifiers(after=1)
    await pair.vm.close_channel(ChannelType.INPUTS)
    with pytest.raises(TransportError):
        await channel.type_text("a")
    assert channel.modifiers == KeyboardModifierFlag.CAPS_LOCK
    assert channel._held.owed_locks == 0


async def test_raw_scancodes(pair):
    await pair.vm.inputs.send_scancodes(b"\x1e\x9e\xe0\x4d")
    (event,) = await received(pair, 1)
    assert event.data == b"\x1e\x9e\xe0\x4d"
    assert pair.server.keys_down == (Key.RIGHT,)
    pair.vm.inputs.server_caps = frozenset()
    with pytest.raises(LocalProtocolError, match="raw scancodes"):
        await pair.vm.inputs.send_scancodes(b"\x1e")
