"""The link stage step by step, both roles, every refusal, and everything that can come in place of what should."""

import struct

import pytest

from atp_trio.errors import (
    ConfigError,
    LinkError,
    LinkInvalidData,
    LinkNeedSecured,
    LocalProtocolError,
    MalformedMessage,
)
from atp_trio.spice.codec.link import LinkHeader, LinkMess, LinkReply, MalformedLink, pack_link
from atp_trio.spice.messages.link import ChannelType, CommonCap, LinkErrorCode
from atp_trio.spice.protocol.link import (
    CLIENT_CAPS,
    ClientLink,
    Linked,
    LinkRequested,
    ServerLink,
    TicketNeeded,
    TicketReceived,
)
from atp_trio.spice.protocol.refusal import link_error
from atp_trio.spice.protocol.ticket import encrypt_ticket

KEY = bytes(range(162))
TICKET = bytes(range(128))
OFFER = LinkReply(LinkErrorCode.OK, KEY, CLIENT_CAPS, {0, 5})
MECHANISM = struct.pack("<I", 1)
OK = struct.pack("<I", 0)
REFUSALS = [*(code for code in LinkErrorCode if code), 10, 2**32 - 1]


def client_given(*pieces: bytes, ticket: bytes | None = TICKET, **options) -> tuple[ClientLink, list[object]]:
    """A client after these bytes, and its events; it answers an offer with `ticket`, if there is one."""
    link = ClientLink(ChannelType.DISPLAY, **options)
    events = []
    for piece in pieces:
        link.receive_data(piece)
        while link._state not in _WAITING and (event := link.next_event()) is not None:
            events.append(event)
            if isinstance(event, TicketNeeded) and ticket is not None:
                link.send_ticket(ticket)
    return link, events


def server_given(*pieces: bytes, accept: bool = True, **options) -> tuple[ServerLink, list[object]]:
    """A server after these bytes, and its events; it accepts every request."""
    link = ServerLink()
    events = []
    for piece in pieces:
        link.receive_data(piece)
        while link._state not in _WAITING and (event := link.next_event()) is not None:
            events.append(event)
            if isinstance(event, LinkRequested) and accept:
                link.accept(KEY, **options)
    return link, events


_STATES = type(ClientLink(1)._state)
_WAITING = {_STATES.TICKET_NEEDED, _STATES.REQUESTED, _STATES.TICKET_RECEIVED, _STATES.DONE}


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# --- the client


def test_the_client_begins_with_its_link_message():
    link = ClientLink(ChannelType.DISPLAY, 1, 0x12345678, channel_caps={0, 33})
    assert link.data_to_send() == pack_link(LinkMess(0x12345678, ChannelType.DISPLAY, 1, CLIENT_CAPS, {0, 33}))
    assert link.data_to_send() == b""
    assert link.next_event() is None


def test_the_client_is_linked_in_two_events():
    link, events = client_given(pack_link(OFFER), OK + b"first message")
    assert events == [TicketNeeded(KEY), Linked(mini_header=True, common_caps=CLIENT_CAPS, channel_caps={0, 5})]
    assert link.data_to_send().endswith(MECHANISM + TICKET)
    assert link.trailing_data == b"first message"


def test_what_comes_after_the_end_is_trailing_too():
    link, _ = client_given(pack_link(OFFER), OK, b"more")
    assert link.trailing_data == b"more"


def test_the_client_byte_by_byte():
    _, whole = client_given(pack_link(OFFER) + OK)
    link, events = client_given(*single_bytes(pack_link(OFFER) + OK))
    assert events == whole
    assert len(events) == 2
    assert link.trailing_data == b""


def test_the_client_waits_for_every_byte_of_the_offer():
    offer = pack_link(OFFER)
    for length in range(len(offer)):
        link, events = client_given(offer[:length])
        assert events == []
        assert link.next_event() is None


@pytest.mark.parametrize("length", range(4))
def test_the_client_waits_for_every_byte_of_the_result(length):
    link, events = client_given(pack_link(OFFER), OK[:length])
    assert [type(event) for event in events] == [TicketNeeded]
    assert link.next_event() is None


def test_the_client_waits_for_its_driver_to_encrypt():
    link, events = client_given(pack_link(OFFER) + OK, ticket=None)
    assert events == [TicketNeeded(KEY)]
    with pytest.raises(LocalProtocolError, match="the ticket is due"):
        link.next_event()
    link.send_ticket(TICKET)
    assert isinstance(link.next_event(), Linked)


