"""Every kind of value: how it lies in bytes, what is refused in reading, what is refused in writing."""

from __future__ import annotations

import struct
from operator import add, mul
from typing import Any

import pytest

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.wire import OpenEnum, Record, record
from atp_trio.spice.wire.field import (
    Has,
    Is,
    IsNot,
    Lacks,
    Negotiated,
    counted,
    counted_bytes,
    elements,
    elements_to_end,
    fixed16_16,
    fixed28_4,
    i16,
    i32,
    i64,
    length,
    nested,
    octets,
    offset,
    pointer,
    sized_bytes,
    switch,
    to_end,
    u8,
    u16,
    u32,
    u64,
)
from atp_trio.spice.wire.source import MAX_ELEMENTS


class Colour(OpenEnum):
    RED = 1
    GREEN = 2


class Option(OpenEnum):
    LOUD = 1
    LONG = 2


@record
class Numbers(Record):
    a: int = u8()
    b: int = u16()
    c: int = u32()
    d: int = u64()
    e: int = i16()
    f: int = i32()
    g: int = i64()
    colour: Colour = u8(Colour)
    options: int = u16(flags=Option)


@record
class Fixed(Record):
    fine: float = fixed16_16()
    coarse: float = fixed28_4()
    tag: bytes = octets(3)


@record
class Pair(Record):
    x: int = u8()
    y: int = u8()


@record
class Word(Record):
    text: bytes = counted_bytes(u8())


@record
class Arrays(Record):
    plain: tuple[int, ...] = counted(u8(), u16())
    colours: tuple[Colour, ...] = counted(u8(), u8(Colour))
    pairs: tuple[Pair, ...] = counted(u8(), Pair)
    words: tuple[Word, ...] = counted(u8(), Word)
    tags: tuple[bytes, ...] = counted(u8(), octets(4))


@record
class Sized(Record):
    rows: int = u8()
    stride: int = u8()
    data: bytes = sized_bytes("rows", "stride", rule=mul)
    sums: tuple[int, ...] = elements(u8(), "rows", "stride", rule=add)


@record
class Tail(Record):
    first: int = u8()
    rest: tuple[int, ...] = elements_to_end(u16(), default=())


@record
class Bytes(Record):
    first: int = u8()
    rest: bytes = to_end(default=b"")


@record
class Pointing(Record):
    pair: Pair | None = pointer(Pair)
    size = length("name", u16())
    name: bytes = pointer(sized_bytes("size"))
    last: int = u8(default=9)


@record
class Outer(Record):
    inner: Pointing | None = pointer(Pointing)
    other: Pointing = nested(Pointing)


@record
class Anywhere(Record):
    count: int = u8()
    words: tuple[int, ...] = offset(elements(u16(), "count"))


@record
class Optional(Record):
    options: int = u8(flags=Option)
    loud: int | None = u16(when=Has("options", Option.LOUD), default=None)
    quiet: int | None = u8(when=Lacks("options", Option.LOUD), default=None)
    agreed: int | None = u8(when=Negotiated(3, 4), default=None)
    size = length("long", u8(), when=Has("options", Option.LONG))
    long: bytes | None = sized_bytes("size", when=Has("options", Option.LONG), default=None)


@record
class Chosen(Record):
    colour: Colour = u8(Colour)
    value: Pair | int | None = switch({Is("colour", Colour.RED): Pair, Is("colour", Colour.GREEN): u16()}, default=None)
    extra: int | None = u8(when=IsNot("colour", Colour.RED, Colour.GREEN), default=None)


