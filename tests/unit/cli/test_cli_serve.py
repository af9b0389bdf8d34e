"""`atp serve`."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from atp_trio.cli.serve import parse_size


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_serves_until_a_signal(atp, tmp_path, password_file, number, code):
    path = tmp_path / "vm.sock"
    options = ["--unix", str(path), "--size", "96x64", "--scene", "still", "--password-file", str(password_file("sesame"))]
    command = [sys.executable, "-m", "atp_trio", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        uri = process.stdout.readline().strip()
        assert uri == f"spice+unix://{path}"
        assert atp("info", uri).says(1, "password")
        outcome = atp("info", uri, "--password-file", password_file("sesame"))
        assert (outcome.code, "96x64" in outcome.out) == (0, True)
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (code, "", "")
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "640", "0x480", "640x0", "640X480", "-1x5", "640x480x2", "\u0661x1", "999999x1"])
def test_a_size_that_is_none(atp, text):
    assert atp("serve", f"--size={text}").says(2, repr(text)[:5], "WxH")


def test_size():
    assert parse_size("1920x1080") == (1920, 1080)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--size", "99999x99999"], 2, ("99999x99999",)),
        (["--scene", "opera"], 2, ("opera",)),
        (["--codec", "mp3"], 2, ("mp3",)),
        (["--rate", "-1"], 2, ("0 or more",)),
        (["--port", "65536"], 2, ("65536",)),
        (["--tls-cert", "none.pem"], 2, ("none.pem",)),
        (["--password-file", "none"], 1, ("none", "No such file or directory")),
        (["--password-file", "latin1"], 2, ("latin1", "UTF-8")),
        (["--unix", "nowhere/vm.sock"], 2, ("nowhere/vm.sock", "No such file or directory")),
        (["--host", "nowhere.invalid"], 2, ("nowhere.invalid",)),
    ],
)
def test_what_cannot_be_served(atp, tmp_path, monkeypatch, options, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1").write_bytes(b"s\xe9same")
    assert atp("serve", *options).says(code, *words)


def test_a_port_that_is_taken(atp, server):
    port = server.uri.rpartition(":")[2]
    assert atp("serve", "--port", port).says(2, port, "Address already in use")
