"""Where passwords come from."""

from __future__ import annotations

import sys

import pytest
import trio

from atp_trio.config import Secret
from atp_trio.errors import ConfigError
from atp_trio.testing.server import open_spice_server


def python(code):
    return Secret(command=(sys.executable, "-c", code))


def test_sources(tmp_path, monkeypatch):
    file = tmp_path / "password"
    file.write_text("from a file\n")
    monkeypatch.setenv("THE_PASSWORD", "from the environment")
    assert Secret(value="plain").read() == "plain"
    assert Secret(env="THE_PASSWORD").read() == "from the environment"
    assert Secret(file=file).read() == "from a file"
    assert python("print('from a command')").read() == "from a command"


def test_it_is_asked_for_anew(monkeypatch):
    source = Secret(env="THE_PASSWORD").source()
    monkeypatch.setenv("THE_PASSWORD", "old")
    assert source() == "old"
    monkeypatch.setenv("THE_PASSWORD", "new")
    assert source() == "new"


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (Secret(env="ATP_TEST_NOT_SET"), "ATP_TEST_NOT_SET, which holds a password, is not set"),
        (python("import sys; print('hunter2'); sys.exit(3)"), "ended with code 3"),
        (python("import os; os.write(1, b'\\xff')"), "not UTF-8"),
        (Secret(command=("/nonexistent/program", "hunter2")), "/nonexistent/program cannot be run: No such file"),
        (Secret(command=("a\0b",)), "cannot be meant"),
    ],
)
def test_what_goes_wrong(secret, words):
    with pytest.raises(ConfigError, match=words) as caught:
        secret.read()
    assert "hunter2" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        Secret(file=tmp_path / "none").read()
    (tmp_path / "binary").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        Secret(file=tmp_path / "binary").read()


@pytest.mark.parametrize("sources", [{}, {"value": "a", "env": "b"}, {"command": ()}])
def test_exactly_one_source(sources):
    with pytest.raises(ConfigError):
        Secret(**sources)


@pytest.mark.parametrize("kind", ["value", "command", "file"])
async def test_a_machine_takes_it(kind, tmp_path):
    import atp_trio

    (tmp_path / "password").write_text("sesame\n")
    secret = {
        "value": Secret(value="sesame"),
        "command": python("print('sesame')"),
        "file": Secret(file=tmp_path / "password"),
    }[kind]
    with trio.fail_after(20):
        async with (
            open_spice_server(size=(64, 48), network_test=False, password="sesame") as server,
            atp_trio.open_spice(server.uri, password=secret.async_source(), channels=()) as vm,
        ):
            assert vm.main.is_open
