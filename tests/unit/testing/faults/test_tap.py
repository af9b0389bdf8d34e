"""The tap: which channel it is, ACKs taken out, and nothing else touched, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.spice.codec.link import LinkMess, LinkReply, pack_link
from atp_trio.spice.messages import base, inputs
from atp_trio.spice.messages.link import ChannelType, CommonCap
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Role
from atp_trio.testing.faults.tap import ChannelTap

BOTH = frozenset({CommonCap.PROTOCOL_AUTH_SELECTION, CommonCap.AUTH_SPICE, CommonCap.MINI_HEADER})


def link(caps):
    """What client and server say until the data stage."""
    mess = pack_link(LinkMess(1, ChannelType.INPUTS, 3, caps, frozenset()))
    reply = pack_link(LinkReply(0, bytes(162), caps, frozenset()))
    ticket = (bytes(4) if CommonCap.PROTOCOL_AUTH_SELECTION in caps else b"") + bytes(range(128))
    return mess, reply, ticket


def messages(caps, kinds):
    core = ChannelCore(Role.CLIENT, ChannelType.INPUTS, mini_header=CommonCap.MINI_HEADER in caps)
    for kind in kinds:
        core.send(kind)
    return b"".join(core.data_to_send())


ACK, KEY, PONG = base.Ack(), inputs.KeyDown(code=30), base.Pong(id=1, timestamp=2)


@pytest.mark.parametrize("caps", [BOTH, frozenset(), BOTH - {CommonCap.MINI_HEADER}])
def test_which_channel(caps):
    mess, reply, ticket = link(caps)
    tap = ChannelTap()
    for place in range(len(mess)):
        assert tap.channel is None
        assert tap.from_client(mess[place : place + 1]) == mess[place : place + 1]
    assert tap.channel == (ChannelType.INPUTS, 3)
    assert tap.from_server(reply) == reply
    assert tap.from_client(ticket) == ticket
    assert tap.is_readable


@given(
    st.sampled_from([BOTH, frozenset(), BOTH - {CommonCap.MINI_HEADER}]),
    st.lists(st.sampled_from([ACK, KEY, PONG]), max_size=20),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_acks_are_taken_out_and_nothing_else(caps, kinds, cuts):
    mess, reply, ticket = link(caps)
    stream = ticket + messages(caps, kinds)
    tap, passed = ChannelTap(), b""
    tap.withholding = True
    tap.from_client(mess)
    tap.from_server(reply)
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        passed += tap.from_client(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert tap.withheld == kinds.count(ACK)
    without = [kind for kind in kinds if kind is not ACK]
    if CommonCap.MINI_HEADER in caps:
        assert passed == ticket + messages(caps, without)
    else:  # the serials have holes
        core = ChannelCore(Role.SERVER, ChannelType.INPUTS, mini_header=False, received=passed[len(ticket) :])
        heard = []
        while (message := core.next_message()) is not None:
            heard.append(message)
        assert [kind for kind in without if kind is KEY] == [one for one in heard if isinstance(one, inputs.KeyDown)]
        assert core.traffic.messages_received == len(without)


@given(st.lists(st.sampled_from([ACK, KEY]), max_size=12), st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1))
def test_withholding_may_begin_and_end_anywhere(kinds, turns):
    mess, reply, ticket = link(BOTH)
    stream = whole = messages(BOTH, kinds)
    tap, passed, turn = ChannelTap(), b"", 0
    tap.from_client(mess)
    tap.from_server(reply)
    tap.from_client(ticket)
    while stream:
        size, tap.withholding = turns[turn % len(turns)]
        passed += tap.from_client(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert len(passed) == len(whole) - 6 * tap.withheld
    core = ChannelCore(Role.SERVER, ChannelType.INPUTS, mini_header=True, received=passed)
    keys = 0
    while core.next_message() is not None:
        keys += 1
    assert keys == kinds.count(KEY)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=20), st.booleans())
def test_any_bytes_pass(pieces, withholding):
    tap = ChannelTap()
    tap.withholding = withholding
    for is_client, data in pieces:
        assert (tap.from_client(data) if is_client else tap.from_server(data)) == data
    assert tap.channel is None


def test_what_is_not_spice_passes_unread():
    tap = ChannelTap()
    assert tap.from_client(b"\x16\x03\x01 hello, TLS") == b"\x16\x03\x01 hello, TLS"
    assert not tap.is_readable


def test_a_client_that_does_not_wait_for_the_key_is_not_followed():
    mess, _, ticket = link(BOTH)
    tap = ChannelTap()
    assert tap.from_client(mess + ticket) == mess + ticket
    assert (tap.is_readable, tap.channel) == (False, (ChannelType.INPUTS, 3))