CASES: list[tuple[Record, bytes]] = [
    (
        Numbers(1, 2, 3, 4, -5, -6, -7, Colour.GREEN, 3),
        struct.pack("<BHIQhiqBH", 1, 2, 3, 4, -5, -6, -7, 2, 3),
    ),
    (Fixed(-1.5, 2.0625, b"abc"), struct.pack("<ii3s", -(3 << 15), 33, b"abc")),
    (
        Arrays((1, 2), (Colour.RED,), (Pair(3, 4), Pair(5, 6)), (Word(b"ab"), Word(b"")), (b"abcd", b"efgh")),
        b"\2\1\0\2\0\1\1\2\3\4\5\6\2\2ab\0\2abcdefgh",
    ),
    (Arrays((), (), (), (), ()), bytes(5)),
    (Sized(2, 3, b"abcdef", (1, 2, 3, 4, 5)), b"\2\3abcdef\1\2\3\4\5"),
    (Tail(1, (2, 3)), b"\1\2\0\3\0"),
    (Bytes(1, b"rest"), b"\1rest"),
    (Pointing(Pair(1, 2), b"ab", 7), b"\x0b\0\0\0\2\0\x0d\0\0\0\7\1\2ab"),
    (Pointing(None, b"", 7), bytes(10) + b"\7"),
    # What a pointer's target points to lies behind all that the body itself points to.
    (
        Outer(Pointing(Pair(1, 2), b"", 3), Pointing(None, b"x", 4)),
        struct.pack("<I", 15) + struct.pack("<IHIB", 0, 1, 26, 4) + struct.pack("<IHIB", 27, 0, 0, 3) + b"x\1\2",
    ),
    (Anywhere(1, (5,)), b"\1\5\0\0\0\5\0"),
    (Anywhere(0, ()), b"\0\5\0\0\0"),
    (Optional(Option.LOUD, loud=5), b"\1\5\0"),
    (Optional(Option.LONG, quiet=6, long=b"ab"), b"\2\6\2ab"),
    (Chosen(Colour.RED, Pair(1, 2)), b"\1\1\2"),
    (Chosen(Colour.GREEN, 258), b"\2\2\1"),
    (Chosen(Colour(7), None, 8), b"\7\x08"),
]


@pytest.mark.parametrize(("value", "body"), CASES, ids=lambda one: type(one).__name__ if isinstance(one, Record) else "")
def test_each_kind_lies_as_it_should(value: Record, body: bytes) -> None:
    assert value.encode().hex(" ") == body.hex(" ")
    assert type(value).decode(body) == value
    assert type(value).decode(bytearray(body)) == value


@pytest.mark.parametrize("body", [body for value, body in CASES if not isinstance(value, Bytes | Tail)])
def test_what_ends_too_early_is_refused(body: bytes) -> None:
    cls = next(type(value) for value, whole in CASES if whole is body)
    for end in range(len(body)):
        with pytest.raises(MalformedMessage, match=rf"^{cls.__name__}|Pointing|Word"):
            cls.decode(body[:end])


def test_the_error_says_where_what_is_missing() -> None:
    with pytest.raises(MalformedMessage, match=r"^Word\.text: 5 bytes at offset 1 are needed, 2 are left$"):
        Word.decode(b"\5ab")


def test_capabilities_decide_of_layouts() -> None:
    value = Optional(0, quiet=1, agreed=2)
    assert value.encode(caps=frozenset({3, 4, 5})) == b"\0\1\2"
    assert Optional.decode(b"\0\1\2", caps=frozenset({3, 4})) == value
    assert Optional.decode(b"\0\1\2", caps=frozenset({3})).agreed is None
    with pytest.raises(LocalProtocolError, match=r"Optional\.agreed"):
        value.encode()


def test_bytes_are_copies_or_views() -> None:
    data = bytearray(b"\1abc")
    copied, seen = Bytes.decode(data), Bytes.decode(data, copy=False)
    assert type(copied.rest) is bytes
    assert isinstance(seen.rest, memoryview)
    assert copied == seen
    data[1] = ord("x")
    assert (copied.rest, bytes(seen.rest)) == (b"abc", b"xbc")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (struct.pack("<IHIB", 0, 1, 0, 0), "name"),  # null, but not empty
        (struct.pack("<IHIB", 0xFFFFFFFF, 0, 0, 0), "pair"),  # past the end
        (struct.pack("<IHIB", 11, 0, 0, 0), "pair"),  # at the end
        (struct.pack("<IHIB", 0, 12, 1, 0), "name"),  # runs past the end
        (struct.pack("<IHIB", 0, 0, 12, 0), "name"),  # nothing, past the end
    ],
)
def test_hostile_pointers_are_refused(body: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match="Pointing" if field == "pair" and body[0] == 11 else field):
        Pointing.decode(body)


