"""The kinds of value on the wire: how each is read, written and bounded.

Theory of operation. Reading is a walk over one message body with a position; a kind reads its value at the position and returns
the position after it. Pointers are offsets from the start of the body, so every kind is given the whole body. Three rules make
any input safe: nothing is read before its size was compared with what is left; an array is refused when its count times the
smallest possible element is more than what is left, and when it has more than `MAX_ELEMENTS` elements; and the kinds form a
finite tree, so pointers cannot recurse. Values of fixed size are fused: one `struct` call reads a run of them, nested records
included.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.wire.number import OpenEnum

if TYPE_CHECKING:
    from atp_trio.spice.wire.layout import Layout

Buffer = bytes | bytearray | memoryview

# A clip of 65536 rectangles is beyond any display driver; as Python objects they are some 20 MiB, from 1 MiB of message.
MAX_ELEMENTS = 65536


@attrs.frozen
class Body:
    """The message body that is being read."""

    view: memoryview
    caps: frozenset[int] = frozenset()
    copy: bool = True

    def take(self, pos: int, size: int, what: str) -> Buffer:
        """The `size` bytes at `pos`: copied, or a view of the receive buffer that is good until the next receive."""
        self.need(pos, size, what)
        part = self.view[pos : pos + size]
        return bytes(part) if self.copy else part

    def need(self, pos: int, size: int, what: str) -> None:
        """Raise unless `size` bytes are left at `pos`."""
        if size > len(self.view) - pos:
            raise MalformedMessage(f"{what}: {size} bytes at offset {pos} are needed, {max(0, len(self.view) - pos)} are left")

    def need_elements(self, pos: int, count: int, min_size: int, what: str) -> None:
        """Raise unless `count` elements of at least `min_size` bytes can lie at `pos`."""
        if count > MAX_ELEMENTS:
            raise MalformedMessage(f"{what}: {count} elements, more than {MAX_ELEMENTS}")
        self.need(pos, count * min_size, what)


@attrs.define(eq=False)
class Writer:
    """A message body that is being written."""

    out: bytearray = attrs.field(factory=bytearray)
    caps: frozenset[int] = frozenset()
    _pending: deque[tuple[int, Kind, Any, Sequence[Any], str]] = attrs.field(factory=deque)

    def point(self, kind: Kind, value: Any, values: Sequence[Any], what: str) -> None:
        """Leave a pointer here and what it points to for later."""
        self._pending.append((len(self.out), kind, value, values, what))
        self.out += b"\0\0\0\0"

    def finish(self) -> bytes:
        """Write what was left for later, each object behind what stands already."""
        while self._pending:
            at, kind, value, values, what = self._pending.popleft()
            struct.pack_into("<I", self.out, at, len(self.out))
            kind.write(self, value, values, what)
        return bytes(self.out)


@attrs.frozen
class Fixed:
    """How a value of fixed size takes part in a fused run.

    Attributes:
        format: Its `struct` codes.
        arity: How many values those codes stand for.
        build: Makes the value from the unpacked ones, starting at an index; None where the unpacked value is the value.
        flatten: Appends the values to pack; None where the value is packed as it is.
    """

    format: str
    arity: int
    build: Callable[[Sequence[Any], int], Any] | None = None
    flatten: Callable[[Any, list[Any]], None] | None = None


class Kind(ABC):
    """How a value lies in bytes."""

    fixed: Fixed | None = None

    @property
    @abstractmethod
    def min_size(self) -> int:
        """The fewest bytes a value can take."""

    @abstractmethod
    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        """The value at `pos`, and the position after it; `values` are those of the enclosing record read so far."""

    @abstractmethod
    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        """Append the value; `values` are all those of the enclosing record."""


class FixedKind(Kind):
    """A kind whose every value takes the same bytes: `fixed` says all."""

    fixed: Fixed

    @property
    def min_size(self) -> int:
        return struct.calcsize("<" + self.fixed.format)

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        body.need(pos, self.min_size, what)
        parts = struct.unpack_from("<" + self.fixed.format, body.view, pos)
        value = self.fixed.build(parts, 0) if self.fixed.build else parts[0]
        return value, pos + self.min_size

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        parts: list[Any] = []
        flatten_into(self.fixed, value, parts, what)
        writer.out += pack(self.fixed.format, parts, what)


def flatten_into(fixed: Fixed, value: Any, parts: list[Any], what: str) -> None:
    """Append what `struct` packs for the value."""
    if fixed.flatten is None:
        parts.append(value)
        return
    try:
        fixed.flatten(value, parts)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{what}: {value!r} cannot be written: {error}") from error


def pack(codes: str, parts: Sequence[Any], what: str) -> bytes:
    """`struct.pack`, its errors in our words."""
    try:
        return struct.pack("<" + codes, *parts)
    except struct.error as error:
        raise LocalProtocolError(f"{what}: {error}") from error


SCALARS = {"B": (0, 2**8 - 1), "H": (0, 2**16 - 1), "I": (0, 2**32 - 1), "Q": (0, 2**64 - 1)} | {
    "h": (-(2**15), 2**15 - 1),
    "i": (-(2**31), 2**31 - 1),
    "q": (-(2**63), 2**63 - 1),
}


@attrs.frozen
class Scalar(FixedKind):
    """An integer, perhaps of an enumeration; or a set of flags, whose names are only for the log text."""

    code: str
    enum: type[OpenEnum] | None = None
    flags: type[OpenEnum] | None = None
    fixed: Fixed = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        build = _enum_builder(self.enum) if self.enum else None
        object.__setattr__(self, "fixed", Fixed(self.code, 1, build))

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest value."""
        return SCALARS[self.code]


