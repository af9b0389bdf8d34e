"""The C framer against a plain one, on any bytes and any chunking, with every input at the edge of unreadable memory."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.spice.codec.framing import Framer, HeaderKind, MalformedFrame, sub_messages
from atp_trio.spice.codec.link import LinkMess, LinkReply, MalformedLink, parse_link_header, parse_link_mess, parse_link_reply

LIMIT = 64


class Row(NamedTuple):
    type: int
    offset: int
    size: int
    sub_list: int
    serial: int


class Malformed(NamedTuple):
    type: int
    size: int


def plain_scan(kind: HeaderKind, data: bytes) -> tuple[list[Row], int, int | Malformed]:
    """The oracle: rows, bytes consumed, and what stopped it (bytes needed, or the offender)."""
    rows: list[Row] = []
    at = 0
    while True:
        if len(data) - at < kind:
            return rows, at, kind
        if kind is HeaderKind.MINI:
            serial, (type_, size), sub_list = 0, struct.unpack_from("<HI", data, at), 0
        else:
            serial, type_, size, sub_list = struct.unpack_from("<QHII", data, at)
        if size > LIMIT:
            return rows, at, Malformed(type_, size)
        if sub_list and sub_list + 2 > size:
            return rows, at, Malformed(type_, sub_list)
        if at + kind + size > len(data):
            return rows, at, kind + size
        rows.append(Row(type_, at + kind, size, sub_list, serial))
        at += kind + size


def plain_sub_messages(body: bytes, sub_list: int) -> list[tuple[int, int, int]] | None:
    """The oracle: None when the list is malformed."""
    try:
        (count,) = struct.unpack_from("<H", body, sub_list)
        offsets = struct.unpack_from(f"<{count}I", body, sub_list + 2)
        heads = [(*struct.unpack_from("<HI", body, at), at + 6) for at in offsets]
    except struct.error:
        return None
    if any(at + size > len(body) for _, size, at in heads):
        return None
    if sum(6 + size for _, size, _ in heads) + 2 + 4 * count > len(body):
        return None
    return [(type_, at, size) for type_, size, at in heads]


class Edge:
    """Memory whose last byte is the last readable one: reading past an input placed there kills the process."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        guard = ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + mmap.PAGESIZE
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0

    def place(self, data: bytes) -> memoryview:
        start = mmap.PAGESIZE - len(data)
        self.map[start : mmap.PAGESIZE] = data
        return memoryview(self.map)[start : mmap.PAGESIZE]


EDGE = Edge()


def small_or_any(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, LIMIT + 2) | st.integers(0, 2**bits - 1)


def mini_message(type_: int, body: bytes, claimed: int | None) -> bytes:
    return struct.pack("<HI", type_, len(body) if claimed is None else claimed) + body


def full_message(serial: int, type_: int, body: bytes, claimed: int | None, sub_list: int) -> bytes:
    return struct.pack("<QHII", serial, type_, len(body) if claimed is None else claimed, sub_list) + body


TYPES = st.integers(0, 2**16 - 1)
BODIES = st.binary(max_size=LIMIT)
CLAIMS = st.none() | st.none() | st.none() | small_or_any(32)  # mostly what it is
MESSAGES = {
    HeaderKind.MINI: st.builds(mini_message, TYPES, BODIES, CLAIMS),
    HeaderKind.FULL: st.builds(full_message, st.integers(0, 2**64 - 1), TYPES, BODIES, CLAIMS, st.just(0) | small_or_any(32)),
}


@st.composite
def streams(draw: st.DrawFn) -> tuple[HeaderKind, bytes]:
    kind = draw(st.sampled_from(HeaderKind))
    whole = b"".join(draw(st.lists(MESSAGES[kind], max_size=12)))
    return kind, draw(st.just(whole) | st.integers(0, len(whole)).map(lambda cut: whole[:cut]) | st.binary(max_size=200))


def scan_all(framer: Framer, view: memoryview, start: int) -> tuple[list[Row], int, int | Malformed]:
    """As a reader does it: call while there is more."""
    rows: list[Row] = []
    while True:
        try:
            table = framer.frames(view, start, len(view))
        except MalformedFrame as error:
            return rows, start, Malformed(error.type, error.size)
        assert [(row[0], row[1], row[2]) for row in table.rows()] == list(table)
        rows += (Row(*row) for row in table.rows())
        start = table.consumed
        if not table.more:
            return rows, start, table.needed


