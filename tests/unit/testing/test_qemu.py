"""Machines with a script in QEMU's place; the real one is in the integration tests."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import HypervisorError, QmpError
from atp_trio.testing import qemu as qemu_module
from atp_trio.testing.guest import Guest
from atp_trio.testing.qemu import Qemu, SpiceOptions, missing

GUEST = Guest(Path("/g/vmlinux"), Path("/g/initramfs.cpio"), "quiet panic=-1")

# Speaks as much QMP as a machine uses; its behaviour is chosen by the display device.
FAKE_QEMU = r"""
import json, os, socket, sys, time
arguments = sys.argv[1:]
if arguments == ["-device", "help"]:
    print('name "qxl-vga", bus PCI'); sys.exit()
spice = arguments[arguments.index("-spice") + 1]
behaviour = arguments[arguments.index("-device") + 1] if "-device" in arguments else ""
serial = [a for a in arguments if a.startswith("file,id=serial")][0].split("path=")[1]
if "port=1," in spice:
    sys.exit("reds_init_socket: binding socket to 127.0.0.1:1 failed")
if "refuses" in arguments:
    sys.exit("qemu: I will not start")
monitor = [a for a in arguments if a.startswith("socket,id=monitor")][0]
lines = socket.socket(fileno=int(monitor.split("fd=")[1])).makefile("rw")
def say(**message):
    lines.write(json.dumps(message) + "\n"); lines.flush()
print("a complaint", file=sys.stderr, flush=True)
with open(serial, "w") as file:
    file.write("booting\nNo bootable device.\nATP-GUEST-READY\n")
say(QMP={})
polls = 0
for line in lines:
    message = json.loads(line)
    command, given = message["execute"], message.get("arguments", {})
    if command == "quit":
        say(**{"return": {}})
        if "stubborn" not in arguments:
            break
        time.sleep(60)
    elif command == "screendump":
        with open(given["filename"], "wb") as file:
            file.write(b"P6\n2 1\n255\n\x01\x02\x03\xff\xfe\xfd")
        say(**{"return": {}})
    elif command == "die":
        sys.exit("qemu: I die")
    elif command == "query-mice":
        polls += 1
        say(**{"return": [{"current": True, "absolute": polls > 1}, {"current": False, "absolute": True}]})
    elif command == "query-chardev":
        say(**{"return": [
            {"label": "monitor", "filename": "unix:fd=3"},
            {"label": "qmp", "filename": "disconnected:tcp:127.0.0.1:4711,server=on <-> 127.0.0.1:0"},
        ]})
    elif command == "refuse":
        say(error={"class": "GenericError", "desc": "no"})
    else:
        say(event="STOP"); say(event="HEARD", data=message); say(**{"return": command})
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """The only directory in PATH."""
    directory = tmp_path / "tools"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def fake(tools):
    program = tools / "qemu-system-x86_64"
    program.write_text(f"#!{sys.executable} -IS\n{FAKE_QEMU}")
    program.chmod(0o755)
    return program


# ---------------------------------------------------------------------------------------------------- the command line


@given(st.text(min_size=4).map(lambda text: f"pass{text}word"), st.booleans())
def test_passwords_show_nowhere(password, unix):
    machine = Qemu(spice=SpiceOptions(password=password, unix=unix))
    assert password not in repr(machine) + " ".join(machine.command_line(monitor=3))


def test_command_line_with_ports_and_monitors():
    command = Qemu(ports=("a,b", "c"), agent=True, qmp_unix=True, qmp_tcp=True).command_line(monitor=7, directory=Path("/m"))
    pairs = list(itertools.pairwise(command))
    assert pairs.count(("-device", "virtio-serial-pci")) == 1
    assert {
        ("-device", "virtserialport,chardev=port0,name=org.qemu.guest_agent.0"),
        ("-chardev", "socket,id=port1,path=/m/port1.sock,server=on,wait=off"),
        ("-device", "virtserialport,chardev=port1,name=a,,b"),
        ("-device", "virtserialport,chardev=port2,name=c"),
        ("-qmp", "unix:/m/qmp.sock,server=on,wait=off"),
        ("-chardev", "socket,id=qmp,host=127.0.0.1,port=0,server=on,wait=off"),
        ("-mon", "qmp,mode=control"),
    } <= {*pairs}
    assert "virtio-serial-pci" not in Qemu().command_line(monitor=7)


def test_where_ports_and_monitors_are(fake):
    with Qemu(ports=("x",), agent=True, qmp_unix=True, qmp_tcp=True) as machine:
        directory = machine.qmp_path.parent
        assert (machine.agent_path, machine.port_path("x")) == (directory / "port0.sock", directory / "port1.sock")
        assert machine.qmp_port == 4711
        with pytest.raises(HypervisorError, match="not a port y"):
            machine.port_path("y")
    with Qemu() as machine:
        assert machine.qmp_port is None
        for name in ("qmp_path", "agent_path"):
            with pytest.raises(HypervisorError, match="has not a"):
                getattr(machine, name)
    with pytest.raises(HypervisorError, match="has not a port x"):
        Qemu(ports=("x",)).port_path("x")


