"""Chords: keys held down together, written as `ctrl+alt+f2`."""

from __future__ import annotations

import difflib
from typing import Final

from atp_trio.errors import ConfigError
from atp_trio.keyboard.key import Key

_ALIASES: Final = {
    "102nd": Key.KEY_102ND,
    "alt": Key.LEFTALT,
    "altgr": Key.RIGHTALT,
    "apps": Key.COMPOSE,
    "break": Key.PAUSE,
    "bksp": Key.BACKSPACE,
    "caps": Key.CAPSLOCK,
    "cmd": Key.LEFTMETA,
    "control": Key.LEFTCTRL,
    "ctrl": Key.LEFTCTRL,
    "del": Key.DELETE,
    "escape": Key.ESC,
    "ins": Key.INSERT,
    "menu": Key.COMPOSE,
    "meta": Key.LEFTMETA,
    "option": Key.LEFTALT,
    "pgdown": Key.PAGEDOWN,
    "period": Key.DOT,
    "printscreen": Key.SYSRQ,
    "prtsc": Key.SYSRQ,
    "prtscr": Key.SYSRQ,
    "return": Key.ENTER,
    "shift": Key.LEFTSHIFT,
    "super": Key.LEFTMETA,
    "win": Key.LEFTMETA,
    "windows": Key.LEFTMETA,
}

# The us layout, which chords speak: the keys in the order of the two strings, without and with Shift.
_US_KEYS: Final = (
    *(Key.GRAVE, Key.KEY_1, Key.KEY_2, Key.KEY_3, Key.KEY_4, Key.KEY_5, Key.KEY_6, Key.KEY_7, Key.KEY_8, Key.KEY_9, Key.KEY_0),
    *(Key.MINUS, Key.EQUAL, Key.LEFTBRACE, Key.RIGHTBRACE, Key.BACKSLASH, Key.SEMICOLON, Key.APOSTROPHE),
    *(Key.COMMA, Key.DOT, Key.SLASH),
)
_US_PLAIN: Final = "`1234567890-=[]\\;',./"
_US_SHIFTED: Final = '~!@#$%^&*()_+{}|:"<>?'

_NAMES: Final[dict[str, tuple[Key, ...]]] = {
    **{key.qcode: (key,) for key in Key},
    **{key.name.lower(): (key,) for key in Key},
    **{name: (key,) for name, key in _ALIASES.items()},
    **{char: (key,) for char, key in zip(_US_PLAIN, _US_KEYS, strict=True)},
    **{char: (Key.LEFTSHIFT, key) for char, key in zip(_US_SHIFTED, _US_KEYS, strict=True)},
    "plus": (Key.LEFTSHIFT, Key.EQUAL),
}
_LONGEST_NAME: Final = max(map(len, _NAMES))


def parse_chord(text: str) -> tuple[Key, ...]:
    """Read keys held down together, such as `ctrl+alt+f2`, in the order in which they go down.

    A part is the name of a key as evdev has it (`leftctrl`, `kpenter`), as QMP has it (`ctrl_r`, `pgup`), an everyday one
    (`ctrl`, `altgr`, `win`, `enter`, `del`, `prtsc`), or a character of the us layout. Case does not matter, so `ctrl+A` has no
    Shift in it; a character that needs Shift there brings it (`ctrl++` is Ctrl, Shift and the key of `=`). Spaces do not matter
    either; the space bar is `space`.

    Args:
        text: The chord. `+` separates; at the end, after another or alone, it is the character, which `plus` names too.

    Returns:
        At least one key, none twice.

    Raises:
        ConfigError: A part is empty, names no key, or names one that is already down. The text of the error quotes the part.
    """
    chord: dict[Key, None] = {}  # a set that keeps the order
    for part in _split(text):
        keys = _keys_of(part, text)
        if keys[-1] in chord:
            raise ConfigError(f"chord: {_quote(part)} stands for a key that is already in the chord")
        chord |= dict.fromkeys(keys)  # a character's own Shift may be there already
    return tuple(chord)


def _split(text: str) -> list[str]:
    """Cut at each `+` that is not itself the last key."""
    dense = "".join(text.split())
    if dense == "+":
        return ["+"]
    if dense.endswith("++"):
        return [*dense[:-2].split("+"), "+"]
    return dense.split("+")


def _keys_of(part: str, text: str) -> tuple[Key, ...]:
    if not part:
        raise ConfigError(f"chord: {_quote(text)} has an empty part; write 'plus' for the character '+'")
    name = part.lower() if len(part) <= _LONGEST_NAME else ""  # nothing longer can match, or be close
    keys = _NAMES.get(name)
    if keys is not None:
        return keys
    # Of equally close names the first in the alphabet wins, so that the sentence does not depend on the order of the table.
    nearest = difflib.get_close_matches(name, sorted(_NAMES), n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigError(f"chord: {_quote(part)} is not a key{hint}")


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
