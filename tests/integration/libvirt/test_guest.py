"""The abilities of the test guest, by libvirt's own client: what the tests of our protocols build on."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import threading
import time

import numpy as np
import pytest
from PIL import Image

from atp_trio.testing.guest import AGENT_PORT, DRAW_PORT, ECHO_PORT, EVENTS_PORT

libvirt = pytest.importorskip("libvirt")
libvirt_qemu = pytest.importorskip("libvirt_qemu")

WITHIN = 20.0
KEY_A = 30  # linux/input-event-codes.h
CHUNK = 1 << 18


@pytest.fixture(scope="module")
def connection(libvirtd):
    with contextlib.closing(libvirt.open(libvirtd.uri)) as connection:
        yield connection


@pytest.fixture(scope="module")
def vm(connection, domain):
    return connection.lookupByName(domain)


def agent(vm, command, **arguments):
    text = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(vm, text, 10, 0))["return"]


def agent_port(vm):
    return vm.XMLDesc().partition(AGENT_PORT)[2].partition("/>")[0]


def run(vm, *argv):
    """(exit code, output, errors) of a program in the guest."""
    pid = agent(vm, "guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})["pid"]
    end = time.monotonic() + WITHIN
    while not (status := agent(vm, "guest-exec-status", pid=pid))["exited"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    return status["exitcode"], *(base64.b64decode(status.get(name, "")).decode() for name in ("out-data", "err-data"))


class Line:
    """A port or a console, line by line."""

    def __init__(self, stream):
        self.stream, self.rest = stream, b""

    def ask(self, *lines):
        """Sends the lines; gives one that comes, read as JSON."""
        self.stream.send("".join(f"{line}\n" for line in lines).encode())
        return self.next()

    def next(self):
        return json.loads(self.read(b"\n"))

    def read(self, end):
        while end not in self.rest:
            self.rest += self.stream.recv(65536)
        found, _, self.rest = self.rest.partition(end)
        return found


@pytest.fixture
def port(connection, vm):
    """Opens a port, for one test."""
    with contextlib.ExitStack() as stack:

        def open_port(name):
            stream = connection.newStream()
            vm.openChannel(name, stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE)
            stack.enter_context(contextlib.suppress(libvirt.libvirtError))  # it may be aborted by then
            stack.callback(stream.abort)
            return Line(stream)

        yield open_port


# ---------------------------------------------------------------------------------------------------- the agent


def test_agent_runs_programs(vm):
    code, out, err = run(vm, "/bin/sh", "-c", "echo $((6*7)); echo no >&2; exit 3")
    assert (code, out, err) == (3, "42\n", "no\n")


def test_agent_knows_the_guest(vm):
    enabled = {command["name"] for command in agent(vm, "guest-info")["supported_commands"] if command["enabled"]}
    assert {"guest-exec", "guest-file-open", "guest-fsfreeze-freeze", "guest-set-time", "guest-get-users"} <= enabled
    assert agent(vm, "guest-get-osinfo")["machine"] == "x86_64"
    assert agent(vm, "guest-get-users") == []
    (loopback,) = agent(vm, "guest-network-get-interfaces")
    assert (loopback["name"], loopback["ip-addresses"][0]["ip-address"]) == ("lo", "127.0.0.1")


def test_agent_keeps_files(vm):
    handle = agent(vm, "guest-file-open", path="/tmp/kept", mode="w+")
    written = agent(vm, "guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(b"kept").decode()})
    agent(vm, "guest-file-close", handle=handle)
    assert written["count"] == 4
    assert run(vm, "/bin/cat", "/tmp/kept") == (0, "kept", "")


def test_agent_sets_the_clock(vm):
    before = vm.getTime()["seconds"]
    try:
        vm.setTime({"seconds": 1_700_000_000, "nseconds": 0})
        assert 0 <= vm.getTime()["seconds"] - 1_700_000_000 < WITHIN
    finally:
        vm.setTime({"seconds": before, "nseconds": 0})


def test_agent_freezes_a_file_system(vm):
    assert run(vm, "/usr/bin/disk") == (0, "", "")
    try:
        assert vm.fsFreeze() == 1
        assert agent(vm, "guest-fsfreeze-status") == "frozen"
    finally:
        assert vm.fsThaw() == 1
    assert agent(vm, "guest-fsfreeze-status") == "thawed"


def test_agent_stops_and_starts_by_the_guests_own_command(connection, vm, libvirtd, domain):
    stream = connection.newStream()
    vm.openConsole("console1", stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
    shell = Line(stream)
    stream.send(b"\necho $((6*7)) is ready\n")
    shell.read(b"42 is ready")
    try:
        stream.send(b"agent stop; echo $((6*7)) is said\n")
        shell.read(b"42 is said")
        end = time.monotonic() + WITHIN
        while "state='connected'" in agent_port(vm):
            assert time.monotonic() < end
        with pytest.raises(libvirt.libvirtError, match="not connected"):
            agent(vm, "guest-ping")
    finally:
        stream.send(b"agent start\n")
        stream.abort()
    libvirtd.wait_ready(domain, within=WITHIN)


# ---------------------------------------------------------------------------------------------------- the ports


def test_echo_of_many_bytes(port):
    data = random.Random(1).randbytes(8 << 20)
    stream = port(ECHO_PORT).stream

    def send():
        rest = memoryview(data)
        while rest:
            rest = rest[stream.send(bytes(rest[:CHUNK])) :]

    sender = threading.Thread(target=send)
    sender.start()
    digest, left = hashlib.sha256(), len(data)
    while left:
        part = stream.recv(CHUNK)
        digest.update(part)
        left -= len(part)
    sender.join()
    assert digest.digest() == hashlib.sha256(data).digest()


def test_echo_does_not_keep_what_nobody_fetched(port, connection, vm):
    first = port(ECHO_PORT).stream
    first.send(bytes(1 << 16))
    assert first.recv(1000)
    first.abort()
    # The guest is told that the first has left before it is told of the second; what was under way until then is gone.
    end = time.monotonic() + WITHIN
    while True:
        second = port(ECHO_PORT)
        second.stream.send(b"mine\n")
        if second.read(b"\n") == b"mine":
            return
        assert time.monotonic() < end
        second.stream.abort()


def test_events_have_the_devices_name_and_the_guests_clock(port, vm):
    events = port(EVENTS_PORT)
    assert "AT Translated Set 2 keyboard" in events.ask("devices")["devices"]
    assert "QEMU QEMU USB Tablet" in events.ask("devices")["devices"]
    before = events.ask("ping")["clock"]
    vm.sendKey(libvirt.VIR_KEYCODE_SET_LINUX, 50, [KEY_A], 1, 0)
    keys = []
    while len(keys) < 2:
        event = events.next()
        assert event["device"] == "AT Translated Set 2 keyboard"
        if event["type"] == 1:
            keys.append(event)
    assert events.next()["type"] == 0  # each report ends with SYN_REPORT
    after = events.ask("ping")["clock"]
    assert [(key["code"], key["value"]) for key in keys] == [(KEY_A, 1), (KEY_A, 0)]
    assert before < keys[0]["time"] < keys[1]["time"] < after
    assert after - before < WITHIN * 1e9
    assert events.ask("what?") == {"error": "ping or devices"}


def noise(x, y, seed):
    """As draw.c says."""
    with np.errstate(over="ignore"):
        value = (x * np.uint32(0x9E3779B1)) ^ (y * np.uint32(0x85EBCA77)) ^ (np.uint32(seed) * np.uint32(0xC2B2AE3D))
        value = (value ^ (value >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
        value = (value ^ (value >> np.uint32(12))) * np.uint32(0x297A2D39)
    return (value ^ (value >> np.uint32(15))) & np.uint32(0xFFFFFF)


def test_drawings_are_what_was_asked_for(port, libvirtd, domain, tmp_path):
    draw = port(DRAW_PORT)
    size = draw.ask("size")
    width, height = size["width"], size["height"]
    expected = np.full((height, width), 0x123456, np.uint32)
    rows, columns = np.indices((100, 200), np.uint32)
    expected[50:150, 100:300] = noise(columns, rows, 7)
    expected[200:300, 100:300] = columns << 16 | rows << 8 | 128
    expected[400:408, 256:512] = 0xFFFFFF * np.repeat([number == "1" for number in f"{0xDEADBEEF:032b}"], 8)
    expected[height - 10 :, width - 10 :] = 0x00FF00
    before = draw.ask("sync")["drawn"]
    answer = draw.ask(
        f"fill 0 0 {width} {height} 123456",
        "noise 100 50 200 100 7",
        "gradient 100 200 200 100",
        f"frame 256 400 {0xDEADBEEF}",
        f"fill {width - 10} {height - 10} 1000 1000 00ff00",
        "fill 5000 5000 1 1 ffffff",
        "sync",
    )
    assert answer["drawn"] == before + 5
    path, end = tmp_path / "screen", time.monotonic() + WITHIN
    while True:
        libvirtd.virsh("screenshot", domain, str(path))
        with Image.open(path) as image:
            red, green, blue = (np.asarray(channel, np.uint32) for channel in image.convert("RGB").split())
        if np.array_equal(red << 16 | green << 8 | blue, expected):
            return
        assert time.monotonic() < end


def test_drawing_many_frames(port):
    draw = port(DRAW_PORT)
    before = draw.ask("sync")
    after = draw.ask("run 20 100 0 0 300 20", "sync")
    # Each is a fill and a number; the first is due at once.
    assert after["drawn"] - before["drawn"] == 40
    assert after["clock"] - before["clock"] >= 190e6
    assert draw.ask("run 20 100") == {"error": "this is no command"}


# ---------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("how", ["VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN", "VIR_DOMAIN_SHUTDOWN_GUEST_AGENT"])
def test_the_guest_ends_when_asked(connection, make_domain, guest, how):
    vm = connection.lookupByName(make_domain(guest))
    vm.shutdownFlags(getattr(libvirt, how))
    end = time.monotonic() + WITHIN
    while vm.isActive():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert vm.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]
