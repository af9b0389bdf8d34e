"""TCP connections.

Source:
    Protocol reference, 1.12 (socket options, those of spice-gtk).
"""

from __future__ import annotations

import os
import socket
from typing import Final

import trio

from atp_trio.errors import ConfigError, ConnectFailed
from atp_trio.spice.streams.base import reason
from atp_trio.spice.streams.socket import SocketStream

__all__ = ["open_tcp_stream"]

# A peer that vanished is noticed 75 seconds after its last sign of life. TCP_NODELAY is Trio's own default.
KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),  # seconds
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),  # seconds
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
)


def format_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def open_tcp_stream(host: str, port: int) -> SocketStream:
    """Connect to `host`, trying all of its addresses (happy eyeballs, as trio.open_tcp_stream does).

    The socket has TCP_NODELAY, and keep-alive after 30 s idle, every 10 s, 2 probes: a peer that is gone is found within two
    heartbeats.

    Args:
        host: A name or an address; IPv6 without brackets, with a zone (`%eth0`) if need be.
        port: 1 to 65535.

    Raises:
        ConnectFailed: No such host, or none of its addresses took the connection.
        ConfigError: The port is out of range.

    Cancellation:
        No socket stays open.
    """
    if not 1 <= port <= 65535:
        raise ConfigError(f"a port is 1 to 65535, not {port}")
    address = format_address(host, port)
    try:
        stream = await trio.open_tcp_stream(host, port)
        for option in KEEP_ALIVE:
            stream.setsockopt(*option)
        return SocketStream.adopt(stream, address=address)
    except OSError as error:
        raise ConnectFailed(f"cannot connect to {address}: {_reasons(error)}") from error
    except ValueError as error:  # UnicodeError of the IDNA codec, a NUL
        raise ConnectFailed(f"cannot connect to {address!r}: that is not a host name") from error


def _reasons(error: OSError) -> str:
    """Why each attempt failed, each reason once: Trio hangs the attempts' errors under its own, as a group."""
    if isinstance(error.__cause__, ExceptionGroup):
        return ", ".join(dict.fromkeys(_system_reason(each) for each in error.__cause__.exceptions))
    return _system_reason(error)


def _system_reason(error: BaseException) -> str:
    """What the system calls this error: Trio's own sentences would name the address again."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return reason(error)
