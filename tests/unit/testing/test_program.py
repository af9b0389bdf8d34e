"""Programs under test: small shells, as they are here everywhere."""

from __future__ import annotations

import itertools
import os
import socket

import pytest

from atp_trio.testing import program
from atp_trio.testing.program import free_port, in_english, listens, poll, read_log, reap, spawn


@pytest.fixture
def run(tmp_path):
    """Start a shell; its words go into the file `log`."""

    def start(script, **options):
        with (tmp_path / "log").open("ab") as log:
            return spawn(["sh", "-c", script], log, **options)

    return start


def test_words_go_into_the_log(run, tmp_path):
    process = run("cat; echo said; echo $WORD >&2", environment={"WORD": "complained", "PATH": os.environ["PATH"]})
    assert process.wait(10) == 0
    assert read_log(tmp_path / "log") == "said\ncomplained\n"
    assert read_log(tmp_path / "none") == ""


def test_descriptors_are_kept_where_it_is_said(run):
    read, write = os.pipe()
    process = run(f"echo kept >/proc/self/fd/{write}", pass_fds=[write])
    os.close(write)
    assert process.wait(10) == 0
    assert os.read(read, 10) == b"kept\n"
    os.close(read)


def test_it_is_in_a_session_of_its_own(run):
    process = run("exec sleep 100")
    assert os.getsid(process.pid) == process.pid
    process.terminate()
    reap(process, 10)
    assert process.returncode == -15


def test_what_does_not_end_is_killed(run):
    process = run("exec sleep 100")
    reap(process, 0.01)
    assert process.returncode == -9


def test_polling_asks_at_least_once(monkeypatch):
    asked = []
    assert not poll(lambda: bool(asked.append(1)), -1)
    assert asked == [1]
    clock = itertools.count()
    monkeypatch.setattr(program.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(program.time, "sleep", asked.append)
    assert poll(lambda: len(asked) == 4, 100)
    assert asked[1:] == [0.02] * 3


def test_a_free_port_is_free():
    port = free_port()
    assert not listens(socket.AF_INET, ("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):
        assert listens(socket.AF_INET, ("127.0.0.1", port))


def test_words_are_asked_for_in_english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert in_english()["LC_ALL"] == "C.UTF-8"