def _enum_builder(enum: type[OpenEnum]) -> Callable[[Sequence[Any], int], Any]:
    known: dict[Any, Any] = dict(enum._value2member_map_)

    def build(parts: Sequence[Any], index: int) -> Any:
        value = parts[index]
        return known[value] if value in known else enum(value)

    return build


@attrs.frozen
class FixedPoint(FixedKind):
    """A signed 32-bit number of 1/2**fraction_bits, held as a float (exactly)."""

    fraction_bits: int
    fixed: Fixed = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        scale = float(2**self.fraction_bits)
        fixed = Fixed("i", 1, lambda parts, at: parts[at] / scale, lambda value, parts: parts.append(round(value * scale)))
        object.__setattr__(self, "fixed", fixed)


@attrs.frozen
class FixedBytes(FixedKind):
    """A given number of bytes."""

    size: int
    fixed: Fixed = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        def flatten(value: Buffer, parts: list[Any]) -> None:
            if len(value) != self.size:
                raise ValueError(f"{len(value)} bytes in place of {self.size}")
            parts.append(bytes(value))

        object.__setattr__(self, "fixed", Fixed(f"{self.size}s", 1, None, flatten))


@attrs.frozen
class Nested(Kind):
    """Another record, in place."""

    layout: Layout

    @property
    def fixed(self) -> Fixed | None:  # type: ignore[override]
        """Fused into the enclosing record when its own size is fixed."""
        return self.layout.fixed

    @property
    def min_size(self) -> int:
        return self.layout.min_size

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        return self.layout.read(body, pos)

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        self.layout.write(writer, value, what)


@attrs.frozen
class Size:
    """A number of bytes that follows from earlier fields: `rule` of the fields at these places of the record."""

    names: tuple[str, ...]
    rule: Callable[..., int]
    places: tuple[int, ...] = ()

    def of(self, values: Sequence[Any]) -> int:
        """The number, given the record's values."""
        return self.rule(*[values[place] for place in self.places])


@attrs.frozen
class Counted(Kind):
    """Elements one behind the other, their number written directly before them."""

    count: Scalar
    element: Kind

    @property
    def min_size(self) -> int:
        return self.count.min_size

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        number, pos = self.count.read(body, pos, values, what)
        return read_elements(self.element, body, pos, number, what)

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        self.count.write(writer, len(value), values, f"{what}: the number of elements")
        write_elements(self.element, writer, value, what)


@attrs.frozen
class Elements(Kind):
    """Elements one behind the other, their number in an earlier field."""

    element: Kind
    count: Size

    @property
    def min_size(self) -> int:
        return 0

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        return read_elements(self.element, body, pos, self.count.of(values), what)

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        if len(value) != self.count.of(values):
            raise LocalProtocolError(f"{what}: {len(value)} elements, the other fields say {self.count.of(values)}")
        write_elements(self.element, writer, value, what)


