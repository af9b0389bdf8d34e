"""The guest agent's transport: tokens, pieces of 2048 bytes, and messages put together again however they were cut."""

import struct

import pytest

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.messages import main, vdagent
from atp_trio.spice.protocol.vdagent import HEADER_SIZE, AgentTransport


def connected(tokens: int = 10) -> AgentTransport:
    agent = AgentTransport()
    agent.connected(tokens)
    return agent


def agent_message(payload: bytes, kind: int = 4, protocol: int = 1, size: int | None = None) -> bytes:
    return struct.pack("<IIQI", protocol, kind, 0, len(payload) if size is None else size) + payload


def test_a_connected_agent_is_started_without_a_limit():
    agent = AgentTransport()
    assert not agent.is_connected
    assert agent.connected(5) == [main.AgentStart(num_tokens=2**32 - 1)]
    assert agent.is_connected
    assert agent.tokens == 5


def test_an_agent_that_comes_without_tokens_keeps_the_count():
    agent = connected(7)
    agent.reset()
    agent.connected(None)
    assert agent.tokens == 7
    agent.connected(3)
    assert agent.tokens == 3


@pytest.mark.parametrize("size", [0, 1, 2048 - HEADER_SIZE, 2049 - HEADER_SIZE, 2048, 10_000])
def test_messages_are_cut_into_pieces_of_2048_bytes_each_message_for_itself(size):
    agent = connected(100)
    payload = bytes(at % 251 for at in range(size))
    first, second = agent.send(4, payload), agent.send(5, b"next")
    pieces = [message.data for message in first]
    assert b"".join(pieces) == agent_message(payload)
    assert all(len(piece) == 2048 for piece in pieces[:-1])
    assert 1 <= len(pieces[-1]) <= 2048
    assert len(pieces[0]) >= HEADER_SIZE
    assert [message.data for message in second] == [agent_message(b"next", kind=5)]


def test_every_piece_costs_a_token_and_the_rest_waits():
    agent = connected(2)
    sent = agent.send(4, bytes(5000))
    assert [len(message.data) for message in sent] == [2048, 2048]
    assert (agent.tokens, agent.queued) == (0, 1)
    assert agent.send(5, b"") == []
    assert agent.queued == 2
    assert agent.add_tokens(0) == []
    assert [len(message.data) for message in agent.add_tokens(1)] == [5020 - 4096]
    assert [message.data for message in agent.add_tokens(5)] == [agent_message(b"", kind=5)]
    assert (agent.tokens, agent.queued) == (4, 0)


def test_nothing_is_sent_to_an_agent_that_is_not_there():
    agent = AgentTransport(tokens=5)
    with pytest.raises(LocalProtocolError, match="no guest agent"):
        agent.send(4, b"x")
    assert agent.queued == 0
    assert agent.add_tokens(5) == []


def test_an_agent_that_goes_takes_what_is_queued_and_what_is_half_there_with_it():
    agent = connected(0)
    agent.send(4, b"x")
    agent.receive(agent_message(b"whole")[:-1])
    agent.reset()
    assert (agent.is_connected, agent.queued) == (False, 0)
    agent.connected(10)
    assert agent.add_tokens(1) == []
    assert [payload for _, payload in agent.receive(agent_message(b"new"))] == [b"new"]


@pytest.mark.parametrize("kind", [-1, 2**32])
def test_a_message_that_cannot_be_said_is_not_queued(kind):
    agent = connected()
    with pytest.raises(LocalProtocolError):
        agent.send(kind, b"x")
    assert agent.queued == 0


def test_messages_split_at_every_byte_come_out_whole():
    stream = agent_message(b"", kind=6) + agent_message(b"some text", kind=4) + agent_message(b"z", kind=99)
    whole = connected().receive(stream)
    assert [(header.type, payload) for header, payload in whole] == [(6, b""), (4, b"some text"), (99, b"z")]
    for cut in range(len(stream) + 1):
        agent = connected()
        assert agent.receive(stream[:cut]) + agent.receive(stream[cut:]) == whole
    agent = connected()
    assert [one for at in range(len(stream)) for one in agent.receive(stream[at : at + 1])] == whole


def test_payloads_are_copies():
    data = bytearray(agent_message(b"text"))
    ((_, payload),) = connected().receive(memoryview(data))
    data[:] = bytes(len(data))
    assert payload == b"text"


@pytest.mark.parametrize("protocol", [0, 2, 2**32 - 1])
def test_another_protocol_is_malformed_and_stays_so(protocol):
    agent = connected()
    with pytest.raises(MalformedMessage, match=f"protocol {protocol}"):
        agent.receive(agent_message(b"x", protocol=protocol))
    for _ in range(3):
        with pytest.raises(MalformedMessage, match=f"protocol {protocol}"):
            agent.receive(agent_message(b"x" * 2000))
    assert len(agent._partial) < 3000


def test_messages_before_a_wrong_one_are_given_first():
    agent = connected()
    ((_, payload),) = agent.receive(agent_message(b"good") + agent_message(b"bad", protocol=2) + bytes(100))
    assert payload == b"good"
    with pytest.raises(MalformedMessage, match="protocol 2"):
        agent.receive(b"")


@pytest.mark.parametrize("size", [101, 2**31, 2**32 - 1])
def test_a_message_over_the_limit_is_refused_by_its_header(size):
    agent = connected()
    agent.max_message = 100
    with pytest.raises(MalformedMessage, match=f"{size} bytes, over the limit of 100"):
        agent.receive(agent_message(b"", size=size))
    agent.reset()
    assert len(agent.receive(agent_message(bytes(100)))) == 1


def test_the_header_is_the_catalogues():
    assert vdagent.Header.decode(agent_message(b"abc")) == vdagent.Header(1, vdagent.AgentMessageType(4), 0, 3)


def test_what_is_queued_or_half_there_is_not_shown():
    agent = connected(0)
    agent.send(4, b"secret")
    agent.receive(agent_message(b"secret")[:-1])
    assert "secret" not in repr(agent)
