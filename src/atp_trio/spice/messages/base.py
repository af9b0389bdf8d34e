"""The headers of messages, and the messages that all channels share.

Source: section 2 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType, LinkErrorCode
from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import counted, counted_bytes, to_end, u8, u16, u32, u64


@record
class DataHeader(Record):
    """What stands before a message unless both sides announced MINI_HEADER."""

    serial: int = u64()
    type: int = u16()
    size: int = u32()
    """Bytes of the body."""
    sub_list: int = u32()
    """Where in the body a `SubMessageList` lies; 0 for none."""


@record
class MiniDataHeader(Record):
    """What stands before a message when both sides announced MINI_HEADER."""

    type: int = u16()
    size: int = u32()
    """Bytes of the body."""


@record
class SubMessageList(Record):
    """Where in the body the sub-messages lie."""

    offsets: tuple[int, ...] = counted(u16(), u32())


@record
class SubMessage(Record):
    """A message inside the body of another; its pointers count from the start of its own body."""

    type: int = u16()
    body: bytes = counted_bytes(u32())


class MigrateFlag(OpenEnum):
    """What a channel has to do before it moves to the migration's target."""

    NEED_FLUSH = 1
    NEED_DATA_TRANSFER = 2


class NotifySeverity(OpenEnum):
    """How bad it is."""

    INFO = 0
    WARN = 1
    ERROR = 2


class NotifyVisibility(OpenEnum):
    """Who should see it."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2


class WarnCode(OpenEnum):
    """What a warning is about."""

    GENERAL = 0


class InfoCode(OpenEnum):
    """What a piece of information is about."""

    GENERAL = 0


@message(from_server=1)
class Migrate(Message):
    """The guest has moved: this channel now changes over to the target."""

    flags: int = u32(flags=MigrateFlag)


@message(from_server=2, from_client=5)
class MigrateData(Message):
    """The channel's state, opaque to the client, which carries it from the source to the target."""

    data: bytes = to_end()


@message(from_server=3)
class SetAck(Message):
    """From here on every `window` messages are acknowledged; 0 for never."""

    generation: int = u32()
    window: int = u32()


@message(from_server=4)
class Ping(Message):
    """To be answered at once with a `Pong`."""

    id: int = u32()
    timestamp: int = u64()
    """Microseconds in the network test of the main channel, else nanoseconds."""
    data: bytes = to_end(default=b"")
    """Padding; 256000 bytes in the network test."""


@record
class WaitForChannel(Record):
    """A channel, and the serial of its message that has to be processed."""

    channel_type: ChannelType = u8(ChannelType)
    channel_id: int = u8()
    message_serial: int = u64()


@message(from_server=5)
class WaitForChannels(Message):
    """Handle nothing more on this channel until the others are that far."""

    wait_list: tuple[WaitForChannel, ...] = counted(u8(), WaitForChannel)


@message(from_server=6, from_client=6)
class Disconnecting(Message):
    """The sender is about to leave."""

    time_stamp: int = u64()
    reason: LinkErrorCode = u32(LinkErrorCode)


@message(from_server=7)
class Notify(Message):
    """Something the user might want to know."""

    time_stamp: int = u64()
    """Nanoseconds."""
    severity: NotifySeverity = u32(NotifySeverity)
    visibility: NotifyVisibility = u32(NotifyVisibility)
    what: int = u32(default=0)
    """A `WarnCode` or `InfoCode`."""
    message: bytes = counted_bytes(u32())
    """UTF-8."""
    terminator: bytes = to_end(default=b"\0")
    """The NUL that servers write behind the text and do not count."""


@message(from_server=8)
class List(Message):
    """Sub-messages and nothing else; each is handled as if it had come alone."""

    offsets: tuple[int, ...] = counted(u16(), u32())
    """Where each `SubMessage` lies, from the start of this body."""
    data: bytes = to_end(default=b"")
    """The sub-messages."""


@message(from_client=1)
class AckSync(Message):
    """The answer to `SetAck`."""

    generation: int = u32()


@message(from_client=2)
class Ack(Message):
    """As many messages as the window says were received."""


@message(from_client=3)
class Pong(Message):
    """The answer to `Ping`."""

    id: int = u32()
    timestamp: int = u64()


@message(from_client=4)
class MigrateFlushMark(Message):
    """The last message to the migration's source."""
