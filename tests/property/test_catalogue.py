"""Every message and record of the catalogue, over whatever it may hold: a new one is covered the day it is declared."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from atp_trio.errors import MalformedMessage
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Record, Role, declared, table
from atp_trio.spice.wire import kind as kinds
from atp_trio.spice.wire.layout import Layout
from atp_trio.testing.strategies import chunks, frames, malformed, message, messages, mutations, places_of_numbers, record

CLASSES = [cls for cls in declared() if cls.__module__.startswith("atp_trio.")]
LONGEST_REPR = 2000
LONGEST_TEXT = 75
HOSTILE_BODY = 64 * 1024
ELEMENT_SIZES = (1, 2, 4, 5, 8, 9, 10, 16, 20, 28)
# A list of unknown numbers makes one object of some 300 bytes for each 4 bytes of the body; everything else is far below.
MEMORY_BOUND = 8 * 1024 * 1024

every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}")


def depends_on_caps(layout: Layout) -> bool:
    return any(condition is not None and not condition.name for member in layout.members for condition in member.branches)


def has_open_tail(layout: Layout) -> bool:
    """Whether the body may end anywhere behind its fixed part."""
    tails = [kind for member in layout.members for kind in member.branches.values()]
    return any(
        isinstance(kind, kinds.BytesToEnd | kinds.ElementsToEnd)
        or (isinstance(kind, kinds.Nested) and has_open_tail(kind.layout))
        for kind in tails
    )


def caps_for(cls: type[Record]) -> SearchStrategy[frozenset[int]]:
    """Capabilities, where the layout depends on them."""
    return st.frozensets(st.integers(0, 20)) if depends_on_caps(cls.layout) else st.just(frozenset())


def values(cls: type[Record]) -> SearchStrategy[tuple[Any, frozenset[int]]]:
    """A value, and the capabilities it was made for."""
    return caps_for(cls).flatmap(lambda caps: st.tuples(record(cls, caps=caps), st.just(caps)))


@every_class
def test_what_was_encoded_decodes_to_the_same(cls: type[Record]) -> None:
    @given(values(cls))
    @settings(max_examples=12)
    def check(drawn: tuple[Any, frozenset[int]]) -> None:
        value, caps = drawn
        body = value.encode(caps=caps)
        assert cls.decode(body, caps=caps) == value
        assert cls.decode(body, caps=caps, copy=False) == value
        assert cls.decode(body, caps=caps).encode(caps=caps) == body
        if not has_open_tail(cls.layout):
            assert cls.decode(body + b"more", caps=caps) == value

    check()


@every_class
def test_every_proper_prefix_is_refused(cls: type[Record]) -> None:
    @given(values(cls))
    @settings(max_examples=6)
    def check(drawn: tuple[Any, frozenset[int]]) -> None:
        value, caps = drawn
        body = value.encode(caps=caps)
        for end in range(len(body)):
            try:
                decoded = cls.decode(body[:end], caps=caps)
            except MalformedMessage:
                continue
            assert has_open_tail(cls.layout)
            assert decoded != value or decoded.encode(caps=caps) == body[:end]

    check()


@every_class
def test_any_bytes_give_a_value_or_malformed_message(cls: type[Record]) -> None:
    @given(st.binary(max_size=200), caps_for(cls))
    @settings(max_examples=12)
    def check(body: bytes, caps: frozenset[int]) -> None:
        decode_or_refuse(cls, body, caps)

    check()


@every_class
def test_a_broken_body_gives_a_value_or_malformed_message(cls: type[Record]) -> None:
    @given(malformed(cls) | mutations(record(cls).map(lambda value: value.encode())))
    @settings(max_examples=12)
    def check(body: bytes) -> None:
        decode_or_refuse(cls, body, frozenset())

    check()


def decode_or_refuse(cls: type[Record], body: bytes, caps: frozenset[int]) -> None:
    """Whatever was accepted can be written, and is then what was read."""
    try:
        value = cls.decode(body, caps=caps)
    except MalformedMessage:
        return
    again = value.encode(caps=caps)
    assert cls.decode(again, caps=caps) == value


@every_class
def test_the_texts_are_short(cls: type[Record]) -> None:
    @given(values(cls))
    @settings(max_examples=6)
    def check(drawn: tuple[Any, frozenset[int]]) -> None:
        value, _ = drawn
        assert len(repr(value)) <= LONGEST_REPR
        assert repr(value).startswith(cls.__name__ + "(")
        assert len(str(value)) <= (LONGEST_TEXT if str(value) != repr(value) else LONGEST_REPR)

    check()


@every_class
def test_hostile_counts_do_not_fill_memory(cls: type[Record]) -> None:
    """Every number in turn says that the rest of a large body is elements of some size."""

    @given(record(cls), st.sampled_from([b"\0", b"\1", b"\x30", b"\xff"]))
    @settings(max_examples=3, phases=[Phase.generate])  # what fails is slow, and shrinking it would be far slower
    def check(value: Any, padding: bytes) -> None:
        body = value.encode()
        for at, code in places_of_numbers(value)[:12]:
            for element in ELEMENT_SIZES:
                hostile = bytearray(body + padding * (HOSTILE_BODY - len(body)))
                number = (HOSTILE_BODY - len(body)) // element
                struct.pack_into("<" + code, hostile, at, number % 256 ** struct.calcsize(code))
                assert peak_of(cls, hostile) < MEMORY_BOUND

    check()


def peak_of(cls: type[Record], body: bytearray) -> int:
    """The most memory that decoding took, whether the body was accepted or refused."""
    tracemalloc.start()
    try:
        with suppress(MalformedMessage):
            cls.decode(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@every_class
def test_counts_and_pointers_are_found_where_they_lie(cls: type[Record]) -> None:
    """The walk that the hostile strategies rely on: what it calls a number is one of the body, and it walks to the end."""

    @given(values(cls))
    @settings(max_examples=4)
    def check(drawn: tuple[Any, frozenset[int]]) -> None:
        value, caps = drawn
        body = value.encode(caps=caps)
        ends = [at + {"B": 1, "H": 2, "I": 4, "Q": 8}[code] for at, code in places_of_numbers(value, caps=caps)]
        assert all(end <= len(body) for end in ends)
        assert len(set(ends)) == len(ends)

    check()


CONVERSATIONS = [(channel_type, role) for channel_type in ChannelType for role in Role]


@pytest.mark.parametrize(("channel_type", "sender"), CONVERSATIONS, ids=lambda one: one.name)
def test_frames_hold_messages_of_the_channel(channel_type: ChannelType, sender: Role) -> None:
    known = table(channel_type, sender)

    @given(frames(channel_type, sender).flatmap(lambda data: st.tuples(st.just(data), chunks(data))))
    @settings(max_examples=8)
    def check(drawn: tuple[bytes, list[bytes]]) -> None:
        data, pieces = drawn
        assert b"".join(pieces) == data
        assert all(pieces)
        at = 0
        while at < len(data):
            number, size = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 6], "little")
            known[number].decode(data[at + 6 : at + 6 + size])
            at += 6 + size
        assert at == len(data)

    check()


@given(messages("vdagent", Role.CLIENT))
@settings(max_examples=20)
def test_messages_draws_from_the_table(one: Any) -> None:
    assert type(one) in table("vdagent", Role.CLIENT).values()


@given(st.data())
@settings(max_examples=10)
def test_message_draws_one_class(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from(list(table(ChannelType.INPUTS, Role.CLIENT).values())))
    assert type(data.draw(message(cls))) is cls
