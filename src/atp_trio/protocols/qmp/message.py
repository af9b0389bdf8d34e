"""What is said on a monitor, and the lines that say it.

Source:
    QEMU Machine Protocol Specification (docs/interop/qmp-spec of QEMU); limits of QEMU's own from qobject/json-parser.c and
    json-streamer.c.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import attrs

from atp_trio.errors import AtpError, ConfigError, LocalProtocolError, MalformedMessage, QmpError

__all__ = [
    "Greeting",
    "QmpCommand",
    "QmpEvent",
    "QmpReply",
]

# QEMU's own: it gives up on a command that is larger.
MAX_COMMAND: Final = 64 * 1024 * 1024
# No event of QEMU's schema comes near. Listeners hold many of them.
MAX_EVENT: Final = 1024 * 1024

# What JSON allows and QEMU takes for a syntax error, which it reports without saying whose command it was: noncharacters.
_REFUSED: Final = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)) + "]"
)


@attrs.frozen
class QmpCommand:
    """A command, for `QmpProtocol.send`."""

    name: str
    """As in QEMU's schema: `query-status`."""
    arguments: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """By QEMU's names. They may hold a secret, and are shown nowhere."""
    oob: bool = False
    """Whether to execute it out of band, ahead of what is under way."""


@attrs.frozen
class QmpReply:
    """The answer to a command that was sent with `QmpProtocol.send`."""

    command: QmpCommand
    """Which."""
    value: Any = None
    """What it returned, often an empty dict; None if there is an error."""
    error: AtpError | None = None
    """Why there is no value: what `execute` would have raised; None if there is one."""


@attrs.frozen
class QmpEvent:
    """Something that happened in QEMU."""

    name: str
    """As in QEMU's schema: `STOP`."""
    data: Mapping[str, Any] = attrs.field(factory=dict)
    """Its members, by QEMU's names; empty for many events."""
    timestamp: float | None = None
    """When QEMU saw it, in seconds since 1970 by its host's clock, to the microsecond; None if that clock failed."""


@attrs.frozen
class Greeting:
    """What QEMU says first on a monitor."""

    version: tuple[int, int, int]
    """Major, minor, micro."""
    package: str
    """What a distribution adds to the version: `Debian 1:7.2+dfsg-7`; often empty."""
    capabilities: frozenset[str]
    """What QEMU offers beyond plain QMP: `oob`."""

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Greeting:
        """Read a decoded greeting.

        Raises:
            MalformedMessage: It is none.
        """
        match message:
            case {"QMP": {"version": {"qemu": {"major": int(major), "minor": int(minor), "micro": int(micro)}, **more}, **rest}}:
                package, offered = more.get("package", ""), rest.get("capabilities", [])
                if isinstance(package, str) and isinstance(offered, list):
                    return cls((major, minor, micro), package, frozenset(one for one in offered if isinstance(one, str)))
        raise MalformedMessage("the monitor's greeting does not say what it must")


# --- lines


def encode_command(command: str, arguments: Mapping[str, Any], *, oob: bool = False) -> bytes:
    """One command, without an id, as a JSON object.

    Args:
        command: Its name.
        arguments: By QEMU's names; anything that JSON can say.
        oob: Whether to execute it out of band.

    Raises:
        ConfigError: JSON, or QEMU's reading of it, cannot say this.
        LocalProtocolError: It is larger than QEMU accepts.
    """
    try:
        text = f'{{"{"exec-oob" if oob else "execute"}":{_QUOTE(command)}'
        text += f',"arguments":{_ENCODE(arguments)}}}' if arguments else "}"
        encoded = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        # Not the arguments themselves: they may hold a secret.
        raise ConfigError(f"the arguments of {command!r} cannot be said in JSON ({type(error).__name__})") from None
    if not text.isascii() and _REFUSED.search(text):
        raise ConfigError(f"QEMU takes no noncharacters (U+FFFE and the like) in the arguments of {command!r}")
    if len(encoded) > MAX_COMMAND:
        raise LocalProtocolError(f"{command!r} with its arguments is {len(encoded)} bytes, QEMU takes {MAX_COMMAND}")
    return encoded


def decode_object(line: bytes | bytearray | str) -> dict[str, Any]:
    """One line, or libvirt's text for it, as the JSON object that it must be.

    Raises:
        MalformedMessage: It is none.
    """
    try:
        text = (line if isinstance(line, str) else str(line, "utf-8")).strip(_SPACE)
        message, end = _DECODER.raw_decode(text)
    except UnicodeDecodeError:
        raise MalformedMessage("the monitor sent a line that is not UTF-8") from None
    except RecursionError:
        raise MalformedMessage("the monitor sent JSON that is nested too deeply") from None
    except ValueError:
        raise MalformedMessage("the monitor sent a line that is not JSON") from None
    if type(message) is not dict or end != len(text):
        raise MalformedMessage("the monitor sent a line that is not one JSON object")
    return message


def event_from_message(message: Mapping[str, Any], size: int) -> QmpEvent:
    """Read a decoded event of `size` bytes.

    Raises:
        MalformedMessage: Its members are not what they must be, or it is larger than `MAX_EVENT`.
    """
    if size > MAX_EVENT:
        raise MalformedMessage(f"the monitor sent an event of {size} bytes, more than {MAX_EVENT}")
    name, data = message["event"], message.get("data", _NOTHING)
    if type(name) is not str or type(data) is not dict:
        raise MalformedMessage("the monitor sent an event that does not say what it must")
    match message.get("timestamp"):
        case {"seconds": int(seconds), "microseconds": int(microseconds)} if 0 <= seconds < 2**63 and 0 <= microseconds < 10**6:
            return QmpEvent(name, data, seconds + microseconds / 1e6)
    return QmpEvent(name, data)


def error_from_message(message: Mapping[str, Any], command: str) -> QmpError:
    """Read a decoded answer that is an error.

    Raises:
        MalformedMessage: Its members are not what they must be.
    """
    match message["error"]:
        case {"class": str(error_class), "desc": str(description), **rest}:
            return QmpError(
                f"{command}: {description}",
                error_class=error_class,
                description=description,
                data={str(name): value for name, value in rest.items()} or None,
            )
    raise MalformedMessage("the monitor sent an error that does not say what it must")


def value_from_message(message: Mapping[str, Any], command: str) -> Any:
    """What the answer to this command returns.

    Raises:
        QmpError: It is an error.
        MalformedMessage: It is no answer.
    """
    if "return" in message:
        return message["return"]
    if "error" in message:
        raise error_from_message(message, command)
    raise MalformedMessage(f"the answer to {command!r} is neither a value nor an error")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_NOTHING: Final[dict[str, Any]] = {}
_SPACE: Final = " \t\r\n"  # JSON's
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_QUOTE: Final = json.encoder.encode_basestring
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
