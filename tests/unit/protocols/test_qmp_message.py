"""Lines of a monitor."""

from __future__ import annotations

import json
import math

import pytest

from atp_trio.errors import ConfigError, LocalProtocolError, MalformedMessage, QmpError
from atp_trio.protocols.qmp import Greeting, QmpCommand, QmpEvent
from atp_trio.protocols.qmp import message as module
from atp_trio.protocols.qmp.message import decode_object, encode_command, event_from_message, value_from_message


def test_a_command_is_said_without_anything_superfluous():
    assert encode_command("query-status", {}) == b'{"execute":"query-status"}'
    assert encode_command("x", {"a-b": [1, None, "ä"]}, oob=True) == '{"exec-oob":"x","arguments":{"a-b":[1,null,"ä"]}}'.encode()


def test_any_name_is_quoted():
    name = 'a"b\\c\n\0'
    assert json.loads(encode_command(name, {})) == {"execute": name}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", math.nan, math.inf, "\ud800", {object(): 1}, {(1, 2): 1}])
def test_what_json_cannot_say_is_one_error_that_tells_no_secret(value):
    with pytest.raises(ConfigError, match=r"the arguments of 'set_password' cannot be said in JSON") as caught:
        encode_command("set_password", {"password": "hunter2", "x": value})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_contains_itself_or_is_too_deep_is_refused():
    loop = []
    loop.append(loop)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(ConfigError):
            encode_command("x", {"x": value})


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(ConfigError):
        encode_command(None, {})


@pytest.mark.parametrize("value", ["\ufffe", "\uffff", "\ufdd0", "\U0001fffe", "\U0010ffff", {"\ufdef": 1}])
def test_noncharacters_would_make_qemu_forget_whose_command_it_was(value):
    with pytest.raises(ConfigError, match="noncharacters"):
        encode_command("x", {"x": value})


@pytest.mark.parametrize("value", ["\ufffd", "\ufdf0", "\ufdcf", "\U0001fffd", "\U00020000", "\ue000", "\0"])
def test_other_rare_characters_pass(value):
    assert json.loads(encode_command("x", {"x": value}))["arguments"]["x"] == value


def test_a_command_over_qemus_limit_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_COMMAND", 100)
    assert len(encode_command("x", {"x": "y" * 64})) == 100
    with pytest.raises(LocalProtocolError, match="101 bytes, QEMU takes 100"):
        encode_command("x", {"x": "y" * 65})


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        (b'{"a": "\xc3"}', "not UTF-8"),
        (b"{", "not JSON"),
        (b"{} {}", "not one JSON object"),
        (b"[]", "not one JSON object"),
        (b"17", "not one JSON object"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": -Infinity}', "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        ("{}".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_line_that_is_no_object_is_malformed(line, what):
    with pytest.raises(MalformedMessage, match=what):
        decode_object(line)


def test_space_around_an_object_is_none_of_our_business():
    assert decode_object(b' {"a": 1}\r') == {"a": 1}
    assert decode_object(bytearray(b'{"a": 1}')) == {"a": 1}
    assert decode_object('{"a": 1}\n') == {"a": 1}


def test_an_event_is_read():
    stamp = {"seconds": 1700000000, "microseconds": 250000}
    assert event_from_message({"event": "STOP", "timestamp": stamp}, 10) == QmpEvent("STOP", {}, 1700000000.25)
    assert event_from_message({"event": "X", "data": {"a": 1}}, 10) == QmpEvent("X", {"a": 1})


@pytest.mark.parametrize(
    "stamp", [{"seconds": -1, "microseconds": -1}, {"seconds": 2**70, "microseconds": 0}, {"seconds": "1"}, None, 7]
)
def test_a_time_that_cannot_be_is_none(stamp):
    assert event_from_message({"event": "X", "timestamp": stamp}, 10).timestamp is None


@pytest.mark.parametrize("message", [{"event": 7}, {"event": None}, {"event": "X", "data": []}, {"event": "X", "data": None}])
def test_an_event_that_is_none_is_malformed(message):
    with pytest.raises(MalformedMessage, match="an event that does not say"):
        event_from_message(message, 10)


def test_an_event_is_no_way_to_fill_the_memory():
    with pytest.raises(MalformedMessage, match="an event of 1048577 bytes"):
        event_from_message({"event": "X"}, 2**20 + 1)


def test_an_answer_is_a_value_or_raised():
    assert value_from_message({"return": None}, "x") is None
    error = {"class": "DeviceNotFound", "desc": "no such device", "hint": 3}
    with pytest.raises(QmpError, match=r"^device_del: no such device$") as caught:
        value_from_message({"error": error}, "device_del")
    assert (caught.value.error_class, caught.value.description) == ("DeviceNotFound", "no such device")
    assert caught.value.data == {"hint": 3}


@pytest.mark.parametrize("message", [{}, {"error": None}, {"error": {"class": 1, "desc": "x"}}, {"error": {"class": "x"}}])
def test_an_answer_that_is_neither_is_malformed(message):
    with pytest.raises(MalformedMessage):
        value_from_message(message, "x")


def version(**more):
    return {"QMP": {"version": {"qemu": {"major": 9, "minor": 1, "micro": 0}, **more}}}


def test_a_greeting_is_read():
    assert Greeting.from_message(version(package="p")) == Greeting((9, 1, 0), "p", frozenset())
    message = version()
    message["QMP"]["capabilities"] = ["oob", {"later": "kinds"}, "x"]
    assert Greeting.from_message(message).capabilities == {"oob", "x"}


@pytest.mark.parametrize(
    "message",
    [
        {"QMP": {}},
        {"QMP": 7},
        {"QMP": {"version": {"qemu": {"major": "9", "minor": 1, "micro": 0}}}},
        version(package=7),
        {"QMP": version()["QMP"] | {"capabilities": "oob"}},
    ],
)
def test_a_greeting_that_is_none_is_malformed(message):
    with pytest.raises(MalformedMessage, match="greeting"):
        Greeting.from_message(message)


def test_arguments_are_shown_nowhere():
    assert "hunter2" not in repr(QmpCommand("set_password", {"password": "hunter2"}))
