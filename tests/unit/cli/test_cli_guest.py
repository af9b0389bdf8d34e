"""`atp guest`, with a script in QEMU's place; the real one is in the integration tests."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from atp_trio.testing import guest as guest_package
from atp_trio.testing.guest import Guest, GuestUnavailable

# Speaks as much QMP as is used, keeps its arguments, and ends by itself half a second after the guest is ready.
FAKE_QEMU = r"""
import json, socket, sys, threading, os
arguments = sys.argv[1:]
if arguments == ["-device", "help"]:
    print('name "qxl-vga", bus PCI'); sys.exit()
if "bad" in arguments:
    sys.exit("qemu: bad display")
serial = [a for a in arguments if a.startswith("file,id=serial")][0].split("path=")[1]
monitor = [a for a in arguments if a.startswith("socket,id=monitor")][0]
lines = socket.socket(fileno=int(monitor.split("fd=")[1])).makefile("rw")
def say(**message):
    lines.write(json.dumps(message) + "\n"); lines.flush()
open(serial, "w").write("ATP-GUEST-READY\n")
threading.Timer(0.5, lambda: os._exit(0)).start()
say(QMP={})
for line in lines:
    message = json.loads(line)
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(json.dumps([arguments, message]) + "\n")
    say(**{"return": [{"current": True, "absolute": True}] if message["execute"] == "query-mice" else {}})
"""


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What the machine was told: of each QMP command, the command line and the command."""
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f"#!{sys.executable} -IS\n{FAKE_QEMU}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setattr(guest_package, "build_guest", lambda: Guest(Path("/g/vmlinux"), Path("/g/initramfs"), "quiet"))
    return lambda: [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]


def test_says_where_everything_is_until_the_machine_ends(atp, seen):
    outcome = atp("guest", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    where = json.loads(outcome.out)
    assert list(where) == ["spice", "qmp", "agent", "org.atp.echo.0", "org.atp.events.0", "org.atp.draw.0"]
    directory = Path(where["qmp"]).parent
    assert {Path(path).parent for name, path in where.items() if name != "spice"} == {directory}
    assert not directory.exists()
    arguments, _ = seen()[0]
    assert {"usb-tablet", "/g/vmlinux", "256"} <= {*arguments}


def test_options_reach_the_machine(atp, seen, password_file):
    options = ["--display", "VGA", "--no-tablet", "--memory", "512", "--accel", "kvm", "--unix"]
    outcome = atp("guest", *options, "--password-file", password_file("sesame"))
    assert outcome.code == 0
    assert outcome.out.startswith("spice             spice+unix:///")
    for arguments, _ in seen():
        assert {"VGA", "512", "kvm"} <= {*arguments}
        assert "usb-tablet" not in arguments
        assert "sesame" not in " ".join(arguments)
    assert {"protocol": "spice", "password": "sesame"} in [command.get("arguments") for _, command in seen()]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--display", "bad"], 1, ("bad display",)),
        (["--memory", "16"], 2, ("128",)),
        (["--unix", "--tls-dir", "tls"], 2, ("UNIX socket",)),
        (["--password-file", "none"], 1, ("none", "No such file")),
    ],
)
def test_what_cannot_be(atp, seen, options, code, words):
    assert atp("guest", *options).says(code, *words)


def test_a_guest_that_cannot_be_built(atp, monkeypatch):
    def fail():
        raise GuestUnavailable("use Debian")

    monkeypatch.setattr(guest_package, "build_guest", fail)
    assert atp("guest").says(1, "use Debian")
