"""`atp type`, `atp key` and `atp click`."""

from __future__ import annotations

import pytest

from atp_trio.keyboard import Key, get_layout
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import MouseButton


def keys(server, left_in_order) -> list[Key]:
    """The keys that went down."""
    assert left_in_order(server)
    downs = [event.code for event in server.server.events if isinstance(event, inputs.KeyDown)]
    return [next(key for key in Key if key.scancode_down() == code) for code in downs]


def test_types(atp, server, left_in_order):
    outcome = atp("type", server.uri, "Hi\n", "--interval", "0")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert keys(server, left_in_order) == [Key.LEFTSHIFT, Key.H, Key.I, Key.ENTER]
    assert server.server.keys_down == ()


def test_types_in_a_layout(atp, server, left_in_order):
    assert atp("type", server.uri, "zy", "--layout", "de", "--interval", "0").code == 0
    assert keys(server, left_in_order) == [stroke.key for stroke in get_layout("de").keystrokes("zy")] == [Key.Y, Key.Z]


def test_types_what_begins_with_a_dash(atp, server, left_in_order):
    assert atp("type", server.uri, "--interval", "0", "--", "-v").code == 0
    assert keys(server, left_in_order) == [Key.MINUS, Key.V]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["type", "secret\N{SNOWMAN}"], ("us", "SNOWMAN")),
        (["type", "a", "--layout", "klingon"], ("klingon",)),
        (["key", "ctrl+frob"], ("frob",)),
        (["key", ""], ("empty",)),
    ],
)
def test_does_not_connect_for_what_cannot_be_typed(atp, server, arguments, words):
    command, *others = arguments
    outcome = atp(command, server.uri, *others)
    assert outcome.says(2, *words)
    assert "secret" not in outcome.err
    assert not server.server.closed


def test_presses_keys_together(atp, server, left_in_order):
    assert atp("key", server.uri, "ctrl+alt+f2").code == 0
    assert keys(server, left_in_order) == [Key.LEFTCTRL, Key.LEFTALT, Key.F2]
    ups = [event for event in server.server.events if isinstance(event, inputs.KeyUp)]
    assert [event.code for event in ups] == [key.scancode_up() for key in (Key.F2, Key.LEFTALT, Key.LEFTCTRL)]


@pytest.mark.parametrize(
    ("name", "button"), [(None, MouseButton.LEFT), ("middle", MouseButton.MIDDLE), ("down", MouseButton.DOWN)]
)
def test_clicks(atp, server, name, button, left_in_order):
    assert atp("click", server.uri, "12", "34", *(["--button", name] if name else [])).code == 0
    assert left_in_order(server)
    assert server.server.machine.pointer == (12, 34)
    assert server.server.buttons == frozenset()
    kinds = [(type(event), getattr(event, "button", button)) for event in server.server.events]
    assert kinds == [(kind, button) for kind in (inputs.MousePosition, inputs.MousePress, inputs.MouseRelease)]


def test_does_not_click_without_positions(atp, serving, left_in_order):
    with serving(mouse_modes=[1]) as server:
        assert atp("click", server.uri, "1", "2").says(1, "only motion")
        assert left_in_order(server)
        assert not server.server.events
