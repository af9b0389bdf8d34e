"""What is held is let go, and pressed again on the channel that comes in place of a lost one."""

from __future__ import annotations

import pytest

from atp_trio.errors import ConfigError
from atp_trio.keyboard import Key
from atp_trio.spice.channels.held import Held, button_mask
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import KeyboardModifierFlag, MouseButton, MouseButtonMask
from atp_trio.spice.messages.link import ChannelType

CAPS_LOCK = KeyboardModifierFlag.CAPS_LOCK


class Wire:
    """A channel, open or not, that remembers what was sent."""

    def __init__(self):
        self.is_open = True
        self.sent = []

    def send(self, message):
        if self.is_open:
            self.sent.append(message)
        return self.is_open


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def held(wire):
    """Ctrl, then A, and two buttons are down."""
    held = Held(wire.send)
    for key in (Key.LEFTCTRL, Key.A):
        held.note_key(key, is_down=True)
    for button in (MouseButton.LEFT, MouseButton.RIGHT):
        held.note_button(button, is_down=True)
    return held


def test_what_was_sent_is_noted(held, wire):
    held.note_key(Key.LEFTCTRL, is_down=True)  # as a key that repeats
    assert (tuple(held.keys), held.buttons) == ((Key.LEFTCTRL, Key.A), 5)
    held.note_key(Key.LEFTCTRL, is_down=False)
    held.note_key(Key.LEFTCTRL, is_down=False)
    held.note_button(MouseButton.LEFT, is_down=False)
    assert (tuple(held.keys), held.buttons) == ((Key.A,), MouseButtonMask.RIGHT)
    assert not wire.sent


def test_all_is_let_go_once_the_last_key_first(held, wire):
    held.release_all()
    held.release_all()
    assert wire.sent == [
        inputs.KeyUp(code=Key.A.scancode_up()),
        inputs.KeyUp(code=Key.LEFTCTRL.scancode_up()),
        inputs.MouseRelease(button=MouseButton.LEFT, buttons_state=4),
        inputs.MouseRelease(button=MouseButton.RIGHT, buttons_state=0),
    ]
    assert (held.keys, held.buttons) == ({}, 0)


def test_what_is_not_down_is_not_let_go(held, wire):
    held.release_key(Key.B)
    held.release_button(MouseButton.MIDDLE)
    assert not wire.sent


def test_another_channel_presses_it_again_and_lets_it_go(held, wire):
    wire.is_open = False
    held.release_key(Key.LEFTCTRL)  # a server has done that when the channel was lost
    other = Wire()
    assert held.move(other.send) == [
        inputs.KeyDown(code=Key.A.scancode_down()),
        inputs.MousePress(button=MouseButton.LEFT, buttons_state=5),
        inputs.MousePress(button=MouseButton.RIGHT, buttons_state=5),
    ]
    held.release_key(Key.A)
    assert other.sent == [inputs.KeyUp(code=Key.A.scancode_up())]
    assert not wire.sent


def test_locks_that_are_owed_are_given_back_once(held, wire):
    held.locks = KeyboardModifierFlag.NUM_LOCK
    held.give_locks_back()
    assert not wire.sent
    held.owe_locks(CAPS_LOCK)
    held.give_locks_back()
    held.give_locks_back()
    assert wire.sent == [inputs.KeyModifiers(modifiers=KeyboardModifierFlag.NUM_LOCK | CAPS_LOCK)]


def test_locks_that_are_owed_wait_for_a_channel_whose_server_has_told_them(held, wire):
    held.locks = 0
    held.owe_locks(CAPS_LOCK)
    wire.is_open = False
    held.give_locks_back()
    other = Wire()
    held.move(other.send)
    held.give_locks_back()
    assert not other.sent
    held.locks = KeyboardModifierFlag.SCROLL_LOCK
    held.give_locks_back()
    assert other.sent == [inputs.KeyModifiers(modifiers=KeyboardModifierFlag.SCROLL_LOCK | CAPS_LOCK)]


def test_buttons_that_are_none():
    for button in (MouseButton.INVALID, 99):
        with pytest.raises(ConfigError, match="no mouse button"):
            button_mask(button)


async def test_keys_are_released_when_the_channel_is_closed(pair):
    await pair.vm.inputs.key_down("ctrl")
    await pair.vm.inputs.button_down()
    await pair.vm.close_channel(ChannelType.INPUTS)
    await pair.server.wait_until(lambda: bool(pair.server.closed))
    assert pair.server.keys_down == ()
    assert not pair.server.buttons
    assert pair.server.closed[0].received["KeyUp"] == 1
    assert pair.server.closed[0].received["MouseRelease"] == 1
