"""Whatever a layout says it can type, xkbcommon's state machines read back from its keystrokes.

The tables in tests/data/keyboard/layouts are their answers to single key presses, recorded by tests/generate_keyboard_layouts.py.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.keyboard import Key, Keystroke, Layout, get_layout, layout_names, parse_chord

DATA = Path(__file__).parents[1] / "data" / "keyboard" / "layouts"
COLUMNS = [(), (Key.LEFTSHIFT,), (Key.RIGHTALT,), (Key.LEFTSHIFT, Key.RIGHTALT)]
CONTROLS = {Key.ENTER: "\n", Key.TAB: "\t", Key.BACKSPACE: "\b", Key.ESC: "\x1b"}
layouts = st.sampled_from(layout_names()).map(get_layout)


@functools.cache
def oracle(name: str) -> Any:
    return json.loads((DATA / f"{name.replace('(', '-').rstrip(')')}.json").read_text(encoding="utf-8"))


def symbol(name: str, stroke: Keystroke, *, capslock: bool = False) -> str:
    """What xkbcommon says the keystroke gives: a character or the name of a dead key."""
    if stroke.key in CONTROLS:
        return CONTROLS[stroke.key]
    row = oracle(name)["capslock" if capslock else "typed"][str(stroke.key.evdev)]
    return str(row[COLUMNS.index(stroke.modifiers)])


def typed(name: str, strokes: Iterable[Keystroke]) -> str:
    """Read keystrokes as a guest does: a dead key waits for what follows it. A sequence that combines to nothing is an error."""
    text = ""
    node = top = oracle(name)["composed"]
    for stroke in strokes:
        given_symbol = symbol(name, stroke)
        if node is top and given_symbol not in top:
            assert len(given_symbol) == 1, f"{given_symbol!r} leads nowhere"
            text += given_symbol
            continue
        node = node[given_symbol]
        if isinstance(node, str):
            text += node
            node = top
    assert node is top, "the last dead key still waits"
    return text


def test_every_layout_has_its_oracle() -> None:
    assert {path.stem for path in DATA.glob("*.json")} == {name.replace("(", "-").rstrip(")") for name in layout_names()}


@pytest.mark.parametrize("name", layout_names())
def test_every_character_is_read_back(name: str) -> None:
    layout = get_layout(name)
    wrong = {char for char in layout.characters - {"\r"} if typed(name, layout.keystrokes(char)) != char}
    assert not wrong
    assert len(layout.characters) >= 95


@pytest.mark.parametrize("name", layout_names())
def test_nothing_that_one_press_types_is_missing(name: str) -> None:
    has_altgr = any(Key.RIGHTALT in stroke.modifiers for char in get_layout(name).characters for stroke in strokes_of(name, char))
    columns = 4 if has_altgr else 2  # without AltGr the right Alt is an Alt, and a press with it no character
    pressed = {char for row in oracle(name)["typed"].values() for char in row[:columns] if len(char) == 1}
    assert pressed <= get_layout(name).characters


@pytest.mark.parametrize("name", layout_names())
def test_caps_lock_changes_what_is_caps_sensitive_and_nothing_else(name: str) -> None:
    strokes = {stroke for char in get_layout(name).characters for stroke in strokes_of(name, char)}
    for stroke in strokes:
        assert stroke.caps_sensitive == (symbol(name, stroke) != symbol(name, stroke, capslock=True)), stroke


def strokes_of(name: str, char: str) -> list[Keystroke]:
    return get_layout(name).keystrokes(char)


@given(st.data(), layouts)
def test_every_text_is_read_back(data: st.DataObject, layout: Layout) -> None:
    text = data.draw(st.text(st.sampled_from(sorted(layout.characters - {"\r"}))))
    assert typed(layout.name, layout.keystrokes(text)) == text


@given(layouts, st.text())
def test_any_text_is_typed_or_refused_by_naming_a_position(layout: Layout, text: str) -> None:
    first = next((position for position, char in enumerate(text) if char not in layout.characters), None)
    if first is None:
        assert layout.keystrokes(text) or not text
    else:
        with pytest.raises(ConfigError, match=rf"cannot type U\+{ord(text[first]):04X}\b.*\(position {first}\)$"):
            layout.keystrokes(text)


@given(st.text() | st.text("+ abctrlshif!A"))
def test_any_text_is_a_chord_or_a_config_error(text: str) -> None:
    try:
        chord = parse_chord(text)
    except ConfigError as error:
        outcome: str | tuple[Key, ...] = str(error)
    else:
        outcome = chord
    if isinstance(outcome, str):
        assert outcome.startswith("chord: ")
        assert len(outcome) < 300
    else:
        assert outcome
        assert len(set(outcome)) == len(outcome)


@given(st.lists(st.sampled_from(Key), min_size=1, unique=True), st.sampled_from(["evdev", "qmp"]))
def test_names_of_keys_joined_by_plus_are_a_chord(keys: list[Key], dialect: str) -> None:
    names = [key.name if dialect == "evdev" else key.qcode for key in keys]
    assert parse_chord("+".join(names)) == tuple(keys)


@given(st.text(max_size=60))
def test_any_name_is_a_layout_or_a_config_error(name: str) -> None:
    if name in layout_names():
        assert get_layout(name).name == name
    else:
        with pytest.raises(ConfigError, match=r"^no keyboard layout "):
            get_layout(name)
