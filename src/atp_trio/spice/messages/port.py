"""The port channel: a named stream of bytes, such as a serial console. Its data are those of `spicevmc`.

Source: section 15.2 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, message
from atp_trio.spice.wire.field import length, pointer, sized_bytes, u8, u32


class PortEvent(OpenEnum):
    """What happens to a port."""

    OPENED = 0
    CLOSED = 1
    BREAK = 2


@message(ChannelType.PORT, ChannelType.WEBDAV, from_server=201)
class Init(Message):
    """The first message."""

    name_size = length("name", u32())
    name: bytes = pointer(sized_bytes("name_size"))
    """The NUL is included: `org.qemu.console.serial.0`."""
    opened: int = u8()
    """Whether the guest's side is open: 0 or 1."""


@message(ChannelType.PORT, ChannelType.WEBDAV, from_server=202, from_client=201)
class Event(Message):
    """The sender's side was opened or closed, or a serial break."""

    event: PortEvent = u8(PortEvent)
