from __future__ import annotations

import json
import socket

import pytest

from atp_trio.errors import HypervisorError, QmpError
from atp_trio.testing.monitor import Monitor

GREETING = {"QMP": {"version": {}, "capabilities": []}}


@pytest.fixture
def qmp():
    """A monitor, and the other end of its connection. Answers are written before the question: nobody waits."""
    ours, theirs = socket.socketpair()
    with theirs:
        monitor = Monitor(ours)
        yield monitor, theirs
        monitor.close()


def say(peer, *messages):
    peer.sendall(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))


def heard(peer):
    return [json.loads(line) for line in peer.recv(65536).splitlines()]


def test_greeting_then_commands(qmp):
    monitor, peer = qmp
    say(peer, GREETING, {"return": {}}, {"return": {"status": "running"}}, {"return": 3})
    monitor.greet()
    assert monitor.execute("query-status", {}) == {"status": "running"}
    assert monitor.execute("count", {"of": ["a", 1]}) == 3
    assert heard(peer) == [
        {"execute": "qmp_capabilities"},
        {"execute": "query-status"},
        {"execute": "count", "arguments": {"of": ["a", 1]}},
    ]


def test_events_between_answers_are_kept(qmp):
    monitor, peer = qmp
    say(peer, {"event": "STOP", "data": {}}, {"return": 1}, {"event": "RESUME"}, {"event": "RESET"}, {"return": 2})
    assert [monitor.execute("x", {}) for _ in range(2)] == [1, 2]
    assert [event["event"] for event in monitor.events] == ["STOP", "RESUME", "RESET"]


def test_events_are_bounded(qmp):
    monitor, peer = qmp
    for number in range(12):
        say(peer, *[{"event": number}] * 100, {"return": {}})
        monitor.execute("x", {})
    assert len(monitor.events) == 1000
    assert monitor.events[0]["event"] == 2


def test_long_answer_in_pieces(qmp):
    monitor, peer = qmp
    answer = "x" * 100_000
    say(peer, {"return": answer})
    assert monitor.execute("x", {}) == answer


def test_refusal_tells_qemus_words_and_not_our_arguments(qmp):
    monitor, peer = qmp
    say(peer, {"error": {"class": "GenericError", "desc": "Could not set password"}})
    with pytest.raises(QmpError) as caught:
        monitor.execute("set_password", {"password": "secret"})
    assert str(caught.value) == "set_password: Could not set password"
    say(peer, {"return": {}})
    assert monitor.execute("next", {}) == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not JSON"),
        (b"[]\r\n", "not a JSON object"),
        (b'{"hello": 1}\r\n', "greeting is not QMP's"),
    ],
)
def test_peer_that_is_no_monitor(qmp, line, words):
    monitor, peer = qmp
    peer.sendall(line)
    with pytest.raises(HypervisorError, match=words):
        monitor.greet()


def test_answer_that_is_none(qmp):
    monitor, peer = qmp
    say(peer, {"error": "oops"})
    with pytest.raises(HypervisorError, match=r"answer to query-status is not QMP's: \['error'\]"):
        monitor.execute("query-status", {})


def test_end_of_the_connection(qmp):
    monitor, peer = qmp
    peer.sendall(b'{"return":')
    peer.shutdown(socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(EOFError, match="the connection has ended"):
            monitor.execute("query-status", {})


def test_silence(qmp):
    monitor, _ = qmp
    with pytest.raises(TimeoutError):
        monitor.execute("query-status", {}, silence=0.001)
