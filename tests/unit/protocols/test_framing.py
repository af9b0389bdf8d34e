"""Framings: whatever pieces the bytes come in, the messages are the same."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, LocalProtocolError, MalformedMessage
from atp_trio.protocols.framing import NEED_DATA, JsonFraming, LengthFraming, LineFraming, RawFraming

LIMIT = 24
FRAMINGS = [
    LineFraming(limit=LIMIT),
    LineFraming(limit=LIMIT, errors="replace"),
    LineFraming(limit=LIMIT, encoding="ascii", end="\r\n"),
    JsonFraming(limit=LIMIT),
    *(LengthFraming(size=size, byteorder=order, limit=LIMIT) for size in (1, 2, 4, 8) for order in ("big", "little")),
]
LINES = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40).filter(lambda text: not text.endswith("\r"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def cut(data, cuts):
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def decode(framing, pieces):
    """The messages, with what is wrong in their places; and how many bytes are left over."""
    decoder, found = framing.decoder(), []
    for piece in pieces:
        decoder.feed(piece)
        while True:
            before = decoder.pending
            try:
                message = decoder.next()
            except MalformedMessage as error:
                found.append(str(error))
                if decoder.pending == before:
                    return found, None  # for ever
                continue
            if message is NEED_DATA:
                break
            found.append(message)
    return found, decoder.pending


@given(framing=st.sampled_from(FRAMINGS), data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200)))
def test_any_bytes_in_any_pieces(framing, data, cuts):
    whole = decode(framing, [data])
    assert decode(framing, cut(data, cuts)) == whole
    if whole[1] is not None:
        assert whole[1] <= LIMIT + 8


@given(messages=st.lists(LINES, max_size=8), cuts=st.lists(st.integers(0, 400)), end=st.sampled_from(["\n", "\r\n"]))
def test_lines(messages, cuts, end):
    framing = LineFraming(end=end)
    data = b"".join(map(framing.encode, messages))
    assert decode(framing, cut(data, cuts)) == (messages, 0)


@given(messages=st.lists(JSON, max_size=8), cuts=st.lists(st.integers(0, 400)))
def test_json(messages, cuts):
    framing = JsonFraming()
    data = b"\n \r\n".join(map(framing.encode, messages))
    assert decode(framing, cut(data, cuts)) == (messages, 0)


@given(
    messages=st.lists(st.binary(max_size=60), max_size=8),
    cuts=st.lists(st.integers(0, 400)),
    size=st.sampled_from([1, 2, 4, 8]),
    byteorder=st.sampled_from(["big", "little"]),
)
def test_lengths(messages, cuts, size, byteorder):
    framing = LengthFraming(size=size, byteorder=byteorder)
    data = b"".join(map(framing.encode, messages))
    assert decode(framing, cut(data, cuts)) == (messages, 0)
    if messages:
        assert data[:size] == len(messages[0]).to_bytes(size, byteorder)


def test_raw():
    framing = RawFraming()
    assert framing.encode(b"\x00\n") == b"\x00\n"
    assert decode(framing, [b"ab", b"c"]) == ([b"ab", b"c"], 0)


def test_what_is_cut_off_is_pending():
    decoder = LineFraming().decoder()
    decoder.feed(b"whole\npart")
    assert decoder.next() == "whole"
    assert decoder.next() is NEED_DATA
    assert decoder.pending == 4


def test_many_messages_take_no_more_memory_than_those_that_wait():
    framing = LengthFraming()
    decoder = framing.decoder()
    for _ in range(1000):
        decoder.feed(framing.encode(bytes(1000)) * 2)
        assert decoder.next() == decoder.next() == bytes(1000)
        assert len(decoder._buffer) <= 1 << 17


def test_a_line_that_is_not_text_is_left_out():
    assert decode(LineFraming(), [b"a\n\xff\nb\n"])[0] == ["a", "a line is no utf-8", "b"]
    assert decode(LineFraming(errors="replace"), [b"\xff\n"])[0] == ["\N{REPLACEMENT CHARACTER}"]
    assert decode(LineFraming(encoding="latin-1"), [b"\xff\r\n"])[0] == ["ÿ"]


@pytest.mark.parametrize("line", [b"{", b"\xff", b"[" * 100_000, b"1 2"])
def test_a_line_that_is_no_json_is_left_out(line):
    assert decode(JsonFraming(), [line + b"\nnull\n"])[0] == ["a line is no JSON", None]


@pytest.mark.parametrize("framing", [LineFraming(limit=4), JsonFraming(limit=4)])
def test_a_line_that_is_too_long_is_told_before_it_ends(framing):
    decoder = framing.decoder()
    decoder.feed(b"1234")
    assert decoder.next() is NEED_DATA
    decoder.feed(b"5")
    for _ in range(2):
        with pytest.raises(MalformedMessage, match="longer than 4"):
            decoder.next()


def test_a_length_that_is_too_long_is_told_at_once():
    decoder = LengthFraming(limit=4).decoder()
    decoder.feed(b"\x00\x00\x00\x05")
    with pytest.raises(MalformedMessage, match="longer than 4"):
        decoder.next()


@pytest.mark.parametrize(
    ("framing", "message"),
    [
        (LineFraming(), "a\nb"),
        (LineFraming(), "a\r"),
        (LineFraming(limit=3), "äb1"),
        (JsonFraming(limit=3), "ab"),
        (LengthFraming(limit=3), b"1234"),
        (LengthFraming(size=1), bytes(256)),
    ],
)
def test_what_cannot_be_framed(framing, message):
    with pytest.raises(LocalProtocolError):
        framing.encode(message)


@pytest.mark.parametrize(
    ("framing", "message"),
    [(LineFraming(encoding="ascii"), "ä"), (JsonFraming(), {1, 2}), (JsonFraming(), float("nan")), (LineFraming(), "\ud800")],
)
def test_what_is_no_message(framing, message):
    with pytest.raises(ConfigError):
        framing.encode(message)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LineFraming, {"limit": 0}),
        (LineFraming, {"encoding": "utf-16"}),
        (LineFraming, {"errors": "no"}),
        (LineFraming, {"end": ""}),
        (JsonFraming, {"limit": -1}),
        (LengthFraming, {"size": 3}),
        (LengthFraming, {"byteorder": "middle"}),
        (LengthFraming, {"limit": 0}),
    ],
)
def test_settings_that_cannot_be_meant(kind, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        kind(**options)


def test_json_is_compact_and_safe_for_lines():
    assert JsonFraming().encode({"a": "\n\u2028"}) == b'{"a":"\\n\\u2028"}\n'
    assert json.loads(JsonFraming().encode("ä")) == "ä"