@attrs.frozen
class ElementsToEnd(Kind):
    """Elements of fixed size up to the end of the body; what is left over is no element."""

    element: FixedKind

    @property
    def min_size(self) -> int:
        return 0

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        return read_elements(self.element, body, pos, (len(body.view) - pos) // self.element.min_size, what)

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        write_elements(self.element, writer, value, what)


def read_elements(element: Kind, body: Body, pos: int, number: int, what: str) -> tuple[tuple[Any, ...], int]:
    """So many elements at `pos`: as one `struct` call where they are plain numbers."""
    body.need_elements(pos, number, element.min_size, what)
    fixed = element.fixed
    if fixed and fixed.build is None and fixed.arity == 1:
        size = number * element.min_size
        return struct.unpack_from(f"<{number}{fixed.format}", body.view, pos), pos + size
    found = []
    for _ in range(number):
        value, pos = element.read(body, pos, (), what)
        found.append(value)
    return tuple(found), pos


def write_elements(element: Kind, writer: Writer, value: Sequence[Any], what: str) -> None:
    """The elements, one behind the other."""
    if len(value) > MAX_ELEMENTS:
        raise LocalProtocolError(f"{what}: {len(value)} elements, more than {MAX_ELEMENTS}")
    for one in value:
        element.write(writer, one, (), what)


@attrs.frozen
class CountedBytes(Kind):
    """Bytes, their number written directly before them."""

    count: Scalar

    @property
    def min_size(self) -> int:
        return self.count.min_size

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        number, pos = self.count.read(body, pos, values, what)
        return body.take(pos, number, what), pos + number

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        self.count.write(writer, len(value), values, f"{what}: its length")
        writer.out += value


@attrs.frozen
class SizedBytes(Kind):
    """Bytes whose number follows from earlier fields."""

    size: Size

    @property
    def min_size(self) -> int:
        return 0

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        size = self.size.of(values)
        return body.take(pos, size, what), pos + size

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        if len(value) != self.size.of(values):
            raise LocalProtocolError(f"{what}: {len(value)} bytes, the other fields say {self.size.of(values)}")
        writer.out += value


@attrs.frozen
class BytesToEnd(Kind):
    """All that is left of the body."""

    @property
    def min_size(self) -> int:
        return 0

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        return body.take(pos, len(body.view) - pos, what), len(body.view)

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        writer.out += value


@attrs.frozen
class Pointer(Kind):
    """The offset, from the start of the body, of a value that lies elsewhere; 0 is none, and so is an empty array."""

    target: Kind
    optional: bool = True

    @property
    def min_size(self) -> int:
        return 4

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        body.need(pos, 4, what)
        (offset,) = struct.unpack_from("<I", body.view, pos)
        if offset:
            body.need(offset, 0, what)
            value, _ = self.target.read(body, offset, values, what)
            return value, pos + 4
        if self.optional:
            return None, pos + 4
        if self.target.min_size:
            raise MalformedMessage(f"{what}: a null pointer")
        # The empty array that a null pointer stands for; it is refused if a length elsewhere says it is not empty.
        return self.target.read(body, len(body.view), values, what)[0], pos + 4

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        if value is None and not self.optional:
            raise LocalProtocolError(f"{what}: None where a value is needed")
        if value is None or (not self.optional and not self.target.min_size and not len(value)):
            writer.out += b"\0\0\0\0"
        else:
            writer.point(self.target, value, values, what)


@attrs.frozen
class Offset(Kind):
    """An offset that is never null."""

    target: Kind

    @property
    def min_size(self) -> int:
        return 4

    def read(self, body: Body, pos: int, values: Sequence[Any], what: str) -> tuple[Any, int]:
        body.need(pos, 4, what)
        (offset,) = struct.unpack_from("<I", body.view, pos)
        body.need(offset, 0, what)
        return self.target.read(body, offset, values, what)[0], pos + 4

    def write(self, writer: Writer, value: Any, values: Sequence[Any], what: str) -> None:
        writer.point(self.target, value, values, what)
