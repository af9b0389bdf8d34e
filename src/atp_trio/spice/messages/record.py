"""The record channel: sound to the guest.

Source: section 14 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.playback import AudioDataMode, AudioFormat
from atp_trio.spice.wire import Message, OpenEnum, message
from atp_trio.spice.wire.field import counted, to_end, u8, u16, u32


class RecordCap(OpenEnum):
    """Capabilities of the record channel."""

    CELT_0_5_1 = 0
    """Obsolete."""
    VOLUME = 1
    OPUS = 2


@message(ChannelType.RECORD, from_server=101)
class Start(Message):
    """The guest listens from now on; nothing may be captured before."""

    channels: int = u32()
    format: AudioFormat = u16(AudioFormat)
    frequency: int = u32()
    """Frames a second."""


@message(ChannelType.RECORD, from_server=102)
class Stop(Message):
    """The guest listens no more."""


@message(ChannelType.RECORD, from_server=103)
class Volume(Message):
    """The volume of each channel (needs VOLUME)."""

    volume: tuple[int, ...] = counted(u8(), u16())
    """0 to 65535."""


@message(ChannelType.RECORD, from_server=104)
class Mute(Message):
    """Whether the sound is off (needs VOLUME)."""

    mute: int = u8()
    """0 or 1."""


@message(ChannelType.RECORD, from_client=101)
class Data(Message):
    """A packet of sound: 480 frames, raw or as one Opus packet."""

    time: int = u32()
    """Milliseconds of the client's clock."""
    data: bytes = to_end()


@message(ChannelType.RECORD, from_client=102)
class Mode(Message):
    """How the packets from here on are encoded."""

    time: int = u32()
    """Milliseconds of the client's clock."""
    mode: AudioDataMode = u16(AudioDataMode)
    data: bytes = to_end(default=b"")
    """Unused."""


@message(ChannelType.RECORD, from_client=103)
class StartMark(Message):
    """When the first packet was captured."""

    time: int = u32()
    """Milliseconds of the client's clock."""