def test_command_line_with_a_guest():
    machine = Qemu(guest=GUEST, display="VGA,xres=800,yres=600", tablet=True, memory_mib=99, accel="kvm", extra=("-smp", "2"))
    command = machine.command_line(monitor=7, port=5900, directory=Path("/m"))
    pairs = list(itertools.pairwise(command))
    assert {
        ("-kernel", "/g/vmlinux"),
        ("-initrd", "/g/initramfs.cpio"),
        ("-append", "quiet panic=-1"),
        ("-serial", "chardev:serial"),
        ("-chardev", "file,id=serial,path=/m/serial.log"),
        ("-chardev", "socket,id=monitor,fd=7"),
        ("-device", "VGA,xres=800,yres=600"),
        ("-device", "usb-tablet"),
        ("-m", "99"),
        ("-accel", "kvm"),
        ("-smp", "2"),
    } <= {*pairs}


def test_command_line_of_the_firmware_alone():
    command = Qemu(display="").command_line(monitor=7)
    assert [value for option, value in itertools.pairwise(command) if option == "-device"] == [
        "isa-debugcon,iobase=0x402,chardev=serial"
    ]
    assert "-kernel" not in command


# ---------------------------------------------------------------------------------------------------- what is missing


def test_missing_program_is_a_package(tools):
    assert missing() == "apt-get install --no-install-recommends qemu-system-x86"
    with pytest.raises(HypervisorError, match="apt-get install"), Qemu():
        pass


def test_missing_spice_is_a_package(tools):
    (tools / "qemu-system-x86_64").write_text("#!/bin/sh\necho 'name \"VGA\", bus PCI'\n")
    (tools / "qemu-system-x86_64").chmod(0o755)
    assert missing() == "apt-get install --no-install-recommends qemu-system-modules-spice"


# ---------------------------------------------------------------------------------------------------- a machine's life


def test_life_of_a_machine(fake, tmp_path):
    with Qemu(spice=SpiceOptions(password="secret", tls=tmp_path)) as machine:
        assert machine.alive()
        assert machine.uri == f"spice://127.0.0.1:{machine.port}"
        assert machine.port != machine.tls_port
        heard = machine.wait_event("HEARD")
        assert heard["data"] == {"execute": "qmp_capabilities"}
        # The ticket went over QMP.
        assert machine.wait_event("HEARD")["data"]["arguments"] == {"protocol": "spice", "password": "secret"}
        machine.wait_ready()
        assert machine.serial_output().startswith("booting\n")
        assert machine.stderr() == "a complaint"
        assert machine.screendump().tolist() == [[0x010203, 0xFFFEFD]]
        assert machine.qmp("query-status") == "query-status"
        with pytest.raises(QmpError, match="refuse: no"):
            machine.qmp("refuse")
        machine.send_keys("ctrl", "c")
        machine.expire_password("+5")
        sent = [event["data"] for event in machine.events if event["event"] == "HEARD"]
        assert sent[-2:] == [
            {"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": key} for key in ("ctrl", "c")]}},
            {"execute": "expire_password", "arguments": {"protocol": "spice", "time": "+5"}},
        ]
        pid = machine.pid
    assert not machine.alive()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for use in (machine.screendump, lambda: machine.pid, lambda: machine.qmp("query-status")):
        with pytest.raises(HypervisorError, match="not running"):
            use()
    machine.stop()
    with pytest.raises(HypervisorError, match="only once"):
        machine.__enter__()


def test_machine_that_never_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serial.log").touch()
    machine = Qemu()
    assert (machine.alive(), machine.serial_output(), machine.stderr()) == (False, "", "")
    with pytest.raises(HypervisorError, match="not running"):
        machine.screendump()
    machine.stop()
    assert (tmp_path / "serial.log").exists()


def test_ready_waits_for_the_tablet(fake):
    with Qemu(guest=GUEST, tablet=True) as machine:
        machine.wait_ready()
        assert machine.qmp("query-mice")[0]["absolute"]


def test_waiting_in_vain(fake):
    with Qemu() as machine:
        machine.wait_serial("No bootable")
        with pytest.raises(HypervisorError, match=r"waited 0 s in vain for 'more' on the serial port; .*ATP-GUEST-READY"):
            machine.wait_serial("more", within=0)


def test_machine_that_does_not_start(fake):
    machine = Qemu(extra=("refuses",))
    with pytest.raises(HypervisorError, match=r"^QEMU did not start: qemu: I will not start$"), machine:
        pass
    assert not machine.alive()


def test_port_that_is_taken_is_chosen_again(fake, monkeypatch):
    ports = iter([(1, 1), (1, 1), (4000, 4001)])
    monkeypatch.setattr(qemu_module, "_free_ports", lambda: next(ports))
    with Qemu() as machine:
        assert machine.port == 4000
    monkeypatch.setattr(qemu_module, "_free_ports", lambda: (1, 1))
    with pytest.raises(HypervisorError, match="binding socket"), Qemu():
        pass


def test_machine_that_dies(fake):
    with Qemu() as machine:
        with pytest.raises(HypervisorError, match="QEMU did not answer die: the connection has ended: a complaint\nqemu: I die"):
            machine.qmp("die")
        with pytest.raises(HypervisorError, match="I die"):
            machine.wait_serial("more")


def test_machine_that_does_not_stop_is_killed(fake, monkeypatch):
    monkeypatch.setattr(qemu_module, "_STOP", 0.01)
    with Qemu(extra=("stubborn",)) as machine:
        pid = machine.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_body_s_exception_stops_the_machine(fake):
    machine = Qemu()
    with pytest.raises(ZeroDivisionError), machine:
        assert 1 / 0
    assert not machine.alive()
