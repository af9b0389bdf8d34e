"""What the monitor and the guest agent's port have in common where they are reached directly: a stream, and its two tasks.

Theory of operation. A reader task hands over what comes, with no checkpoint between receiving and that; a writer task alone is
ever inside `send_all`, so no caller's cancellation can cut a command in two. What can be expected (QEMU ends, or what answers is
not what it should be) ends both tasks, and is the cause that callers meet.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConfigError, ConnectionLost
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.streams.base import ByteStream, as_byte_stream
from atp_trio.spice.streams.unix import open_unix_stream

__all__ = ["Address", "DirectConnection", "open_stream"]

Address = str | os.PathLike[str] | trio.abc.Stream

_READ_SIZE: Final = 64 * 1024


@attrs.define(eq=False)
class DirectConnection:
    """A connection, from `serve` on."""

    name: str
    """What it leads to, such as `the monitor`."""
    stream: ByteStream
    """Its bytes; closed in the end."""
    _take: Callable[[memoryview], None]
    """Called with what came; what is not to be raises an `AtpError`, and ends the connection."""
    _tell: Callable[[], None]
    """Called once, when it has ended."""
    outbox: Outbox = attrs.field(init=False)
    """What is to be sent."""
    is_ended: bool = attrs.field(init=False, default=False)
    """Whether nothing more comes."""
    cause: AtpError | None = attrs.field(init=False, default=None)
    """What ended it; None: we did."""
    # Who disconnects may have something to say before: `end` ends the tasks, no cancellation from outside.
    _scope: trio.CancelScope = attrs.field(init=False, factory=lambda: trio.CancelScope(shield=True))

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(self.stream)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Receive and send for the time of the block."""
        async with open_background() as nursery:
            nursery.start_soon(self._run)
            try:
                yield
            finally:
                self.end(None)

    def end(self, cause: AtpError | None) -> None:
        """Nothing more comes."""
        if not self.is_ended:
            self.is_ended, self.cause = True, cause
            self._scope.cancel()
            self.outbox.close()
            self._tell()

    def check(self) -> None:
        """Whether anything can come yet.

        Raises:
            ConnectionLost: It has ended.
        """
        if self.is_ended:
            raise ConnectionLost(f"the connection to {self.name} has ended") from self.cause

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
        finally:
            self.end(None)
            await trio.aclose_forcefully(self.stream)

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        with self._ending():
            await self.outbox.run()

    async def _read(self) -> None:
        buffer = memoryview(bytearray(_READ_SIZE))
        with self._ending():
            while received := await self.stream.receive_into(buffer):
                self.outbox.heard()
                self._take(buffer[:received])
            raise ConnectionLost(f"QEMU closed the connection to {self.name}")

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except AtpError as error:
            self.end(error)


async def open_stream(address: Address, name: str, *, forms: str = "unix:PATH") -> ByteStream:
    """Connect to a UNIX socket, or take the stream that is given.

    Args:
        address: The stream; or the socket, as a path or as `unix:PATH`.
        name: What it leads to, as in `DirectConnection`.
        forms: What a text can be, for who wrote another.

    Raises:
        ConfigError: The address cannot be meant.
        ConnectFailed: Nobody listens there.
    """
    if isinstance(address, trio.abc.Stream):
        return as_byte_stream(address, address=name)
    if not isinstance(address, str):
        return await open_unix_stream(os.fspath(address))
    kind, _, path = address.partition(":")
    if kind == "unix" and path:
        return await open_unix_stream(path)
    raise ConfigError(f"{address!r} is no address of {name}: that is {forms}")
