"""The cores on anything: any chunking, any bytes, any order of calls, and both roles back to back against a naive oracle."""

from __future__ import annotations

import runpy
import struct
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atp_trio.errors import (
    LinkError,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    UnexpectedMessage,
    UnknownMessage,
)
from atp_trio.spice.codec import link as faces
from atp_trio.spice.messages import base, main
from atp_trio.spice.messages import link as records
from atp_trio.spice.messages.link import ChannelType, CommonCap
from atp_trio.spice.protocol.buffer import BLOCK
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.link import ClientLink, Linked, LinkRequested, ServerLink, TicketNeeded, TicketReceived
from atp_trio.spice.protocol.order import OPENINGS
from atp_trio.spice.protocol.ticket import TicketKey, encrypt_ticket
from atp_trio.spice.protocol.vdagent import AgentTransport
from atp_trio.spice.wire import Message, Role, table
from atp_trio.testing.strategies import frames, messages, record

LIMIT = 1000
CHANNELS = st.sampled_from([*ChannelType, 77])
ROLES = st.sampled_from(Role)
U32 = st.integers(0, 2**32 - 1)
CUTS = st.lists(st.integers(0, 10**6), max_size=12)


def chunks(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)] or [b""]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def plain(message: Message) -> tuple[str, Any]:
    """A message with its bytes copied: views do not outlive the next receive."""
    return type(message).__name__, attrs.asdict(message, value_serializer=lambda _, __, value: copied(value))


