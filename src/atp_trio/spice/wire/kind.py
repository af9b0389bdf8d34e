# ruff: noqa: D102 - what the methods of every kind do is said once, in `Kind`
"""The kinds of value on the wire: how each is read, written and bounded.

Theory of operation. Reading is a walk over one message body with a position. Pointers are offsets from the start of the body, so
every function is given the whole body. Three rules make any input safe: nothing is read before its size was compared with what
is left; an array is refused when its count times the smallest possible element is more than what is left, and when it has more
than `MAX_ELEMENTS` elements; and the kinds form a finite tree, so pointers cannot recurse.

A kind composes source (see `source`): `read` adds what reads a value and gives the expression for it; `write` adds what writes
the value of an expression. The functions' variables are `view`, `size` (of the view), `pos`, `caps` and `copy` in reading, and
`out`, `caps` and `pending` in writing.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

from atp_trio.spice.wire.number import OpenEnum
from atp_trio.spice.wire.source import Composer, Reader, Source, wrong

if TYPE_CHECKING:
    from atp_trio.spice.wire.layout import Layout

Buffer = bytes | bytearray | memoryview


class Kind(ABC):
    """How a value lies in bytes."""

    @property
    @abstractmethod
    def min_size(self) -> int:
        """The fewest bytes a value can take."""

    @abstractmethod
    def read(self, source: Reader, what: str) -> str:
        """Compose the reading of a value; gives the expression for it."""

    @abstractmethod
    def write(self, source: Composer, value: str, what: str) -> None:
        """Compose the writing of the value that the expression gives."""

    def verify(self, source: Composer, value: str, what: str) -> None:  # noqa: B027
        """Compose what refuses a value that contradicts the record's other fields; most kinds cannot."""


class FixedKind(Kind):
    """A kind whose every value takes the same bytes, those of one `struct` code."""

    @property
    @abstractmethod
    def code(self) -> str:
        """The `struct` code."""

    @property
    def min_size(self) -> int:
        return struct.calcsize("<" + self.code)

    def read(self, source: Reader, what: str) -> str:  # noqa: ARG002
        return source.unpack(self.code)

    def write(self, source: Composer, value: str, what: str) -> None:  # noqa: ARG002
        source.pack(self.code, value)


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

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest value."""
        return SCALARS[self.code]

    def read(self, source: Reader, what: str) -> str:
        number = super().read(source, what)
        return f"{source.constant(members_by_number(self.enum))}[{number}]" if self.enum else number


class _Members(dict[int, OpenEnum]):
    """An enumeration's members by number, and those without a name as far as one byte reaches: a peer cannot fill memory."""

    enum: type[OpenEnum]

    def __missing__(self, number: int) -> OpenEnum:
        member = self.enum(number)
        if number < 256:
            self[number] = member
        return member


@cache
def members_by_number(enum: type[OpenEnum]) -> _Members:
    """A lookup that is faster than calling the enumeration."""
    members = _Members((member.value, member) for member in enum)
    members.enum = enum
    return members


@attrs.frozen
class FixedPoint(FixedKind):
    """A signed 32-bit number of 1/2**fraction_bits, held as a float (exactly)."""

    fraction_bits: int

    @property
    def code(self) -> str:
        return "i"

    def read(self, source: Reader, what: str) -> str:
        return f"{super().read(source, what)} / {2.0**self.fraction_bits}"

    def write(self, source: Composer, value: str, what: str) -> None:
        super().write(source, f"round({value} * {2.0**self.fraction_bits})", what)


@attrs.frozen
class FixedBytes(FixedKind):
    """A given number of bytes."""

    size: int

    @property
    def code(self) -> str:
        return f"{self.size}s"

    def verify(self, source: Composer, value: str, what: str) -> None:
        refusal = f"{source.constant(wrong)}({what!r}, f'{{len({value})}} bytes in place of {self.size}')"
        source.check(f"if len({value}) != {self.size}: {refusal}")


@attrs.frozen
class Nested(Kind):
    """Another record, in place."""

    layout: Layout

    @property
    def min_size(self) -> int:
        return self.layout.min_size

    def read(self, source: Reader, what: str) -> str:  # noqa: ARG002
        return self.layout.compose_read(source)

    def write(self, source: Composer, value: str, what: str) -> None:
        self.layout.compose_write(source, value, what)


@attrs.frozen
class Size:
    """A number that follows from earlier fields of the record: `rule` of those of these names."""

    names: tuple[str, ...]
    rule: Callable[..., int]

    def expression(self, source: Source) -> str:
        """The number."""
        values = ", ".join(source.names[name] for name in self.names)
        return values if self.rule is int else f"{source.constant(self.rule)}({values})"


class Array(Kind):
    """A kind whose values have a length."""

    @property
    def min_size(self) -> int:
        return 0

    def verify_length(self, source: Composer, value: str, size: Size, what: str) -> None:
        """Compose what refuses a value of another length than the other fields say."""
        refusal = f"{source.constant(wrong)}({what!r}, 'its length is not what the other fields say')"
        source.check(f"if len({value}) != {size.expression(source)}: {refusal}")