def test_a_pointer_to_itself_and_an_overlap_are_bytes_like_any_other() -> None:
    looped = Pointing.decode(struct.pack("<IHIB", 8, 4, 6, 0))
    assert looped == Pointing(Pair(0, 0), b"\6\0\0\0", 0)


@record
class Many(Record):
    pairs: tuple[Pair, ...] = counted(u32(), Pair)


def test_more_elements_than_the_limit_are_refused_both_ways() -> None:
    number = MAX_ELEMENTS + 1
    with pytest.raises(MalformedMessage, match=f"{number} elements, more than {MAX_ELEMENTS}"):
        Many.decode(struct.pack("<I", number) + bytes(2 * number))
    with pytest.raises(LocalProtocolError, match=f"{number} elements, more than {MAX_ELEMENTS}"):
        Many((Pair(0, 0),) * number).encode()
    most = Many((Pair(0, 0),) * MAX_ELEMENTS)
    assert Many.decode(most.encode()) == most


def test_a_count_beyond_the_body_is_refused_before_anything_is_made() -> None:
    with pytest.raises(MalformedMessage, match=r"Many\.pairs: 131072 bytes"):
        Many.decode(struct.pack("<I", MAX_ELEMENTS) + bytes(100))


def test_unknown_numbers_of_an_enumeration_are_kept() -> None:
    assert Chosen.decode(b"\7\1").colour == 7
    assert Chosen.decode(b"\7\1").colour.name == "UNKNOWN_7"
    assert Chosen.decode(b"\7\1").colour is Chosen.decode(b"\7\1").colour


WRONG: list[tuple[Any, str]] = [
    (Numbers(256, 0, 0, 0, 0, 0, 0, Colour.RED, 0), "Numbers: "),
    (Numbers(0, 0, 0, 0, -32769, 0, 0, Colour.RED, 0), "Numbers: "),
    (Numbers("1", 0, 0, 0, 0, 0, 0, Colour.RED, 0), "Numbers: "),  # type: ignore[arg-type]
    (Fixed(float("nan"), 0.0, b"abc"), "Fixed: "),
    (Fixed(float("inf"), 0.0, b"abc"), "Fixed: "),
    (Fixed(1e9, 0.0, b"abc"), "Fixed: "),
    (Fixed(0.0, 0.0, b"ab"), r"Fixed\.tag: 2 bytes in place of 3"),
    (Arrays((1,) * 256, (), (), (), ()), "Arrays: "),
    (Arrays((65536,), (), (), (), ()), "Arrays: "),
    (Arrays((), (), (Word(b""),), (), ()), r"Arrays\.pairs: Word is no Pair"),  # type: ignore[arg-type]
    (Arrays((), (), (), (), (b"abc",)), r"Arrays\.tags: 3 bytes in place of 4"),
    (Word("text"), "Word: "),  # type: ignore[arg-type]
    (Word(bytes(256)), "Word: "),
    (Word(None), "Word: "),  # type: ignore[arg-type]
    (Sized(2, 3, b"abc", (1, 2, 3, 4, 5)), r"Sized\.data: its length is not what the other fields say"),
    (Sized(2, 3, b"abcdef", (1,)), r"Sized\.sums: its length is not what the other fields say"),
    (Optional(Option.LOUD), r"Optional\.loud is None although|Optional\.loud: None although"),
    (Optional(0, loud=1, quiet=1), r"Optional\.loud: not None although"),
    (Optional(Option.LONG, quiet=1), r"Optional\.long: None although"),
    (Chosen(Colour.RED, None), r"Chosen\.value: None although"),
    (Chosen(Colour(9), Pair(1, 2), 1), r"Chosen\.value: not None although"),
    (Pointing(Pair(1, 2), None), "Pointing"),  # type: ignore[arg-type]
    (Pointing(Word(b""), b""), r"Word is no Pair"),  # type: ignore[arg-type]
    (Outer(None, None), r"Outer\.other: NoneType is no Pointing"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("value", "match"), WRONG)
def test_what_cannot_be_written_is_refused(value: Record, match: str) -> None:
    with pytest.raises(LocalProtocolError, match=match):
        value.encode()
