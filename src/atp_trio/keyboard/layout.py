"""Layouts: from a text to the keys that type it on a guest with that layout.

Theory of operation. A layout's file says what each key gives, without modifiers, with Shift, with AltGr and with both: a
character or a dead key, by xkb's name for it. A second file, `compose.json`, common to all, is a trie of what dead keys and
characters combine to. From the two follows, when the layout is first asked for, the shortest sequence of keystrokes for every
character, and from then on typing is a look-up. Both files are made from xkb's own data by `tests/generate_keyboard_layouts.py`.

The keypad is not used (Num Lock decides what it types), and neither is the Compose key (few guests have one).
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
import unicodedata
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from atp_trio.errors import ConfigError
from atp_trio.keyboard.key import Key

# What the four entries of a key in a layout's file need to be held down.
_LEVELS: Final[tuple[tuple[Key, ...], ...]] = ((), (Key.LEFTSHIFT,), (Key.RIGHTALT,), (Key.LEFTSHIFT, Key.RIGHTALT))

# Keys that some keyboards do not have, where xkb gives them characters all the same.
_RARE: Final = frozenset({Key.KEY_102ND, Key.RO, Key.YEN})

# The trie: a dead key's name or a character leads to the result, or further down.
_Trie: TypeAlias = Mapping[str, "str | _Trie"]


@frozen
class Keystroke:
    """One key pressed and released while its modifiers are down.

    Keystrokes spell what is typed: they are as secret as the text.
    """

    key: Key
    modifiers: tuple[Key, ...] = ()
    """Held down around the key, to be pressed in this order: none, or of LEFTSHIFT and RIGHTALT."""
    caps_sensitive: bool = False
    """Whether Caps Lock, when on, makes this keystroke type something else. (Inverting Shift is no cure: on many layouts that
    is a third character. Caps Lock has to be off.)"""


_CONTROLS: Final = {
    "\n": Keystroke(Key.ENTER),
    "\r": Keystroke(Key.ENTER),
    "\t": Keystroke(Key.TAB),
    "\b": Keystroke(Key.BACKSPACE),
    "\x1b": Keystroke(Key.ESC),
}


@frozen
class Layout:
    """What the keys of a guest type. It must be the layout that the guest is set to; neither SPICE nor QMP can tell.

    Dead keys combine as in X and Wayland with an UTF-8 locale; accented letters and accent plus space do so everywhere.

    Source: xkb's symbols and libX11's `Compose` of the locale en_US.UTF-8.
    """

    name: str
    """As xkb has it: `de`, `us(intl)`."""
    title: str
    """xkb's English description, such as `German (no dead keys)`."""
    _sequences: Mapping[str, tuple[Keystroke, ...]] = field(repr=False, eq=False)

    @property
    def characters(self) -> frozenset[str]:
        """Every character the layout can type, newline, tab, backspace and escape included."""
        return frozenset(self._sequences)

    def keystrokes(self, text: str) -> list[Keystroke]:
        r"""Spell a text.

        A newline is Enter (`\n`, `\r`, or the two as one), a tab Tab, `\b` Backspace and `\x1b` Escape. An accent that stands as
        a character of its own after its letter cannot be typed; `unicodedata.normalize("NFC", text)` puts the two together.

        Returns:
            One keystroke a character, more where dead keys are needed. Each is complete: no modifier stays down between them.

        Raises:
            ConfigError: The layout cannot type a character; the error names it and its position, counted from 0, not the text.
        """
        strokes: list[Keystroke] = []
        previous = ""
        for position, char in enumerate(text):
            sequence = self._sequences.get(char)
            if sequence is None:
                label = f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()
                raise ConfigError(f"layout {self.name} cannot type {label} (position {position})")
            if char != "\n" or previous != "\r":
                strokes += sequence
            previous = char
        return strokes


@functools.cache
def layout_names() -> tuple[str, ...]:
    """Give the names of all layouts that are shipped, sorted."""
    files = (file.name.removesuffix(".json") for file in _data().joinpath("layouts").iterdir() if file.name.endswith(".json"))
    return tuple(sorted(map(_name_of, files)))


@functools.cache
def get_layout(name: str) -> Layout:
    """Give a layout by its xkb name, such as `de` or `us(dvorak)`.

    The first call for a name reads two small files; after that it is a look-up.

    Raises:
        ConfigError: No such layout is shipped.
    """
    if name not in layout_names():
        nearest = difflib.get_close_matches(name[:40], layout_names(), n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"no keyboard layout {name[:40]!r}{hint}")
    table = _read(f"layouts/{_file_of(name)}.json")
    strokes = _strokes(table["keys"], table["caps"])
    sequences: dict[str, tuple[Keystroke, ...]] = {symbol: (stroke,) for symbol, stroke in strokes.items() if len(symbol) == 1}
    for char, sequence in sorted(_compositions(_read("compose.json"), strokes, ()), key=_composition_cost):
        sequences.setdefault(char, sequence)
    sequences |= {char: (stroke,) for char, stroke in _CONTROLS.items()}
    return Layout(name, table["title"], sequences)


def _strokes(keys: Mapping[str, list[str]], caps: Mapping[str, list[int]]) -> dict[str, Keystroke]:
    """Give the cheapest keystroke for each character and each dead key."""
    strokes = [
        (symbol, Keystroke(Key[name], _LEVELS[level], caps_sensitive=level in caps.get(name, ())))
        for name, symbols in keys.items()
        for level, symbol in enumerate(symbols)
        if symbol
    ]
    # The dearest first, so that the cheapest is what stays.
    return dict(sorted(strokes, key=lambda item: _cost(item[1]), reverse=True))


def _cost(stroke: Keystroke) -> tuple[bool, bool, int, int]:
    """Order keystrokes for the same symbol.

    AltGr comes last: there xkb's layouts have much that those of other systems do not, such as `<` on AltGr+W in France. Then
    keys that every keyboard has, then few modifiers; the key's number makes it deterministic.
    """
    return Key.RIGHTALT in stroke.modifiers, stroke.key in _RARE, len(stroke.modifiers), stroke.key.evdev


def _compositions(
    trie: _Trie, strokes: Mapping[str, Keystroke], prefix: tuple[Keystroke, ...]
) -> Iterator[tuple[str, tuple[Keystroke, ...]]]:
    """Give what dead keys make of what this layout has keys for."""
    for symbol, result in trie.items():
        stroke = strokes.get(symbol)
        if stroke is None:
            continue
        if isinstance(result, str):
            yield result, (*prefix, stroke)
        else:
            yield from _compositions(result, strokes, (*prefix, stroke))


def _composition_cost(item: tuple[str, tuple[Keystroke, ...]]) -> tuple[object, ...]:
    char, sequence = item
    return len(sequence), not _is_portable(char, sequence), [_cost(stroke) for stroke in sequence]


def _is_portable(char: str, sequence: tuple[Keystroke, ...]) -> bool:
    """Whether it is an accented letter, or an accent and a space: what Windows' dead keys do as well."""
    return sequence[-1].key is Key.SPACE or bool(unicodedata.decomposition(char))


def _name_of(file: str) -> str:
    layout, _, variant = file.partition("-")
    return f"{layout}({variant})" if variant else layout


def _file_of(name: str) -> str:
    return name.replace("(", "-").rstrip(")")


def _data() -> Traversable:
    return importlib.resources.files("atp_trio.keyboard")


def _read(path: str) -> Any:
    return json.loads(_data().joinpath(path).read_text(encoding="utf-8"))