@attrs.frozen
class Counted(Array):
    """Elements one behind the other, their number written directly before them."""

    count: Scalar
    element: Kind

    @property
    def min_size(self) -> int:
        return self.count.min_size

    def read(self, source: Reader, what: str) -> str:
        return source.elements(self.element, self.count.read(source, what), what)

    def write(self, source: Composer, value: str, what: str) -> None:
        source.pack(self.count.code, f"len({value})")
        source.elements(self.element, value, what)


@attrs.frozen
class Elements(Array):
    """Elements one behind the other, their number in an earlier field."""

    element: Kind
    count: Size

    def read(self, source: Reader, what: str) -> str:
        return source.elements(self.element, self.count.expression(source), what)

    def write(self, source: Composer, value: str, what: str) -> None:
        source.elements(self.element, value, what)

    def verify(self, source: Composer, value: str, what: str) -> None:
        self.verify_length(source, value, self.count, what)


@attrs.frozen
class ElementsToEnd(Array):
    """Elements of fixed size up to the end of the body; what is left over is no element."""

    element: Kind

    def read(self, source: Reader, what: str) -> str:
        return source.elements(self.element, f"(size - pos) // {self.element.min_size}", what)

    def write(self, source: Composer, value: str, what: str) -> None:
        source.elements(self.element, value, what)


@attrs.frozen
class CountedBytes(Array):
    """Bytes, their number written directly before them."""

    count: Scalar

    @property
    def min_size(self) -> int:
        return self.count.min_size

    def read(self, source: Reader, what: str) -> str:
        return source.take(self.count.read(source, what), what)

    def write(self, source: Composer, value: str, what: str) -> None:  # noqa: ARG002
        source.pack(self.count.code, f"len({value})")
        source.line(f"out += {value}")


@attrs.frozen
class SizedBytes(Array):
    """Bytes whose number follows from earlier fields."""

    size: Size

    def read(self, source: Reader, what: str) -> str:
        return source.take(self.size.expression(source), what)

    def write(self, source: Composer, value: str, what: str) -> None:  # noqa: ARG002
        source.line(f"out += {value}")

    def verify(self, source: Composer, value: str, what: str) -> None:
        self.verify_length(source, value, self.size, what)


@attrs.frozen
class BytesToEnd(Array):
    """All that is left of the body."""

    def read(self, source: Reader, what: str) -> str:
        return source.take("size - pos", what)

    def write(self, source: Composer, value: str, what: str) -> None:  # noqa: ARG002
        source.line(f"out += {value}")


@attrs.frozen
class Offset(Kind):
    """The offset, from the start of the body, of a value that lies elsewhere."""

    target: Kind

    @property
    def min_size(self) -> int:
        return 4

    def read(self, source: Reader, what: str) -> str:
        offset, found = source.unpack("I"), source.fresh()
        source.later(lambda: self.follow(source, offset, found, what))
        return found

    def follow(self, source: Reader, offset: str, found: str, what: str) -> None:
        """Compose the reading of the target."""
        here = source.fresh()
        source.line(f"{here} = pos")
        source.line(f"pos = {offset}")
        source.need("0", what)
        value = self.target.read(source, what)
        source.finish()
        source.line(f"{found} = {value}")
        source.line(f"pos = {here}")

    def write(self, source: Composer, value: str, what: str) -> None:
        source.pack("I", "0")
        self.point(source, value, what, "True")

    def point(self, source: Composer, value: str, what: str, condition: str) -> None:
        """Compose what leaves the target for later, if the condition holds; the pointer is the last thing written."""
        target = source.constant(value_writer(self.target, what))
        source.line(f"if {condition}: pending.append((len(out) - 4, {target}, {value}))")

    def verify(self, source: Composer, value: str, what: str) -> None:
        self.target.verify(source, value, what)


@attrs.frozen
class Pointer(Offset):
    """An offset of which 0 is none: None for a record, the empty array for an array."""

    def follow(self, source: Reader, offset: str, found: str, what: str) -> None:
        with source.block(f"if {offset}:"):
            super().follow(source, offset, found, what)
        with source.block("else:"):
            if isinstance(self.target, Array):
                # It is refused if a length elsewhere says that the array is not empty.
                super().follow(source, "size", found, what)
            else:
                source.line(f"{found} = None")

    def write(self, source: Composer, value: str, what: str) -> None:
        source.pack("I", "0")
        self.point(source, value, what, f"len({value})" if isinstance(self.target, Array) else f"{value} is not None")

    def verify(self, source: Composer, value: str, what: str) -> None:
        if isinstance(self.target, Array):
            super().verify(source, value, what)


def value_writer(kind: Kind, what: str) -> Any:
    """The function that writes a value of this kind."""
    source = Composer(what)
    kind.write(source, "value", what)
    return source.compile()
