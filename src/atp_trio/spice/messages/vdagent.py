"""The guest-agent protocol, inside main's `AgentData`.

In the catalogue it is the protocol `"vdagent"`: Role.SERVER is the agent, Role.CLIENT who talks to it. Where a layout depends
on what both sides announced, `caps` of decode and encode are numbers of `AgentCap`.

Source: section 6 of the protocol reference.
"""

from __future__ import annotations

from typing import Final

from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import (
    Has,
    Negotiated,
    counted,
    counted_bytes,
    elements,
    elements_to_end,
    i32,
    length,
    octets,
    to_end,
    u8,
    u16,
    u32,
    u64,
)

VDAGENT: Final = "vdagent"
PROTOCOL = 1
MAX_DATA_SIZE = 2048
"""The largest body of an `AgentData`."""


class AgentCap(OpenEnum):
    """Capabilities of the agent and of who talks to it."""

    MOUSE_STATE = 0
    MONITORS_CONFIG = 1
    REPLY = 2
    CLIPBOARD = 3
    """Obsolete."""
    DISPLAY_CONFIG = 4
    CLIPBOARD_BY_DEMAND = 5
    CLIPBOARD_SELECTION = 6
    SPARSE_MONITORS_CONFIG = 7
    GUEST_LINEEND_LF = 8
    GUEST_LINEEND_CRLF = 9
    MAX_CLIPBOARD = 10
    AUDIO_VOLUME_SYNC = 11
    MONITORS_CONFIG_POSITION = 12
    FILE_XFER_DISABLED = 13
    FILE_XFER_DETAILED_ERRORS = 14
    GRAPHICS_DEVICE_INFO = 15
    CLIPBOARD_NO_RELEASE_ON_REGRAB = 16
    CLIPBOARD_GRAB_SERIAL = 17


class AgentMessageType(OpenEnum):
    """The types by number."""

    MOUSE_STATE = 1
    MONITORS_CONFIG = 2
    REPLY = 3
    CLIPBOARD = 4
    DISPLAY_CONFIG = 5
    ANNOUNCE_CAPABILITIES = 6
    CLIPBOARD_GRAB = 7
    CLIPBOARD_REQUEST = 8
    CLIPBOARD_RELEASE = 9
    FILE_XFER_START = 10
    FILE_XFER_STATUS = 11
    FILE_XFER_DATA = 12
    CLIENT_DISCONNECTED = 13
    MAX_CLIPBOARD = 14
    AUDIO_VOLUME_SYNC = 15
    GRAPHICS_DEVICE_INFO = 16


class ClipboardSelection(OpenEnum):
    """Which clipboard."""

    CLIPBOARD = 0
    PRIMARY = 1
    SECONDARY = 2


class ClipboardType(OpenEnum):
    """What data in a clipboard are."""

    NONE = 0
    UTF8_TEXT = 1
    IMAGE_PNG = 2
    IMAGE_BMP = 3
    IMAGE_TIFF = 4
    IMAGE_JPG = 5
    FILE_LIST = 6


class MonitorsConfigFlag(OpenEnum):
    """Flags of `MonitorsConfig`."""

    USE_POS = 1
    PHYSICAL_SIZE = 2


class DisplayConfigFlag(OpenEnum):
    """Flags of `DisplayConfig`."""

    DISABLE_WALLPAPER = 1
    DISABLE_FONT_SMOOTH = 2
    DISABLE_ANIMATION = 4
    SET_COLOR_DEPTH = 8


class ReplyError(OpenEnum):
    """How a request went."""

    SUCCESS = 1
    ERROR = 2


class FileXferResult(OpenEnum):
    """The state of a file transfer."""

    CAN_SEND_DATA = 0
    CANCELLED = 1
    ERROR = 2
    SUCCESS = 3
    NOT_ENOUGH_SPACE = 4
    SESSION_LOCKED = 5
    VDAGENT_NOT_CONNECTED = 6
    DISABLED = 7


@record
class Header(Record):
    """What stands before every agent message, in the stream that the `AgentData` make."""

    protocol: int = u32()
    """`PROTOCOL`; a server ends the connection over any other number."""
    type: AgentMessageType = u32(AgentMessageType)
    opaque: int = u64()
    """0."""
    size: int = u32()
    """Bytes of the message that follow."""


@message(VDAGENT, from_client=1)
class MouseState(Message):
    """Where the mouse is; the server makes it of the inputs channel's positions."""

    x: int = u32()
    y: int = u32()
    buttons: int = u32()
    """The bits of `MouseButtonMask`, shifted left by one."""
    display_id: int = u8()


@record
class MonConfig(Record):
    """A monitor as it should be; height before width."""

    height: int = u32()
    width: int = u32()
    depth: int = u32(default=32)
    x: int = i32(default=0)
    y: int = i32(default=0)


@record
class MonitorMm(Record):
    """A monitor's size in millimetres."""

    height: int = u16()
    width: int = u16()


