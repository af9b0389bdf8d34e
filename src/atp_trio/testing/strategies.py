"""Hypothesis strategies for everything SPICE says, derived from the declarations of the catalogue.

A message declared today can be drawn, framed and broken today. Sizes are small by default: what matters is shape.

```python
@given(messages(ChannelType.INPUTS, Role.CLIENT))
def test_server_survives(message): ...

@given(malformed(display.DrawCopy))
def test_client_survives(body): ...
```
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import atp_trio.spice.messages  # noqa: F401 - fills the catalogue
from atp_trio.spice.wire import Message, Record, Role, table
from atp_trio.spice.wire import kind as kinds
from atp_trio.spice.wire.layout import Layout, Member

R = TypeVar("R", bound=Record)

MAX_ELEMENTS = 4
MAX_BYTES = 24
# Numbers that sizes depend on are small, or nearly every example would be refused as too large to draw.
MAX_SIZE = 5

HOSTILE_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def record(cls: type[R], *, caps: Iterable[int] = ()) -> SearchStrategy[R]:
    """Values of one record or message; what its fields say of each other holds, so they can be encoded.

    Args:
        cls: The class.
        caps: The capabilities that both sides announced, where the layout depends on them.
    """
    return _draw_record(cls, frozenset(caps))


def message(cls: type[R], *, caps: Iterable[int] = ()) -> SearchStrategy[R]:
    """The same as `record`."""
    return record(cls, caps=caps)


def messages(
    channel_type: int | str | None = None, sender: Role = Role.SERVER, *, caps: Iterable[int] = ()
) -> SearchStrategy[Message]:
    """Messages that `sender` sends on a channel, or inside it ("vdagent", "usbredir"); None for those all channels share."""
    return st.sampled_from(list(table(channel_type, sender).values())).flatmap(lambda cls: record(cls, caps=caps))


@st.composite
def frames(draw: DrawFn, channel_type: int, sender: Role = Role.SERVER, *, mini: bool = True, max_size: int = 4) -> bytes:
    """What `sender` may send on a channel: encoded messages with their headers, one behind the other.

    Args:
        draw: Given by hypothesis.
        channel_type: The channel.
        sender: Who sends.
        mini: Whether the headers are the mini headers; full ones are numbered from 1.
        max_size: At most so many messages.
    """
    said = draw(st.lists(messages(channel_type, sender), max_size=max_size))
    return b"".join(_frame(one, sender, serial, mini=mini) for serial, one in enumerate(said, 1))


def _frame(one: Message, sender: Role, serial: int, *, mini: bool) -> bytes:
    body, number = one.encode(), one.number(sender)
    header = struct.pack("<HI", number, len(body)) if mini else struct.pack("<QHII", serial, number, len(body), 0)
    return header + body


@st.composite
def chunks(draw: DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces of any size, as they may come out of a stream; none is empty."""
    if draw(st.booleans()) and len(data) <= 256:
        return [data[at : at + 1] for at in range(len(data))]
    places = draw(st.lists(st.integers(0, len(data)), max_size=12).map(sorted))
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


