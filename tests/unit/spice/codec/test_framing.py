"""Framing by example: values written out by hand, every rule and its error."""

import gc
import struct

import pytest

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError, MalformedMessage
from atp_trio.spice.codec.framing import (
    Framer,
    FrameTable,
    HeaderKind,
    MalformedFrame,
    pack_full_header,
    pack_mini_header,
    sub_messages,
)

PING = bytes.fromhex("0400 0c000000 07000000 1122334455667788")
EMPTY = bytes.fromhex("0200 00000000")


def body(sub_offsets: list[int], *subs: bytes) -> bytes:
    return struct.pack("<H", len(sub_offsets)) + b"".join(struct.pack("<I", at) for at in sub_offsets) + b"".join(subs)


def test_headers_are_packed_as_the_protocol_lays_them_out():
    assert pack_mini_header(0x0102, 0x03040506) == bytes.fromhex("0201 06050403")
    assert pack_full_header(0x0102030405060708, 0x0910, 0x11121314, 0x15161718) == bytes.fromhex(
        "0807060504030201 1009 14131211 18171615"
    )
    assert len(pack_mini_header(1, 2)) == HeaderKind.MINI
    assert len(pack_full_header(1, 2, 3)) == HeaderKind.FULL


@pytest.mark.parametrize("values", [(0, 0, 0, 0), (2**64 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1), (0x123456789ABC, 303, 77, 5)])
def test_c_packs_the_same_headers(values):
    serial, type_, size, sub_list = values
    mini, full = ffi.new("uint8_t[]", 6), ffi.new("uint8_t[]", 18)
    lib.spice_frame_pack_mini(mini, type_, size)
    lib.spice_frame_pack_full(full, serial, type_, size, sub_list)
    assert bytes(mini) == pack_mini_header(type_, size)
    assert bytes(full) == pack_full_header(serial, type_, size, sub_list)


def test_mini_frames_are_found_where_they_lie():
    buffer = bytearray(b"???" + PING + EMPTY + PING[:9])
    table = Framer(HeaderKind.MINI, 100).frames(buffer, 3, len(buffer))
    assert list(table) == [(4, 9, 12), (2, 27, 0)]
    assert list(table.rows()) == [(4, 9, 12, 0, 0), (2, 27, 0, 0, 0)]
    assert (table.count, len(table), table.consumed, table.needed, table.more) == (2, 2, 27, 18, False)


def test_full_frames_carry_serial_and_sub_list():
    buffer = pack_full_header(2**40, 304, 5, 3) + b"abcde" + pack_full_header(2**64 - 1, 1, 0)
    table = Framer(HeaderKind.FULL, 100).frames(buffer, 0, len(buffer))
    assert list(table) == [(304, 18, 5), (1, 41, 0)]
    assert list(table.rows()) == [(304, 18, 5, 3, 2**40), (1, 41, 0, 0, 2**64 - 1)]
    assert table.frames[1].serial == 2**64 - 1
    assert table.consumed == len(buffer)


@pytest.mark.parametrize("kind", HeaderKind)
def test_what_is_missing_is_told(kind):
    framer = Framer(kind, 2**32 - 1)
    header = pack_mini_header(1, 10**9) if kind is HeaderKind.MINI else pack_full_header(1, 1, 10**9)
    for known in range(kind):
        table = framer.frames(header[:known], 0, known)
        assert (table.count, table.consumed, table.needed, table.more) == (0, 0, kind, False)
    assert framer.frames(header, 0, kind).needed == kind + 10**9


def test_the_largest_size_does_not_wrap():
    table = Framer(HeaderKind.MINI, 2**32 - 1).frames(pack_mini_header(1, 2**32 - 1), 0, 6)
    assert (table.count, table.needed) == (0, 2**32 + 5)


def test_an_empty_buffer_holds_nothing():
    table = Framer(HeaderKind.MINI, 0).frames(b"", 0, 0)
    assert (list(table), table.consumed, table.needed, table.more) == ([], 0, 6, False)


def test_a_full_table_asks_for_another_call():
    buffer = EMPTY * 5
    framer = Framer(HeaderKind.MINI, 0, capacity=2)
    seen, start, calls = [], 0, 0
    while True:
        table = framer.frames(buffer, start, len(buffer))
        seen += table
        start, calls = table.consumed, calls + 1
        if not table.more:
            break
    assert seen == [(2, at, 0) for at in (6, 12, 18, 24, 30)]
    assert calls == 3


def test_the_next_call_overwrites_the_table():
    framer = Framer(HeaderKind.MINI, 100)
    first = framer.frames(PING, 0, len(PING))
    assert framer.frames(EMPTY, 0, len(EMPTY)) is first
    assert list(first) == [(2, 6, 0)]


def test_a_body_at_the_limit_passes_and_one_over_it_is_refused_before_it_arrives():
    framer = Framer(HeaderKind.MINI, 100)
    assert framer.frames(pack_mini_header(9, 100), 0, 6).needed == 106
    with pytest.raises(MalformedFrame, match=r"type 9 announces a body of 101 bytes; the limit here is 100") as caught:
        framer.frames(pack_mini_header(9, 101), 0, 6)
    assert (caught.value.type, caught.value.size) == (9, 101)
    assert isinstance(caught.value, MalformedMessage)


def test_messages_before_a_malformed_one_come_first():
    buffer = PING + pack_mini_header(9, 101)
    framer = Framer(HeaderKind.MINI, 100)
    table = framer.frames(buffer, 0, len(buffer))
    assert (list(table), table.more, table.needed) == ([(4, 6, 12)], True, 0)
    with pytest.raises(MalformedFrame, match="101 bytes"):
        framer.frames(buffer, table.consumed, len(buffer))


