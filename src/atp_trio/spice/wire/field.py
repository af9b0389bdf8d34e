"""The specifiers that declare a field of a message or record, in the words of the protocol.

A specifier gives an attrs field whose metadata say how the value lies on the wire. They are used in the order of the wire:

```python
@record
class Clip(Record):
    type: ClipType = u8(ClipType)
    rects: tuple[Rect, ...] | None = counted(u32(), Rect, when=Is("type", ClipType.RECTS), default=None)
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from atp_trio.spice.wire import kind as kinds
from atp_trio.spice.wire.number import OpenEnum

SPEC = "wire"


@attrs.frozen(eq=False)
class Condition:
    """When a field is present: a test of an earlier field of the same record, or of the negotiated capabilities.

    Attributes:
        name: The earlier field; empty for the capabilities.
        test: Whether the condition holds for its value.
    """

    name: str
    test: Callable[[Any], bool]


def Is(name: str, *values: int) -> Condition:  # noqa: N802 - reads as the condition it is
    """The earlier field has one of these values."""
    return Condition(name, frozenset(values).__contains__)


def IsNot(name: str, *values: int) -> Condition:  # noqa: N802
    """The earlier field has none of these values."""
    return Condition(name, lambda value: value not in values)


def Has(name: str, bit: int) -> Condition:  # noqa: N802
    """The earlier field of flags has this bit."""
    return Condition(name, lambda value: bool(value & bit))


def Lacks(name: str, bit: int) -> Condition:  # noqa: N802
    """The earlier field of flags lacks this bit."""
    return Condition(name, lambda value: not value & bit)


def Negotiated(*caps: int) -> Condition:  # noqa: N802
    """Both sides announced all of these capabilities (given to decode and encode as `caps`)."""
    return Condition("", frozenset(caps).issubset)


@attrs.frozen
class Spec:
    """What a specifier says of its field.

    Attributes:
        kind: How the value lies on the wire; a mapping from conditions to kinds for a switch.
        when: When it is there at all.
        secret: Whether the value is kept out of the log text and the repr.
    """

    kind: Any
    when: Condition | None = None
    secret: bool = False


def _field(spec: Spec, default: Any = attrs.NOTHING) -> Any:
    return attrs.field(default=default, metadata={SPEC: spec})


def _scalar(code: str) -> Callable[..., Any]:
    def specify(
        enum: type[OpenEnum] | None = None,
        *,
        flags: type[OpenEnum] | None = None,
        when: Condition | None = None,
        default: Any = attrs.NOTHING,
        secret: bool = False,
    ) -> Any:
        return _field(Spec(kinds.Scalar(code, enum, flags), when, secret), default)

    specify.__doc__ = f"An integer (`struct` code {code}), of an enumeration, or a set of `flags`."
    return specify


u8, u16, u32, u64 = map(_scalar, "BHIQ")
i16, i32, i64 = map(_scalar, "hiq")


def fixed28_4() -> Any:
    """A signed 28.4 fixed-point number, as a float."""
    return _field(Spec(kinds.FixedPoint(4)))


def fixed16_16() -> Any:
    """A signed 16.16 fixed-point number, as a float."""
    return _field(Spec(kinds.FixedPoint(16)))


def octets(size: int, *, when: Condition | None = None, default: Any = attrs.NOTHING, secret: bool = False) -> Any:
    """So many bytes."""
    return _field(Spec(kinds.FixedBytes(size), when, secret), default)


def nested(record: type, *, when: Condition | None = None, default: Any = attrs.NOTHING) -> Any:
    """Another record, in place."""
    return _field(Spec(as_kind(record), when), default)


def counted(count: Any, element: Any, *, when: Condition | None = None, default: Any = attrs.NOTHING) -> Any:
    """Elements, their number directly before them. `element` is a record or a specifier."""
    return _field(Spec(kinds.Counted(as_kind(count), as_kind(element)), when), default)


def counted_bytes(count: Any, *, when: Condition | None = None, default: Any = attrs.NOTHING, secret: bool = False) -> Any:
    """Bytes, their number directly before them."""
    return _field(Spec(kinds.CountedBytes(as_kind(count)), when, secret), default)


def elements(
    element: Any,
    *counts: str,
    rule: Callable[..., int] = int,
    when: Condition | None = None,
    default: Any = attrs.NOTHING,
) -> Any:
    """Elements whose number is `rule` of the earlier fields (or hidden lengths) called `counts`."""
    return _field(Spec(kinds.Elements(as_kind(element), kinds.Size(counts, rule)), when), default)


def sized_bytes(
    *sizes: str,
    rule: Callable[..., int] = int,
    when: Condition | None = None,
    default: Any = attrs.NOTHING,
    secret: bool = False,
) -> Any:
    """Bytes whose number is `rule` of the earlier fields (or hidden lengths) called `sizes`."""
    return _field(Spec(kinds.SizedBytes(kinds.Size(sizes, rule)), when, secret), default)


def to_end(*, default: Any = attrs.NOTHING, secret: bool = False) -> Any:
    """All bytes that are left of the body."""
    return _field(Spec(kinds.BytesToEnd(), None, secret), default)


def elements_to_end(element: Any, *, default: Any = attrs.NOTHING) -> Any:
    """Elements of fixed size as long as there are bytes."""
    return _field(Spec(kinds.ElementsToEnd(as_kind(element))), default)


def pointer(target: Any, *, when: Condition | None = None, default: Any = attrs.NOTHING) -> Any:
    """A pointer to a record, None for the null pointer; or to an array, of which the null pointer is the empty one."""
    return _field(Spec(kinds.Pointer(as_kind(target)), when), default)


def offset(target: Any) -> Any:
    """A pointer that is never null: 0 is the start of the body like any other offset (the link stage's `caps_offset`)."""
    return _field(Spec(kinds.Offset(as_kind(target))))


def switch(branches: Mapping[Condition, Any], *, default: Any = attrs.NOTHING) -> Any:
    """The first branch whose condition holds; None where none does. A branch is a record or a specifier."""
    return _field(Spec({condition: as_kind(branch) for condition, branch in branches.items()}), default)


@attrs.frozen
class Hidden:
    """A number on the wire that is no attribute: the length of another field."""

    kind: kinds.Scalar
    of: str
    when: Condition | None = None


def length(of: str, count: Any, *, when: Condition | None = None) -> Any:
    """The length of the later field called `of`, written here as `count` says."""
    return Hidden(as_kind(count), of, when)


def as_kind(what: Any) -> Any:
    """The kind that a record or a specifier stands for."""
    if isinstance(what, type):
        return kinds.Nested(what.layout)  # type: ignore[attr-defined]
    spec: Spec = what.metadata[SPEC]
    return spec.kind