@st.composite
def mutations(draw: DrawFn, source: SearchStrategy[bytes]) -> bytes:
    """Bytes of `source` that were cut short, lengthened, or overwritten anywhere with numbers a peer should not send."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 3))):
        _damage(draw, data, [(at, code) for code in "BHI" for at in range(len(data))])
    return bytes(data)


@st.composite
def malformed(draw: DrawFn, cls: type[Record], *, caps: Iterable[int] = ()) -> bytes:
    """Bodies of a message that were broken on purpose: wrong counts and sizes, hostile pointers, a cut end.

    Counts, sizes and pointers are found by the declaration. A pointer may end up null, backward, at itself, at
    another's target or past the end. Some bodies are still well-formed, as for any attacker.
    """
    value = draw(record(cls, caps=caps))
    data = bytearray(value.encode(caps=frozenset(caps)))
    for _ in range(draw(st.integers(1, 3))):
        _damage(draw, data, places_of_numbers(value, caps=caps))
    return bytes(data)


def _damage(draw: DrawFn, data: bytearray, places: list[tuple[int, str]]) -> None:
    """Damage the bytes once; `places` are where numbers lie that are worth changing."""
    usable = [(at, code) for at, code in places if at + struct.calcsize(code) <= len(data)]
    way = draw(st.sampled_from(["overwrite"] * 4 * bool(usable) + ["cut", "lengthen", "garble"]))
    if way == "overwrite":
        at, code = draw(st.sampled_from(usable))
        near = (len(data) - 1, len(data), len(data) + 1, at, at + 4, max(0, at - 4))
        others = tuple(struct.unpack_from("<" + one, data, place)[0] for place, one in usable)
        number = draw(st.sampled_from(HOSTILE_NUMBERS + near + others))
        struct.pack_into("<" + code, data, at, number % 256 ** struct.calcsize(code))
    elif way == "cut":
        del data[draw(st.integers(0, len(data))) :]
    elif way == "lengthen":
        data += draw(st.binary(max_size=16))
    elif data:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))


def places_of_numbers(value: Record, *, caps: Iterable[int] = ()) -> list[tuple[int, str]]:
    """Where in the encoded body counts, sizes and pointers lie, as offset and `struct` code, in the order of writing."""
    walk = _Walk(frozenset(caps))
    walk.record(type(value).layout, value)
    while walk.pending:
        kind, target = walk.pending.popleft()
        walk.value(kind, target)
    return walk.places


@attrs.define(eq=False)
class _Walk:
    """A walk over a value in the order in which it is written."""

    caps: frozenset[int]
    pos: int = 0
    places: list[tuple[int, str]] = attrs.field(factory=list)
    pending: deque[tuple[kinds.Kind, Any]] = attrs.field(factory=deque)

    def record(self, layout: Layout, value: Any) -> None:
        values = {member.name: getattr(value, member.name, 0) for member in layout.members}
        sizes = _names_of_sizes(layout)
        for member in layout.members:
            kind = _branch(member, values, self.caps)
            if kind is not None:
                self.value(kind, values[member.name], counts=member.name in sizes)

    def value(self, kind: kinds.Kind, value: Any, *, counts: bool = False) -> None:
        if isinstance(kind, kinds.FixedKind):
            self._number(kind.code, noted=counts)
        elif isinstance(kind, kinds.Nested):
            self.record(kind.layout, value)
        elif isinstance(kind, kinds.Offset):
            self._number("I", noted=True)
            if value is not None and not (isinstance(kind, kinds.Pointer) and isinstance(kind.target, kinds.Array) and not value):
                self.pending.append((kind.target, value))
        else:
            if isinstance(kind, kinds.Counted | kinds.CountedBytes):
                self._number(kind.count.code, noted=True)
            if isinstance(kind, kinds.Counted | kinds.Elements | kinds.ElementsToEnd):
                for one in value:
                    self.value(kind.element, one)
            else:
                self.pos += len(value)

    def _number(self, code: str, *, noted: bool) -> None:
        if noted:
            self.places.append((self.pos, code))
        self.pos += struct.calcsize("<" + code)


def _branch(member: Member, values: Mapping[str, Any], caps: frozenset[int]) -> kinds.Kind | None:
    """The kind that the member has, given the values before it; None where it is absent."""
    for condition, kind in member.branches.items():
        if condition is None or condition.test(values[condition.name] if condition.name else caps):
            return kind
    return None


@cache
def _names_of_sizes(layout: Layout) -> frozenset[str]:
    """The members that sizes of others depend on."""
    named = [name for member in layout.members for kind in member.branches.values() for name in _sizes(kind)]
    return frozenset(named) | {member.name for member in layout.members if member.length_of is not None}


def _sizes(kind: kinds.Kind) -> tuple[str, ...]:
    if isinstance(kind, kinds.Offset):
        return _sizes(kind.target)
    if isinstance(kind, kinds.Elements):
        return kind.count.names
    return kind.size.names if isinstance(kind, kinds.SizedBytes) else ()


@st.composite
def _draw_record(draw: DrawFn, cls: type[Record], caps: frozenset[int]) -> Any:
    """A value whose members are drawn in the order of the wire, so that those before decide of those behind."""
    layout = cls.layout
    sizes = _names_of_sizes(layout)
    values: dict[str, Any] = {}
    for member in layout.members:
        kind = _branch(member, values, caps)
        if kind is None:
            values[member.name] = None
        elif member.name in sizes:
            values[member.name] = draw(st.integers(0, MAX_SIZE))
        else:
            values[member.name] = draw(_value(kind, caps, _size(kind, values)))
    return cls(**{member.name: values[member.name] for member in layout.members if member.length_of is None})


def _size(kind: kinds.Kind, values: Mapping[str, Any]) -> int | None:
    """The size that the members before demand, if any."""
    if isinstance(kind, kinds.Offset):
        return _size(kind.target, values)
    size = kind.count if isinstance(kind, kinds.Elements) else kind.size if isinstance(kind, kinds.SizedBytes) else None
    return size.rule(*[values[name] for name in size.names]) if size else None


@cache
def _value(kind: kinds.Kind, caps: frozenset[int], size: int | None = None) -> SearchStrategy[Any]:
    """Values of a kind; `size` is the length that the record's other members demand."""
    match kind:
        case kinds.Scalar():
            return _scalars(kind)
        case kinds.FixedPoint(fraction_bits):
            return st.integers(-(2**31), 2**31 - 1).map(lambda number: number / 2**fraction_bits)
        case kinds.FixedBytes(length):
            return st.binary(min_size=length, max_size=length)
        case kinds.Nested(layout):
            return _draw_record(layout.cls, caps)
        case kinds.Offset(target):
            pointed = _value(target, caps, size)
            return st.none() | pointed if isinstance(kind, kinds.Pointer) and not isinstance(target, kinds.Array) else pointed
        case kinds.Counted(_, element) | kinds.Elements(element) | kinds.ElementsToEnd(element):
            least, most = (0, MAX_ELEMENTS) if size is None else (size, size)
            return st.lists(_value(element, caps), min_size=least, max_size=most).map(tuple)
        case _:
            least, most = (0, MAX_BYTES) if size is None else (size, size)
            return st.binary(min_size=least, max_size=most)


def _scalars(kind: kinds.Scalar) -> SearchStrategy[Any]:
    """Mostly what has a name, now and then what has none."""
    low, high = kind.bounds
    numbers = st.integers(low, high)
    if kind.enum is not None:
        return st.sampled_from([one for one in kind.enum if low <= one <= high]) | numbers.map(kind.enum)
    if kind.flags is not None:
        bits = [bit for bit in kind.flags if low <= bit <= high]
        return st.sets(st.sampled_from(bits)).map(lambda some: sum(map(int, some))) | numbers
    return numbers
