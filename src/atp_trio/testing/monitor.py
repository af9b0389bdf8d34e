"""A blocking QMP client, for machines under test."""

from __future__ import annotations

import collections
import json
import socket
from collections.abc import Iterator
from typing import Any

import attrs

from atp_trio.errors import HypervisorError, QmpError

_SILENCE = 30.0  # seconds without any answer after which QEMU is taken for hung; an emulated machine on a busy host needs 1 or 2
_READ_SIZE = 65536


@attrs.define(eq=False)
class Monitor:
    """One QMP connection.

    Not for two threads at once. After an error of the connection (`OSError`, `EOFError`) it is of no more use.

    Source: QEMU Machine Protocol Specification (docs/interop/qmp-spec of QEMU).
    """

    connection: socket.socket
    events: collections.deque[dict[str, Any]] = attrs.field(factory=lambda: collections.deque(maxlen=1000), repr=False)
    """Events that came before an answer, oldest first."""
    _lines: Iterator[bytes] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Nothing is read before the first call."""
        self._lines = _read_lines(self.connection)

    def greet(self) -> None:
        """Read the greeting and leave negotiation mode.

        Raises:
            EOFError: The connection ended.
            HypervisorError: The peer does not speak QMP.
        """
        self.connection.settimeout(_SILENCE)
        if "QMP" not in self._read():
            raise HypervisorError("the monitor's greeting is not QMP's")
        self.execute("qmp_capabilities", {})

    def execute(self, command: str, arguments: dict[str, Any], *, silence: float = _SILENCE) -> Any:
        """Execute a command and give its answer.

        Raises:
            QmpError: It was refused.
            EOFError: The connection ended.
            OSError: The connection broke, or nothing came for `silence` seconds.
            HypervisorError: The peer does not speak QMP.
        """
        self.connection.settimeout(silence)
        message = {"execute": command} | ({"arguments": arguments} if arguments else {})
        self.connection.sendall(json.dumps(message).encode() + b"\n")
        while True:
            match self._read():
                case {"event": _} as event:
                    self.events.append(event)
                case {"return": answer}:
                    return answer
                case {"error": {"desc": str(description)}}:
                    # QEMU's own words; our arguments may hold a secret and are not repeated.
                    raise QmpError(f"{command}: {description}")
                case other:
                    raise HypervisorError(f"the monitor's answer to {command} is not QMP's: {sorted(other)}")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _read(self) -> dict[str, Any]:
        line = next(self._lines, None)
        if line is None:
            raise EOFError("the connection has ended")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise HypervisorError("the monitor sent a line that is not JSON") from error
        if not isinstance(message, dict):
            raise HypervisorError("the monitor sent a line that is not a JSON object")
        return message


def _read_lines(connection: socket.socket) -> Iterator[bytes]:
    rest = b""
    while data := connection.recv(_READ_SIZE):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