def copied(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def take_all(core: ChannelCore) -> list[Any]:
    """What is there, errors by their class; a malformed message is the last."""
    found: list[Any] = []
    while True:
        try:
            message = core.next_message()
        except (UnknownMessage, UnexpectedMessage) as error:
            found.append(type(error))
        except MalformedMessage as error:
            return [*found, type(error)]
        else:
            if message is None:
                return found
            found.append(plain(message))


# --- the data stage, one core


def mini_frame(kind: int, body: bytes) -> bytes:
    return struct.pack("<HI", kind, len(body)) + body


def full_frame(kind: int, body: bytes, sub_list: int, serial: int) -> bytes:
    return struct.pack("<QHII", serial, kind, len(body), sub_list) + body


def listing(subs: list[bytes], before: bytes = b"") -> bytes:
    at, offsets = len(before) + 2 + 4 * len(subs), []
    for sub in subs:
        offsets.append(at)
        at += len(sub)
    return before + struct.pack(f"<H{len(subs)}I", len(subs), *offsets) + b"".join(subs)


@st.composite
def hostile_frames(draw: st.DrawFn, *, mini: bool) -> bytes:
    """A frame of any type, or a list of such, mostly with lengths that fit."""
    kind = draw(st.integers(0, 12) | st.integers(100, 120) | st.integers(0, 65535))
    body = draw(st.binary(max_size=40))
    sub_list = 0
    if draw(st.integers(0, 3)) == 0:
        subs = draw(st.lists(hostile_frames(mini=True), max_size=3))
        kind, sub_list = draw(st.sampled_from([(8, 0), (kind, len(body))]))
        body = listing(subs, body if sub_list else b"")
    if mini:
        return mini_frame(kind, body)
    return full_frame(kind, body, sub_list, draw(st.integers(0, 5) | st.integers(0, 2**64 - 1)))


@st.composite
def streams(draw: st.DrawFn) -> tuple[Role, int, bool, bytes]:
    """Our role, a channel, the header and what the peer says: correct, nearly so, or anything."""
    role, channel_type, mini = draw(ROLES), draw(CHANNELS), draw(st.booleans())
    pieces = st.one_of(
        frames(channel_type, role.peer, mini=mini),
        hostile_frames(mini=mini),
        st.binary(max_size=30),
    )
    return role, channel_type, mini, b"".join(draw(st.lists(pieces, max_size=5)))


def outcome(role: Role, channel_type: int, *, mini: bool, pieces: Iterable[bytes]) -> tuple[Any, ...]:
    core = ChannelCore(role, channel_type, mini_header=mini, max_body=LIMIT)
    found: list[Any] = []
    for piece in pieces:
        core.receive_data(piece)
        found += take_all(core)
        if found[-1:] and isinstance(found[-1], type) and issubclass(found[-1], MalformedMessage):
            break
        # Nothing grows with what a peer announces, or with how it cuts it.
        assert len(core._buffer.data) == BLOCK
    sent = b"".join(core.data_to_send())
    return found, sent, core.last_serial, core.traffic.messages_received, dict(core.traffic.skipped)


@given(streams(), CUTS)
def test_any_chunking_gives_the_same_messages_and_answers(stream, cuts):
    role, channel_type, mini, data = stream
    whole = outcome(role, channel_type, mini=mini, pieces=[data])
    assert outcome(role, channel_type, mini=mini, pieces=chunks(data, cuts)) == whole
    assert outcome(role, channel_type, mini=mini, pieces=single_bytes(data)) == whole


@given(streams())
def test_any_bytes_give_messages_or_one_of_three_errors_and_bounded_answers(stream):
    role, channel_type, mini, data = stream
    found, sent, _, _, _ = outcome(role, channel_type, mini=mini, pieces=[data])
    errors = {one for one in found if isinstance(one, type)}
    assert all(issubclass(error, RemoteProtocolError) for error in errors)
    assert len(sent) <= 2 * len(data)


# --- the data stage, what may be sent when


def every_message() -> list[type[Message]]:
    kinds = {kind for channel_type in [*ChannelType, "vdagent"] for role in Role for kind in table(channel_type, role).values()}
    return sorted(kinds, key=lambda kind: f"{kind.__module__} {kind.__name__}")


class NaiveOrder:
    """The oracle: what has been said since the channel was last closed."""

    def __init__(self, channel_type: int, sender: Role) -> None:
        self.opening = OPENINGS.get((channel_type, sender))
        self.said: list[type[Message]] = []

    def allows(self, kind: type[Message]) -> bool:
        if self.opening is None or not kind.channel_types:
            return True
        is_open = self.opening.first in self.said
        if kind is self.opening.first:
            return not is_open
        return is_open or kind in self.opening.before

    def say(self, kind: type[Message]) -> None:
        self.said.append(kind)
        if self.opening is not None and kind in self.opening.again_after:
            self.said.clear()


@settings(max_examples=60)
@given(st.data(), ROLES, CHANNELS)
def test_any_message_in_any_state_is_in_the_table_or_refused(data, role, channel_type):
    ours, peer = (ChannelCore(who, channel_type, mini_header=True) for who in (role, role.peer))
    order = NaiveOrder(channel_type, role)
    mine = list(table(channel_type, role).values())
    for kind in data.draw(st.lists(st.sampled_from(mine) | st.sampled_from(every_message()), max_size=12)):
        message = data.draw(record(kind))
        try:
            ours.send(message)
        except LocalProtocolError:
            assert kind not in mine or not order.allows(kind)
            assert ours.data_to_send() == []
            continue
        assert kind in mine
        assert order.allows(kind)
        order.say(kind)
        if kind is not base.List:  # what is drawn for it is no list
            peer.receive_data(b"".join(ours.data_to_send()))
            answered = isinstance(message, base.Ping | base.SetAck | base.Ack | base.AckSync)
            assert take_all(peer) == ([] if answered else [plain(message)])
        ours.data_to_send()


# --- the link stage


@st.composite
def caps_of(draw: st.DrawFn) -> frozenset[int]:
    return frozenset(draw(st.sets(st.sampled_from(CommonCap) | st.integers(0, 70), max_size=6)))


REPLIES = st.builds(
    faces.LinkReply, st.just(0) | st.integers(0, 12) | U32, st.binary(min_size=162, max_size=162), caps_of(), caps_of()
)
MESSES = st.builds(faces.LinkMess, U32, st.integers(0, 255), st.integers(0, 255), caps_of(), caps_of())
WORDS = st.integers(0, 12).map(lambda code: struct.pack("<I", code))


@st.composite
def flights(draw: st.DrawFn, message: st.SearchStrategy[Any], *rest: st.SearchStrategy[bytes]) -> bytes:
    """What a peer says in its link stage: correct, or with some bytes changed, or anything."""
    opening = draw(message.map(faces.pack_link) | st.sampled_from([b"HTTP/1.1 400 Bad Request\r\n\r\n", b"REDQ", b""]))
    data = bytearray(opening + b"".join(draw(st.lists(st.one_of(*rest), max_size=3))))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=2)):
        if data:
            data[at % len(data)] = value
    return bytes(data)


