"""The inputs channel: keyboard and mouse.

Source: SPICE protocol reference, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final

import trio

from atp_trio.errors import ConfigError, LocalProtocolError, TransportError
from atp_trio.keyboard import Key, Keystroke, Layout, get_layout, parse_chord
from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.session import Session
from atp_trio.spice.messages import base, inputs
from atp_trio.spice.messages.inputs import InputsCap, KeyboardModifierFlag, MouseButton, MouseButtonMask
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.wire import Message

# The server acknowledges motions in bunches of 4; spice-gtk keeps at most two bunches under way.
MOTION_WINDOW: Final = 2 * inputs.MOTION_ACK_BUNCH
# A guest's keyboard controller queues a few keystrokes and drops what comes beyond; nothing tells when it has room.
TYPING_INTERVAL: Final = 0.01

# What is sent in which mode.
MODES: Final = {MouseMode.SERVER: "motions", MouseMode.CLIENT: "positions"}

Chord = str | Key | Sequence[Key]


class InputsChannel(SpiceChannel):
    """Keyboard and mouse of a machine.

    Keys and buttons that are still down when the channel or the connection is left, however it is left, are released. So does a
    server when the channel is lost; in one that is linked in its place, what the program holds down is pressed again.

    Attributes:
        motion_window: How many motions and positions may be unacknowledged before the next one waits. The default, 8, is what
            keeps the guest's pointer close to ours; a larger one trades that for throughput.
        motions_sent: Motions and positions sent so far.
        motion_acks: Acknowledgements received so far, each for 4 of them.
        modifiers_told: How often the server has told the lock keys so far.
        last_position: Where the pointer was put last (mouse mode CLIENT): the display channel's id, x and y; None before that.
    """

    can_ask: ClassVar[bool] = True

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.motion_window = MOTION_WINDOW
        self.motions_sent = 0
        self.motion_acks = 0
        self._modifiers: int | None = None
        self.modifiers_told = 0
        self.last_position: tuple[int, int, int] | None = None
        self._keys: dict[Key, None] = {}  # held, in the order they went down
        self._buttons = 0
        self._owed_locks = 0  # lock keys that typing has turned off and is to turn on again
        self._successor: InputsChannel | None = None  # the channel that was linked in place of this one, which was lost
        self._last_stroke = -math.inf
        self._handlers |= {
            # Nothing on this channel depends on another, so that a caller may look for answers (`Inbox.look`).
            base.WaitForChannels: lambda _: None,
            inputs.Init: self._init,
            inputs.KeyModifiers: self._key_modifiers,
            inputs.MouseMotionAck: self._motion_ack,
        }

    # --- keyboard

    @property
    def modifiers(self) -> int:
        """The guest's lock keys as the server last told them: a mask of `KeyboardModifierFlag`."""
        return self._modifiers or 0

    @property
    def held_keys(self) -> tuple[Key, ...]:
        """The keys that are down, in the order they went down."""
        return tuple(self._keys)

    async def key_down(self, key: Key | str) -> None:
        """Press a key and leave it down.

        Raises:
            ConfigError: No such key.
            ConnectionLost: The channel has ended.

        Cancellation: the key went down and counts as held, or nothing was sent.
        """
        found = _key(key)
        await self._send_and_note(inputs.KeyDown(code=found.scancode_down()), lambda: self._keys.setdefault(found))

    async def key_up(self, key: Key | str) -> None:
        """Release a key.

        Raises:
            ConnectionLost: The channel has ended, and the key is up by that; it will not be pressed again.

        Cancellation: the key went up, or nothing was sent and it still counts as held.
        """
        found = _key(key)
        try:
            await self._send_and_note(inputs.KeyUp(code=found.scancode_up()), lambda: self._keys.pop(found, None))
        except TransportError:
            self._release(found)
            raise

    async def _send_and_note(self, message: Message, note: Callable[[], object]) -> None:
        """Send, and note it in the same step: who leaves the connection meanwhile, in another task, knows what is down."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._wait_room()
        self.send_nowait(message)
        note()
        await trio.lowlevel.cancel_shielded_checkpoint()

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
        is_sensitive = any(stroke.caps_sensitive for stroke in strokes)
        if is_sensitive:
            await self._wait_until(lambda: self._modifiers is not None)  # a server tells them first of all
        caps = self.modifiers & KeyboardModifierFlag.CAPS_LOCK
        must_change = bool(caps) and is_sensitive
        if must_change:
            self._owed_locks = caps
            await self.set_modifiers(self.modifiers & ~caps)
        try:
            await self._type(strokes, interval)
        finally:
            if must_change:
                self._give_locks_back()

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
                if key not in self._keys:
                    mine.append(key)
                await self.key_down(key)
        finally:
            for key in reversed(mine):
                self._release(key)
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

    # --- mouse

    @property
    def mouse_mode(self) -> MouseMode:
        """CLIENT: positions are sent; SERVER: motions are."""
        return self.session.mouse_mode

    @property
    def held_buttons(self) -> int:
        """The buttons that are down: a mask of `MouseButtonMask`."""
        return self._buttons

    @property
    def unacknowledged_motions(self) -> int:
        """Motions and positions that the server has not acknowledged; up to 3 never are, acknowledgement being by fours."""
        return self.motions_sent - inputs.MOTION_ACK_BUNCH * self.motion_acks

    def motion_nowait(self, dx: int, dy: int) -> None:
        """Move the pointer by so many pixels (mouse mode SERVER) without waiting.

        Raises:
            trio.WouldBlock: The window is full, or too much is queued: see `wait_motion`.
            LocalProtocolError: The mouse mode is CLIENT.
        """
        if not self.motions_nowait([(dx, dy)]):
            raise trio.WouldBlock

    def motions_nowait(self, moves: Sequence[tuple[int, int]]) -> int:
        """Move the pointer several times (mouse mode SERVER), sent together, without waiting.

        Returns:
            How many of the moves (dx, dy) were sent, from the first on: as many as the window has room for.

        Raises:
            trio.WouldBlock: Too much is queued: see `wait_motion`.
            LocalProtocolError: The mouse mode is CLIENT.
        """
        self._check_mode(MouseMode.SERVER)
        return self._move([inputs.MouseMotion(dx=dx, dy=dy, buttons_state=self._buttons) for dx, dy in moves[: self._room]])

    def positions_nowait(self, points: Sequence[tuple[int, int]], *, display_id: int = 0) -> int:
        """Put the pointer on several pixels in turn (mouse mode CLIENT), sent together, without waiting; as `motions_nowait`."""
        self._check_mode(MouseMode.CLIENT)
        sent = self._move(
            [inputs.MousePosition(x=x, y=y, buttons_state=self._buttons, display_id=display_id) for x, y in points[: self._room]]
        )
        if sent:
            self.last_position = (display_id, *points[sent - 1])
        return sent

    def position_nowait(self, x: int, y: int, *, display_id: int = 0) -> None:
        """Put the pointer on a pixel of that display channel's surface (mouse mode CLIENT) without waiting.

        Raises:
            trio.WouldBlock: The window is full, or too much is queued: see `wait_motion`.
            LocalProtocolError: The mouse mode is SERVER.
        """
        if not self.positions_nowait([(x, y)], display_id=display_id):
            raise trio.WouldBlock

    def _check_mode(self, mode: MouseMode) -> None:
        if self.session.mouse_mode is not mode:
            now = self.session.mouse_mode
            raise LocalProtocolError(f"the mouse mode is {now.name}: send {MODES[now]}")

    def _move(self, messages: Sequence[Message]) -> int:
        if messages:
            self.send_nowait(*messages)
            self.motions_sent += len(messages)
        return len(messages)

    @property
    def _room(self) -> int:
        """How many motions the window has room for."""
        return max(0, self.motion_window - self.unacknowledged_motions)

    async def wait_motion(self) -> None:
        """Wait until the next motion or position can be sent."""
        await self._wait_until(lambda: self._room > 0)
        await self._wait_room()

    async def wait_motions_acknowledged(self) -> None:
        """Wait until the server has acknowledged all motions, but for the last up to 3 of an unfinished bunch."""
        await self._wait_soon(lambda: self.unacknowledged_motions < inputs.MOTION_ACK_BUNCH)

    async def ask(self) -> None:
        """Send motions of the kind that does not belong to the mouse mode, and wait for the acknowledgement.

        Servers acknowledge them like any, and nothing moves.

        Raises:
            ConnectionLost: The channel has ended.

        Cancellation: the question stands.
        """
        acks = self.motion_acks
        if self.unacknowledged_motions < inputs.MOTION_ACK_BUNCH:  # else an acknowledgement is under way
            is_client = self.session.mouse_mode is MouseMode.CLIENT
            still = (
                inputs.MouseMotion(dx=0, dy=0, buttons_state=self._buttons)
                if is_client
                else inputs.MousePosition(x=0, y=0, buttons_state=self._buttons, display_id=0)
            )
            await self._wait_room()
            self._move([still] * inputs.MOTION_ACK_BUNCH)
        await self._wait_until(lambda: self.motion_acks > acks)

    async def motion(self, dx: int, dy: int) -> None:
        """Move the pointer by so many pixels (mouse mode SERVER), waiting while the window is full.

        Cancellation: it was sent, or it was not.
        """
        await self._need_mode(MouseMode.SERVER)
        await self.wait_motion()
        self.motion_nowait(dx, dy)

    async def position(self, x: int, y: int, *, display_id: int = 0) -> None:
        """Put the pointer on a pixel of that display channel's surface (mouse mode CLIENT), waiting while the window is full.

        Cancellation: it was sent, or it was not.
        """
        await self._need_mode(MouseMode.CLIENT)
        await self.wait_motion()
        self.position_nowait(x, y, display_id=display_id)

    async def _need_mode(self, mode: MouseMode) -> None:
        """Wait while a change to this mode is under way."""
        if self.session.mouse_mode is not mode and self.session.requested_mouse_mode is mode:
            await self.session.wait_until(lambda: self.session.requested_mouse_mode is not mode or not self.is_open)

    async def button_down(self, button: MouseButton = MouseButton.LEFT) -> None:
        """Press a mouse button and leave it down.

        Cancellation: the button went down and counts as held, or nothing was sent.
        """
        await self._send_and_note(
            inputs.MousePress(button=button, buttons_state=self._buttons | _mask(button)),
            lambda: setattr(self, "_buttons", self._buttons | _mask(button)),
        )

    async def button_up(self, button: MouseButton = MouseButton.LEFT) -> None:
        """Release a mouse button; as `key_up`."""
        try:
            await self._send_and_note(
                inputs.MouseRelease(button=button, buttons_state=self._buttons & ~_mask(button)),
                lambda: setattr(self, "_buttons", self._buttons & ~_mask(button)),
            )
        except TransportError:
            self._release_button(button)
            raise

    async def click(
        self, x: int | None = None, y: int | None = None, *, button: MouseButton = MouseButton.LEFT, display_id: int = 0
    ) -> None:
        """Press and release a button, at a pixel where one is given (mouse mode CLIENT), else where the pointer is.

        Cancellation: the button is not left down.
        """
        if x is not None and y is not None:
            await self.position(x, y, display_id=display_id)
        elif (x is None) != (y is None):
            raise ConfigError("a pixel has both x and y")
        try:
            await self.button_down(button)
        finally:
            self._release_button(button)

    async def wheel(self, steps: int) -> None:
        """Turn the wheel: up for positive steps, down for negative ones."""
        button = MouseButton.UP if steps > 0 else MouseButton.DOWN
        await trio.lowlevel.checkpoint()
        for _ in range(abs(steps)):
            await self.click(button=button)

    # --- letting go

    async def release_all(self) -> None:
        """Release every key and button that is down."""
        await trio.lowlevel.checkpoint()
        self._open_parts()
        self._let_go()

    def _let_go(self) -> None:
        for key in reversed(self.held_keys):
            self._release(key)
        for button in MouseButton:
            if button and self._buttons & _mask(button):
                self._release_button(button)

    def _say_goodbye(self) -> None:
        self._let_go()

    def _release(self, key: Key) -> None:
        if self._successor is not None:
            self._successor._release(key)  # noqa: SLF001 - of this class
        elif self._keys.pop(key, self) is not self:
            self._force(inputs.KeyUp(code=key.scancode_up()))

    def _release_button(self, button: MouseButton) -> None:
        if self._successor is not None:
            self._successor._release_button(button)  # noqa: SLF001 - of this class
        elif self._buttons & _mask(button):
            self._buttons &= ~_mask(button)
            self._force(inputs.MouseRelease(button=button, buttons_state=self._buttons))

    def _give_locks_back(self) -> None:
        if self._successor is not None:
            self._successor._give_locks_back()  # noqa: SLF001 - of this class
        elif self._owed_locks and self._modifiers is not None and self.is_open:
            # Where the channel was lost meanwhile, the one in its place does this.
            self._force(inputs.KeyModifiers(modifiers=self._modifiers | self._owed_locks))
            self._owed_locks = 0

    def _force(self, message: Message) -> None:
        """Send without regard to what is queued: for releases, of which there are no more than presses."""
        if self.is_open and self._core and self._outbox:
            self._core.send(message)
            self._outbox.put(self._core.data_to_send())

    # --- a channel that is linked again

    def leave_legacy(self) -> object:
        """This channel, or the one before it if it never opened: what is held down is asked for when the next one is open."""
        return self._legacy or self

    def inherit(self, legacy: object) -> None:
        """Be the successor of a channel that was lost."""
        assert isinstance(legacy, InputsChannel)
        self._legacy = legacy

    def _opened(self) -> None:
        lost, self._legacy = self._legacy, None
        if isinstance(lost, InputsChannel):
            self._succeed(lost)

    def _succeed(self, lost: InputsChannel) -> None:
        """What the program believes to be down goes down again; a server has released it when the channel was lost."""
        lost._successor = self
        self.motion_window, self.last_position, self._owed_locks = lost.motion_window, lost.last_position, lost._owed_locks
        self._keys, lost._keys = lost._keys, {}
        self._buttons, lost._buttons = lost._buttons, 0
        self._put(*(inputs.KeyDown(code=key.scancode_down()) for key in self._keys))
        for button in MouseButton:
            if button and self._buttons & _mask(button):
                self._put(inputs.MousePress(button=button, buttons_state=self._buttons))

    # --- what the server says

    def _init(self, message: inputs.Init) -> None:
        self._told(message.modifiers)
        self._give_locks_back()

    def _key_modifiers(self, message: inputs.KeyModifiers) -> None:
        self._told(message.modifiers)

    def _told(self, modifiers: int) -> None:
        self._modifiers = modifiers
        self.modifiers_told += 1
        self._changed.unpark_all()

    def _motion_ack(self, _: inputs.MouseMotionAck) -> None:
        self.motion_acks += 1
        self._changed.unpark_all()


def _mask(button: MouseButton) -> int:
    try:
        return MouseButtonMask[MouseButton(button).name]
    except KeyError:
        raise ConfigError(f"there is no mouse button {button!r}") from None


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
