"""The client's core, alone."""

from __future__ import annotations

import json

import pytest

from atp_trio.errors import LocalProtocolError, MalformedMessage, RemoteProtocolError, UnexpectedMessage
from atp_trio.protocols.qmp import QmpEvent
from atp_trio.protocols.qmp.core import WINDOW, Failure, Negotiated, QmpCore, QmpPhase, Reply

GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": [%s]}}\r\n'
OOB = GREETING % b'"oob"'
PLAIN = GREETING % b""


def feed(core, *messages):
    core.receive_data(b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\r\n" for one in messages))
    events = []
    while (event := core.next_event()) is not None:
        events.append(event)
    return events


def sent(core):
    return [json.loads(piece) for piece in core.data_to_send()]


def ready(greeting=OOB, **options):
    core = QmpCore(**options)
    feed(core, greeting)
    (command,) = sent(core)
    feed(core, {"return": {}, "id": command["id"]})
    assert core.phase is QmpPhase.READY
    return core


@pytest.mark.parametrize(("greeting", "wanted"), [(OOB, {"arguments": {"enable": ["oob"]}}), (PLAIN, {})])
def test_negotiates_what_is_offered(greeting, wanted):
    core = QmpCore()
    assert core.phase is QmpPhase.GREETING
    assert core.data_to_send() == []
    assert feed(core, greeting) == []
    assert core.phase is QmpPhase.NEGOTIATING
    (command,) = sent(core)
    number = command.pop("id")
    assert command == {"execute": "qmp_capabilities"} | wanted
    assert core.data_to_send() == []
    with pytest.raises(LocalProtocolError, match="negotiating"):
        core.execute("query-status", {})
    assert feed(core, {"return": {}, "id": number}) == [Negotiated(core.greeting)]
    assert core.greeting.version == (7, 2, 0)
    assert core.can_oob is bool(wanted)


def test_answers_are_known_by_their_ids_in_any_order():
    core = ready()
    first, second = core.execute("a", {"x": 1}), core.execute("b", {})
    one, two = sent(core)
    assert (one["execute"], one["arguments"], two["execute"]) == ("a", {"x": 1}, "b")
    happened = {"event": "STOP"}
    answers = feed(core, {"return": 2, "id": two["id"]}, happened, {"return": 1, "id": one["id"]})
    assert answers == [Reply(second, 2), QmpEvent("STOP"), Reply(first, 1)]
    assert core.in_flight == 0


def test_an_error_names_its_command():
    core = ready()
    execution = core.execute("a", {})
    (command,) = sent(core)
    (failure,) = feed(core, {"error": {"class": "GenericError", "desc": "no"}, "id": command["id"]})
    assert isinstance(failure, Failure)
    assert failure.execution is execution
    assert str(failure.error) == "a: no"


def test_no_more_are_with_qemu_than_it_queues():
    core = ready()
    executions = [core.execute(str(number), {}) for number in range(WINDOW + 3)]
    commands = sent(core)
    assert [command["execute"] for command in commands] == [str(number) for number in range(WINDOW)]
    assert (core.in_flight, core.waiting) == (WINDOW, 3)
    assert len({command["id"] for command in commands}) == WINDOW
    assert feed(core, {"return": "x", "id": commands[4]["id"]}) == [Reply(executions[4], "x")]
    (next_one,) = sent(core)
    assert next_one["execute"] == str(WINDOW)
    assert (core.in_flight, core.waiting) == (WINDOW, 2)


def test_out_of_band_overtakes():
    core = ready()
    for number in range(WINDOW + 1):
        core.execute(str(number), {})
    sent(core)
    execution = core.execute("migrate-pause", {}, oob=True)
    (command,) = sent(core)
    assert command["exec-oob"] == "migrate-pause"
    assert feed(core, {"return": {}, "id": command["id"]}) == [Reply(execution, {})]
    assert sent(core) == [], "its place was none of the others'"


def test_out_of_band_is_for_monitors_that_offer_it():
    core = ready(PLAIN)
    with pytest.raises(LocalProtocolError, match="out of band"):
        core.execute("migrate-pause", {}, oob=True)
    assert core.data_to_send() == []


def test_a_late_answer_is_dropped_and_its_id_used_by_nobody_before():
    core = ready()
    forgotten = core.execute("slow", {})
    (slow,) = sent(core)
    assert not core.forget(forgotten)
    others = {}
    for _ in range(3 * WINDOW):
        execution = core.execute("fast", {})
        (command,) = sent(core)
        assert command["id"] != slow["id"]
        others[command["id"]] = feed(core, {"return": 1, "id": command["id"]}) == [Reply(execution, 1)]
    assert all(others.values())
    assert feed(core, {"return": "late", "id": slow["id"]}) == []
    assert core.in_flight == 0
    failing = core.execute("slow", {})
    (slow,) = sent(core)
    core.forget(failing)
    assert feed(core, {"error": {"class": "GenericError", "desc": "late"}, "id": slow["id"]}) == []


def test_what_was_not_sent_is_taken_back():
    core = ready()
    executions = [core.execute(str(number), {}) for number in range(WINDOW + 2)]
    commands = sent(core)
    assert core.forget(executions[WINDOW])
    assert core.waiting == 1
    feed(core, {"return": {}, "id": commands[0]["id"]}, {"return": {}, "id": commands[1]["id"]})
    assert [command["execute"] for command in sent(core)] == [str(WINDOW + 1)]


def test_more_ids_are_made_when_more_are_needed():
    core = ready()
    executions = [core.execute("x", {}, oob=True) for _ in range(30)]
    commands = sent(core)
    assert len({command["id"] for command in commands}) == 30
    assert feed(core, *({"return": 1, "id": one["id"]} for one in commands)) == [Reply(one, 1) for one in executions]


@pytest.mark.parametrize(
    ("line", "error", "what"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", MalformedMessage, "not JSON"),
        (b'{"return": {}}\n', UnexpectedMessage, "no greeting"),
        (b'{"event": "STOP"}\n', UnexpectedMessage, "no greeting"),
        (b'{"QMP": {}}\n', MalformedMessage, "greeting"),
    ],
)
def test_who_does_not_greet_is_no_monitor(line, error, what):
    core = QmpCore()
    with pytest.raises(error, match=what):
        feed(core, line)
    assert core.phase is QmpPhase.BROKEN
    assert core.data_to_send() == []


def test_a_monitor_that_refuses_its_own_offer():
    core = QmpCore()
    feed(core, OOB)
    (command,) = sent(core)
    with pytest.raises(RemoteProtocolError, match="its own offer: no"):
        feed(core, {"error": {"class": "GenericError", "desc": "no"}, "id": command["id"]})


@pytest.mark.parametrize("number", [99, -1, "0", True, False, 1.0, 0.0, None, [1], {}])
def test_an_answer_to_nothing_is_unexpected(number):
    core = ready()
    core.execute("a", {})
    (command,) = sent(core)
    assert command["id"] == 1
    with pytest.raises(UnexpectedMessage, match="not asked"):
        feed(core, {"return": {}, "id": number})


def test_an_answer_twice_is_unexpected():
    core = ready()
    core.execute("a", {})
    (command,) = sent(core)
    answer = {"return": {}, "id": command["id"]}
    with pytest.raises(UnexpectedMessage):
        feed(core, answer, answer)


@pytest.mark.parametrize(
    ("message", "error", "what"),
    [
        (
            {"error": {"class": "GenericError", "desc": "JSON parse error"}},
            RemoteProtocolError,
            "did not understand a command: JSON",
        ),
        ({"error": 7}, MalformedMessage, "error"),
        ({"hello": 1}, UnexpectedMessage, "neither"),
        (OOB, UnexpectedMessage, "neither"),
        (b"garbage\n", MalformedMessage, "not JSON"),
        (b"\n", MalformedMessage, "not JSON"),
        (b"\xff\n", MalformedMessage, "UTF-8"),
    ],
)
def test_garbage_is_one_error_and_the_end(message, error, what):
    core = ready()
    assert feed(core, {"event": "STOP"}) == [QmpEvent("STOP")]
    with pytest.raises(error, match=what):
        feed(core, message)
    assert core.phase is QmpPhase.BROKEN
    with pytest.raises(RemoteProtocolError):
        core.next_event()
    with pytest.raises(LocalProtocolError):
        core.execute("a", {})


def test_what_came_before_the_garbage_is_told():
    core = ready()
    core.receive_data(b'{"event": "STOP"}\n{"event": "RESUME"}\ngarbage\n{"event": "STOP"}\n')
    assert core.next_event() == QmpEvent("STOP")
    assert core.next_event() == QmpEvent("RESUME")
    with pytest.raises(MalformedMessage):
        core.next_event()


def test_an_answer_of_many_mebibytes_in_pieces():
    core = ready()
    execution = core.execute("a", {})
    (command,) = sent(core)
    text = "ä€😀" * 700_000
    line = json.dumps({"return": text, "id": command["id"]}, ensure_ascii=False).encode() + b"\n"
    assert len(line) > 6 << 20
    for start in range(0, len(line), 4099):  # cuts characters
        core.receive_data(line[start : start + 4099])
        event = core.next_event()
    assert event == Reply(execution, text)


@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("size", [7, 100, 10_000])
def test_a_line_over_the_limit_is_refused_and_not_kept(newline, size):
    core = ready(max_reply=500)
    data = b" " * 501 + newline
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    with pytest.raises(MalformedMessage, match="more than 500 bytes"):
        all(feed(core, piece) == [] for piece in pieces)
    core = ready(max_reply=500)
    assert feed(core, b'{"event": "STOP"}'.ljust(500) + b"\n") == [QmpEvent("STOP")]


def test_no_more_of_a_line_is_kept_than_the_limit():
    core = ready(max_reply=500)
    for _ in range(100):
        core.receive_data(bytes(1000))
    assert len(core._rest) == 501
