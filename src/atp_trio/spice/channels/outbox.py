"""What a channel has to send, and the one task that sends it.

Only the writer task is ever inside `send_all`, so no caller's cancellation can cut a message in two. While nothing is queued,
`put` hands the bytes to the kernel there and then, without waiting and without waking the writer: an input event is on its way
when the call returns. What follows it within `BURST` is left to the writer, which sends at the next checkpoint and all together:
handing the kernel a small message costs as much as making it, and waking the peer for each of several costs more than that.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import trio

from atp_trio.spice.wire.kind import Buffer

# More than a round trip's worth of input events; a peer that does not read costs us no more than this.
HIGH_WATER: Final = 256 * 1024
# Small pieces are sent together up to this size.
COALESCE: Final = 64 * 1024
# Seconds. A program that sends several messages without waiting makes one in some 5 us.
BURST: Final = 50e-6
# How long a peer has to notice that we are gone: some milliseconds, if it is not busy with something else.
NOTICE_SECONDS: Final = 0.5


class ChannelStream(Protocol):
    """What a channel needs of its connection: a `trio.abc.Stream` that can also be used without a copy and without waiting."""

    async def send_all(self, data: Buffer) -> None:
        """As in `trio.abc.SendStream`."""

    def send_nowait(self, data: Buffer) -> int:
        """Send what the kernel takes now; gives how many bytes that were."""

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive at least one byte; gives how many, 0 at the end of the stream."""

    @property
    def can_receive_nowait(self) -> bool:
        """Whether the two that follow are there."""

    async def wait_receivable(self) -> None:
        """Wait until `receive_nowait` may find something."""

    def set_receive_low_water(self, size: int) -> bool:
        """Let `wait_receivable` wait for so many bytes, or the end; gives whether it will."""

    def receive_nowait(self, buffer: memoryview) -> int | None:
        """Receive what is there; gives how many bytes, 0 at the end of the stream, None if there is nothing now."""

    @property
    def descriptor(self) -> int | None:
        """The file descriptor of a socket whose bytes are just the stream's; None if there is none."""

    async def aclose(self) -> None:
        """As in `trio.abc.AsyncResource`."""


class Outbox:
    """The output of one stream.

    Attributes:
        stream: Where it goes. Others may receive from it, nobody else sends.
        joins: Whether small pieces are sent together.
    """

    def __init__(self, stream: ChannelStream, *, joins: bool = True) -> None:
        self.stream = stream
        self.joins = joins
        self._queue: deque[Buffer] = deque()
        self._queued = 0
        self._idle = False  # the writer waits, and everything before was sent
        self._sent_at = 0.0  # when `put` last did so itself
        self._closed = False
        self._recall: Callable[[], None] | None = None  # who else sends now is asked to stop by it
        self._wake = trio.Event()
        self._sent = trio.lowlevel.ParkingLot()

    @property
    def queued(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._queued

    @property
    def has_room(self) -> bool:
        """Whether a caller should put more."""
        return self._queued < HIGH_WATER

    def put(self, pieces: list[Buffer]) -> None:
        """Send these, after what was put before; never waits. After `close` they are dropped."""
        if self._closed:
            return
        directly = self._idle and not self._recall and not self._queue and not self._is_burst()
        for piece in pieces:
            rest = memoryview(piece)
            if directly and not self._queue:
                rest = rest[self._send_now(rest) :]
            if rest:
                self._queue.append(rest)
                self._queued += len(rest)
        if not self._queue:
            return
        if self._recall is not None:
            self._recall()
        else:
            self._wake.set()

    def lend(self, recall: Callable[[], None]) -> bool:
        """Let somebody else send on the stream until `take_back`.

        Args:
            recall: Called when there is something to be sent after all: it is sent when the stream is back.

        Returns:
            Whether that was possible: not while something is being sent.
        """
        if self._closed or not self._idle or self._queue:
            return False
        self._recall = recall
        return True

    def take_back(self, rest: bytes = b"") -> None:
        """Send ourselves again, and first the rest of what the other has begun to send."""
        self._recall = None
        if rest:
            self._queue.appendleft(rest)
            self._queued += len(rest)
        if self._queue:
            self._wake.set()

    def _is_burst(self) -> bool:
        now = time.perf_counter()
        if now < self._sent_at + BURST:
            return True
        self._sent_at = now
        return False

    def _send_now(self, data: memoryview) -> int:
        try:
            return self.stream.send_nowait(data)
        except trio.BrokenResourceError:
            return 0  # the writer meets the same error, and ends the channel with it

    async def wait_room(self) -> None:
        """Wait until a caller may put more, or the outbox is closed."""
        while not self.has_room and not self._closed:
            await self._sent.park()

    async def wait_drained(self) -> None:
        """Wait until the kernel has taken everything, or the outbox is closed."""
        while self._queued and not self._closed:
            await self._sent.park()

    def heard(self) -> None:
        """The peer has spoken: what is put next may be an answer or the next question, and no burst goes on."""
        self._sent_at = 0.0

    def close(self) -> None:
        """Nothing more is sent: who waits goes on."""
        self._closed = True
        self._sent.unpark_all()

    async def hang_up(self) -> None:
        """Close, say so to the peer where the stream can, and leave it a moment to say the same: for a reader to meet."""
        self.close()
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            with trio.move_on_after(NOTICE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
                await self.stream.send_eof()
                await trio.sleep_forever()

    async def run(self) -> None:
        """Send what is put, until cancelled.

        Raises:
            trio.BrokenResourceError: The connection is gone.
        """
        while True:
            while self._queue:
                data = memoryview(self._next())
                sent = self.stream.send_nowait(data)
                if sent < len(data):
                    await self.stream.send_all(data[sent:])
                self._queued -= len(data)
                self._sent.unpark_all()
            self._idle = True
            await self._wake.wait()
            self._wake = trio.Event()
            self._idle = not self._queue

    def _next(self) -> Buffer:
        first = self._queue.popleft()
        if not self.joins or not self._queue or len(first) >= COALESCE:
            return first
        pieces, size = [first], len(first)
        while self._queue and size + len(self._queue[0]) <= COALESCE:
            pieces.append(self._queue.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)