@pytest.mark.parametrize("offered", [frozenset(), {CommonCap.MINI_HEADER}, {CommonCap.AUTH_SASL}])
def test_a_server_without_selection_gets_the_ticket_at_once(offered):
    link, events = client_given(pack_link(LinkReply(0, KEY, offered)), OK)
    assert link.data_to_send()[16 + 18 + 4 :] == TICKET
    assert events[1] == Linked(CommonCap.MINI_HEADER in offered, offered, frozenset())


def test_a_client_without_selection_sends_the_ticket_at_once():
    link, events = client_given(pack_link(OFFER), OK, common_caps=[])
    assert link.data_to_send()[16 + 18 :] == TICKET
    assert events[1] == Linked(mini_header=False, common_caps=CLIENT_CAPS, channel_caps={0, 5})


def test_a_server_that_wants_sasl_is_told_apart():
    with pytest.raises(LinkError, match="SASL"):
        client_given(pack_link(LinkReply(0, KEY, {CommonCap.PROTOCOL_AUTH_SELECTION, CommonCap.AUTH_SASL})))


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("as_result", [False, True])
def test_a_refusal_is_the_exception_of_its_link_error(code, as_result):
    flight = [pack_link(OFFER), struct.pack("<I", code)] if as_result else [pack_link(LinkReply.refuse(code))]
    with pytest.raises(LinkError) as caught:
        client_given(*flight)
    assert type(caught.value) is type(link_error(code))
    assert caught.value.code == code


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_a_rejected_mechanism_is_a_whole_reply_in_place_of_the_result(pieces):
    refusal = pack_link(LinkReply.refuse(LinkErrorCode.INVALID_DATA))
    with pytest.raises(LinkInvalidData):
        client_given(pack_link(OFFER), *([refusal] if pieces == "whole" else single_bytes(refusal)))


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_a_second_offer_is_no_result(pieces):
    again = pack_link(OFFER)
    with pytest.raises(MalformedMessage, match="second offer"):
        client_given(again, *([again] if pieces == "whole" else single_bytes(again)))


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LinkErrorCode.INVALID_MAGIC),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", LinkErrorCode.INVALID_MAGIC),
        (b"RFB 003.008\n", LinkErrorCode.INVALID_MAGIC),
        (b"\x15\x03\x01\x00\x02\x02\x46", LinkErrorCode.INVALID_MAGIC),  # an alert of TLS
        (b"REDQ" + struct.pack("<III", 1, 2, 178), LinkErrorCode.VERSION_MISMATCH),
        (b"REDQ" + struct.pack("<III", 2, 2, 177), LinkErrorCode.INVALID_DATA),
        (b"REDQ" + struct.pack("<III", 2, 2, 2**32 - 1), LinkErrorCode.INVALID_DATA),
        (LinkHeader(178).pack() + struct.pack("<I162sIII", 0, KEY, 2**31, 2**31, 178), LinkErrorCode.INVALID_DATA),
    ],
)
def test_garbage_ends_the_clients_link_and_stays_the_same_error(garbage, code):
    link = ClientLink(1)
    link.receive_data(garbage)
    with pytest.raises(MalformedLink) as caught:
        link.next_event()
    assert caught.value.code == code
    link.receive_data(b"x" * 10**6)
    assert link._in == b""  # nothing more is held
    with pytest.raises(MalformedLink) as again:
        link.next_event()
    assert again.value is caught.value


def test_a_refused_client_stays_refused():
    link = ClientLink(1)
    link.receive_data(pack_link(LinkReply.refuse(LinkErrorCode.NEED_SECURED)) + pack_link(OFFER))
    for _ in range(2):
        with pytest.raises(LinkNeedSecured):
            link.next_event()
    with pytest.raises(LocalProtocolError):
        link.send_ticket(TICKET)


@pytest.mark.parametrize("ticket", [b"", bytes(127), bytes(129)])
def test_a_ticket_has_128_bytes(ticket):
    link, _ = client_given(pack_link(OFFER), ticket=None)
    sent = link.data_to_send()
    with pytest.raises(LocalProtocolError, match="128 bytes"):
        link.send_ticket(ticket)
    assert (sent != b"", link.data_to_send()) == (True, b"")
    link.send_ticket(TICKET)
    assert link.data_to_send() == MECHANISM + TICKET


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClientLink(256),
        lambda: ClientLink(1, -1),
        lambda: ClientLink(1, connection_id=2**32),
        lambda: ClientLink(1, channel_caps={32768}),
    ],
)
def test_a_link_message_that_cannot_be_meant_is_refused(make):
    with pytest.raises(ConfigError):
        make()


# --- the server

