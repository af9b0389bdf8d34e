"""Messages on a stream: a `trio.abc.Channel` of what a framing makes of its bytes."""

from __future__ import annotations

from typing import TypeVar

import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import ConnectionLost
from atp_trio.protocols.framing import Framing, NeedData

__all__ = ["FramedChannel"]

T = TypeVar("T")


class FramedChannel(trio.abc.Channel[T]):
    """A stream that carries messages; it is the channel's from here on.

    Args:
        stream: The stream, such as `Domain.open_channel` gives.
        framing: How messages lie in it.
    """

    def __init__(self, stream: trio.abc.Stream, framing: Framing[T]) -> None:
        self.stream = stream
        self._framing = framing
        self._decoder = framing.decoder()
        self._send_turn = trio.StrictFIFOLock()
        self._receiving = ConflictDetector("another task is receiving")

    async def send(self, value: T) -> None:
        """Send a message, after those that other tasks are sending.

        Raises:
            LocalProtocolError: The framing does not allow it; nothing was sent.
            ConfigError: It is no message.
            trio.BrokenResourceError, trio.ClosedResourceError: As the stream's `send_all`.

        Cancellation: as the stream's `send_all`. A `LibvirtStream` sends the whole message or nothing; others may cut it.
        """
        data = self._framing.encode(value)
        async with self._send_turn:
            await self.stream.send_all(data)

    async def receive(self) -> T:
        """The next message.

        Raises:
            trio.EndOfChannel: The stream has ended, between two messages.
            ConnectionLost: It has ended within one, or was lost.
            MalformedMessage: A message cannot be decoded, and is left out; or is longer than the limit: nothing can be received
                any more.
            trio.BusyResourceError: Another task is receiving.

        Cancellation: nothing is lost.
        """
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            return await self._receive()

    async def _receive(self) -> T:
        has_waited = False
        while isinstance(message := self._decoder.next(), NeedData):
            data = await self.stream.receive_some()
            has_waited = True
            if not data:
                if self._decoder.pending:
                    raise ConnectionLost(f"the stream ended {self._decoder.pending} bytes into a message")
                raise trio.EndOfChannel
            self._decoder.feed(data)
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    async def aclose(self) -> None:
        """Close the stream."""
        await self.stream.aclose()