def client_outcome(pieces: Iterable[bytes]) -> list[Any]:
    return link_outcome(ClientLink(ChannelType.MAIN), pieces, lambda link, _: link.send_ticket(bytes(128)))


def server_outcome(pieces: Iterable[bytes]) -> list[Any]:
    def answer(link: ServerLink, event: LinkRequested | TicketReceived) -> Linked | None:
        return link.accept(bytes(162)) if isinstance(event, LinkRequested) else link.finish()

    return link_outcome(ServerLink(), pieces, answer)


def link_outcome(link: Any, pieces: Iterable[bytes], answer: Any) -> list[Any]:
    """Events, or the error; then what was sent, and what came after the end."""
    found: list[Any] = []
    linked = False
    for piece in pieces:
        link.receive_data(piece)
        while not linked:
            try:
                event = link.next_event()
            except (LinkError, MalformedMessage) as error:
                return [*found, type(error), str(error), link.data_to_send()]
            if event is None:
                break
            found.append(event)
            linked = isinstance(event, Linked) or answer(link, event) is not None
    return [*found, link.data_to_send(), link.trailing_data if linked else None]


CLIENT_FLIGHTS = flights(REPLIES, WORDS, REPLIES.map(faces.pack_link), st.binary(max_size=200))
SERVER_FLIGHTS = flights(MESSES, WORDS, st.binary(min_size=128, max_size=128), st.binary(max_size=200))


@pytest.mark.parametrize(("outcome_of", "strategy"), [(client_outcome, CLIENT_FLIGHTS), (server_outcome, SERVER_FLIGHTS)])
@given(st.data(), CUTS)
def test_any_bytes_link_or_fail_alike_in_any_chunking(outcome_of, strategy, data, cuts):
    flight = data.draw(strategy)
    whole = outcome_of([flight])
    assert outcome_of(chunks(flight, cuts)) == whole
    assert outcome_of(single_bytes(flight)) == whole


# --- the link's structures, said twice: in C, and in the catalogue


@given(MESSES | REPLIES)
def test_the_catalogues_link_records_and_the_c_faces_agree(face):
    is_mess = isinstance(face, faces.LinkMess)
    parse: Any = faces.parse_link_mess if is_mess else faces.parse_link_reply
    packed = face.pack()
    said = (records.LinkMess if is_mess else records.LinkReply).decode(packed)
    assert said.encode() == packed
    assert parse(said.encode()) == (face if not getattr(face, "error", 0) else faces.LinkReply(face.error, face.pub_key))
    assert faces.words_to_caps(said.caps[: said.num_common_caps]) == face.common_caps
    assert faces.words_to_caps(said.caps[said.num_common_caps :]) == face.channel_caps
    for name in ("connection_id", "channel_type", "channel_id", "error", "pub_key"):
        assert getattr(said, name, None) == getattr(face, name, None)


@given(U32, U32)
def test_the_catalogues_link_header_and_the_c_face_agree(size, minor):
    header = faces.LinkHeader(size=size, minor=minor)
    assert records.LinkHeader(minor_version=minor, size=size).encode() == header.pack()
    assert records.LinkHeader.decode(header.pack()) == records.LinkHeader(minor_version=minor, size=size)


@given(st.binary(min_size=178, max_size=260))
def test_a_reply_that_the_c_face_takes_means_the_same_to_the_catalogue(data):
    data = bytes(4) + data[4:166] + struct.pack("<III", data[0] % 8, data[1] % 8, 178 + data[2] % 8) + data[178:]
    try:
        face = faces.parse_link_reply(data)
    except MalformedMessage:
        with pytest.raises(MalformedMessage):
            records.LinkReply.decode(data)
        return
    said = records.LinkReply.decode(data)
    assert (said.error, said.pub_key) == (face.error, face.pub_key)
    assert faces.words_to_caps(said.caps[: said.num_common_caps]) == face.common_caps
    assert faces.words_to_caps(said.caps[said.num_common_caps :]) == face.channel_caps


# --- both cores back to back

KEY = TicketKey.generate()
PASSWORDS = st.binary(max_size=60).filter(lambda password: 0 not in password)