MESS = LinkMess(7, ChannelType.INPUTS, 2, CLIENT_CAPS, {0})


def test_the_server_gives_two_events_and_then_the_data_stage():
    link, events = server_given(pack_link(MESS), MECHANISM + TICKET + b"first message", channel_caps={1})
    assert events == [LinkRequested(MESS), TicketReceived(TICKET)]
    assert link.data_to_send() == pack_link(LinkReply(0, KEY, CLIENT_CAPS, {1}))
    assert link.finish() == Linked(mini_header=True, common_caps=CLIENT_CAPS, channel_caps={0})
    assert link.data_to_send() == OK
    assert link.trailing_data == b"first message"


def test_the_server_byte_by_byte():
    flight = pack_link(MESS) + MECHANISM + TICKET
    assert server_given(*single_bytes(flight))[1] == server_given(flight)[1] == [LinkRequested(MESS), TicketReceived(TICKET)]


def test_the_server_waits_for_every_byte():
    flight = pack_link(MESS) + MECHANISM + TICKET
    request = len(pack_link(MESS))
    for length in range(len(flight)):
        link, events = server_given(flight[:length])
        assert len(events) == (length >= request)
        assert link.next_event() is None


@pytest.mark.parametrize("silent", ["client", "server"])
def test_without_selection_on_both_sides_the_ticket_comes_at_once(silent):
    mess = LinkMess(0, 1, 0) if silent == "client" else MESS
    link, events = server_given(pack_link(mess), TICKET, common_caps=[] if silent == "server" else CLIENT_CAPS)
    assert events[1] == TicketReceived(TICKET)
    assert link.finish().mini_header is False


@pytest.mark.parametrize("code", REFUSALS)
def test_the_server_refuses_the_request_with_a_reply(code):
    link, _ = server_given(pack_link(MESS), accept=False)
    link.refuse(code)
    assert link.data_to_send() == pack_link(LinkReply.refuse(code))
    with pytest.raises(LocalProtocolError, match="was refused"):
        link.next_event()


@pytest.mark.parametrize("code", REFUSALS)
def test_the_server_refuses_the_ticket_with_a_number(code):
    link, _ = server_given(pack_link(MESS), MECHANISM + TICKET)
    link.data_to_send()
    assert link.finish(code) is None
    assert link.data_to_send() == struct.pack("<I", code)
    with pytest.raises(LocalProtocolError, match="was refused"):
        link.next_event()


@pytest.mark.parametrize("mechanism", [0, 2, 3, 2**32 - 1])
def test_the_server_answers_another_mechanism_with_a_whole_reply(mechanism):
    link, _ = server_given(pack_link(MESS))
    link.data_to_send()
    link.receive_data(struct.pack("<I", mechanism) + TICKET)
    with pytest.raises(MalformedMessage, match=f"mechanism {mechanism}"):
        link.next_event()
    assert link.data_to_send() == pack_link(LinkReply.refuse(LinkErrorCode.INVALID_DATA))


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\x16\x03\x01", LinkErrorCode.INVALID_MAGIC),
        (b"REDQ" + struct.pack("<III", 3, 0, 18), LinkErrorCode.VERSION_MISMATCH),
        (b"REDQ" + struct.pack("<III", 2, 2, 17), LinkErrorCode.INVALID_DATA),
        (b"REDQ" + struct.pack("<III", 2, 2, 4097), LinkErrorCode.INVALID_DATA),
        (LinkHeader(18).pack() + struct.pack("<IBBIII", 0, 1, 0, 1025, 0, 18), LinkErrorCode.INVALID_DATA),
        (LinkHeader(18).pack() + struct.pack("<IBBIII", 0, 1, 0, 0, 0, 17), LinkErrorCode.INVALID_DATA),
    ],
)
def test_garbage_ends_the_servers_link_with_one_refusal(garbage, code):
    link = ServerLink()
    link.receive_data(garbage)
    for _ in range(2):
        with pytest.raises(MalformedLink) as caught:
            link.next_event()
        assert caught.value.code == code
    assert link.data_to_send() == pack_link(LinkReply.refuse(code))


@pytest.mark.parametrize(
    "refuse",
    [
        lambda link: link.accept(b"short"),
        lambda link: link.accept(KEY, channel_caps={32768}),
        lambda link: link.accept(KEY, common_caps={32767}, channel_caps={32767}),
        lambda link: link.refuse(0),
        lambda link: link.refuse(2**32),
    ],
)
def test_an_answer_that_cannot_be_meant_sends_nothing_and_may_be_put_right(refuse):
    link, _ = server_given(pack_link(MESS), accept=False)
    with pytest.raises((ConfigError, LocalProtocolError)):
        refuse(link)
    assert link.data_to_send() == b""
    link.accept(KEY)
    assert link.data_to_send() == pack_link(LinkReply(0, KEY, CLIENT_CAPS))


