"""The playback channel: sound from the guest.

Source: section 13 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, message
from atp_trio.spice.wire.field import counted, to_end, u8, u16, u32


class PlaybackCap(OpenEnum):
    """Capabilities of the playback channel."""

    CELT_0_5_1 = 0
    """Obsolete."""
    VOLUME = 1
    LATENCY = 2
    OPUS = 3


class AudioDataMode(OpenEnum):
    """How sound is encoded."""

    INVALID = 0
    RAW = 1
    CELT_0_5_1 = 2
    """Obsolete."""
    OPUS = 3


class AudioFormat(OpenEnum):
    """What a sample is."""

    INVALID = 0
    S16 = 1
    """16 bits, signed, little-endian; the channels interleaved."""


@message(ChannelType.PLAYBACK, from_server=101)
class Data(Message):
    """A packet of sound: 480 frames, raw or as one Opus packet."""

    time: int = u32()
    """Milliseconds of the multimedia clock."""
    data: bytes = to_end()


@message(ChannelType.PLAYBACK, from_server=102)
class Mode(Message):
    """How the packets from here on are encoded."""

    time: int = u32()
    """Milliseconds of the multimedia clock."""
    mode: AudioDataMode = u16(AudioDataMode)
    data: bytes = to_end(default=b"")
    """Unused."""


@message(ChannelType.PLAYBACK, from_server=103)
class Start(Message):
    """The guest begins to play."""

    channels: int = u32()
    format: AudioFormat = u16(AudioFormat)
    frequency: int = u32()
    """Frames a second."""
    time: int = u32()
    """Milliseconds of the multimedia clock."""


@message(ChannelType.PLAYBACK, from_server=104)
class Stop(Message):
    """The guest plays no more."""


@message(ChannelType.PLAYBACK, from_server=105)
class Volume(Message):
    """The volume of each channel (needs VOLUME)."""

    volume: tuple[int, ...] = counted(u8(), u16())
    """0 to 65535."""


@message(ChannelType.PLAYBACK, from_server=106)
class Mute(Message):
    """Whether the sound is off (needs VOLUME)."""

    mute: int = u8()
    """0 or 1."""


@message(ChannelType.PLAYBACK, from_server=107)
class Latency(Message):
    """Buffer at least so much, so that video keeps up (needs LATENCY)."""

    latency_ms: int = u32()
