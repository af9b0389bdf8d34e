"""The inputs channel: keyboard and mouse.

Source: section 7 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, message
from atp_trio.spice.wire.field import i32, to_end, u8, u16, u32


class InputsCap(OpenEnum):
    """Capabilities of the inputs channel."""

    KEY_SCANCODE = 0


class KeyboardModifierFlag(OpenEnum):
    """The lock keys."""

    SCROLL_LOCK = 1
    NUM_LOCK = 2
    CAPS_LOCK = 4


class MouseButton(OpenEnum):
    """Buttons by number; UP and DOWN are the wheel."""

    INVALID = 0
    LEFT = 1
    MIDDLE = 2
    RIGHT = 3
    UP = 4
    DOWN = 5
    SIDE = 6
    EXTRA = 7


class MouseButtonMask(OpenEnum):
    """Buttons by bit."""

    LEFT = 1
    MIDDLE = 2
    RIGHT = 4
    UP = 8
    DOWN = 16
    SIDE = 32
    EXTRA = 64


MOTION_ACK_BUNCH = 4
"""The server acknowledges so many motions and positions with one `MouseMotionAck`."""


@message(ChannelType.INPUTS, from_server=101)
class Init(Message):
    """The first message: the guest's lock keys."""

    modifiers: int = u16(flags=KeyboardModifierFlag)


@message(ChannelType.INPUTS, from_server=102, from_client=103)
class KeyModifiers(Message):
    """From the server: the guest's lock keys are so. From the client: make them so."""

    modifiers: int = u16(flags=KeyboardModifierFlag)


@message(ChannelType.INPUTS, from_server=111)
class MouseMotionAck(Message):
    """Four motions or positions were handled."""


@message(ChannelType.INPUTS, from_client=101)
class KeyDown(Message):
    """A key goes down. What was typed stays out of the log text: it may be a password."""

    code: int = u32(secret=True)
    """The bytes of the PC AT set 1 scancode, the first in the lowest bits: 0x1E, 0x4DE0."""


@message(ChannelType.INPUTS, from_client=102)
class KeyUp(Message):
    """A key goes up."""

    code: int = u32(secret=True)
    """The bytes of the scancode with the release bit 0x80 set in the last: 0x9E, 0xCDE0."""


@message(ChannelType.INPUTS, from_client=104)
class KeyScancode(Message):
    """Any number of scancode bytes, presses and releases, handled at one go (needs KEY_SCANCODE)."""

    data: bytes = to_end(secret=True)


@message(ChannelType.INPUTS, from_client=111)
class MouseMotion(Message):
    """The mouse moved (in mouse mode SERVER)."""

    dx: int = i32()
    dy: int = i32()
    buttons_state: int = u16(flags=MouseButtonMask, default=0)
    """The buttons that are held."""


@message(ChannelType.INPUTS, from_client=112)
class MousePosition(Message):
    """The mouse is at this pixel (in mouse mode CLIENT)."""

    x: int = u32()
    y: int = u32()
    buttons_state: int = u16(flags=MouseButtonMask, default=0)
    """The buttons that are held."""
    display_id: int = u8(default=0)
    """The display channel whose surface x and y count in."""


@message(ChannelType.INPUTS, from_client=113)
class MousePress(Message):
    """A button goes down."""

    button: MouseButton = u8(MouseButton)
    buttons_state: int = u16(flags=MouseButtonMask)
    """The buttons that are held after it."""


@message(ChannelType.INPUTS, from_client=114)
class MouseRelease(Message):
    """A button goes up."""

    button: MouseButton = u8(MouseButton)
    buttons_state: int = u16(flags=MouseButtonMask)
    """The buttons that are held after it."""
