from __future__ import annotations

import pytest

from atp_trio.errors import ConfigError
from atp_trio.keyboard import Key, parse_chord


@pytest.mark.parametrize(
    ("text", "chord"),
    [
        ("ctrl+alt+f2", (Key.LEFTCTRL, Key.LEFTALT, Key.F2)),
        ("Ctrl + ALT + Del", (Key.LEFTCTRL, Key.LEFTALT, Key.DELETE)),
        ("alt+ctrl+del", (Key.LEFTALT, Key.LEFTCTRL, Key.DELETE)),
        ("ctrl+a", (Key.LEFTCTRL, Key.A)),
        ("ctrl+A", (Key.LEFTCTRL, Key.A)),
        ("5", (Key.KEY_5,)),
        ("ctrl+/", (Key.LEFTCTRL, Key.SLASH)),
        ("alt+sysrq+b", (Key.LEFTALT, Key.SYSRQ, Key.B)),
        ("leftctrl+rightctrl", (Key.LEFTCTRL, Key.RIGHTCTRL)),
        ("ctrl_r+meta_l+kp_enter", (Key.RIGHTCTRL, Key.LEFTMETA, Key.KPENTER)),
        ("super+l", (Key.LEFTMETA, Key.L)),
        ("altgr+e", (Key.RIGHTALT, Key.E)),
        ("shift+102nd", (Key.LEFTSHIFT, Key.KEY_102ND)),
        ("ctrl+space", (Key.LEFTCTRL, Key.SPACE)),
        ("ctrl+minus", (Key.LEFTCTRL, Key.MINUS)),
    ],
)
def test_chords(text: str, chord: tuple[Key, ...]) -> None:
    assert parse_chord(text) == chord


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("meta", Key.LEFTMETA), ("win", Key.LEFTMETA), ("esc", Key.ESC), ("escape", Key.ESC)),
        *(("enter", Key.ENTER), ("return", Key.ENTER), ("ret", Key.ENTER), ("ins", Key.INSERT)),
        *(("pgup", Key.PAGEUP), ("pgdn", Key.PAGEDOWN), ("prtsc", Key.SYSRQ), ("print", Key.SYSRQ)),
        *(("up", Key.UP), ("down", Key.DOWN), ("left", Key.LEFT), ("right", Key.RIGHT), ("menu", Key.COMPOSE)),
        *(("pause", Key.PAUSE), ("tab", Key.TAB), ("backspace", Key.BACKSPACE), ("home", Key.HOME), ("spc", Key.SPACE)),
    ],
)
def test_everyday_names(name: str, key: Key) -> None:
    assert parse_chord(name) == (key,)


@pytest.mark.parametrize("text", ["ctrl++", "ctrl+plus", "ctrl + +", " ctrl++ "])
def test_plus_itself(text: str) -> None:
    assert parse_chord(text) == (Key.LEFTCTRL, Key.LEFTSHIFT, Key.EQUAL)


def test_plus_alone() -> None:
    assert parse_chord("+") == parse_chord("plus") == (Key.LEFTSHIFT, Key.EQUAL)


def test_a_character_that_needs_shift_brings_it_once() -> None:
    assert parse_chord("ctrl+!") == (Key.LEFTCTRL, Key.LEFTSHIFT, Key.KEY_1)
    assert parse_chord("shift+!") == (Key.LEFTSHIFT, Key.KEY_1)
    assert parse_chord("?") == (Key.LEFTSHIFT, Key.SLASH)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "chord: '' has an empty part; write 'plus' for the character '+'"),
        ("ctrl+", "chord: 'ctrl+' has an empty part; write 'plus' for the character '+'"),
        ("ctrl++a", "chord: 'ctrl++a' has an empty part; write 'plus' for the character '+'"),
        ("ctrl+alt+dle", "chord: 'dle' is not a key; did you mean 'delete'?"),
        ("crtl+a", "chord: 'crtl' is not a key; did you mean 'ctrl'?"),
        ("ctrl+Entr", "chord: 'Entr' is not a key; did you mean 'enter'?"),
        ("ctrl+é", "chord: 'é' is not a key"),
        ("ctrl+ctrl+a", "chord: 'ctrl' stands for a key that is already in the chord"),
        ("ctrl+leftctrl", "chord: 'leftctrl' stands for a key that is already in the chord"),
        ("!+1", "chord: '1' stands for a key that is already in the chord"),
    ],
)
def test_what_is_wrong_is_said(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_chord(text)
    assert str(caught.value) == sentence


def test_a_huge_part_is_refused_at_once_and_cut_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_chord("ctrl+" + "a" * 1_000_000)
    assert str(caught.value) == f"chord: '{'a' * 40}...' is not a key"
