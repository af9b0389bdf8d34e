"""The embedded server as a process of its own, told what to do over its standard input and output, a line of JSON each.

The first line in is the options, an object. The first line out is `{"uri": ..., "port": ..., "tls_port": ...}`, or
`{"error": ...}` and the end. Every further line in is a command, answered by one line:

- `{"do": "report"}`: what the server has seen so far, see `report`.
- `{"do": "set_password", "password": ...}`, `{"do": "expire_password"}`: answered by `{}`.

The process ends when its input does, so it cannot outlive the one that started it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Final

import trio

from atp_trio.errors import ConfigError
from atp_trio.testing.child import run_to_the_end, say
from atp_trio.testing.server.server import SpiceServer, open_spice_server

_MAX_LINE: Final = 1 << 20


def report(server: SpiceServer) -> dict[str, Any]:
    """What a server has seen so far, as JSON can say it.

    Returns:
        `key_seconds` and `pings` (lists of seconds), `motions`, `positions`, `events` (their number), `keys_down` (names),
        `buttons` (names), `pointer`, `echoes` (by region), `operations` (drawn so far, by display), `connections`,
        `open_channels` and `closed` (names such as `display:0`, in order).
    """
    machine = server.machine
    return {
        "key_seconds": list(server.key_seconds),
        "pings": list(server.pings),
        "motions": machine.motions,
        "positions": machine.positions,
        "events": len(machine.events),
        "keys_down": [key.name for key in server.keys_down],
        "buttons": sorted(button.name for button in server.buttons),
        "pointer": machine.pointer,
        "echoes": dict(machine.echoes),
        "operations": {str(number): canvas.operations for number, canvas in machine.canvases.items()},
        "connections": server.connections,
        "open_channels": [f"{kind.name.lower()}:{number}" for kind, number in server.open_channels],
        "closed": [f"{one.channel_type.name.lower()}:{one.channel_id}" for one in server.closed],
    }


def main() -> int:
    """Serve as the first line of standard input says, until it ends; gives the exit code."""
    return run_to_the_end(_serve, _lines())


def _read_options(line: str) -> dict[str, Any]:
    try:
        options = json.loads(line or "{}")
    except ValueError as error:
        raise ConfigError(f"the options are no JSON: {error}") from error
    if not isinstance(options, dict):
        raise ConfigError("the options are no JSON object")
    return options


async def _serve(lines: Iterator[str]) -> None:
    async with open_spice_server(**_read_options(next(lines, ""))) as server:
        say({"uri": server.uri, "port": server.port, "tls_port": server.tls_port})
        # The thread is left behind when the server is interrupted: it waits for a line that does not come.
        while line := await trio.to_thread.run_sync(next, lines, "", abandon_on_cancel=True):
            say(_do(server, line))


def _do(server: SpiceServer, line: str) -> dict[str, Any]:
    try:
        command = json.loads(line)
        what = command["do"]
        if what == "report":
            return report(server)
        if what == "expire_password":
            server.expire_password()
            return {}
        if what == "set_password":
            server.set_password(command["password"])
            return {}
    except ConfigError as error:
        return {"error": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"error": "this is no command"}
    return {"error": f"there is no command {what!r}"}


def _lines() -> Iterator[str]:
    """The lines of standard input. Read with `os.read`: the lock of `sys.stdin` would still be held when the process ends."""
    rest = b""
    while data := os.read(0, 65536):
        rest += data
        *complete, rest = rest.split(b"\n")
        for line in complete:
            yield line.decode(errors="replace") or "{}"
        if len(rest) > _MAX_LINE:
            return
    if rest:
        yield rest.decode(errors="replace")
