"""The core of an agent's client: from bytes to what they mean."""

from __future__ import annotations

import json

import pytest

from atp_trio.errors import ConfigError, LocalProtocolError, MalformedMessage, QgaError
from atp_trio.protocols.qga.core import Answer, QgaCore, QgaPhase, Synced


def sync(core: QgaCore) -> int:
    """Begin; gives the number."""
    sent = core.sync()
    assert sent[:1] == b"\xff"
    assert sent[-1:] == b"\n"
    command = json.loads(sent[1:])
    assert command["execute"] == "guest-sync-delimited"
    return command["arguments"]["id"]


def tell(core: QgaCore, *pieces: bytes):
    for piece in pieces:
        core.receive_data(piece)
    return core.next_event()


@pytest.fixture
def core():
    core = QgaCore(5, max_reply=1000)
    number = sync(core)
    assert tell(core, b'\xff{"return": %d}\n' % number) == Synced()
    return core


def test_a_command_and_its_answer(core):
    assert core.execute("guest-x", {"a": "ä"}) == '{"execute":"guest-x","arguments":{"a":"ä"}}\n'.encode()
    assert core.phase is QgaPhase.BUSY
    assert tell(core, b'{"return": [', b"1, 2", b"]}\r\n") == Answer([1, 2])
    assert core.phase is QgaPhase.READY


def test_a_refusal(core):
    core.execute("guest-x", {})
    answer = tell(core, b'{"error": {"class": "CommandNotFound", "desc": "no"}}\n')
    assert isinstance(answer.error, QgaError)
    assert answer.error.error_class == "CommandNotFound"
    assert str(answer.error) == "guest-x: no"
    assert core.phase is QgaPhase.READY


def test_all_before_the_answer_to_our_own_synchronization_is_old():
    core = QgaCore(5)
    number = sync(core)
    assert tell(core, b'lt": 1}\n{"return": {}}\n', b'\xff{"return": 3}\n', b'{"error": {"class": "a", "desc": "b"}}\n') is None
    assert tell(core, b'\xff{"return": %d' % number) is None
    assert tell(core, b"}\n") == Synced()


def test_another_synchronization_has_another_number():
    core = QgaCore(5)
    first = sync(core)
    core.forget()
    second = sync(core)
    assert first != second
    assert tell(core, b'\xff{"return": %d}\n' % first) is None
    assert tell(core, b'\xff{"return": %d}\n' % second) == Synced()


@pytest.mark.parametrize(
    "line", [b"true", b'{"return": true}', b'{"return": 6.0}', b'{"return": "6"}', b"{", b"\xfe", b"[" * 200]
)
def test_what_is_no_answer_to_a_synchronization(line):
    core = QgaCore(5)
    assert sync(core) == 6
    assert tell(core, b"\xff" + line + b"\n") is None
    assert tell(core, b'\xff{"return": 6}\n') == Synced()


def test_rubbish_takes_no_room():
    core = QgaCore(5)
    number = sync(core)
    for _ in range(1000):
        assert tell(core, b"\xff" + b"x" * 1000) is None
    assert len(core._buffer) < 2000
    assert tell(core, b'\xff{"return": %d}\n' % number) == Synced()


def test_rubbish_takes_no_answer_with_it():
    core = QgaCore(5)
    number = sync(core)
    assert tell(core, b"\xff" + b"x" * 250 + b'\xff{"return"') is None
    assert tell(core, b": %d}\n" % number) == Synced()


def test_an_answer_that_nobody_waits_for(core):
    core.execute("guest-a", {})
    core.forget()
    assert core.phase is QgaPhase.UNSYNCED
    with pytest.raises(LocalProtocolError):
        core.execute("guest-b", {})
    number = sync(core)
    assert tell(core, b'{"return": "of a"}\n\xff{"return": %d}\n' % number) == Synced()
    core.execute("guest-b", {})
    assert tell(core, b'{"return": "of b"}\n') == Answer("of b")


def test_an_answer_that_nobody_asked_for(core):
    assert tell(core, b'{"return": "of whom?"}\n') is None
    assert core.phase is QgaPhase.UNSYNCED


@pytest.mark.parametrize("line", [b"x", b"[]", b"{}", b'{"error": {}}', b'{"return": "\xe4"}', b"x" * 2000, b"[" * 900])
def test_an_answer_that_is_none(core, line):
    core.execute("guest-a", {})
    answer = tell(core, line + b"\n")
    assert isinstance(answer.error, MalformedMessage)
    assert core.phase is QgaPhase.UNSYNCED
    assert tell(core, b"more\n") is None


def test_an_answer_without_an_end(core):
    core.execute("guest-a", {})
    assert tell(core, b"x" * 1000) is None
    assert isinstance(tell(core, b"x").error, MalformedMessage)
    assert not core._buffer


def test_not_now(core):
    with pytest.raises(ConfigError):
        core.execute("guest-a", {"a": {1}})
    assert core.phase is QgaPhase.READY
    core.execute("guest-a", {})
    with pytest.raises(LocalProtocolError):
        core.execute("guest-b", {})
