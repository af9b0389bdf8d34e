"""Points, rectangles and what else says where things are drawn.

Source: section 3.2 of the protocol reference (common structures).
"""

from __future__ import annotations

from atp_trio.spice.wire import OpenEnum, Record, record
from atp_trio.spice.wire.field import Is, counted, fixed16_16, fixed28_4, i16, i32, nested, u8, u32


@record
class Point(Record):
    """A point in pixels."""

    x: int = i32()
    y: int = i32()


@record
class Point16(Record):
    """A point in pixels, in 16 bits a coordinate."""

    x: int = i16()
    y: int = i16()


@record
class PointFix(Record):
    """A point in pixels, in steps of 1/16."""

    x: float = fixed28_4()
    y: float = fixed28_4()


@record
class Rect(Record):
    """A rectangle in pixels; bottom and right lie outside it.

    The order is the wire's: top, left, bottom, right. `Rect.at` takes x, y, width and height.
    """

    top: int = i32()
    left: int = i32()
    bottom: int = i32()
    right: int = i32()

    @classmethod
    def at(cls, x: int, y: int, width: int, height: int) -> Rect:
        """The rectangle whose left top corner is (x, y)."""
        return cls(top=y, left=x, bottom=y + height, right=x + width)

    @property
    def width(self) -> int:
        """Pixels across; 0 or less for an empty rectangle."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down; 0 or less for an empty rectangle."""
        return self.bottom - self.top

    @property
    def is_empty(self) -> bool:
        """Whether no pixel lies in it."""
        return self.width <= 0 or self.height <= 0

    def intersection(self, other: Rect) -> Rect:
        """What lies in both; empty (not necessarily all zero) where they do not meet."""
        return Rect(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


@record
class Transform(Record):
    """A 2 x 3 matrix that maps destination to source coordinates, in 16.16 fixed point."""

    t00: float = fixed16_16()
    t01: float = fixed16_16()
    t02: float = fixed16_16()
    t10: float = fixed16_16()
    t11: float = fixed16_16()
    t12: float = fixed16_16()


class ClipType(OpenEnum):
    """How a clip is given."""

    NONE = 0
    RECTS = 1


@record
class Clip(Record):
    """What of an area may be painted: all of it (NONE), or what lies in one of the rectangles. No rectangles: nothing."""

    type: ClipType = u8(ClipType, default=ClipType.NONE)
    rects: tuple[Rect, ...] | None = counted(u32(), Rect, when=Is("type", ClipType.RECTS), default=None)

    @classmethod
    def to(cls, *rects: Rect) -> Clip:
        """The clip to these rectangles."""
        return cls(ClipType.RECTS, rects)


@record
class DisplayBase(Record):
    """What every draw message begins with."""

    surface_id: int = u32()
    """The surface that is painted; 0 is the primary."""
    box: Rect = nested(Rect)
    """The area that is painted."""
    clip: Clip = nested(Clip, default=Clip())
