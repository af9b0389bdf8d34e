"""A connected socket, TCP or UNIX, as a byte stream.

Source:
    trio.SocketStream does the work of Trio's interface. It allocates an object for each receive and can only wait when it sends,
    so `receive_into` and `send_nowait` go to the socket themselves, under Trio's rules.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Self

import trio

from atp_trio.errors import ConfigError
from atp_trio.spice.streams.base import ByteStream, broken_as_lost, connection_lost

__all__ = ["SocketStream"]


class SocketStream(ByteStream, trio.abc.HalfCloseableStream):
    """A connected stream socket.

    Args:
        sock: The socket; the stream owns it from here on, and makes it non-blocking.
        address: Where the peer is, for people to read.
    """

    __slots__ = ("_address", "_has_low_water", "_is_drained", "_low_water", "_senders", "_socket", "_stream")

    def __init__(self, sock: socket.socket, *, address: str) -> None:
        sock.setblocking(False)
        self._address = address
        self._socket = sock
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._senders = 0
        self._is_drained = False
        self._low_water = 1
        self._has_low_water = sys.platform == "linux" and sock.family in (socket.AF_INET, socket.AF_INET6)

    @classmethod
    def adopt(cls, stream: trio.SocketStream, *, address: str) -> Self:
        """Take over the socket of a Trio stream that nobody waits on; the Trio stream is closed by this."""
        return cls(socket.socket(fileno=stream.socket.detach()), address=address)

    @property
    def address(self) -> str:
        """Where the peer is: `host:port`, or a path."""
        return self._address

    async def receive_into(self, buffer: memoryview) -> int:
        """As in `ByteStream`; the kernel writes into `buffer` itself."""
        if not len(buffer):
            raise ConfigError("there is no room in the buffer to receive into")
        while True:
            await self.wait_receivable()
            received = self.receive_nowait(buffer)
            if received is not None:
                return received

    @property
    def can_receive_nowait(self) -> bool:
        """A socket can."""
        return True

    async def wait_receivable(self) -> None:
        """As in `ByteStream`; a checkpoint, whether or not there are data."""
        if self._is_drained:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError as error:
                raise self._broken(error) from error
        else:
            await trio.lowlevel.checkpoint()

    def receive_nowait(self, buffer: memoryview) -> int | None:
        """As in `ByteStream`."""
        try:
            received = self._socket.recv_into(buffer)
        except BlockingIOError:
            self._is_drained = True
            return None
        except OSError as error:
            raise self._broken(error) from error
        # Less than there was room for: the next call need not ask the kernel in vain, it waits.
        self._is_drained = received < len(buffer)
        return received

    def set_receive_low_water(self, size: int) -> bool:
        """As in `ByteStream`; TCP can, where the kernel knows SO_RCVLOWAT for waiting too (Linux)."""
        if not self._has_low_water:
            return False
        if size != self._low_water:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            except OSError as error:
                raise self._broken(error) from error
            self._low_water = size
        return True

    @property
    def descriptor(self) -> int | None:
        """As in `ByteStream`."""
        return self._socket.fileno()

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """As in `ByteStream`."""
        if self._senders:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._stream.socket.did_shutdown_SHUT_WR:
            raise trio.ClosedResourceError("this stream's sending side is closed")
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken(error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As in Trio; see `trio.abc.SendStream`."""
        self._senders += 1
        try:
            with broken_as_lost(self._address):
                await self._stream.send_all(data)
        finally:
            self._senders -= 1

    async def wait_send_all_might_not_block(self) -> None:
        """As in Trio; see `trio.abc.SendStream`."""
        with broken_as_lost(self._address):
            await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """As in Trio; see `trio.abc.HalfCloseableStream`."""
        with broken_as_lost(self._address):
            await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As in Trio; see `trio.abc.ReceiveStream`."""
        with broken_as_lost(self._address):
            return bytes(await self._stream.receive_some(max_bytes))

    def close(self) -> None:
        """Close at once and without a checkpoint; data that the kernel has taken are still sent."""
        self._stream.socket.close()

    async def aclose(self) -> None:
        """As `close`, then a checkpoint."""
        await self._stream.aclose()

    def _broken(self, error: OSError) -> Exception:
        if error.errno == errno.EBADF:
            return trio.ClosedResourceError("this stream is closed")
        return connection_lost(self._address, error)
