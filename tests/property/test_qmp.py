"""QMP's client core on anything: any chunking, any bytes, and any use against a model of QEMU."""

from __future__ import annotations

import json
from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atp_trio.errors import ConfigError, LocalProtocolError, QmpError, RemoteProtocolError
from atp_trio.protocols.qmp import QmpEvent
from atp_trio.protocols.qmp.core import WINDOW, Execution, Failure, Negotiated, QmpCore, QmpPhase, Reply
from atp_trio.protocols.qmp.message import encode_command

LIMIT = 2000
GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ERRORS = st.fixed_dictionaries({"class": st.text(), "desc": st.text()})
STAMPS = st.fixed_dictionaries({"seconds": st.integers(-1, 2**40), "microseconds": st.integers(-1, 999_999)})
EVENTS = st.fixed_dictionaries(
    {"event": st.text()}, optional={"data": st.dictionaries(st.text(), VALUES, max_size=3), "timestamp": STAMPS}
)
ANSWERS = st.integers(-1, 12).flatmap(
    lambda number: (
        st.fixed_dictionaries({"return": VALUES, "id": st.just(number)})
        | st.fixed_dictionaries({"error": ERRORS, "id": st.just(number)})
    )
)
# As a monitor may say it, or nearly.
LINES = st.one_of(
    st.one_of(EVENTS, ANSWERS, st.just(GREETING), st.fixed_dictionaries({"error": ERRORS})).map(json.dumps).map(str.encode),
    VALUES.map(json.dumps).map(str.encode),
    st.binary(max_size=40),
)
CONVERSATIONS = st.lists(LINES, max_size=12).map(b"\r\n".join)
CUTS = st.lists(st.integers(0, 10**6), max_size=12)


def line(message) -> bytes:
    return json.dumps(message).encode() + b"\r\n"


def ready_core(commands: int = 0) -> QmpCore:
    core = QmpCore(max_reply=LIMIT)
    core.receive_data(line(GREETING))
    core.next_event()
    core.receive_data(line({"return": {}, "id": 0}))
    assert isinstance(core.next_event(), Negotiated)
    for number in range(commands):
        core.execute(f"c{number}", {})
    return core


def told(core: QmpCore, pieces) -> list:
    """What the core tells of these pieces, comparable with another core's; an error is the last."""
    found: list = []
    for piece in pieces:
        core.receive_data(piece)
        try:
            while (event := core.next_event()) is not None:
                found.append(plain(event))
        except RemoteProtocolError as error:
            return [*found, (type(error), str(error))]
    return found


def plain(event):
    match event:
        case Reply(execution, value):
            return execution.command, "value", value
        case Failure(execution, error):
            return execution.command, error.error_class, error.description
        case _:
            return event


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@given(CONVERSATIONS, CUTS, st.integers(0, 10), st.booleans())
def test_any_chunking_gives_the_same_events(data, cuts, commands, greeted):
    def core() -> QmpCore:
        return ready_core(commands) if greeted else QmpCore(max_reply=LIMIT)

    whole = told(core(), [data])
    assert told(core(), chunks(data, cuts)) == whole
    assert told(core(), [data[at : at + 1] for at in range(len(data))]) == whole


@given(CONVERSATIONS | st.binary(max_size=3 * LIMIT), st.integers(0, 10), st.booleans())
def test_any_bytes_give_events_or_one_error(data, commands, greeted):
    core = ready_core(commands) if greeted else QmpCore(max_reply=LIMIT)
    found = told(core, [data])  # anything but RemoteProtocolError fails
    is_broken = bool(found) and isinstance(found[-1], tuple) and isinstance(found[-1][0], type)
    assert (core.phase is QmpPhase.BROKEN) == is_broken
    assert len(core._rest) <= LIMIT + 1


@given(st.text(), st.dictionaries(st.text(), VALUES, max_size=4), st.booleans())
def test_a_command_is_one_line_that_says_what_was_asked(command, arguments, oob):
    try:
        encoded = encode_command(command, arguments, oob=oob)
    except ConfigError:
        # Surrogates and noncharacters.
        assert not json.dumps([command, arguments], ensure_ascii=False).isascii()
        return
    assert b"\n" not in encoded
    assert b"\r" not in encoded
    said = json.loads(encoded)
    assert said.pop("exec-oob" if oob else "execute") == command
    assert said == ({"arguments": arguments} if arguments else {})


