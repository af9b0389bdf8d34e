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
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.wire.number import OpenEnum
from atp_trio.spice.wire.source import Source

if TYPE_CHECKING:
    from atp_trio.spice.wire.layout import Layout

Buffer = bytes | bytearray | memoryview

# A clip of 65536 rectangles is beyond any display driver; as Python objects they are some 20 MiB, from 1 MiB of message.
MAX_ELEMENTS = 65536

READ_ELEMENTS = "def read(view, size, pos, number, caps, copy):"
WRITE = "def write(out, value, caps, pending):"
WRITE_ERRORS = (struct.error, TypeError, ValueError, OverflowError, AttributeError)


def short(what: str, pos: int, need: int, size: int) -> NoReturn:
    """Refuse a body that ends too early."""
    raise MalformedMessage(f"{what}: {need} bytes at offset {pos} are needed, {max(0, size - pos)} are left")


def refuse(what: str, sentence: str) -> NoReturn:
    """Refuse a body for another reason."""
    raise MalformedMessage(f"{what}: {sentence}")


def wrong(what: str, sentence: str) -> NoReturn:
    """Refuse to write."""
    raise LocalProtocolError(f"{what}: {sentence}")


class Reader(Source):
    """The source of a function that reads."""

    def unpack(self, code: str) -> str:
        """The variable of one more value of the run."""
        name = self.fresh()
        self.codes.append(code)
        self.run.append(name)
        return name

    def transfer(self, codes: struct.Struct, values: list[str]) -> None:
        """Unpack the run."""
        self.need(str(codes.size), self.what)
        self.check(f"{', '.join(values)}, = {self.constant(codes)}.unpack_from(view, pos)")
        self.check(f"pos += {codes.size}")

    def need(self, number: str, what: str) -> None:
        """Refuse the body unless so many bytes are left."""
        self.line(f"if {number} > size - pos: {self.constant(short)}({what!r}, pos, {number}, size)")

    def take(self, number: str, what: str) -> str:
        """So many bytes."""
        found, count = self.fresh(), self.fresh()
        self.line(f"{count} = {number}")
        self.need(count, what)
        self.check(f"{found} = bytes(view[pos : pos + {count}]) if copy else view[pos : pos + {count}]")
        self.check(f"pos += {count}")
        return found

    def elements(self, element: Kind, number: str, what: str) -> str:
        """So many elements, one behind the other."""
        found = self.fresh()
        read = self.constant(element_reader(element, what))
        self.line(f"{found}, pos = {read}(view, size, pos, {number}, caps, copy)")
        return found


class Composer(Source):
    """The source of a function that writes; whatever goes wrong in it is about the value it was given."""

    def __init__(self, what: str) -> None:
        super().__init__(what, indent=2)
        self.lines = ["    try:", "        pass"]

    def transfer(self, codes: struct.Struct, values: list[str]) -> None:
        """Pack the run."""
        self.check(f"out += {self.constant(codes)}.pack({', '.join(values)})")

    def pack(self, code: str, value: str) -> None:
        """One more value of the run."""
        self.codes.append(code)
        self.run.append(value)

    def elements(self, element: Kind, value: str, what: str) -> None:
        """The elements of the value, one behind the other."""
        too_many = f"{self.constant(wrong)}({what!r}, f'{{len({value})}} elements, more than {MAX_ELEMENTS}')"
        self.line(f"if len({value}) > {MAX_ELEMENTS}: {too_many}")
        if isinstance(element, Scalar):
            self.line(f"out += {self.constant(struct.pack)}(f'<{{len({value})}}{element.code}', *{value})")
            return
        one = self.fresh()
        with self.block(f"for {one} in {value}:"):
            element.verify(self, one, what)
            element.write(self, one, what)

    def compile(self, head: str = WRITE) -> Any:
        """The function; its errors are those of our tree."""
        self.finish()
        self._indent = 1
        self.line(f"except {self.constant(WRITE_ERRORS)} as error:")
        self.line(f"    raise {self.constant(LocalProtocolError)}({self.what!r} + ': ' + str(error)) from error")
        return super().compile(head)


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

    def verify(self, source: Composer, value: str, what: str) -> None:
        """Compose what refuses a value that contradicts the record's other fields."""


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
    """An enumeration's members by number; asked for an unknown number it makes a member and does not keep it."""

    enum: type[OpenEnum]

    def __missing__(self, number: int) -> OpenEnum:
        return self.enum(number)


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


def element_reader(element: Kind, what: str) -> Any:
    """The function that reads so many elements: with one `struct` call for all where their size is fixed."""
    probe = Reader(what)
    value = element.read(probe, what)
    codes, names, is_fixed = "".join(probe.codes), probe.run, not probe.lines
    source = probe if is_fixed else Reader(what)
    source.codes, source.run = [], []
    too_many = f"{source.constant(refuse)}({what!r}, f'{{number}} elements, more than {MAX_ELEMENTS}')"
    source.check(f"if number > {MAX_ELEMENTS}: {too_many}")
    source.need(f"number * {element.min_size}", what)
    if is_fixed:
        source.check(f"end = pos + number * {struct.calcsize('<' + codes)}")
        if names == [value]:
            source.check(f"return {source.constant(struct.unpack_from)}(f'<{{number}}{codes}', view, pos), end")
        else:
            every = f"{source.constant(struct.Struct('<' + codes))}.iter_unpack(view[pos:end])"
            source.check(f"return tuple([{value} for {', '.join(names)}, in {every}]), end")
    else:
        source.check("found = []")
        with source.block("for _ in range(number):"):
            value = element.read(source, what)
            source.finish()
            source.line(f"found.append({value})")
        source.check("return tuple(found), pos")
    return source.compile(READ_ELEMENTS)


def value_writer(kind: Kind, what: str) -> Any:
    """The function that writes a value of this kind."""
    source = Composer(what)
    kind.write(source, "value", what)
    return source.compile()
