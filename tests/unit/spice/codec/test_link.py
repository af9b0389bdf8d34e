"""The link structures by example: exact bytes, every bound, both roles."""

import struct

import pytest

from atp_trio.errors import ConfigError, MalformedMessage
from atp_trio.spice.codec.link import (
    LinkHeader,
    LinkMess,
    LinkReply,
    MalformedLink,
    caps_to_words,
    pack_link,
    parse_link_header,
    parse_link_mess,
    parse_link_reply,
    words_to_caps,
)
from atp_trio.spice.messages.link import LinkErrorCode

KEY = bytes(range(162))
MESS = bytes.fromhex("78563412 02 01 01000000 02000000 12000000  0b000000 01000000 00000080")


def mess(common: int, channel: int, offset: int, rest: bytes = b"") -> bytes:
    return struct.pack("<IBBIII", 1, 2, 0, common, channel, offset) + rest


def reply(common: int, channel: int, offset: int, rest: bytes = b"", error: int = 0) -> bytes:
    return struct.pack("<I162sIII", error, KEY, common, channel, offset) + rest


def test_header_bytes():
    assert LinkHeader(size=0x01020304).pack() == b"REDQ" + bytes.fromhex("02000000 02000000 04030201")


def test_mess_bytes_both_ways():
    message = LinkMess(0x12345678, 2, 1, {0, 1, 3}, {0, 63})
    assert message.pack() == MESS
    assert parse_link_mess(MESS) == message


def test_reply_bytes_both_ways():
    message = LinkReply(0, KEY, {1}, {32})
    packed = message.pack()
    assert packed == reply(1, 2, 178, struct.pack("<3I", 2, 0, 1))
    assert parse_link_reply(packed) == message


def test_pack_link_puts_the_header_before():
    packed = pack_link(LinkMess(0, 1, 0, {3}))
    assert parse_link_header(packed, LinkMess) == LinkHeader(size=22)
    assert parse_link_mess(packed[16:]) == LinkMess(0, 1, 0, {3})
    assert len(packed) == 16 + 22


def test_the_words_may_stand_elsewhere_and_common_ones_come_first():
    parsed = parse_link_mess(mess(1, 1, 21, b"???" + struct.pack("<2I", 1, 2) + b"trailing"))
    assert (parsed.common_caps, parsed.channel_caps) == ({0}, {1})


def test_any_buffer_will_do():
    assert parse_link_mess(bytearray(MESS)) == parse_link_mess(memoryview(b"x" + MESS)[1:])


def test_a_refusal_is_a_reply_with_nothing_but_the_error():
    packed = LinkReply.refuse(LinkErrorCode.NEED_SECURED).pack()
    assert packed[:166] == b"\5" + bytes(165)
    assert len(packed) == 178
    parsed = parse_link_reply(packed)
    assert (parsed.error, parsed.pub_key, parsed.common_caps) == (LinkErrorCode.NEED_SECURED, bytes(162), frozenset())


def test_the_rest_of_a_refusal_is_not_looked_at():
    assert parse_link_reply(reply(2**32 - 1, 2**31, 0, error=5)).error == 5
    assert parse_link_reply(reply(0, 0, 0, error=2)).channel_caps == frozenset()


@pytest.mark.parametrize(("data", "known"), [(b"REDQ" + struct.pack("<3I", 2, 2, 18), n) for n in range(16)])
def test_a_header_that_may_still_come_is_waited_for(data, known):
    assert parse_link_header(data[:known], LinkMess) is None


@pytest.mark.parametrize("data", [b"G", b"GET ", b"REDX", b"R\0", b"QDER" + bytes(12), b"redq" + bytes(12)])
def test_a_wrong_magic_shows_at_once(data):
    with pytest.raises(MalformedLink, match="not REDQ") as caught:
        parse_link_header(data, LinkMess)
    assert caught.value.code == LinkErrorCode.INVALID_MAGIC
    assert isinstance(caught.value, MalformedMessage)


@pytest.mark.parametrize("major", [0, 1, 3, 2**32 - 1, 2 << 8])
def test_another_major_version_is_refused(major):
    with pytest.raises(MalformedLink, match="major version") as caught:
        parse_link_header(b"REDQ" + struct.pack("<I", major), LinkReply)
    assert caught.value.code == LinkErrorCode.VERSION_MISMATCH


