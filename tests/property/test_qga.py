"""The core of an agent's client on anything: any chunking, any bytes, and any use against a model of an agent."""

from __future__ import annotations

import json
from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atp_trio.errors import MalformedMessage, QgaError
from atp_trio.protocols.qga.core import Answer, QgaCore, QgaPhase, Synced
from atp_trio.protocols.qga.message import decode_data, encode_data

LIMIT = 500
NUMBER = 7
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ANSWERS = st.fixed_dictionaries({"return": VALUES}) | st.fixed_dictionaries(
    {"error": st.fixed_dictionaries({"class": st.text(), "desc": st.text()})}
)
SYNCS = st.integers(NUMBER, NUMBER + 3).map(lambda number: b'\xff{"return": %d}' % number)
# As an agent may say it, or nearly.
LINES = st.one_of(ANSWERS.map(json.dumps).map(str.encode), VALUES.map(json.dumps).map(str.encode), SYNCS, st.binary(max_size=40))
CONVERSATIONS = st.lists(LINES, max_size=12).map(b"\n".join)
CUTS = st.lists(st.integers(0, 10**6), max_size=12)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def told(pieces: list[bytes]) -> list[object]:
    """What a core tells of these pieces that synchronizes, and executes whenever it can; comparable with another's.

    Until it must synchronize again: then what has come is old, and how much that is depends on how it was cut.
    """
    core = QgaCore(NUMBER, max_reply=LIMIT)
    core.sync()
    found: list[object] = []
    for piece in pieces:
        core.receive_data(piece)
        while (event := core.next_event()) is not None:
            error = event.error if isinstance(event, Answer) else None
            found.append((type(error), str(error)) if error is not None else event)
            if core.phase is not QgaPhase.READY:
                return found
            core.execute("c", {})
        assert len(core._buffer) <= LIMIT + len(piece)
    return found


@given(CONVERSATIONS, CUTS)
def test_how_bytes_are_cut_means_nothing(data, cuts):
    pieces = chunks(data, cuts)
    assert repr(told(pieces)) == repr(told([data[place : place + 1] for place in range(len(data))]))


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes(pieces):
    for one in told(pieces):
        assert one == Synced() or isinstance(one, Answer) or issubclass(one[0], QgaError | MalformedMessage)


@given(CONVERSATIONS.filter(lambda data: b"%d" % (NUMBER + 1) not in data), CUTS, VALUES)
def test_whatever_comes_first_is_dropped(data, cuts, value):
    core = QgaCore(NUMBER)
    core.sync()
    for piece in chunks(data, cuts):
        core.receive_data(piece)
        assert core.next_event() is None
    core.receive_data(b'\xff{"return": %d}\n' % (NUMBER + 1))
    assert core.next_event() == Synced()
    core.execute("c", {})
    core.receive_data(json.dumps({"return": value}).encode() + b"\n")
    assert repr(core.next_event()) == repr(Answer(value))


@given(st.binary())
def test_data_there_and_back(data):
    assert decode_data(encode_data(data)) == data


@given(st.text() | VALUES)
def test_data_that_may_be_none(text):
    try:
        data = decode_data(text)
    except MalformedMessage:
        return
    assert encode_data(data).rstrip("=") == text.rstrip("=") or len(data) % 3


class Conversations(RuleBasedStateMachine):
    """A client that gives up answers, on a port whose agent is slow, stops, and is started anew.

    Every command has a number, and is answered with it: an answer with another one was taken for another command's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.core = QgaCore(NUMBER, max_reply=LIMIT)
        self.sent = bytearray()  # on its way to the agent
        self.reading = bytearray()  # what the agent has of a command
        self.todo: deque[bytes] = deque()
        self.answers = bytearray()  # on their way back
        self.count = 0
        self.waiting: int | None = None

    @precondition(lambda self: self.core.phase is QgaPhase.UNSYNCED)
    @rule()
    def synchronize(self):
        self.sent += self.core.sync()

    @precondition(lambda self: self.core.phase is QgaPhase.READY)
    @rule()
    def execute(self):
        self.count += 1
        self.waiting = self.count
        self.sent += self.core.execute("echo", {"number": self.count})

    @precondition(lambda self: self.core.phase in {QgaPhase.BUSY, QgaPhase.SYNCING})
    @rule()
    def give_up(self):
        self.core.forget()
        self.waiting = None

    @rule(size=st.integers(1, 200))
    def agent_reads(self, size):
        for byte in self.sent[:size]:
            if byte == 0xFF:
                if self.reading:
                    self.answers += b'{"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}\n'
                self.reading.clear()
            elif byte == 0x0A:
                self.todo.append(bytes(self.reading))
                self.reading.clear()
            else:
                self.reading.append(byte)
        del self.sent[:size]

    @precondition(lambda self: self.todo)
    @rule()
    def agent_answers(self):
        try:
            command = json.loads(self.todo.popleft())
        except ValueError:
            self.answers += b'{"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}\n'
            return
        arguments = command["arguments"]
        if command["execute"] == "guest-sync-delimited":
            self.answers += b'\xff{"return": %d}\n' % arguments["id"]
        else:
            self.answers += b'{"return": %d}\n' % arguments["number"]

    @rule(lost=st.booleans())
    def agent_is_started_anew(self, lost):
        self.reading.clear()
        self.todo.clear()
        # It may have been in the middle of an answer, and of reading a command.
        if lost:
            del self.answers[len(self.answers) // 2 :]
            del self.sent[: len(self.sent) // 2]
            self.reading += b"rest"

    @precondition(lambda self: self.answers)
    @rule(size=st.integers(1, 200))
    def client_reads(self, size):
        self.core.receive_data(self.answers[:size])
        del self.answers[:size]
        while (event := self.core.next_event()) is not None:
            if isinstance(event, Answer):
                assert event.error is not None or event.value == self.waiting
                self.waiting = None

    @invariant()
    def it_keeps_little(self):
        assert len(self.core._buffer) <= LIMIT + 200


TestConversations = Conversations.TestCase