@given(streams(), st.integers(1, 5))
def test_c_finds_what_plain_python_finds(stream, capacity):
    kind, data = stream
    assert scan_all(Framer(kind, LIMIT, capacity=capacity), EDGE.place(data), 0) == plain_scan(kind, data)


def chunk_ends(data: bytes, cuts: list[int]) -> Iterator[int]:
    yield from sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})


@given(streams(), st.lists(st.integers(0, 10**6), max_size=20))
def test_any_chunking_gives_the_same_messages(stream, cuts):
    kind, data = stream
    framer = Framer(kind, LIMIT)
    rows: list[Row] = []
    start = 0
    stopped: int | Malformed = kind
    for end in chunk_ends(data, cuts):
        found, start, stopped = scan_all(framer, EDGE.place(data[:end]), start)
        rows += found
        if isinstance(stopped, Malformed):
            break
    assert (rows, start, stopped) == plain_scan(kind, data)


@st.composite
def listing_bodies(draw: st.DrawFn) -> tuple[bytes, int]:
    """Bodies with a list in them, mostly right, with some bytes changed."""
    subs = draw(st.lists(st.builds(mini_message, TYPES, st.binary(max_size=20), CLAIMS), max_size=6))
    before = draw(st.binary(max_size=10))
    at = len(before) + 2 + 4 * len(subs)
    offsets = []
    for sub in subs:
        offsets.append(draw(st.just(at) | st.just(at) | small_or_any(32)))
        at += len(sub)
    body = bytearray(before + struct.pack(f"<H{len(subs)}I", len(subs), *offsets) + b"".join(subs))
    for index, value in draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=2)):
        body[index] = value
    return bytes(body), draw(st.just(len(before)) | small_or_any(32))


@given(listing_bodies() | st.tuples(st.binary(max_size=60), small_or_any(32)))
def test_sub_messages_are_those_that_plain_python_finds(listing):
    body, sub_list = listing
    expected = plain_sub_messages(body, sub_list)
    view = EDGE.place(b"??" + body)
    if expected is None:
        with pytest.raises(MalformedFrame):
            sub_messages(view, 2, len(body), sub_list)
    else:
        found = list(sub_messages(view, 2, len(body), sub_list))
        assert found == [(type_, at + 2, size) for type_, at, size in expected]


CAPS = st.frozensets(st.integers(0, 200), max_size=8)
MESSES = st.builds(LinkMess, st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255), CAPS, CAPS)
REPLIES = st.builds(LinkReply, st.just(0), st.binary(min_size=162, max_size=162), CAPS, CAPS)


@given(MESSES | REPLIES)
def test_link_messages_survive_the_round_trip(message):
    parse = parse_link_mess if isinstance(message, LinkMess) else parse_link_reply
    assert parse(EDGE.place(message.pack())) == message


@given(st.data())
def test_any_bytes_are_a_link_message_or_malformed(data):
    message = data.draw(MESSES | REPLIES)
    parse = parse_link_mess if isinstance(message, LinkMess) else parse_link_reply
    raw = bytearray(message.pack())
    fixed = message.SIZE
    struct.pack_into("<III", raw, fixed - 12, *(data.draw(st.integers(0, 70) | st.integers(0, 2**32 - 1)) for _ in range(3)))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        parsed = parse(EDGE.place(bytes(raw[:cut])))
    except MalformedLink:
        return
    assert type(parsed) is type(message)
    assert cut >= fixed


@given(st.binary(max_size=20), st.integers(0, 8), st.sampled_from([LinkMess, LinkReply]))
def test_any_bytes_are_a_link_header_or_malformed_or_too_few(noise, right, expected):
    data = (b"REDQ\2\0\0\0"[:right] + noise)[:20]
    try:
        header = parse_link_header(EDGE.place(data), expected)
    except MalformedLink:
        return
    if header is None:
        assert len(data) < 16
    else:
        assert expected.SIZE <= header.size <= 4096
