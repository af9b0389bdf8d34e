"""The machine that the embedded server pretends to be: its displays, and what its keyboard, mouse and pointer were told."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from atp_trio.keyboard import Key
from atp_trio.spice.messages import cursor
from atp_trio.spice.messages.cursor import Cursor, CursorFlag, CursorHeader, CursorType
from atp_trio.spice.messages.geometry import Point16
from atp_trio.spice.messages.inputs import KeyboardModifierFlag, MouseButton, MouseButtonMask
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message
from atp_trio.testing.server.canvas import Canvas
from atp_trio.testing.server.options import ServerOptions
from atp_trio.testing.server.scenes import SCENES, Scene

# The newest events are kept: enough for a test that types a page.
MAX_EVENTS: Final = 10_000

_BY_SCANCODE: Final[Mapping[int, tuple[Key, bool]]] = {
    **{key.scancode_down(): (key, True) for key in Key},
    **{key.scancode_up(): (key, False) for key in Key},
}
_LOCKS: Final[Mapping[Key, int]] = {
    Key.SCROLLLOCK: KeyboardModifierFlag.SCROLL_LOCK,
    Key.NUMLOCK: KeyboardModifierFlag.NUM_LOCK,
    Key.CAPSLOCK: KeyboardModifierFlag.CAPS_LOCK,
}
# An arrow of 8 x 8 pixels in the left upper half, opaque white.
_ARROW: Final = b"".join(b"\xff" * 4 * (8 - row) + bytes(4 * row) for row in range(8))


@attrs.define(eq=False)
class Machine:
    """A machine.

    Attributes:
        options: What it is to be like.
        canvases: Its displays, by channel id.
        scenes: What they show.
        keys_down: The keys that are down, in the order they went down. They stay as a client leaves them until the next one
            opens the inputs channel.
        buttons: The mouse buttons that are down: a mask of `MouseButtonMask`.
        modifiers: The lock keys: a mask of `KeyboardModifierFlag`.
        pointer: Where a client put the pointer last (x, y), or moved it to from (0, 0).
        motions: Motions received.
        positions: Positions received.
        events: The last events of keyboard and mouse, as messages.
        is_paused: Whether the scenes stand still.
        echoes: How often each region of the options has changed. A region's colour is this number, as `0x00RRGGBB`.
    """

    options: ServerOptions
    canvases: dict[int, Canvas] = attrs.field(factory=dict)
    scenes: dict[int, Scene] = attrs.field(factory=dict)
    keys_down: dict[Key, None] = attrs.field(factory=dict)
    buttons: int = 0
    modifiers: int = 0
    pointer: tuple[int, int] = (0, 0)
    motions: int = 0
    positions: int = 0
    events: deque[Message] = attrs.field(factory=lambda: deque(maxlen=MAX_EVENTS), repr=False)
    is_paused: bool = False
    echoes: Counter[str] = attrs.field(factory=Counter)

    def __attrs_post_init__(self) -> None:
        for kind, number in self.options.channels:
            if kind is ChannelType.DISPLAY:
                canvas = self.canvases[number] = Canvas(*self.options.size)
                self.scenes[number] = SCENES[self.options.scene](canvas, self.options.codec)

    # --- keyboard and mouse

    def key(self, code: int) -> bool:
        """A scancode came, the first byte in the lowest bits; whether the lock keys have changed by it."""
        key, is_down = _BY_SCANCODE.get(code, (None, False))
        if is_down:
            self._echo("key")
        if key is None:
            return False
        if not is_down:
            self.keys_down.pop(key, None)
            return False
        is_new = key not in self.keys_down
        self.keys_down[key] = None
        lock = _LOCKS.get(key, 0) if is_new else 0
        self.modifiers ^= lock
        return bool(lock)

    def scancodes(self, data: bytes) -> bool:
        """Raw scancode bytes came; whether the lock keys have changed by them."""
        changed, rest = False, data
        while rest:
            size = min(2 if rest[0] == 0xE0 else 1, len(rest))
            changed |= self.key(int.from_bytes(rest[:size], "little"))
            rest = rest[size:]
        return changed

    def press(self, button: MouseButton) -> None:
        """A mouse button went down."""
        self.buttons |= _mask(button)
        self._echo("click")

    def release(self, button: MouseButton) -> None:
        """A mouse button went up."""
        self.buttons &= ~_mask(button)

    def new_user(self) -> None:
        """A client opened the inputs channel: nothing is down."""
        self.keys_down.clear()
        self.buttons = 0

    def _echo(self, name: str) -> None:
        rect = self.options.regions.get(name)
        if rect is None:
            return
        self.echoes[name] += 1
        canvas = self.canvases.get(0)
        if canvas is not None:
            canvas.post(rect, self.echoes[name] & 0xFFFFFF)


def _mask(button: MouseButton) -> int:
    return MouseButtonMask[button.name] if button.is_known and button else 0


Tell = Callable[[Message], None]


@attrs.define(eq=False)
class MachineCursor:
    """The pointer's look, as the guest sets it.

    Attributes:
        tell: What sends a message to the client, when one watches.
        shape: The shape as the wire has it.
        position: Where the hot spot is (x, y).
        is_visible: Whether it is shown.
    """

    tell: Tell | None = None
    shape: Cursor = attrs.field(
        default=Cursor(0, CursorHeader(1, CursorType.ALPHA, 8, 8, 0, 0), _ARROW),
        repr=False,
    )
    position: tuple[int, int] = (0, 0)
    is_visible: bool = True

    def first(self) -> cursor.Init:
        """What a channel begins with."""
        return cursor.Init(position=Point16(*self.position), visible=int(self.is_visible), cursor=self.shape)

    def set(self, shape: Cursor | None, *, position: tuple[int, int] | None = None) -> None:
        """Show another shape; None shows none."""
        self.shape = Cursor(CursorFlag.NONE) if shape is None else shape
        self.position, self.is_visible = position or self.position, shape is not None
        self._tell(cursor.Set(position=Point16(*self.position), visible=int(self.is_visible), cursor=self.shape))

    def move(self, x: int, y: int) -> None:
        """Move the pointer; a hidden one shows again."""
        self.position, self.is_visible = (x, y), True
        self._tell(cursor.Move(position=Point16(x, y)))

    def hide(self) -> None:
        """Hide the pointer until it is moved or set."""
        self.is_visible = False
        self._tell(cursor.Hide())

    def _tell(self, message: Message) -> None:
        if self.tell is not None:
            self.tell(message)
