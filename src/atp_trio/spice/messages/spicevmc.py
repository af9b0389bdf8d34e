"""What the usbredir, port and webdav channels share: a stream of bytes to and from a device of the machine.

The boundaries of messages carry no meaning.

Source: section 15.1 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, message
from atp_trio.spice.wire.field import IsNot, to_end, u8, u32


class SpicevmcCap(OpenEnum):
    """Capabilities of these channels."""

    DATA_COMPRESS_LZ4 = 0


class DataCompressionType(OpenEnum):
    """How data are compressed."""

    NONE = 0
    LZ4 = 1
    """One raw LZ4 block."""


@message(ChannelType.USBREDIR, ChannelType.PORT, ChannelType.WEBDAV, from_server=101, from_client=101)
class Data(Message):
    """Bytes of the stream."""

    data: bytes = to_end(secret=True)


@message(ChannelType.USBREDIR, ChannelType.PORT, ChannelType.WEBDAV, from_server=102, from_client=102)
class CompressedData(Message):
    """Bytes of the stream, compressed (needs DATA_COMPRESS_LZ4)."""

    type: DataCompressionType = u8(DataCompressionType)
    uncompressed_size: int | None = u32(when=IsNot("type", DataCompressionType.NONE), default=None)
    compressed_data: bytes = to_end(secret=True)
