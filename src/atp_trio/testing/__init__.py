"""What tests of atp-trio, and of programs that use it, need: a SPICE server, real machines, and a guest to run in them.

The names below are loaded when they are first used; `strategies` (needs hypothesis), `qemu` and `guest` are modules of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atp_trio.testing.server import (
        ServerOptions,
        ServerProcess,
        ServerThread,
        SpiceServer,
        open_spice_server,
        run_server_in_process,
        run_server_in_thread,
    )

__all__ = [
    "ServerOptions",
    "ServerProcess",
    "ServerThread",
    "SpiceServer",
    "open_spice_server",
    "run_server_in_process",
    "run_server_in_thread",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from atp_trio.testing import server

    return getattr(server, name)
