"""What every byte stream of ours offers beside Trio's own interface."""

from __future__ import annotations

import abc
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator

import trio

from atp_trio.errors import ConfigError, ConnectionLost

__all__ = ["AdaptedStream", "ByteStream", "StreamOpener", "as_byte_stream"]

StreamOpener = Callable[[], Awaitable[trio.abc.Stream]]
"""Gives a new connection to one and the same SPICE server each time: every channel needs its own."""


class ByteStream(trio.abc.Stream):
    """A `trio.abc.Stream` with two extras for speed, so that a channel need not know which stream it has.

    Wherever Trio's interface says BrokenResourceError, these streams raise `ConnectionLost`, which is one.
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """Where the peer is, for people to read: `host:port` or a path."""

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive into `buffer`, as much as is there, at least one byte.

        Returns:
            The number of bytes received; 0 at the end of the stream.

        Raises:
            ConnectionLost: The connection broke.
            ConfigError: `buffer` is empty, which would look like the end of the stream.
            trio.ClosedResourceError: This stream was closed.

        Cancellation:
            Nothing was received.
        """
        if not len(buffer):
            raise ConfigError("there is no room in the buffer to receive into")
        data = await self.receive_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @property
    def can_receive_nowait(self) -> bool:
        """Whether `wait_receivable` and `receive_nowait` are there."""
        return False

    async def wait_receivable(self) -> None:
        """Wait until `receive_nowait` may find something; it may also find nothing."""
        raise NotImplementedError(f"{type(self).__name__} cannot receive without waiting")

    def receive_nowait(self, buffer: memoryview) -> int | None:
        """Receive into `buffer` what is there, without waiting.

        Returns:
            The number of bytes received; 0 at the end of the stream; None when nothing is there now.

        Raises:
            ConnectionLost: The connection broke.
            trio.ClosedResourceError: This stream was closed.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot receive without waiting")

    def set_receive_low_water(self, size: int) -> bool:  # noqa: ARG002 - the default cannot
        """From now on, let `wait_receivable` wait until so many bytes are there, or the end of the stream, or an error.

        Returns:
            Whether the stream can do that. One that cannot goes on waiting for any byte.
        """
        return False

    @property
    def descriptor(self) -> int | None:
        """The file descriptor of a socket whose bytes are just those of this stream; None where there is none.

        For code that has the stream to itself for a while, in C or in a thread.
        """
        return None

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:  # noqa: ARG002 - the default takes nothing
        """Send without waiting.

        Returns:
            How many bytes the kernel took, from none to all; the rest is for `send_all`. A stream that cannot do this always
            takes none.

        Raises:
            ConnectionLost: The connection broke.
            trio.BusyResourceError: Another task is in `send_all`.
            trio.ClosedResourceError: This stream was closed, or its sending side was.
        """
        return 0


class AdaptedStream(ByteStream):
    """Any Trio stream as a ByteStream: `receive_into` copies, `send_nowait` takes nothing."""

    __slots__ = ("_address", "_stream")

    def __init__(self, stream: trio.abc.Stream, *, address: str) -> None:
        self._stream = stream
        self._address = address

    @property
    def address(self) -> str:
        """Where the peer is, for people to read."""
        return self._address

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As in Trio; see `trio.abc.SendStream`."""
        with broken_as_lost(self._address):
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As in Trio; see `trio.abc.SendStream`."""
        with broken_as_lost(self._address):
            await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As in Trio; see `trio.abc.ReceiveStream`."""
        with broken_as_lost(self._address):
            return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As in Trio; see `trio.abc.AsyncResource`."""
        await self._stream.aclose()


def as_byte_stream(stream: trio.abc.Stream, *, address: str) -> ByteStream:
    """The stream itself, where it is one of ours."""
    return stream if isinstance(stream, ByteStream) else AdaptedStream(stream, address=address)


@contextlib.contextmanager
def broken_as_lost(address: str) -> Iterator[None]:
    """Turn Trio's BrokenResourceError into a ConnectionLost that names the address and the reason."""
    try:
        yield
    except ConnectionLost:
        raise
    except trio.BrokenResourceError as error:
        raise connection_lost(address, error.__cause__ or error) from (error.__cause__ or error)


def connection_lost(address: str, cause: BaseException) -> ConnectionLost:
    """The error for a connection that `cause` broke."""
    return ConnectionLost(f"the connection to {address} was lost: {reason(cause)}")


def reason(cause: BaseException) -> str:
    """What the operating system or OpenSSL says, without numbers and source lines."""
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return f"TLS: {cause.reason.replace('_', ' ').lower()}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or "it is broken"