class Pipe:
    """One direction: bytes on their way."""

    def __init__(self) -> None:
        self.data = b""

    def take(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        return taken


def link_up(client: ClientLink, server: ServerLink, common_caps: frozenset[int], password: bytes, step: int) -> list[Linked]:
    """Run both link stages, `step` bytes at a time, to the end."""
    to_server, to_client, linked = Pipe(), Pipe(), []
    while len(linked) < 2:
        to_server.data += client.data_to_send()
        to_client.data += server.data_to_send()
        assert to_server.data or to_client.data, "both wait"
        server.receive_data(to_server.take(step))
        client.receive_data(to_client.take(step))
        event: Any
        if len(linked) == 0 and (event := server.next_event()) is not None:
            if isinstance(event, LinkRequested):
                server.accept(KEY.public_key, common_caps=common_caps)
            else:
                assert KEY.decrypt(event.ticket) == password
                linked.append(server.finish())
        if client._error is None and (event := client.next_event()) is not None:
            if isinstance(event, TicketNeeded):
                client.send_ticket(encrypt_ticket(event.public_key, password))
            else:
                linked.append(event)
    return linked


class BackToBack(RuleBasedStateMachine):
    """A client and a server of the playback channel, and everything on its way between them.

    The oracle is three lists: what the server said, what the client said, and the ids of the pings; and for the window only how
    many messages were sent since it was announced.
    """

    @initialize(client_caps=caps_of(), server_caps=caps_of(), password=PASSWORDS, step=st.integers(1, 400))
    def link(self, client_caps: frozenset[int], server_caps: frozenset[int], password: bytes, step: int) -> None:
        # A server that lets choose but takes no ticket is a matter of other tests.
        server_caps |= {CommonCap.AUTH_SPICE}
        client, server = ClientLink(ChannelType.PLAYBACK, common_caps=client_caps), ServerLink()
        server_side, client_side = link_up(client, server, server_caps, password, step)
        mini = CommonCap.MINI_HEADER in client_caps & server_caps
        assert client_side == Linked(mini, server_caps, frozenset())
        assert server_side == Linked(mini, client_caps, frozenset())
        self.mini = mini
        self.client = ChannelCore(Role.CLIENT, ChannelType.PLAYBACK, mini_header=mini, received=client.trailing_data)
        self.server = ChannelCore(Role.SERVER, ChannelType.PLAYBACK, mini_header=mini, received=server.trailing_data)
        self.to_client, self.to_server = Pipe(), Pipe()
        self.said: dict[Role, list[Any]] = {Role.SERVER: [], Role.CLIENT: []}
        self.heard: dict[Role, list[Any]] = {Role.SERVER: [], Role.CLIENT: []}
        self.frames = {Role.SERVER: 0, Role.CLIENT: 0}
        self.pings: list[int] = []
        self.since_announced = 0

    def _server_sent(self) -> None:
        self.frames[Role.SERVER] += 1
        self.since_announced += 1

    @rule(message=messages(ChannelType.PLAYBACK, Role.SERVER))
    def server_says(self, message: Message) -> None:
        if isinstance(message, base.SetAck | base.Ping | base.List):
            return  # those have rules of their own
        self.server.send(message)
        self.said[Role.SERVER].append(plain(message))
        self._server_sent()

    @rule(
        inner=st.lists(messages(ChannelType.PLAYBACK, Role.SERVER), max_size=3), outer=messages(ChannelType.PLAYBACK, Role.SERVER)
    )
    def server_says_at_once(self, inner: list[Message], outer: Message) -> None:
        inner = [one for one in inner if not isinstance(one, base.SetAck | base.Ping | base.List)]
        self.server.send_body(8, listing([mini_frame(one.number(Role.SERVER), one.encode()) for one in inner]))
        self.said[Role.SERVER] += map(plain, inner)
        self._server_sent()

    @rule(id_=U32, padding=st.sampled_from([0, 1, 256_000]))
    def server_pings(self, id_: int, padding: int) -> None:
        self.server.send(base.Ping(id=id_, timestamp=0, data=bytes(padding)))
        self.pings.append(id_)
        self._server_sent()

    @rule(window=st.integers(0, 4))
    def server_announces(self, window: int) -> None:
        self.server.announce_window(window)
        self.frames[Role.SERVER] += 1
        self.since_announced = 0

    @rule(message=messages(ChannelType.PLAYBACK, Role.CLIENT))
    def client_says(self, message: Message) -> None:
        if isinstance(message, base.Ack | base.AckSync | base.Pong):
            return  # the core's own business
        self.client.send(message)
        self.said[Role.CLIENT].append(plain(message))

    @rule(count=st.integers(1, 30) | st.integers(1, 300_000))
    def client_receives(self, count: int) -> None:
        self.to_client.data += b"".join(self.server.data_to_send())
        self._deliver(self.client, self.to_client.take(count))

    @rule(count=st.integers(1, 30) | st.integers(1, 300_000))
    def server_receives(self, count: int) -> None:
        self.to_server.data += b"".join(self.client.data_to_send())
        self._deliver(self.server, self.to_server.take(count))

    def _deliver(self, core: ChannelCore, data: bytes) -> None:
        core.receive_data(data)
        self.heard[core.role.peer] += take_all(core)

    @invariant()
    @precondition(lambda self: hasattr(self, "client"))
    def what_was_heard_was_said(self) -> None:
        heard = self.heard[Role.SERVER]
        assert heard == self.said[Role.SERVER][: len(heard)]
        heard = [one for one in self.heard[Role.CLIENT] if one[0] != "Pong"]
        assert heard == self.said[Role.CLIENT][: len(heard)]
        assert self.client.last_serial <= self.frames[Role.SERVER]

    @rule()
    def everything_arrives(self) -> None:
        for _ in range(2):  # answers, too
            self.client_receives(10**9)
            self.server_receives(10**9)
        assert self.heard[Role.SERVER] == self.said[Role.SERVER]
        pongs = [fields["id"] for name, fields in self.heard[Role.CLIENT] if name == "Pong"]
        assert pongs == self.pings
        assert self.client.last_serial == self.frames[Role.SERVER]
        assert self.server.last_serial == self.client.traffic.messages_sent
        window = self.server.send_window
        assert window.window == self.client.ack.window
        if window.window:
            assert window.unacknowledged == self.since_announced % window.window
        assert window.is_open
        assert self.client.traffic.bytes_received == self.server.traffic.bytes_sent
        assert self.server.traffic.bytes_received == self.client.traffic.bytes_sent


BackToBack.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
test_client_and_server_back_to_back = BackToBack.TestCase

# --- the guest agent

AGENT_MESSAGES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5000)), max_size=5)


