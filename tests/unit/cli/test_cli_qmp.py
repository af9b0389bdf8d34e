"""`atp qmp`, on a monitor in a thread."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable

import pytest

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}


def serve(listener, reply, received):
    connection, _ = listener.accept()
    with connection, connection.makefile("rw", encoding="utf-8") as lines:
        print(json.dumps(GREETING), file=lines, flush=True)
        for line in lines:
            command = json.loads(line)
            received.append(command)
            if reply is None and command["execute"] != "qmp_capabilities":
                continue
            answer = {"return": {}} if command["execute"] == "qmp_capabilities" else reply
            print(json.dumps(answer | {"id": command["id"]}), file=lines, flush=True)


@pytest.fixture
def monitor(tmp_path) -> Callable[..., tuple[str, list]]:
    """Makes a monitor that answers one client's commands with this; gives its address and the commands that came."""
    threads = []
    with socket.socket(socket.AF_UNIX) as listener:

        def start(reply) -> tuple[str, list]:
            path, received = tmp_path / "qmp.sock", []
            listener.bind(str(path))
            listener.listen()
            thread = threading.Thread(target=serve, args=(listener, reply, received))
            thread.start()
            threads.append(thread)
            return f"unix:{path}", received

        yield start
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def test_prints_what_the_command_returns(atp, monitor):
    address, received = monitor({"return": {"status": "running", "name": "\x1b[1m"}})
    outcome = atp("qmp", address, "query-status")
    assert (outcome.code, outcome.err) == (0, "")
    assert "\x1b" not in outcome.out
    assert json.loads(outcome.out) == {"status": "running", "name": "\x1b[1m"}
    assert received[1]["execute"] == "query-status"


@pytest.mark.parametrize("how", ["word", "input"])
def test_takes_arguments(atp, monitor, monkeypatch, how):
    address, received = monitor({"return": {}})
    arguments = {"protocol": "spice", "password": "ä"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(arguments).encode())))
    assert atp("qmp", address, "set_password", json.dumps(arguments) if how == "word" else "--stdin").code == 0
    assert received[1]["arguments"] == arguments


def test_an_input_that_is_no_text(atp, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a": "\xff"}')))
    assert atp("qmp", "unix:/nothing", "x", "--stdin").says(2, "no JSON object")


def test_a_refusal_is_one_line(atp, monitor):
    address, _ = monitor({"error": {"class": "CommandNotFound", "desc": "no\x1bsuch\nthing"}})
    outcome = atp("qmp", address, "fly")
    assert outcome.says(1, "fly: no\N{REPLACEMENT CHARACTER}such thing")


def test_no_answer_in_time(atp, monitor):
    address, _ = monitor(None)
    assert atp("qmp", address, "query-status", "--timeout", "0.2").says(1, "no answer from", "within 0.2 s")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["unix:/nothing"], "give COMMAND"),
        (["unix:/nothing", "a", "{}", "c"], "give COMMAND"),
        (["test:///default"], "give DOMAIN COMMAND"),
        (["test:///default", "vm"], "give DOMAIN COMMAND"),
        (["unix:/nothing", "a", "{}", "--stdin"], "give COMMAND and no more"),
        (["unix:/nothing", "a", "secret"], "no JSON object"),
        (["unix:/nothing", "a", "[1]"], "no JSON object"),
        (["unix:/nothing", "a", "[" * 100_000], "no JSON object"),
        (["tcp:nowhere", "a"], "unix:PATH or tcp:HOST:PORT"),
        (["ftp://host/x", "vm", "a"], "scheme"),
    ],
)
def test_wrong_usage(atp, words, said):
    outcome = atp("qmp", *words)
    assert outcome.says(2, said)
    assert "secret" not in outcome.err


def test_nobody_there(atp, tmp_path):
    assert atp("qmp", f"unix:{tmp_path / 'nothing'}", "query-status").says(1, "nothing")


def test_a_host_without_that_domain(atp):
    pytest.importorskip("libvirt")
    assert atp("qmp", "test:///default", "nosuch", "query-status").says(1, "has no domain")