@message(VDAGENT, from_client=2)
class MonitorsConfig(Message):
    """The monitors as they should be. Entries of size 0 are monitors that are off (needs SPARSE_MONITORS_CONFIG)."""

    num_of_monitors = length("monitors", u32())
    flags: int = u32(flags=MonitorsConfigFlag, default=0)
    monitors: tuple[MonConfig, ...] = elements(MonConfig, "num_of_monitors")
    physical_sizes: tuple[MonitorMm, ...] | None = elements(
        MonitorMm, "num_of_monitors", when=Has("flags", MonitorsConfigFlag.PHYSICAL_SIZE), default=None
    )


@message(VDAGENT, from_server=3)
class Reply(Message):
    """The answer to a `MonitorsConfig` or `DisplayConfig`."""

    type: AgentMessageType = u32(AgentMessageType)
    error: ReplyError = u32(ReplyError)


@message(VDAGENT, from_server=4, from_client=4)
class Clipboard(Message):
    """What a clipboard holds: the answer to `ClipboardRequest`."""

    selection: ClipboardSelection | None = u8(ClipboardSelection, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    reserved: bytes | None = octets(3, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    type: ClipboardType = u32(ClipboardType)
    data: bytes = to_end(default=b"", secret=True)
    """Text in the guest's convention of line ends; files as NUL-separated strings, `copy` or `cut` first."""


@message(VDAGENT, from_client=5)
class DisplayConfig(Message):
    """What of the desktop should be plain."""

    flags: int = u32(flags=DisplayConfigFlag)
    depth: int = u32()


@message(VDAGENT, from_server=6, from_client=6)
class AnnounceCapabilities(Message):
    """What the sender can do."""

    request: int = u32()
    """1 asks for the receiver's."""
    caps: tuple[int, ...] = elements_to_end(u32())
    """Words; see `codec.link.caps_to_words` and `words_to_caps`."""


@message(VDAGENT, from_server=7, from_client=7)
class ClipboardGrab(Message):
    """The sender's side has something in its clipboard."""

    selection: ClipboardSelection | None = u8(ClipboardSelection, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    reserved: bytes | None = octets(3, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    serial: int | None = u32(when=Negotiated(AgentCap.CLIPBOARD_GRAB_SERIAL), default=None)
    types: tuple[ClipboardType, ...] = elements_to_end(u32(ClipboardType))


@message(VDAGENT, from_server=8, from_client=8)
class ClipboardRequest(Message):
    """Send what is in the clipboard."""

    selection: ClipboardSelection | None = u8(ClipboardSelection, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    reserved: bytes | None = octets(3, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    type: ClipboardType = u32(ClipboardType)


@message(VDAGENT, from_server=9, from_client=9)
class ClipboardRelease(Message):
    """The sender's side has nothing in its clipboard any more."""

    selection: ClipboardSelection | None = u8(ClipboardSelection, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)
    reserved: bytes | None = octets(3, when=Negotiated(AgentCap.CLIPBOARD_SELECTION), default=None)


@message(VDAGENT, from_client=10)
class FileXferStart(Message):
    """A file wants to be sent."""

    id: int = u32()
    data: bytes = to_end()
    """A key file: the group vdagent-file-xfer with name and size; the NUL is included."""


@message(VDAGENT, from_server=11, from_client=11)
class FileXferStatus(Message):
    """How a transfer stands."""

    id: int = u32()
    result: FileXferResult = u32(FileXferResult)
    data: bytes = to_end(default=b"")
    """With FILE_XFER_DETAILED_ERRORS: a `FileXferStatusError` or `FileXferStatusNotEnoughSpace`, by result."""


@record
class FileXferStatusError(Record):
    """Why a transfer failed."""

    error_type: int = u8()
    """0: a GIO error."""
    error_code: int = u32()


@record
class FileXferStatusNotEnoughSpace(Record):
    """How much would have had room."""

    disk_free_space: int = u64()
    """Bytes."""


@message(VDAGENT, from_client=12)
class FileXferData(Message):
    """A block of the file."""

    id: int = u32()
    data: bytes = counted_bytes(u64())


@message(VDAGENT, from_client=13)
class ClientDisconnected(Message):
    """The client has gone; the server says so."""


@message(VDAGENT, from_client=14)
class MaxClipboard(Message):
    """How much the agent may send of a clipboard (needs MAX_CLIPBOARD)."""

    max: int = i32()
    """Bytes; -1 for any number."""


@message(VDAGENT, from_client=15)
class AudioVolumeSync(Message):
    """The client's volume, for the guest to take over (needs AUDIO_VOLUME_SYNC)."""

    is_playback: int = u8()
    """1 for playback, 0 for record."""
    mute: int = u8()
    """0 or 1."""
    volume: tuple[int, ...] = counted(u8(), u16())
    """0 to 65535, by channel."""


@record
class DeviceDisplayInfo(Record):
    """Which device of the guest a monitor of a display channel is."""

    channel_id: int = u32()
    monitor_id: int = u32()
    device_display_id: int = u32()
    device_address: bytes = counted_bytes(u32())
    """The NUL is included."""


@message(VDAGENT, from_client=16)
class GraphicsDeviceInfo(Message):
    """Which devices of the guest the monitors are; the server says so."""

    display_info: tuple[DeviceDisplayInfo, ...] = counted(u32(), DeviceDisplayInfo)
