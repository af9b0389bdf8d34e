"""Every number of the catalogue against the public headers, both ways: nothing wrong, nothing missing, nothing invented.

The headers come from libspice-protocol-dev, libusbredirparser-dev and libcacard-dev. At a desk without them the tests skip; in CI
they fail.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from atp_trio import errors
from atp_trio.spice.messages import (
    base,
    cursor,
    display,
    geometry,
    image,
    inputs,
    link,
    main,
    playback,
    record,
    smartcard,
    spicevmc,
    usbredir,
    vdagent,
)
from atp_trio.spice.messages import port as port_messages
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import OpenEnum, Role, table

HEADERS = {
    "spice-protocol": ("/usr/include/spice-1", ("spice/enums.h", "spice/protocol.h", "spice/vd_agent.h")),
    "libusbredirparser-0.5": ("/usr/include", ("usbredirproto.h",)),
    "libcacard": ("/usr/include/cacard", ("vscard_common.h",)),
}


def include_dirs(package: str, default: str) -> list[Path]:
    """Where the package's headers lie."""
    try:
        flags = subprocess.run(["pkg-config", "--cflags-only-I", package], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        flags = ""
    return [*(Path(flag.removeprefix("-I")) for flag in flags.split()), Path(default)]


@cache
def constants(package: str) -> dict[str, int]:
    """All enumerators and plain defines of the package's headers."""
    default, names = HEADERS[package]
    found: dict[str, int] = {}
    for name in names:
        paths = [path / name for path in include_dirs(package, default) if (path / name).exists()]
        if not paths:
            message = f"the header {name} of {package} is not installed"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        found |= parse(paths[0].read_text())
    return found


def parse(header: str) -> dict[str, int]:
    """The constants of one header."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    found = {name: int(value, 0) for name, value in re.findall(r"#define\s+(\w+)\s+(0x[0-9a-fA-F]+|\d+)\s", text)}
    for body in re.findall(r"\benum\b\s*\w*\s*\{([^}]*)\}", text):
        numbers = count()
        for name, value in re.findall(r"(\w+)(?:\s+SPICE_GNUC_DEPRECATED)?\s*(?:=\s*([^,]+?))?\s*(?:,|$)", body.strip()):
            number = evaluate(value) if value else next(numbers)
            found[name], numbers = number, count(number + 1)
    return found


def evaluate(expression: str) -> int:
    """A number, or a bit shifted into its place."""
    shifted = re.fullmatch(r"\(1 << (\d+)\)", expression.strip())
    return 1 << int(shifted[1]) if shifted else int(expression, 0)


def spice() -> dict[str, int]:
    return constants("spice-protocol")


# --- messages

# Prefix in the headers, channel (None: all share it), who sends. Longer prefixes come before those they begin with.
SPICE_MESSAGES = [
    *(
        (f"SPICE_{'MSG' if role is Role.SERVER else 'MSGC'}_{name}_", channel_type, role)
        for name, channel_type in {
            "MAIN": ChannelType.MAIN,
            "DISPLAY": ChannelType.DISPLAY,
            "INPUTS": ChannelType.INPUTS,
            "CURSOR": ChannelType.CURSOR,
            "PLAYBACK": ChannelType.PLAYBACK,
            "RECORD": ChannelType.RECORD,
            "SMARTCARD": ChannelType.SMARTCARD,
            "SPICEVMC": ChannelType.USBREDIR,
            "PORT": ChannelType.PORT,
        }.items()
        for role in Role
    ),
    ("SPICE_MSGC_", None, Role.CLIENT),
    ("SPICE_MSG_", None, Role.SERVER),
]

# What the headers name that is no message of its own.
NO_MESSAGES = {
    "SPICE_MSG_BASE_LAST": "the upper bound of the shared messages, never sent",
    "SPICE_MSGC_SMARTCARD_HEADER": "another name of 101, which is DATA",
    "SPICE_MSGC_SMARTCARD_ERROR": "another name of 101, which is DATA",
    "SPICE_MSGC_SMARTCARD_ATR": "another name of 101, which is DATA",
    "SPICE_MSGC_SMARTCARD_READER_ADD": "another name of 101, which is DATA",
}
# Classes that are not called as the headers call the number.
OTHER_NAMES = {"SPICE_MSG_MAIN_MOUSE_MODE": "MouseModeChanged"}  # MouseMode is the enumeration

CLASS_NAME = re.compile(r"(?:^|_)([A-Z0-9])([A-Z0-9]*)")


def class_name(constant: str) -> str:
    """DRAW_ROP3 is DrawRop3."""
    return CLASS_NAME.sub(lambda match: match[1] + match[2].lower(), constant)


def expected_messages() -> dict[tuple[ChannelType | None, Role], dict[int, str]]:
    """The class names by number that the headers call for."""
    expected: dict[tuple[ChannelType | None, Role], dict[int, str]] = {
        (channel_type, role): {} for _, channel_type, role in SPICE_MESSAGES
    }
    for name, number in spice().items():
        if not name.startswith(("SPICE_MSG_", "SPICE_MSGC_")) or "_END_" in name or name in NO_MESSAGES:
            continue
        prefix, channel_type, role = next(row for row in SPICE_MESSAGES if name.startswith(row[0]))
        expected[channel_type, role][number] = OTHER_NAMES.get(name, class_name(name.removeprefix(prefix)))
    return expected


def declared_messages(channel_type: ChannelType | None, role: Role) -> dict[int, str]:
    """The class names by number that the catalogue has, without the shared ones for a channel."""
    shared = table(None, role) if channel_type is not None else {}
    found = {number: cls for number, cls in table(channel_type, role).items() if shared.get(number) is not cls}
    if channel_type is ChannelType.PORT:
        found = {number: cls for number, cls in found.items() if cls.__module__ == port_messages.__name__}
    return {number: cls.__name__ for number, cls in found.items()}


@pytest.mark.parametrize(
    ("channel_type", "role"),
    sorted({row[1:] for row in SPICE_MESSAGES}, key=str),
    ids=lambda one: one.name if one else "shared",
)
def test_the_messages_are_those_of_the_headers(channel_type: ChannelType | None, role: Role) -> None:
    expected = expected_messages()[channel_type, role]
    assert declared_messages(channel_type, role) == expected


def test_every_channel_of_the_catalogue_is_checked() -> None:
    checked = {row[1] for row in SPICE_MESSAGES} | {ChannelType.WEBDAV, ChannelType.TUNNEL}  # below; obsolete, without messages
    assert checked == {None, *ChannelType}
    assert sum(len(names) for names in expected_messages().values()) >= 125
    assert table(ChannelType.TUNNEL, Role.SERVER) == table(None, Role.SERVER)


@pytest.mark.parametrize("role", Role)
def test_webdav_is_a_port(role: Role) -> None:
    assert table(ChannelType.WEBDAV, role) == table(ChannelType.PORT, role)
    assert table(ChannelType.USBREDIR, role).items() <= table(ChannelType.PORT, role).items()


def test_the_agents_messages_are_those_of_the_headers() -> None:
    numbers = {vdagent_type.value: class_name(vdagent_type.name) for vdagent_type in vdagent.AgentMessageType}
    declared = {**table(vdagent.VDAGENT, Role.CLIENT), **table(vdagent.VDAGENT, Role.SERVER)}
    assert {number: cls.__name__ for number, cls in declared.items()} == numbers


def test_the_packets_of_usbredir_are_those_of_the_headers() -> None:
    numbers = {packet.value: class_name(packet.name) for packet in usbredir.PacketType}
    declared = {**table(usbredir.USBREDIR, Role.CLIENT), **table(usbredir.USBREDIR, Role.SERVER)}
    assert {number: cls.__name__ for number, cls in declared.items()} == numbers


# --- enumerations

SPICE_ENUMS: dict[str, type[OpenEnum]] = {
    "SPICE_LINK_ERR_": link.LinkErrorCode,
    "SPICE_COMMON_CAP_": link.CommonCap,
    "SPICE_CHANNEL_": link.ChannelType,
    "SPICE_WARN_": base.WarnCode,
    "SPICE_INFO_": base.InfoCode,
    "SPICE_MIGRATE_": base.MigrateFlag,
    "SPICE_NOTIFY_SEVERITY_": base.NotifySeverity,
    "SPICE_NOTIFY_VISIBILITY_": base.NotifyVisibility,
    "SPICE_MAIN_CAP_": main.MainCap,
    "SPICE_MOUSE_MODE_": main.MouseMode,
    "SPICE_DATA_COMPRESSION_TYPE_": spicevmc.DataCompressionType,
    "SPICE_SPICEVMC_CAP_": spicevmc.SpicevmcCap,
    "SPICE_PORT_EVENT_": port_messages.PortEvent,
    "SPICE_CLIP_TYPE_": geometry.ClipType,
    "SPICE_DISPLAY_CAP_": display.DisplayCap,
    "SPICE_COMPOSITE_": display.CompositeFlag,
    "SPICE_PATH_": display.PathFlag,
    "SPICE_VIDEO_CODEC_TYPE_": display.VideoCodecType,
    "SPICE_STREAM_FLAGS_": display.StreamFlag,
    "SPICE_BRUSH_TYPE_": display.BrushType,
    "SPICE_MASK_FLAGS_": display.MaskFlag,
    "SPICE_IMAGE_SCALE_MODE_": display.ImageScaleMode,
    "SPICE_ROPD_": display.Ropd,
    "SPICE_LINE_FLAGS_": display.LineFlag,
    "SPICE_STRING_FLAGS_": display.StringFlag,
    "SPICE_SURFACE_FLAGS_": display.SurfaceFlag,
    "SPICE_SURFACE_FMT_": display.SurfaceFormat,
    "SPICE_ALPHA_FLAGS_": display.AlphaFlag,
    "SPICE_RES_TYPE_": display.ResourceType,
    "SPICE_GL_SCANOUT_FLAGS_": display.GlScanoutFlag,
    "SPICE_IMAGE_TYPE_": image.ImageType,
    "SPICE_IMAGE_COMPRESSION_": image.ImageCompression,
    "SPICE_IMAGE_FLAGS_": image.ImageFlag,
    "SPICE_BITMAP_FMT_": image.BitmapFormat,
    "SPICE_BITMAP_FLAGS_": image.BitmapFlag,
    "SPICE_JPEG_ALPHA_FLAGS_": image.JpegAlphaFlag,
    "SPICE_INPUTS_CAP_": inputs.InputsCap,
    "SPICE_KEYBOARD_MODIFIER_FLAGS_": inputs.KeyboardModifierFlag,
    "SPICE_MOUSE_BUTTON_MASK_": inputs.MouseButtonMask,
    "SPICE_MOUSE_BUTTON_": inputs.MouseButton,
    "SPICE_CURSOR_TYPE_": cursor.CursorType,
    "SPICE_CURSOR_FLAGS_": cursor.CursorFlag,
    "SPICE_PLAYBACK_CAP_": playback.PlaybackCap,
    "SPICE_AUDIO_DATA_MODE_": playback.AudioDataMode,
    "SPICE_AUDIO_FMT_": playback.AudioFormat,
    "SPICE_RECORD_CAP_": record.RecordCap,
    "SPICE_VSC_MESSAGE_TYPE_": smartcard.VscMessageType,
    "VD_AGENT_CAP_": vdagent.AgentCap,
    "VD_AGENT_CONFIG_MONITORS_FLAG_": vdagent.MonitorsConfigFlag,
    "VD_AGENT_DISPLAY_CONFIG_FLAG_": vdagent.DisplayConfigFlag,
    "VD_AGENT_CLIPBOARD_SELECTION_": vdagent.ClipboardSelection,
    "VD_AGENT_FILE_XFER_STATUS_": vdagent.FileXferResult,
}
# Members of enumerations that share a prefix with others, or have none of their own.
SMALL_ENUMS: dict[type[OpenEnum], dict[str, str]] = {
    vdagent.ReplyError: {"VD_AGENT_SUCCESS": "SUCCESS", "VD_AGENT_ERROR": "ERROR"},
    vdagent.ClipboardType: {f"VD_AGENT_CLIPBOARD_{member.name}": member.name for member in vdagent.ClipboardType},
    vdagent.AgentMessageType: {f"VD_AGENT_{member.name}": member.name for member in vdagent.AgentMessageType},
}
# Constants that are no members: what they are.
NO_MEMBERS = {
    "SPICE_VERSION_MAJOR": 2,
    "SPICE_VERSION_MINOR": 2,
    "SPICE_MAX_PASSWORD_LENGTH": link.MAX_PASSWORD_LENGTH,
    "SPICE_TICKET_KEY_PAIR_LENGTH": link.TICKET_SIZE * 8,
    "SPICE_MAX_NUM_STREAMS": display.MAX_STREAMS,
    "SPICE_INPUT_MOTION_ACK_BUNCH": inputs.MOTION_ACK_BUNCH,
    "VD_AGENT_PROTOCOL": vdagent.PROTOCOL,
    "VD_AGENT_MAX_DATA_SIZE": vdagent.MAX_DATA_SIZE,
    "VD_AGENT_FILE_XFER_STATUS_ERROR_GLIB_IO": 0,  # FileXferStatusError.error_type
}
# Ends and masks of enumerations; the ports of virtio chunks, which never come over SPICE; the buttons of MouseState.
NOTHING = re.compile(
    r".*_ENUM_END|SPICE_END_CHANNEL|VD_AGENT_END_\w+|.*_FLAGS_MASK|SPICE_(MOUSE_MODE|MOUSE_BUTTON_MASK|ROPD)_MASK"
    r"|VDP_.*|VD_AGENT_.BUTTON_MASK"
)
# The headers' spelling, where ours is the English one.
SPELLING = {"MASK_FITLER1": "MASK_FILTER1"}


def member_name(constant: str, enum: type[OpenEnum]) -> str:
    """A constant without its prefix, as the enumeration has it: a name cannot begin with a digit."""
    name = SPELLING.get(constant, constant)
    if name[0].isdigit():
        return f"{'CAP' if enum is usbredir.UsbRedirCap else 'FMT'}_{name}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() if enum is smartcard.VscMessageType else name


def sort_constants() -> tuple[dict[type[OpenEnum], dict[str, int]], dict[str, int]]:
    """The constants of SPICE and the agent by the enumeration they belong to, and the rest."""
    by_enum: dict[type[OpenEnum], dict[str, int]] = {enum: {} for enum in [*SPICE_ENUMS.values(), *SMALL_ENUMS]}
    rest: dict[str, int] = {}
    small = {constant: (enum, name) for enum, names in SMALL_ENUMS.items() for constant, name in names.items()}
    for name, number in spice().items():
        if name.startswith(("SPICE_MSG_", "SPICE_MSGC_")) or NOTHING.fullmatch(name):
            continue
        prefix = next((one for one in sorted(SPICE_ENUMS, key=len, reverse=True) if name.startswith(one)), None)
        if name in small:
            enum, member = small[name]
            by_enum[enum][member] = number
        elif prefix and name not in NO_MEMBERS:
            by_enum[SPICE_ENUMS[prefix]][member_name(name.removeprefix(prefix), SPICE_ENUMS[prefix])] = number
        else:
            rest[name] = number
    return by_enum, rest


@pytest.mark.parametrize("enum", [*SPICE_ENUMS.values(), *SMALL_ENUMS], ids=lambda enum: enum.__name__)
def test_the_enumerations_are_those_of_the_headers(enum: type[OpenEnum]) -> None:
    expected = sort_constants()[0][enum]
    assert expected
    assert {member.name: member.value for member in enum} == expected


def test_no_constant_of_the_headers_is_left_over() -> None:
    assert sort_constants()[1] == NO_MEMBERS


def test_every_link_error_has_its_exception() -> None:
    codes = {
        error.default_code: name
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.LinkError)
    }
    assert codes.keys() == {code.value for code in link.LinkErrorCode} - {link.LinkErrorCode.OK}
    names = {code.value: "Link" + class_name(code.name) for code in link.LinkErrorCode if code}
    assert codes == names | {
        link.LinkErrorCode.ERROR: "LinkError",
        link.LinkErrorCode.PERMISSION_DENIED: "AuthenticationFailed",
    }


USBREDIR_ENUMS: dict[str, type[OpenEnum]] = {
    "usb_redir_cap_": usbredir.UsbRedirCap,
    "usb_redir_type_": usbredir.EndpointType,
    "usb_redir_speed_": usbredir.Speed,
}


def test_the_numbers_of_usbredir_are_those_of_the_header() -> None:
    left = {name: number for name, number in constants("libusbredirparser-0.5").items() if name.startswith("usb_redir_")}
    for prefix, enum in USBREDIR_ENUMS.items():
        expected = {member_name(name.removeprefix(prefix).upper(), enum): left[name] for name in left if name.startswith(prefix)}
        assert {member.name: member.value for member in enum} == expected
        left = {name: number for name, number in left.items() if not name.startswith(prefix)}
    known = {member.name: member.value for enum in (usbredir.Status, usbredir.PacketType) for member in enum}
    assert known == {name.removeprefix("usb_redir_").upper(): number for name, number in left.items()}


def test_the_numbers_of_smart_cards_are_those_of_the_header() -> None:
    found = constants("libcacard")
    types = {name: number for name, number in found.items() if name in {f"VSC_{one}" for one in VSC_TYPES}}
    assert {member_name(name.removeprefix("VSC_"), smartcard.VscMessageType): number for name, number in types.items()} == {
        member.name: member.value for member in smartcard.VscMessageType
    }
    errors_left = {name: number for name, number in found.items() if name.startswith("VSC_") and name not in types}
    assert {f"VSC_{member.name}": member.value for member in smartcard.VscErrorCode} == errors_left
    assert found["VSCARD_UNDEFINED_READER_ID"] == smartcard.UNDEFINED_READER_ID


VSC_TYPES = ("Init", "Error", "ReaderAdd", "ReaderRemove", "ATR", "CardRemove", "APDU", "Flush", "FlushComplete")


def test_the_parser_reads_what_headers_have() -> None:
    header = """
    #define A 0x10 /* of B */
    enum { B, C = 7, /* D, */ E,
      F = (1 << 4), G SPICE_GNUC_DEPRECATED, // H
    };
    """
    assert parse(header) == {"A": 16, "B": 0, "C": 7, "E": 8, "F": 16, "G": 17}
