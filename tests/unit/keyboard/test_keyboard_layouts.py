"""Layouts by example. Every character of every layout is held against xkbcommon in tests/property/test_keyboard.py."""

from __future__ import annotations

import pytest

from atp_trio.errors import ConfigError
from atp_trio.keyboard import Key, Keystroke, get_layout, layout_names

SHIFT, ALTGR = (Key.LEFTSHIFT,), (Key.RIGHTALT,)


def presses(layout: str, text: str) -> list[tuple[Key, tuple[Key, ...]]]:
    return [(stroke.key, stroke.modifiers) for stroke in get_layout(layout).keystrokes(text)]


@pytest.mark.parametrize(
    ("layout", "text", "expected"),
    [
        ("us", "aB1!", [(Key.A, ()), (Key.B, SHIFT), (Key.KEY_1, ()), (Key.KEY_1, SHIFT)]),
        ("us", "<|", [(Key.COMMA, SHIFT), (Key.BACKSLASH, SHIFT)]),
        ("us(dvorak)", "s", [(Key.SEMICOLON, ())]),
        ("us(intl)", "ñ", [(Key.N, ALTGR)]),
        ("us(intl)", "ê", [(Key.KEY_6, SHIFT), (Key.E, ())]),
        ("gb", '"@£', [(Key.KEY_2, SHIFT), (Key.APOSTROPHE, SHIFT), (Key.KEY_3, SHIFT)]),
        ("de", "zß@€", [(Key.Y, ()), (Key.MINUS, ()), (Key.Q, ALTGR), (Key.E, ALTGR)]),
        ("de", "<>", [(Key.KEY_102ND, ()), (Key.KEY_102ND, SHIFT)]),
        ("de", "é", [(Key.EQUAL, ()), (Key.E, ())]),
        ("de", "^", [(Key.GRAVE, ()), (Key.SPACE, ())]),
        ("de(nodeadkeys)", "^", [(Key.GRAVE, ())]),
        ("fr", "<", [(Key.KEY_102ND, ())]),
        ("fr", "aéÊ1", [(Key.Q, ()), (Key.KEY_2, ()), (Key.LEFTBRACE, ()), (Key.E, SHIFT), (Key.KEY_1, SHIFT)]),
        ("br", "ã", [(Key.APOSTROPHE, ()), (Key.A, ())]),
        ("jp", "_", [(Key.RO, SHIFT)]),
        ("ru", "Привет"[:2], [(Key.G, SHIFT), (Key.H, ())]),
        ("gr", "ά", [(Key.SEMICOLON, ()), (Key.A, ())]),
        ("us", "\n\t\b\x1b", [(Key.ENTER, ()), (Key.TAB, ()), (Key.BACKSPACE, ()), (Key.ESC, ())]),
        ("us", "a\r\nb\r\r\n\n", [(key, ()) for key in (Key.A, Key.ENTER, Key.B, Key.ENTER, Key.ENTER, Key.ENTER)]),
        ("us", "", []),
    ],
)
def test_keystrokes(layout: str, text: str, expected: list[tuple[Key, tuple[Key, ...]]]) -> None:
    assert presses(layout, text) == expected


def test_caps_lock_changes_letters_not_digits() -> None:
    assert get_layout("us").keystrokes("aA1!") == [
        Keystroke(Key.A, (), caps_sensitive=True),
        Keystroke(Key.A, SHIFT, caps_sensitive=True),
        Keystroke(Key.KEY_1),
        Keystroke(Key.KEY_1, SHIFT),
    ]


def test_caps_lock_changes_the_letters_on_czech_digits() -> None:
    assert [stroke.caps_sensitive for stroke in get_layout("cz").keystrokes("ě2")] == [True, False]


@pytest.mark.parametrize(
    ("layout", "text", "sentence"),
    [
        ("us", "hunter2é", "layout us cannot type U+00E9 LATIN SMALL LETTER E WITH ACUTE (position 7)"),
        ("ru", "pass", "layout ru cannot type U+0070 LATIN SMALL LETTER P (position 0)"),
        ("us", "a\x00", "layout us cannot type U+0000 (position 1)"),
        ("us", "\ud800", "layout us cannot type U+D800 (position 0)"),
        ("fr", "e\u0301", "layout fr cannot type U+0301 COMBINING ACUTE ACCENT (position 1)"),
    ],
)
def test_what_cannot_be_typed_is_named_and_the_text_is_not(layout: str, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_layout(layout).keystrokes(text)
    assert str(caught.value) == sentence


def test_the_names_are_those_of_xkb() -> None:
    names = layout_names()
    wanted = "us gb de fr es it pt br se no dk fi ch ch(fr) be nl pl cz hu tr ru ua gr jp us(intl) us(dvorak) us(colemak)"
    assert set(wanted.split()) <= set(names)
    assert list(names) == sorted(names)


def test_a_layout_is_made_once_and_shows_no_tables() -> None:
    assert get_layout("de") is get_layout("de")
    assert repr(get_layout("de")) == "Layout(name='de', title='German')"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("us(dvorac)", "no keyboard layout 'us(dvorac)'; did you mean 'us(dvorak)'?"),
        ("../compose", "no keyboard layout '../compose'"),
        ("us-dvorak", "no keyboard layout 'us-dvorak'; did you mean 'us(dvorak)'?"),
        ("", "no keyboard layout ''"),
    ],
)
def test_an_unknown_layout(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_layout(name)
    assert str(caught.value) == sentence
