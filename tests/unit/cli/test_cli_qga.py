"""`atp qga`, on the port of an agent in a thread."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from pathlib import Path

import attrs
import pytest

from ..protocols.qga.fake_agent import FakeAgent  # noqa: TID252 - the tests are no package


@attrs.define(eq=False)
class Port:
    agent: FakeAgent
    address: str
    is_silent: bool = False


def serve(listener, port):
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):
        for line in connection.makefile("rb"):
            if port.is_silent:
                continue
            message = json.loads(line.rpartition(b"\xff")[2])
            if message["execute"] == "guest-sync-delimited":
                connection.sendall(b'\xff{"return": %d}\n' % message["arguments"]["id"])
            elif (answer := port.agent.answer(message)) is not None:
                connection.sendall(json.dumps(answer).encode() + b"\n")


@pytest.fixture
def port(tmp_path):
    """An agent for one client."""
    path = tmp_path / "qga.sock"
    port = Port(FakeAgent(), f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener, port))
        thread.start()
        yield port
        with socket.socket(socket.AF_UNIX) as last, contextlib.suppress(OSError):
            last.connect(str(path))  # where no client came
        thread.join(20)
        assert not thread.is_alive()


def test_ping(atp, port):
    outcome = atp("qga", port.address, "ping")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("the guest agent answered within ")


def test_info(atp, port):
    commands = [{"name": name, "enabled": name != "guest-exec"} for name in ("guest-ping", "guest-exec")]
    interfaces = [{"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1", "prefix": 8}]}]
    port.agent.values |= {
        "guest-info": {"version": "7.2", "supported_commands": commands},
        "guest-get-osinfo": {"pretty-name": "Debian\x1b[1m", "machine": "x86_64"},
        "guest-network-get-interfaces": interfaces,
    }
    outcome = atp("qga", port.address, "info")
    assert (outcome.code, outcome.err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in outcome.out.splitlines() if not line.startswith("host"))
    assert told["agent"] == "7.2"
    assert told["commands"] == "1 of 2"
    assert told["lo"] == "127.0.0.1/8"
    assert "\x1b" not in outcome.out


def test_info_as_json(atp, port):
    port.agent.values |= {"guest-info": {"version": "7.2", "supported_commands": []}, "guest-get-osinfo": {"id": "debian"}}
    told = json.loads(atp("qga", port.address, "info", "--json").out)
    assert (told["version"], told["os"]["id"], told["host_name"], told["addresses"]) == ("7.2", "debian", None, {})


@pytest.mark.parametrize(
    ("status", "code"), [({"exitcode": 0}, 0), ({"exitcode": 5}, 5), ({"signal": 15}, 143), ({"exitcode": 0xC0000005}, 5)]
)
def test_exec(atp, port, status, code):
    programs = []

    def end(program):
        programs.append(program)
        port.agent.write(program, b"out\n\xff")
        port.agent.write(program, b"err\n", "err")
        port.agent.end(program, **status)

    port.agent.on_exec = end
    outcome = atp("qga", port.address, "exec", "--", "prog", "-x", "--timeout", "a b")
    assert outcome.code == code
    assert outcome.out.startswith("out\n")
    assert outcome.err == "err\n"
    assert programs[0].argv == ["prog", "-x", "--timeout", "a b"]
    assert not port.agent.files


def test_exec_with_input(atp, port, monkeypatch):
    programs = []
    port.agent.on_exec = lambda program: (programs.append(program), port.agent.end(program, exitcode=0))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"in\0\xff")))
    assert atp("qga", port.address, "exec", "--stdin", "--", "cat").code == 0
    assert programs[0].stdin == b"in\0\xff"


def test_put_and_get(atp, port, tmp_path: Path):
    (tmp_path / "a").write_bytes(b"data" * 100_000)
    assert atp("qga", port.address, "put", tmp_path / "a", "/a").code == 0
    assert port.agent.files["/a"] == b"data" * 100_000


def test_get(atp, port, tmp_path: Path):
    port.agent.files["/a"] = bytearray(b"data" * 100_000)
    outcome = atp("qga", port.address, "get", "/a", tmp_path / "b")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (tmp_path / "b").read_bytes() == b"data" * 100_000


def test_a_refusal_is_one_line(atp, port, tmp_path: Path):
    assert atp("qga", port.address, "get", "/no\x1bthing", tmp_path / "b").says(
        1, "/no\N{REPLACEMENT CHARACTER}thing", "No such file"
    )
    assert not (tmp_path / "b").exists()


def test_no_answer_in_time(atp, port):
    port.is_silent = True
    assert atp("qga", port.address, "ping", "--timeout", "0.2").says(1, "no answer from the guest agent", "within 0.2 s")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["unix:/nothing"], "give ping"),
        (["unix:/nothing", "fly"], "give ping"),
        (["unix:/nothing", "ping", "x"], "cannot be meant"),
        (["unix:/nothing", "exec"], "cannot be meant"),
        (["unix:/nothing", "put", "/etc/passwd"], "cannot be meant"),
        (["unix:/nothing", "get", "a", "b", "c"], "cannot be meant"),
        (["test:///default"], "give DOMAIN"),
        (["test:///default", "vm"], "give DOMAIN"),
        (["ftp://host/x", "vm", "ping"], "scheme"),
    ],
)
def test_wrong_usage(atp, words, said):
    assert atp("qga", *words).says(2, said)


def test_a_local_file_that_is_none(atp, port, tmp_path):
    assert atp("qga", port.address, "put", tmp_path / "nothing", "/a").says(2, "not a file")
    assert not port.agent.files


def test_nobody_there(atp, tmp_path):
    assert atp("qga", f"unix:{tmp_path / 'nothing'}", "ping").says(1, "nothing")


def test_a_host_without_that_domain(atp):
    pytest.importorskip("libvirt")
    assert atp("qga", "test:///default", "nosuch", "ping").says(1, "omain")