def test_the_minor_version_does_not_matter():
    header = parse_link_header(LinkHeader(size=18, minor=2**32 - 1).pack(), LinkMess)
    assert header == LinkHeader(size=18, minor=2**32 - 1)


@pytest.mark.parametrize(
    ("expected", "size", "fits"),
    [
        (LinkMess, 17, False),
        (LinkMess, 18, True),
        (LinkMess, 4096, True),
        (LinkMess, 4097, False),
        (LinkReply, 177, False),
        (LinkReply, 178, True),
        (LinkReply, 4096, True),
        (LinkReply, 2**32 - 1, False),
    ],
)
def test_the_size_is_bounded_in_both_roles(expected, size, fits):
    data = LinkHeader(size=size).pack()
    if fits:
        assert parse_link_header(data, expected) == LinkHeader(size=size)
    else:
        with pytest.raises(MalformedLink, match="too short, or longer than 4096") as caught:
            parse_link_header(data, expected)
        assert caught.value.code == LinkErrorCode.INVALID_DATA


@pytest.mark.parametrize("role", [(mess, parse_link_mess, 18), (reply, parse_link_reply, 178)])
@pytest.mark.parametrize(
    ("counts", "shift", "words", "sentence"),
    [
        ((0, 0), -1, 0, "begin within"),
        ((0, 0), -18, 0, "begin within"),
        ((0, 0), 1, 0, "past its end"),
        ((1, 0), 0, 0, "past its end"),
        ((1, 1), 0, 1, "past its end"),
        ((1, 0), 1, 1, "past its end"),
        ((1, 0), 2**31, 1, "past its end"),
        ((1024, 1024), 0, 1, "past its end"),
        ((1025, 0), 0, 0, "more than 1024"),
        ((0, 1025), 0, 0, "more than 1024"),
        ((2**31, 2**31), 0, 0, "more than 1024"),  # CVE-2016-9578
        ((2**30, 0), 0, 0, "more than 1024"),  # times 4 is 0 in 32 bits
        ((2**32 - 1, 1), 0, 0, "more than 1024"),
    ],
)
def test_capabilities_must_lie_behind_the_structure_and_before_the_end(role, counts, shift, words, sentence):
    make, parse, fixed = role
    with pytest.raises(MalformedLink, match=sentence) as caught:
        parse(make(*counts, fixed + shift, bytes(4 * words)))
    assert caught.value.code == LinkErrorCode.INVALID_DATA


@pytest.mark.parametrize(("parse", "whole"), [(parse_link_mess, MESS), (parse_link_reply, reply(1, 0, 178, bytes(4)))])
def test_every_proper_prefix_is_refused(parse, whole):
    for length in range(len(whole)):
        with pytest.raises(MalformedLink, match=r"too short|past its end"):
            parse(whole[:length])
    parse(whole)


@pytest.mark.parametrize(("parse", "whole"), [(parse_link_mess, MESS), (parse_link_reply, reply(0, 0, 178))])
def test_more_than_the_limit_is_refused(parse, whole):
    parse(whole + bytes(4096 - len(whole)))
    with pytest.raises(MalformedLink, match="longer than 4096"):
        parse(whole + bytes(4097 - len(whole)))


@pytest.mark.parametrize(
    ("caps", "words"),
    [((), ()), ((0,), (1,)), ((31, 32), (2**31, 1)), ((95,), (0, 0, 2**31)), ((32767,), (0,) * 1023 + (2**31,))],
)
def test_capability_words(caps, words):
    assert caps_to_words(caps) == words
    assert words_to_caps(words) == frozenset(caps)


def test_trailing_zero_words_say_nothing():
    assert words_to_caps([1, 0, 0]) == words_to_caps([1]) == {0}


@pytest.mark.parametrize("number", [-1, 32768, 10**30])
def test_a_capability_out_of_range_is_refused(number):
    with pytest.raises(ConfigError, match="numbered 0 to 32767"):
        caps_to_words([3, number])


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinkHeader(size=2**32),
        lambda: LinkMess(-1, 1, 0),
        lambda: LinkMess(0, 256, 0),
        lambda: LinkMess(0, 1, 256),
        lambda: LinkReply(2**32),
        lambda: LinkReply(0, b"short"),
        lambda: LinkMess(0, 1, 0, {32767}, {32767}).pack(),
        lambda: LinkReply(0, KEY, {32767}).pack(),
    ],
)
def test_what_does_not_fit_the_structures_is_refused(make):
    with pytest.raises(ConfigError):
        make()
