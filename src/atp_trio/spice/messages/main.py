"""The main channel: the session, its channels, the mouse mode, the guest agent and migration.

Source: sections 4 and 5 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType, LinkErrorCode
from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import (
    counted,
    counted_bytes,
    length,
    nested,
    octets,
    pointer,
    sized_bytes,
    to_end,
    u8,
    u16,
    u32,
    u64,
)


class MainCap(OpenEnum):
    """Capabilities of the main channel."""

    SEMI_SEAMLESS_MIGRATE = 0
    NAME_AND_UUID = 1
    AGENT_CONNECTED_TOKENS = 2
    SEAMLESS_MIGRATE = 3


class MouseMode(OpenEnum):
    """Who draws the pointer: relative motion and the server, or positions and the client. Bits: the supported modes are a set."""

    SERVER = 1
    CLIENT = 2


@record
class DstInfo(Record):
    """Where a migration goes."""

    port: int = u16()
    """0 or 0xffff for none."""
    sport: int = u16()
    """The TLS port; 0 or 0xffff for none."""
    host_size = length("host", u32())
    host: bytes = pointer(sized_bytes("host_size"))
    """The NUL is included."""
    cert_subject_size = length("cert_subject", u32())
    cert_subject: bytes = pointer(sized_bytes("cert_subject_size"), default=b"")
    """The NUL is included; empty for none."""


@message(ChannelType.MAIN, from_server=101)
class MigrateBegin(Message):
    """Connect to the migration's target as well (needs SEMI_SEAMLESS_MIGRATE)."""

    dst_info: DstInfo = nested(DstInfo)


@message(ChannelType.MAIN, from_server=102)
class MigrateCancel(Message):
    """The migration is off: leave the target again."""


@message(ChannelType.MAIN, from_server=103)
class Init(Message):
    """The first message."""

    session_id: int = u32()
    """The connection id of every further link."""
    display_channels_hint: int = u32()
    """How many display devices there are."""
    supported_mouse_modes: int = u32(flags=MouseMode)
    current_mouse_mode: MouseMode = u32(MouseMode)
    agent_connected: int = u32()
    """0 or 1."""
    agent_tokens: int = u32()
    """How many `AgentData` the client may send."""
    multi_media_time: int = u32()
    """Milliseconds."""
    ram_hint: int = u32()
    """Bytes of graphics memory in the guest."""


@record
class ChannelId(Record):
    """A channel that is offered."""

    type: ChannelType = u8(ChannelType)
    id: int = u8()


@message(ChannelType.MAIN, from_server=104)
class ChannelsList(Message):
    """Channels that are offered; later lists add to the first."""

    channels: tuple[ChannelId, ...] = counted(u32(), ChannelId)


@message(ChannelType.MAIN, from_server=105)
class MouseModeChanged(Message):
    """The mouse mode is so; SPICE calls this message MOUSE_MODE, and the modes too."""

    supported_modes: int = u16(flags=MouseMode)
    current_mode: MouseMode = u16(MouseMode)


@message(ChannelType.MAIN, from_server=106)
class MultiMediaTime(Message):
    """What the multimedia clock shows."""

    time: int = u32()
    """Milliseconds."""


@message(ChannelType.MAIN, from_server=107)
class AgentConnected(Message):
    """The guest agent has come."""


@message(ChannelType.MAIN, from_server=108)
class AgentDisconnected(Message):
    """The guest agent has gone."""

    error_code: LinkErrorCode = u32(LinkErrorCode)


@message(ChannelType.MAIN, from_server=109, from_client=107)
class AgentData(Message):
    """At most 2048 bytes of guest-agent messages (`vdagent`)."""

    data: bytes = to_end(secret=True)


@message(ChannelType.MAIN, from_server=110, from_client=108)
class AgentToken(Message):
    """The receiver may send so many `AgentData` more."""

    num_tokens: int = u32()


@message(ChannelType.MAIN, from_server=111)
class MigrateSwitchHost(Message):
    """Leave, and connect to the target afresh."""

    dst_info: DstInfo = nested(DstInfo)


@message(ChannelType.MAIN, from_server=112, from_client=109)
class MigrateEnd(Message):
    """From the source: the guest has moved. To the target: here I am."""


@message(ChannelType.MAIN, from_server=113)
class Name(Message):
    """The machine's name (needs NAME_AND_UUID)."""

    name: bytes = counted_bytes(u32())
    """UTF-8; the NUL is included."""


@message(ChannelType.MAIN, from_server=114)
class Uuid(Message):
    """The machine's UUID (needs NAME_AND_UUID)."""

    uuid: bytes = octets(16)
    """In the order of the text."""


@message(ChannelType.MAIN, from_server=115)
class AgentConnectedTokens(Message):
    """The guest agent has come, and the client may send so many `AgentData` (needs AGENT_CONNECTED_TOKENS)."""

    num_tokens: int = u32()


@message(ChannelType.MAIN, from_server=116)
class MigrateBeginSeamless(Message):
    """Connect to the migration's target as well, to move with all state (needs SEAMLESS_MIGRATE)."""

    dst_info: DstInfo = nested(DstInfo)
    src_mig_version: int = u32()


@message(ChannelType.MAIN, from_server=117)
class MigrateDstSeamlessAck(Message):
    """The target can take the state over."""


@message(ChannelType.MAIN, from_server=118)
class MigrateDstSeamlessNack(Message):
    """The target cannot take the state over."""


@message(ChannelType.MAIN, from_client=101)
class ClientInfo(Message):
    """Obsolete, and ignored."""

    cache_size: int = u64()


@message(ChannelType.MAIN, from_client=102)
class MigrateConnected(Message):
    """All channels are linked at the target too."""


@message(ChannelType.MAIN, from_client=103)
class MigrateConnectError(Message):
    """The target could not be reached."""


@message(ChannelType.MAIN, from_client=104)
class AttachChannels(Message):
    """Which channels are there? The answer is `ChannelsList`."""


@message(ChannelType.MAIN, from_client=105)
class MouseModeRequest(Message):
    """Please change the mouse mode."""

    mode: MouseMode = u16(MouseMode)


@message(ChannelType.MAIN, from_client=106)
class AgentStart(Message):
    """Start talking to the guest agent; the server may send so many `AgentData`."""

    num_tokens: int = u32(default=0xFFFFFFFF)


@message(ChannelType.MAIN, from_client=110)
class MigrateDstDoSeamless(Message):
    """To the target: can you take the state over?"""

    src_version: int = u32()


@message(ChannelType.MAIN, from_client=111)
class MigrateConnectedSeamless(Message):
    """All channels are linked at the target too, and it can take the state over."""


@message(ChannelType.MAIN, from_client=112)
class QualityIndicator(Message):
    """What a streaming device is told of the quality."""

    data: bytes = to_end()
