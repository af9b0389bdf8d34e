"""The keyboard: physical keys, chords, and layouts that turn text into key events, for SPICE and QMP alike.

Data only: nothing here knows a channel, a clock or a socket.
"""

from __future__ import annotations

from atp_trio.keyboard.chord import parse_chord
from atp_trio.keyboard.key import Key
from atp_trio.keyboard.layout import Keystroke, Layout, get_layout, layout_names

__all__ = ["Key", "Keystroke", "Layout", "get_layout", "layout_names", "parse_chord"]
