"""Where the messages lie in a receive buffer: framing of the data stage, done in C.

Theory of operation. A reader owns one buffer, receives into it and calls `Framer.frames` once for each receive. One crossing into
C finds every complete message; the bodies stay where they are and the result stays in C memory, in the framer's `FrameTable`,
which the next call overwrites. Code in C takes the table as it is (`FrameTable.frames`, `FrameTable.count`), at 3 ns a message;
Python code iterates over it for `(type, offset, size)`, at 55 ns. The reader's loop is:

    end += await stream.receive_into(memoryview(buffer)[end:])
    more = True
    while more:
        table = framer.frames(buffer, start, end)
        for type, offset, size in table:
            ...
        start, more = table.consumed, table.more
    # Here `table.needed` says how many bytes the next message takes from `start` on: what the buffer must have room for.

A message that breaks a rule never hides the ones before it: they are given first, with `more` true, and the call that finds the
offender in the first place raises.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Any

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError, MalformedMessage

__all__ = ["FrameTable", "Framer", "HeaderKind", "MalformedFrame", "pack_full_header", "pack_mini_header", "sub_messages"]

MAX_BUFFER = 2**32 - 1  # offsets in the table are 32 bits wide

# One row of the table, native as C lays it out: type, offset, size, sub_list (u32 each), serial (u64).
_ROW_BYTES: int = ffi.sizeof("struct spice_frame")
_iter_bodies = struct.Struct("=III12x").iter_unpack
_iter_rows = struct.Struct("=IIIIQ").iter_unpack
_BYTES = ffi.typeof("uint8_t[]")
_pack_mini = struct.Struct("<HI").pack
_pack_full = struct.Struct("<QHII").pack


class HeaderKind(enum.IntEnum):
    """The two data headers; the value is the header's size in bytes.

    Source:
        Protocol reference, 2.1.
    """

    MINI = 6
    """u16 type, u32 size. Used when both sides announce the common capability MINI_HEADER."""
    FULL = 18
    """u64 serial, u16 type, u32 size, u32 sub_list."""


class MalformedFrame(MalformedMessage):
    """A header, or a sub-message list, that breaks a rule.

    Attributes:
        type: The message's type as its header says; 0 where there is none to tell.
        size: What the header claims, in bytes: the body's size, or the offset that points outside.
    """

    def __init__(self, sentence: str, *, type: int, size: int) -> None:  # noqa: A002 - the header's own name for it
        super().__init__(sentence)
        self.type = type
        self.size = size


class FrameTable:
    """The messages found by one call, in C memory; iterating gives `(type, offset, size)` of each.

    `offset` is where the body begins in the buffer that was searched, `size` its length in bytes. The table is valid until the
    next call of the framer that owns it; what iterates over it goes on with what was there.
    """

    __slots__ = ("_bytes", "capacity", "consumed", "count", "frames", "more", "needed")

    def __init__(self, capacity: int) -> None:
        if not 1 <= capacity <= 2**16:
            raise ConfigError(f"a frame table has 1 to 65536 rows, not {capacity}")
        self.capacity = capacity
        """Rows, of 24 bytes each."""
        self.frames: Any = ffi.new("struct spice_frame[]", capacity)
        """`struct spice_frame *`, for code in C and for single fields: `table.frames[i].serial`."""
        self.count = 0
        """Messages found."""
        self.consumed = 0
        """Offset in the buffer of the first byte that belongs to none of them: where the next call starts."""
        self.needed = 0
        """Bytes that the next message takes from `consumed` on, header included, as far as its header is there to tell; 0 while
        `more` is true."""
        self.more = False
        """Whether to call again before receiving: the table is full, or the next message will raise."""
        # What is sliced from it is a copy. An iterator over a memoryview, left unfinished as channels that are cut off leave
        # theirs, crashes the interpreter when the garbage collector clears the memoryview first.
        self._bytes = ffi.buffer(self.frames)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return _iter_bodies(self._bytes[: self.count * _ROW_BYTES])

    def rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        """The messages with all that a full header says: `(type, offset, size, sub_list, serial)`.

        `sub_list` is the offset of the sub-message list in the body, 0 for none. With mini headers both are 0.
        """
        return _iter_rows(self._bytes[: self.count * _ROW_BYTES])


class Framer:
    """Finds the messages of one channel and one direction.

    Args:
        header: The header that the link agreed on.
        max_body: The largest body to accept, in bytes, at most 2**32 - 1.
        capacity: Rows of the table. More of them save calls when very many small messages come at once; 512 rows take 12 KiB
            and are within a quarter of what the fastest size gives.
    """

    __slots__ = ("_report", "header", "max_body", "table")

    def __init__(self, header: HeaderKind, max_body: int, *, capacity: int = 512) -> None:
        if not 0 <= max_body < 2**32:
            raise ConfigError(f"a body limit is 0 to 2**32 - 1 bytes, not {max_body}")
        self.header = HeaderKind(header)
        self.max_body = max_body
        self.table = FrameTable(capacity)
        self._report = ffi.new("struct spice_frame_report *")

    def frames(self, buffer: bytes | bytearray | memoryview, start: int, end: int) -> FrameTable:
        """Find the complete messages in `buffer[start:end]`; `buffer[start]` is the first byte of a header.

        Returns:
            The framer's own table, overwritten.

        Raises:
            MalformedFrame: The first message here is larger than `max_body`, or its sub-message list lies outside of it.
            ConfigError: `start` and `end` are not offsets in the buffer.
        """
        table, report = self.table, self._report
        data = ffi.from_buffer(_BYTES, buffer)
        try:
            if not 0 <= start <= end <= len(data) or end > MAX_BUFFER:
                raise ConfigError(f"bytes {start} to {end} are not within a buffer of {len(data)} bytes")
            table.count = lib.spice_frame_scan(data, start, end, self.header, self.max_body, table.frames, table.capacity, report)
        finally:
            # A memoryview that is still exported when the garbage collector clears it, as in the traceback of an error that
            # someone keeps, crashes the interpreter.
            ffi.release(data)
        table.consumed = report.consumed
        table.needed = needed = report.needed
        table.more = needed == 0
        if report.status and not table.count:
            raise _malformed(report, f"the limit here is {self.max_body}")
        return table


def sub_messages(buffer: bytes | bytearray | memoryview, offset: int, size: int, sub_list: int = 0) -> FrameTable:
    """The sub-messages listed in the message body `buffer[offset:offset + size]`.

    Args:
        buffer: Where the body lies.
        offset: Of the body.
        size: Of the body.
        sub_list: Offset of the list in the body: a full header's `sub_list`, or 0 for a LIST message.

    Returns:
        A table of its own; offsets count from the start of the buffer. A LIST among the sub-messages is given like any other
        message: it is the caller's to refuse it.

    Raises:
        MalformedFrame: The list or a sub-message lies outside the body, or sub-messages share bytes.
        ConfigError: The body does not lie within the buffer.

    Source:
        Protocol reference, 2.2.
    """
    report = ffi.new("struct spice_frame_report *")
    with ffi.from_buffer(_BYTES, buffer) as data:  # released at the end, as above
        if offset < 0 or size < 0 or offset + size > len(data) or offset + size > MAX_BUFFER or not 0 <= sub_list < 2**32:
            raise ConfigError(f"a body of {size} bytes at {offset} is not within a buffer of {len(data)} bytes")
        # Once to check and count, once to fill: a list has a handful of entries, and a table made for the most a list can say
        # (65535) would cost more than the second look.
        count = lib.spice_frame_sub_messages(data, offset, size, sub_list, ffi.NULL, 0, report)
        if report.status:
            raise _malformed(report, f"the body has {size} bytes")
        table = FrameTable(max(count, 1))
        table.count = lib.spice_frame_sub_messages(data, offset, size, sub_list, table.frames, count, report)
    table.consumed = offset + size
    return table


def _malformed(report: Any, limit: str) -> MalformedFrame:
    kind, size = report.type, report.size
    sentence = {
        lib.SPICE_FRAME_BODY_OVER_LIMIT: f"message type {kind} announces a body of {size} bytes",
        lib.SPICE_FRAME_SUB_LIST_OUTSIDE: f"the sub-message list at {size} of message type {kind} lies outside its body",
        lib.SPICE_FRAME_SUB_MESSAGE_OUTSIDE: f"a sub-message (type {kind}, {size}) lies outside its message",
        lib.SPICE_FRAME_SUB_MESSAGE_OVERLAP: f"sub-messages share bytes, as of type {kind} with {size} bytes",
    }[report.status]
    return MalformedFrame(f"{sentence}; {limit}", type=kind, size=size)


def pack_mini_header(type: int, size: int) -> bytes:  # noqa: A002 - the header's own name for it
    """A mini header: `type` 0 to 65535, `size` of the body in bytes."""
    # struct, not the C function: a call through cffi with an output buffer takes five times as long.
    return _pack_mini(type, size)


def pack_full_header(serial: int, type: int, size: int, sub_list: int = 0) -> bytes:  # noqa: A002 - as above
    """A full header; `sub_list` is the offset of the sub-message list in the body, 0 for none."""
    return _pack_full(serial, type, size, sub_list)