@given(AGENT_MESSAGES, st.lists(st.integers(0, 3), max_size=12), st.integers(0, 3), CUTS)
def test_agent_messages_arrive_whole_and_never_without_a_token(said, grants, tokens, cuts):
    agent = AgentTransport()
    agent.connected(tokens)
    expected = [(kind, bytes([kind]) * size) for kind, size in said]
    pieces: list[Message] = []
    for kind, payload in expected:
        pieces += agent.send(kind, payload)
        assert len(pieces) <= tokens
    for granted in grants:
        tokens += granted
        pieces += agent.add_tokens(granted)
        assert len(pieces) + agent.tokens == tokens
        assert not (agent.tokens and agent.queued)
    pieces += agent.add_tokens(10**6)
    assert agent.queued == 0
    assert all(isinstance(piece, main.AgentData) and len(piece.data) <= 2048 for piece in pieces)
    stream = b"".join(piece.data for piece in pieces)
    peer = AgentTransport()
    heard = [one for chunk in chunks(stream, cuts) for one in peer.receive(chunk)]
    assert [(header.type, payload) for header, payload in heard] == expected


@given(
    st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(lambda data: struct.pack("<IIQI", 1, 1, 0, len(data)) + data)),
    CUTS,
)
def test_any_bytes_are_agent_messages_or_malformed_in_any_chunking(pieces, cuts):
    data = b"".join(pieces)
    whole = agent_outcome([data])
    assert agent_outcome(chunks(data, cuts)) == whole
    assert agent_outcome(single_bytes(data)) == whole


def agent_outcome(pieces: list[bytes]) -> list[Any]:
    """Messages up to the first wrong byte, and what was wrong."""
    agent, found = AgentTransport(max_message=100), []
    for piece in [*pieces, b""]:
        try:
            found += agent.receive(piece)
        except MalformedMessage as error:
            return [*found, str(error)]
        assert len(agent._partial) < 120
    return found


# --- the fuzz targets


@pytest.mark.parametrize(("name", "at_least"), [("fuzz_channel", 1000), ("fuzz_link", 60)])
def test_the_fuzz_targets_find_nothing_in_their_seeds(name, at_least):
    main = runpy.run_path(str(Path(__file__).parents[1] / "fuzz" / f"{name}.py"))["main"]
    assert main([]) >= at_least
