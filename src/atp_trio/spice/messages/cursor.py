"""The cursor channel: the pointer's shape and place.

Source: section 8 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.geometry import Point16
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import Lacks, nested, to_end, u8, u16, u64


class CursorType(OpenEnum):
    """How a shape's pixels are given."""

    ALPHA = 0
    """B, G, R, A; premultiplied."""
    MONO = 1
    """An AND mask, then a XOR mask; 1 bit a pixel, rows of whole bytes, bit 7 leftmost."""
    COLOR4 = 2
    """Nibbles, 16 colours of u32, an AND mask."""
    COLOR8 = 3
    """Bytes, 256 colours of u32, an AND mask."""
    COLOR16 = 4
    """x1r5g5b5, an AND mask."""
    COLOR24 = 5
    """B, G, R, an AND mask."""
    COLOR32 = 6
    """B, G, R, unused, an AND mask."""


class CursorFlag(OpenEnum):
    """Flags of a cursor."""

    NONE = 1
    """There is no shape, and no header."""
    CACHE_ME = 2
    FROM_CACHE = 4
    """There is a header but no data: the shape of that `unique` was sent before."""


@record
class CursorHeader(Record):
    """What a shape is."""

    unique: int = u64()
    """Its key in the cursor cache."""
    type: CursorType = u8(CursorType)
    width: int = u16()
    height: int = u16()
    hot_spot_x: int = u16()
    """May lie outside the shape."""
    hot_spot_y: int = u16()


@record
class Cursor(Record):
    """A shape."""

    flags: int = u16(flags=CursorFlag)
    header: CursorHeader | None = nested(CursorHeader, when=Lacks("flags", CursorFlag.NONE), default=None)
    data: bytes = to_end(default=b"")
    """The pixels, top-down, as the type says."""


@message(ChannelType.CURSOR, from_server=101)
class Init(Message):
    """The first message, and the first after a `Reset`."""

    position: Point16 = nested(Point16)
    """Where the hot spot is."""
    trail_length: int = u16(default=0)
    trail_frequency: int = u16(default=0)
    visible: int = u8()
    """0 or 1."""
    cursor: Cursor = nested(Cursor)


@message(ChannelType.CURSOR, from_server=102)
class Reset(Message):
    """Forget the shape, the cache and the rest; an `Init` follows."""


@message(ChannelType.CURSOR, from_server=103)
class Set(Message):
    """A new shape."""

    position: Point16 = nested(Point16)
    """Where the hot spot is."""
    visible: int = u8()
    """0 or 1."""
    cursor: Cursor = nested(Cursor)


@message(ChannelType.CURSOR, from_server=104)
class Move(Message):
    """A new place (in mouse mode SERVER)."""

    position: Point16 = nested(Point16)


@message(ChannelType.CURSOR, from_server=105)
class Hide(Message):
    """Hidden until the next `Set` or `Move`."""


@message(ChannelType.CURSOR, from_server=106)
class Trail(Message):
    """A trail of shapes behind the pointer (Windows guests)."""

    length: int = u16()
    frequency: int = u16()


@message(ChannelType.CURSOR, from_server=107)
class InvalOne(Message):
    """Drop one shape of the cache."""

    id: int = u64()


@message(ChannelType.CURSOR, from_server=108)
class InvalAll(Message):
    """Drop all shapes of the cache."""