@pytest.mark.parametrize("code", [-1, 2**32])
def test_a_result_that_is_no_number_of_32_bits_sends_nothing(code):
    link, _ = server_given(pack_link(MESS), MECHANISM + TICKET)
    link.data_to_send()
    with pytest.raises(LocalProtocolError):
        link.finish(code)
    assert link.data_to_send() == b""
    assert link.finish() is not None


# --- any call in any state

CLIENT_STEPS = {
    "began": (),
    "offered": (pack_link(OFFER),),
    "authenticating": (pack_link(OFFER), b""),
    "linked": (pack_link(OFFER), OK),
}
SERVER_STEPS = {
    "began": (),
    "requested": (pack_link(MESS),),
    "accepted": (pack_link(MESS), b""),
    "ticket": (pack_link(MESS), MECHANISM + TICKET),
    "linked": (pack_link(MESS), MECHANISM + TICKET),
    "refused": (pack_link(MESS),),
    "rejected": (pack_link(MESS), MECHANISM + TICKET),
}
CLIENT_CALLS = {
    "next_event": (lambda link: link.next_event(), {"began", "authenticating"}),
    "send_ticket": (lambda link: link.send_ticket(TICKET), {"offered"}),
    "trailing_data": (lambda link: link.trailing_data, {"linked"}),
}
SERVER_CALLS = {
    "next_event": (lambda link: link.next_event(), {"began", "accepted"}),
    "accept": (lambda link: link.accept(KEY), {"requested"}),
    "refuse": (lambda link: link.refuse(1), {"requested"}),
    "finish": (lambda link: link.finish(), {"ticket"}),
    "trailing_data": (lambda link: link.trailing_data, {"linked"}),
}


def client_in(state: str) -> ClientLink:
    return client_given(*CLIENT_STEPS[state], ticket=None if state == "offered" else TICKET)[0]


def server_in(state: str) -> ServerLink:
    link = server_given(*SERVER_STEPS[state], accept=state not in ("requested", "refused"))[0]
    if state == "linked":
        link.finish()
    elif state == "refused":
        link.refuse(LinkErrorCode.NEED_SECURED)
    elif state == "rejected":
        link.finish(LinkErrorCode.PERMISSION_DENIED)
    return link


@pytest.mark.parametrize("state", CLIENT_STEPS)
@pytest.mark.parametrize("call", CLIENT_CALLS)
def test_what_the_clients_driver_may_do_in_each_state(state, call):
    check_call(client_in(state), state, *CLIENT_CALLS[call])


@pytest.mark.parametrize("state", SERVER_STEPS)
@pytest.mark.parametrize("call", SERVER_CALLS)
def test_what_the_servers_driver_may_do_in_each_state(state, call):
    check_call(server_in(state), state, *SERVER_CALLS[call])


def check_call(link, state, call, allowed):
    link.data_to_send()
    if state in allowed:
        call(link)
    else:
        with pytest.raises(LocalProtocolError):
            call(link)
        assert link.data_to_send() == b""


# --- both, with a real ticket


@pytest.mark.parametrize("password", [b"", b"secret"])
def test_client_and_server_back_to_back(key, password):
    client, server = ClientLink(ChannelType.MAIN, channel_caps={0, 3}), ServerLink()
    server.receive_data(client.data_to_send())
    request = server.next_event()
    assert request.mess == LinkMess(0, ChannelType.MAIN, 0, CLIENT_CAPS, {0, 3})
    server.accept(key.public_key, channel_caps={2})
    client.receive_data(server.data_to_send())
    client.send_ticket(encrypt_ticket(client.next_event().public_key, password))
    server.receive_data(client.data_to_send())
    assert key.decrypt(server.next_event().ticket) == password
    assert server.finish() == Linked(mini_header=True, common_caps=CLIENT_CAPS, channel_caps={0, 3})
    client.receive_data(server.data_to_send())
    assert client.next_event() == Linked(mini_header=True, common_caps=CLIENT_CAPS, channel_caps={2})
    assert client.trailing_data == server.trailing_data == b""


def test_no_event_shows_the_ticket_or_the_key():
    assert repr(TicketReceived(b"secret")) == "TicketReceived()"
    assert repr(TicketNeeded(b"key")) == "TicketNeeded()"
