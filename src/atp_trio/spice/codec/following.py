"""Following a display channel in C: received, drawn and acknowledged in a thread that needs nobody.

Theory of operation. `Follower.follow` blocks, without the interpreter's lock, until something comes that `FrameDrawer` does not
draw, or until a file becomes readable by which it is called back. All that it is given it changes, and nobody else may look at
it meanwhile: the receive buffer, the surfaces, the cache and the dictionary. Only the counters may be read at any time.

It is there on Linux (`is_available`), for a plain socket whose link agreed on mini headers.
"""

from __future__ import annotations

import enum
import os
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from _spice_codec import ffi, lib
from atp_trio.spice.codec.drawing import FrameDrawer, Kept, Shared
from atp_trio.spice.codec.framing import FrameTable

__all__ = ["ACK_BYTES", "Files", "FollowStatus", "Followed", "Follower", "Gathering", "Received", "is_available"]

_BYTES = ffi.typeof("uint8_t[]")
_unpack_batches = struct.Struct("=QQ").iter_unpack
_BATCH_BYTES: int = ffi.sizeof("struct follow_batch")
_NS: Final = 1e-9
_ACK: Final = bytes([2, 0, 0, 0, 0, 0])
ACK_BYTES: Final = len(_ACK)
"""What an ACK takes on the wire."""


def is_available() -> bool:
    """Whether channels can be followed on this system."""
    return sys.platform == "linux"


class FollowStatus(enum.IntEnum):
    """Why following has ended."""

    OTHER = lib.FOLLOW_OTHER
    """The next message is to be handled by other means."""
    KEPT = lib.FOLLOW_KEPT
    """Never seen outside: pictures were put into the cache, and following went on."""
    ROOM = lib.FOLLOW_ROOM
    """The next message needs a larger buffer."""
    ASKED = lib.FOLLOW_ASKED
    """It was called back; what had come by then is drawn."""
    OVER = lib.FOLLOW_OVER
    """It is time."""
    UNSENT = lib.FOLLOW_UNSENT
    """The kernel has not taken an ACK: see `Followed.unsent`."""
    END = lib.FOLLOW_END
    """The peer has closed the connection."""
    FAILED = lib.FOLLOW_FAILED
    """The connection broke: see `Followed.error`."""


@attrs.frozen(eq=False)
class Received:
    """What a channel's core has received and not handled, and how it acknowledges.

    Attributes:
        buffer: The receive buffer.
        start: Where the first byte lies that no message has been made of.
        end: Where the free space begins.
        table: The framer's table, to be overwritten.
        max_body: The largest body to take, in bytes.
        window: Messages an ACK stands for; 0 for none.
        left: Messages until the next one.
        early: Messages that are counted for it already, and not handled yet.
    """

    buffer: memoryview
    start: int
    end: int
    table: FrameTable
    max_body: int
    window: int
    left: int
    early: int


@attrs.frozen
class Files:
    """File descriptors, and when it is over.

    Attributes:
        socket: A connected stream socket, with a low-water mark of one byte.
        wake: A file that is readable when following is to end.
        until: When it is to end anyway: nanoseconds of `time.monotonic_ns`.
    """

    socket: int
    wake: int
    until: int


@attrs.frozen
class Gathering:
    """How many messages to let come before looking at them.

    Attributes:
        messages: So many; fewer where the peer would wait for an ACK. 0 for any.
        size: Bytes of one of them, about.
        patience: How long to wait for several, in seconds.
    """

    messages: int
    size: int
    patience: float


@attrs.frozen
class Followed:
    """What has been done.

    Attributes:
        start: As in `Received`, for what is left.
        end: Likewise.
        left: Likewise.
        early: Likewise.
        received: Bytes.
        messages: Messages that were drawn.
        acks: ACKs that were sent.
        unsent: What of them the kernel has not taken: to be sent before anything else.
        error: What broke the connection, where that is why it ended.
        batches: What came with each receive: how many messages, and seconds from receiving to the surface.
    """

    start: int
    end: int
    left: int
    early: int
    received: int
    messages: int
    acks: int
    unsent: bytes
    error: OSError | None
    batches: Sequence[tuple[int, float]]


class Follower:
    """Follows one channel, again and again."""

    def __init__(self, drawer: FrameDrawer) -> None:
        self._drawer = drawer
        self._batches: Any = None  # until they are needed
        self._struct = ffi.new("struct follow *", {"low_water": 1})

    @property
    def received(self) -> int:
        """Bytes that were received since `begin`; to be read at any time."""
        return int(self._struct.received)

    @property
    def acks(self) -> int:
        """ACKs that were sent, likewise."""
        return int(self._struct.acks)

    def begin(self) -> None:
        """Forget what was done before."""
        one = self._struct
        one.received = one.acks = one.batch_count = one.unsent = one.error = 0
        if self._batches is None:
            one.batches = self._batches = ffi.new("struct follow_batch[]", lib.FOLLOW_BATCHES)

    def follow(
        self,
        files: Files,
        received: Received,
        gathering: Gathering,
        shared: Shared,
        keep: Callable[[list[Kept]], int],
    ) -> tuple[FollowStatus, Followed]:
        """Receive, draw and acknowledge, until something comes that is not for us. Blocks; after `begin`.

        Args:
            files: What is received from, and what ends it.
            received: What lies in the buffer, and is to be there next.
            gathering: How many messages to gather.
            shared: What other channels use as well, which nobody else uses meanwhile.
            keep: Puts pictures into the cache, and gives what room is left there.

        Returns:
            Why it ended, and what has been done. The drawer's `take` gives what was drawn: of the damage only that since before
            `files.wake` became readable is sure to be there.
        """
        one, table = self._struct, received.table
        one.socket, one.wake, one.until_ns = files.socket, files.wake, files.until
        one.start, one.end, one.max_body = received.start, received.end, received.max_body
        one.window, one.left, one.early = received.window, received.left, received.early
        one.frames, one.capacity = table.frames, table.capacity
        one.gather, one.gather_bytes = gathering.messages, gathering.size
        one.patience_ns = int(gathering.patience / _NS)
        data = ffi.from_buffer(_BYTES, received.buffer, require_writable=True)
        one.buffer, one.size = data, len(data)
        drawer = self._drawer
        before = drawer.messages
        one.run = run = drawer.lend(shared, lib.DRAW_MAX_COPIED)
        try:
            while (status := FollowStatus(lib.follow(one))) is FollowStatus.KEPT:
                run.room = keep(drawer.take_kept())
            keep(drawer.take_kept())
        finally:
            drawer.take_back(shared)
            one.buffer = one.run = ffi.NULL
            ffi.release(data)  # see `Framer.frames`
        return status, self._followed(drawer.messages - before)

    def _followed(self, messages: int) -> Followed:
        one = self._struct
        batches = bytes(ffi.buffer(self._batches, one.batch_count * _BATCH_BYTES))
        return Followed(
            start=one.start,
            end=one.end,
            left=one.left,
            early=one.early,
            received=one.received,
            messages=messages,
            acks=one.acks,
            unsent=(_ACK * (one.unsent // ACK_BYTES + 1))[-one.unsent :] if one.unsent else b"",
            error=OSError(one.error, os.strerror(one.error)) if one.error else None,
            batches=[(count, ns * _NS) for count, ns in _unpack_batches(batches)],
        )