class ClientAndQemu(RuleBasedStateMachine):
    """The client's core, used in any order, against a model of QEMU: a queue for commands in band, one for those out of band.

    Each command bears a number, which its answer brings back: an answer that reaches another command is seen at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.core = ready_core()
        self.core.data_to_send()
        self.numbers = 0
        self.expected: dict[Execution, int] = {}
        self.forgotten = 0
        self.in_band: deque[dict] = deque()
        self.out_of_band: list[dict] = []
        self.seen: list[int] = []
        self.happened: deque[str] = deque()

    def carry(self) -> None:
        """From the client to QEMU."""
        for piece in self.core.data_to_send():
            command = json.loads(piece)
            if "exec-oob" in command:
                self.out_of_band.append(command)
            else:
                self.in_band.append(command)
                self.seen.append(command["arguments"]["n"])

    def answer(self, command: dict, *, refuse: bool, cut: int) -> None:
        number = command["arguments"]["n"]
        told = {"error": {"class": "GenericError", "desc": str(number)}} if refuse else {"return": number}
        data = line(told | {"id": command["id"]})
        self.core.receive_data(data[: cut % len(data)])
        assert self.core.next_event() is None
        self.core.receive_data(data[cut % len(data) :])
        event = self.core.next_event()
        if event is None:
            self.forgotten -= 1
        elif refuse:
            assert isinstance(event, Failure)
            assert isinstance(event.error, QmpError)
            assert event.error.description == str(self.expected.pop(event.execution)) == str(number)
        else:
            assert isinstance(event, Reply)
            assert event.value == self.expected.pop(event.execution) == number
        assert self.core.next_event() is None
        self.carry()

    @rule(oob=st.booleans(), count=st.integers(1, 12))
    def execute(self, oob, count):
        for _ in range(count):
            self.numbers += 1
            execution = self.core.execute("x", {"n": self.numbers}, oob=oob)
            self.expected[execution] = self.numbers
        self.carry()

    @precondition(lambda self: self.expected)
    @rule(which=st.integers(0, 10**6))
    def forget(self, which):
        execution = list(self.expected)[which % len(self.expected)]
        number = self.expected.pop(execution)
        if self.core.forget(execution):
            assert number not in self.seen
        else:
            self.forgotten += 1
        self.carry()

    @precondition(lambda self: self.in_band)
    @rule(refuse=st.booleans(), cut=st.integers(0, 10**6))
    def answer_in_band(self, refuse, cut):
        self.answer(self.in_band.popleft(), refuse=refuse, cut=cut)

    @precondition(lambda self: self.out_of_band)
    @rule(which=st.integers(0, 10**6), refuse=st.booleans(), cut=st.integers(0, 10**6))
    def answer_out_of_band(self, which, refuse, cut):
        self.answer(self.out_of_band.pop(which % len(self.out_of_band)), refuse=refuse, cut=cut)

    @rule(name=st.text())
    def happen(self, name):
        self.core.receive_data(line({"event": name}))
        assert self.core.next_event() == QmpEvent(name)

    @rule()
    def ask_for_what_cannot_be(self):
        try:
            self.core.execute("x", {"n": object()})
        except (ConfigError, LocalProtocolError):
            return
        raise AssertionError("it was taken")

    @invariant()
    def in_order_and_within_the_window(self):
        assert len(self.in_band) <= WINDOW
        assert self.seen == sorted(self.seen)
        ids = [command["id"] for command in [*self.in_band, *self.out_of_band]]
        assert len(set(ids)) == len(ids) == self.core.in_flight
        # Nothing waits where there is room, and nothing is unaccounted for.
        assert not self.core.waiting or len(self.in_band) == WINDOW
        assert self.core.in_flight + self.core.waiting == len(self.expected) + self.forgotten


TestClientAndQemu = ClientAndQemu.TestCase
