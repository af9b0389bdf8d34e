"""The inputs channel: the keyboard, besides what `mouse` says of the mouse and `held` of what is down.

Source: SPICE protocol reference, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from atp_trio.errors import ConfigError, LocalProtocolError, TransportError
from atp_trio.keyboard import Key, Keystroke, Layout, get_layout, parse_chord
from atp_trio.spice.channels.mouse import MouseChannel
from atp_trio.spice.channels.session import Session
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import InputsCap, KeyboardModifierFlag
from atp_trio.spice.messages.link import ChannelType

# A guest's keyboard controller queues a few keystrokes and drops what comes beyond; nothing tells when it has room.
TYPING_INTERVAL: Final = 0.01

Chord = str | Key | Sequence[Key]


class InputsChannel(MouseChannel):
    """Keyboard and mouse of a machine.

    Keys and buttons that are still down when the channel or the connection is left, however it is left, are released. So does a
    server when the channel is lost; in one that is linked in its place, what the program holds down is pressed again.

    Attributes:
        modifiers_told: How often the server has told the lock keys so far.
    """

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.modifiers_told = 0
        self._last_stroke = -math.inf
        self._handlers |= {inputs.Init: self._init, inputs.KeyModifiers: self._key_modifiers}

    @property
    def modifiers(self) -> int:
        """The guest's lock keys as the server last told them: a mask of `KeyboardModifierFlag`."""
        return self._held.locks or 0

    async def key_down(self, key: Key | str) -> None:
        """Press a key and leave it down.

        Raises:
            ConfigError: No such key.
            ConnectionLost: The channel has ended.

        Cancellation: the key went down and counts as held, or nothing was sent.
        """
        found = _key(key)
        await self._send_and_note(inputs.KeyDown(code=found.scancode_down()), lambda: self._held.note_key(found, is_down=True))

    async def key_up(self, key: Key | str) -> None:
        """Release a key.

        Raises:
            ConnectionLost: The channel has ended, and the key is up by that; it will not be pressed again.

        Cancellation: the key went up, or nothing was sent and it still counts as held.
        """
        found = _key(key)
        try:
            await self._send_and_note(inputs.KeyUp(code=found.scancode_up()), lambda: self._held.note_key(found, is_down=False))
        except TransportError:
            self._held.release_key(found)
            raise

    async def press(self, chord: Chord) -> None:
        """Press and release keys together: the keys go down in order and up in reverse.

        Args:
            chord: Such as `"ctrl+alt+f2"`, a key, or keys.

        Raises:
            ConfigError: The chord names no key.

        Cancellation: whatever went down goes up again.
        """
        await self._stroke(_keys(chord))

    async def type_text(self, text: str, *, layout: str | Layout = "us", interval: float = TYPING_INTERVAL) -> None:
        r"""Type a text, `\n` being Enter.

        Caps Lock, where it is on and would matter, is turned off for the time of typing.

        Args:
            text: What to type.
            layout: The keyboard layout that the guest is set to.
            interval: Seconds between two keystrokes. A machine's keyboard controller drops what comes faster than the guest
                takes it, and nobody tells: a slow guest may need more than the default of 10 ms.

        Raises:
            ConfigError: The layout cannot type a character, or there is no such layout; nothing was typed.

        Cancellation: a beginning of the text was typed, and no key is down.
        """
        strokes = (get_layout(layout) if isinstance(layout, str) else layout).keystrokes(text)
        caps = 0
        if any(stroke.caps_sensitive for stroke in strokes):
            await self._wait_until(lambda: self._held.locks is not None)  # a server tells them first of all
            caps = self.modifiers & KeyboardModifierFlag.CAPS_LOCK
        if caps:
            off = inputs.KeyModifiers(modifiers=self.modifiers & ~caps)
            await self._send_and_note(off, lambda: self._held.owe_locks(caps))
        try:
            await self._type(strokes, interval)
        finally:
            if caps:
                self._held.give_locks_back()

    async def _type(self, strokes: Iterable[Keystroke], interval: float) -> None:
        # A press just before counts too: the guest may not have taken it yet.
        due = max(trio.current_time(), self._last_stroke + interval)
        for stroke in strokes:
            # By the clock and not by sleeping after each: a long text is typed at the rate that was asked for. But where we are
            # late, a burst that made up for it would be dropped.
            await trio.sleep_until(max(due, self._last_stroke + interval / 2))
            await self._stroke((*stroke.modifiers, stroke.key))
            due += interval

    async def _stroke(self, keys: Sequence[Key]) -> None:
        mine: list[Key] = []
        try:
            for key in keys:
                if key not in self._held.keys:
                    mine.append(key)
                await self.key_down(key)
        finally:
            for key in reversed(mine):
                self._held.release_key(key)
            self._last_stroke = trio.current_time()

    async def send_scancodes(self, data: bytes) -> None:
        """Send raw PC AT set 1 scancodes, presses and releases, as they are; held keys are then the caller's own business.

        Raises:
            LocalProtocolError: The server does not know the message.
        """
        if InputsCap.KEY_SCANCODE not in self.server_caps:
            raise LocalProtocolError("the server does not take raw scancodes")
        await self.send(inputs.KeyScancode(data=data))

    async def set_modifiers(self, modifiers: int) -> None:
        """Ask the server to make the guest's lock keys so (a mask of `KeyboardModifierFlag`)."""
        await self.send(inputs.KeyModifiers(modifiers=modifiers))

    async def wait_modifiers(self, *, after: int | None = None) -> int:
        """Wait until the server tells the lock keys again; gives them.

        Pressing Caps Lock and waiting here is a round trip with the guest in it. The answer may come before the call that presses
        it returns: take `modifiers_told` before it.

        Args:
            after: The value of `modifiers_told` that counts as old; by default what it is now.
        """
        told = self.modifiers_told if after is None else after
        await self._wait_until(lambda: self.modifiers_told > told)
        return self.modifiers

    # --- what the server says

    def _init(self, message: inputs.Init) -> None:
        self._told(message.modifiers)
        self._held.give_locks_back()

    def _key_modifiers(self, message: inputs.KeyModifiers) -> None:
        self._told(message.modifiers)

    def _told(self, modifiers: int) -> None:
        self._held.locks = modifiers
        self.modifiers_told += 1
        self._changed.unpark_all()


def _key(key: Key | str) -> Key:
    if isinstance(key, Key):
        return key
    keys = parse_chord(key)
    if len(keys) != 1:
        raise ConfigError(f"{key!r} is more than one key")
    return keys[0]


def _keys(chord: Chord) -> Sequence[Key]:
    if isinstance(chord, Key):
        return (chord,)
    return parse_chord(chord) if isinstance(chord, str) else tuple(chord)