@pytest.mark.parametrize(
    ("size", "sub_list", "fits"), [(5, 3, True), (5, 4, False), (2, 1, False), (1, 1, False), (5, 2**32 - 1, False)]
)
def test_a_sub_list_must_have_room_for_its_count(size, sub_list, fits):
    framer = Framer(HeaderKind.FULL, 100)
    header = pack_full_header(1, 304, size, sub_list)
    if fits:
        assert framer.frames(header, 0, 18).needed == 18 + size
    else:
        with pytest.raises(MalformedFrame, match=f"sub-message list at {sub_list} of message type 304") as caught:
            framer.frames(header, 0, 18)
        assert caught.value.size == sub_list


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 1), (0, 7), (7, 7)])
def test_offsets_outside_the_buffer_are_refused(start, end):
    with pytest.raises(ConfigError, match="not within a buffer of 6 bytes"):
        Framer(HeaderKind.MINI, 100).frames(EMPTY, start, end)


@pytest.mark.parametrize("max_body", [-1, 2**32])
def test_a_limit_that_cannot_be_meant_is_refused(max_body):
    with pytest.raises(ConfigError, match="body limit"):
        Framer(HeaderKind.MINI, max_body)


@pytest.mark.parametrize("capacity", [0, 2**16 + 1])
def test_a_capacity_that_cannot_be_meant_is_refused(capacity):
    with pytest.raises(ConfigError, match="1 to 65536 rows"):
        FrameTable(capacity)


def test_the_buffer_is_free_again_after_the_call():
    buffer = bytearray(EMPTY)
    Framer(HeaderKind.MINI, 0).frames(buffer, 0, 6)
    buffer.extend(b"more")  # a BufferError if the call kept hold of it
    assert len(buffer) == 10


def test_sub_messages_of_a_list():
    wait, inval = pack_mini_header(5, 3) + b"abc", pack_mini_header(306, 2) + b"de"
    buffer = b"before" + body([10, 19], wait, inval) + b"after"
    table = sub_messages(buffer, 6, 27)
    assert list(table) == [(5, 22, 3), (306, 31, 2)]
    assert (table.consumed, table.more, table.needed) == (33, False, 0)
    assert [bytes(buffer[at : at + size]) for _, at, size in table] == [b"abc", b"de"]


def test_sub_messages_behind_a_message():
    message = b"draw copy" + body([15], pack_mini_header(306, 1) + b"x")
    assert list(sub_messages(message, 0, len(message), 9)) == [(306, 21, 1)]


def test_an_empty_list_has_no_sub_messages():
    assert list(sub_messages(b"\0\0", 0, 2)) == []


SUB = pack_mini_header(306, 2) + b"de"


@pytest.mark.parametrize(
    ("data", "sub_list", "sentence"),
    [
        (b"", 0, "list at 0"),
        (b"\0", 0, "list at 0"),
        (b"\0\0", 1, "list at 1"),
        (b"\0\0", 2**32 - 1, "list at 4294967295"),
        (b"\1\0\0\0\0", 0, "list at 0"),
        (b"\xff\xff" + bytes(100), 0, "list at 0"),
        (body([9], SUB), 0, "outside its message"),
        (body([14], SUB), 0, "outside its message"),
        (body([2**32 - 1], SUB), 0, r"type 0, 4294967295.* outside its message"),
        (body([6], SUB[:-1]), 0, r"type 306, 2\) lies outside its message; the body has 13 bytes"),
        (body([6], pack_mini_header(1, 2**32 - 1)), 0, "outside its message"),
        (body([10, 10], SUB), 0, "share bytes"),
    ],
)
def test_a_list_that_does_not_lie_in_its_body_is_refused(data, sub_list, sentence):
    with pytest.raises(MalformedFrame, match=sentence):
        sub_messages(data, 0, len(data), sub_list)


def test_one_large_sub_message_cannot_be_named_over_and_over():
    offsets = [2 + 4 * 1000] * 1000
    data = body(offsets, pack_mini_header(306, 100_000) + bytes(100_000))
    with pytest.raises(MalformedFrame, match="share bytes"):
        sub_messages(data, 0, len(data))


@pytest.mark.parametrize(
    ("offset", "size", "sub_list"), [(-1, 1, 0), (0, -1, 0), (0, 7, 0), (7, 0, 0), (0, 6, -1), (0, 6, 2**32)]
)
def test_a_body_outside_the_buffer_is_refused(offset, size, sub_list):
    with pytest.raises(ConfigError, match="not within a buffer"):
        sub_messages(EMPTY, offset, size, sub_list)


@pytest.mark.parametrize("iterate", [iter, FrameTable.rows])
def test_an_iterator_that_is_left_unfinished_is_garbage_like_any_other(iterate):
    # In a cycle, the collector clears what it looks into first; a memoryview complained of that, and then crashed.
    rows = iterate(Framer(HeaderKind.MINI, 100).frames(EMPTY * 3, 0, 3 * len(EMPTY)))
    next(rows)
    owner = [rows]
    owner.append(owner)
    del rows, owner
    gc.collect()


def test_an_iterator_goes_on_with_what_was_found_when_it_began():
    framer = Framer(HeaderKind.MINI, 100)
    found = iter(framer.frames(EMPTY * 3, 0, 3 * len(EMPTY)))
    framer.frames(PING * 3, 0, 3 * len(PING))
    assert [number for number, _, _ in found] == [2, 2, 2]
