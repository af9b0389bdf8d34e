"""What is said to an agent, and what it answers.

Source:
    QEMU Guest Agent Protocol Reference (qga/qapi-schema.json of QEMU).
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import attrs

from atp_trio.errors import AtpError, MalformedMessage, QgaError
from atp_trio.protocols.qmp.message import encode_command

__all__ = ["QgaCommand", "QgaReply", "encode_command"]

T = TypeVar("T")

SILENT: Final = frozenset({"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"})
"""Commands that are answered only where they fail."""


@attrs.frozen
class QgaCommand:
    """A command, for `QgaProtocol.send`."""

    name: str
    """As in the agent's schema: `guest-info`."""
    arguments: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """By the agent's names. They may hold a secret, and are shown nowhere."""


@attrs.frozen
class QgaReply:
    """The answer to a command that was sent with `QgaProtocol.send`."""

    command: QgaCommand
    """Which."""
    value: Any = None
    """What it returned; None if there is an error."""
    error: AtpError | None = None
    """Why there is no value: what `execute` would have raised; None if there is one."""


def decode_reply(text: str | bytes | bytearray) -> dict[str, Any]:
    """An answer, as the JSON object that it must be.

    Raises:
        MalformedMessage: It is none.
    """
    try:
        message = json.loads(text if isinstance(text, str) else str(text, "utf-8"))
    except RecursionError:
        raise MalformedMessage("the guest agent sent JSON that is nested too deeply") from None
    except ValueError:  # UnicodeDecodeError is one
        raise MalformedMessage("the guest agent sent what is not JSON") from None
    if not isinstance(message, dict):
        raise MalformedMessage("the guest agent sent JSON that is not an object")
    return message


def value_from_reply(message: Mapping[str, Any], command: str) -> Any:
    """What the answer to this command returns.

    Raises:
        QgaError: It is an error.
        MalformedMessage: It is no answer.
    """
    match message:
        case {"return": value}:
            return value
        case {"error": {"class": str(error_class), "desc": str(description)}}:
            raise QgaError(f"{command}: {description}", error_class=error_class, description=description)
    raise MalformedMessage(f"the guest agent's answer to {command!r} is neither a value nor an error")


def encode_data(data: bytes | bytearray | memoryview) -> str:
    """Bytes as the agent takes them."""
    return b64encode(data).decode()


def decode_data(text: Any) -> bytes:
    """Bytes as the agent gives them.

    Raises:
        MalformedMessage: It is no base64.
    """
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise MalformedMessage("the guest agent sent data that is not base64") from None


def member(value: Any, name: str, kind: type[T]) -> T:
    """What an answer's object says of `name`.

    Raises:
        MalformedMessage: It is no object, or says nothing of the kind.
    """
    found = value.get(name) if isinstance(value, dict) else None
    # To isinstance, true is an integer.
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise MalformedMessage(f"the guest agent's answer has no {name!r} that is one")
    return found


def number(value: Any) -> int:
    """An answer that is a whole number.

    Raises:
        MalformedMessage: It is none.
    """
    if type(value) is not int:
        raise MalformedMessage("the guest agent's answer is no number")
    return value
