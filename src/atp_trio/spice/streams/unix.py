"""UNIX domain sockets, by path or abstract.

Source:
    Protocol reference, 1.12.
"""

from __future__ import annotations

import errno
import os

import trio

from atp_trio.errors import ConnectFailed
from atp_trio.spice.streams.base import reason
from atp_trio.spice.streams.socket import SocketStream

__all__ = ["open_unix_stream"]


async def open_unix_stream(path: str | os.PathLike[str]) -> SocketStream:
    """Connect to the socket at `path`.

    Args:
        path: A file's path; with `@` as its first character, an abstract address, as QEMU and libspice-server write it.

    Raises:
        ConnectFailed: No such socket, nobody listens there, or its queue of connections is full.

    Cancellation:
        No socket stays open.
    """
    name = os.fspath(path)
    if "\0" in name or not _is_encodable(name):
        raise ConnectFailed(f"cannot connect to {name!r}: that is not a path")
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await sock.connect("\0" + name[1:] if name.startswith("@") else name)
        sock.getpeername()
        return SocketStream.adopt(trio.SocketStream(sock), address=name)
    except OSError as error:
        sock.close()
        raise ConnectFailed(f"cannot connect to {name}: {_reason(error)}") from error
    except BaseException:
        sock.close()
        raise


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: OSError) -> str:
    # A listener with a full queue answers EAGAIN, which Trio takes for a connect under way, as with TCP: it is not connected.
    return "its queue of connections is full" if error.errno == errno.ENOTCONN else reason(error)
