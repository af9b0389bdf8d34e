"""The test machines themselves: they boot, show a screen, take keys and tickets, and leave nothing behind."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from atp_trio.errors import HypervisorError, QmpError
from atp_trio.testing import qemu as qemu_module
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 20.0  # an emulated machine on a busy host
QCODES = {" ": ("spc",), "/": ("slash",), ">": ("shift", "dot"), "S": ("shift", "s"), "\n": ("ret",)}
OK, PERMISSION_DENIED = 0, 7


def type_text(machine, text):
    for character in text:
        machine.send_keys(*QCODES.get(character, (character,)))


def wait_for_screen(machine, condition):
    end = time.monotonic() + WITHIN
    while not condition(screen := machine.screendump()):
        assert time.monotonic() < end, "the screen did not become what it should"
        time.sleep(0.05)
    return screen


def text_lines(screen):
    """The numbers of the lines, 16 pixels high, that hold text."""
    height = screen.shape[0] // 16 * 16
    return np.flatnonzero(screen[:height].reshape(-1, 16 * screen.shape[1]).any(axis=1))


def run_in_guest(machine, command):
    """Type a command and give what it writes, by way of the serial port."""
    before = len(machine.serial_output())
    machine.send_keys("ctrl", "c")  # what another test may have left there
    type_text(machine, f"{command} >/dev/ttyS0\n")
    type_text(machine, "echo end >/dev/ttyS0\n")
    end = time.monotonic() + WITHIN
    while not (output := machine.serial_output()[before:]).endswith("end\n"):
        assert time.monotonic() < end, f"the guest's shell did not answer; on the serial port: {output!r}"
        time.sleep(0.05)
    return output.removesuffix("end\n")


def link_result(port, password):
    """SPICE's link stage on the main channel, as short as can be; the server's verdict on the ticket."""
    with socket.create_connection(("127.0.0.1", port), WITHIN) as connection, connection.makefile("rb") as incoming:
        connection.sendall(struct.pack("<4s3I", b"REDQ", 2, 2, 18) + struct.pack("<IBB3I", 0, 1, 0, 0, 0, 18))
        magic, _, _, size = struct.unpack("<4s3I", incoming.read(16))
        error, public_key = struct.unpack_from("<I162s", incoming.read(size))
        assert (magic, error) == (b"REDQ", OK)
        key = serialization.load_der_public_key(public_key)
        sha1 = hashes.SHA1()  # SPICE's choice
        connection.sendall(key.encrypt(password.encode() + b"\0", padding.OAEP(padding.MGF1(sha1), sha1, None)))
        (result,) = struct.unpack("<I", incoming.read(4))
        return result


def listening_addresses(pid):
    """The TCP addresses a process listens on."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {match[1] for link in links if (match := re.match(r"socket:\[(\d+)\]", link))}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                address, port = local.split(":")
                # Each 32 bits are in the order of the machine.
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


def test_firmware_shows_its_text_screen(qemu_firmware):
    screen = qemu_firmware.screendump()
    assert (screen.shape, screen.dtype) == ((400, 720), np.uint32)
    assert set(np.unique(screen)) == {0, 0xA8A8A8}  # VGA's light grey on black
    assert len(text_lines(screen)) >= 4


@pytest.mark.parametrize(("name", "shape"), [("qxl_machine", (768, 1024)), ("vga_machine", (800, 1280))])
def test_guest_boots_to_its_prompt(request, name, shape):
    machine = request.getfixturevalue(name)
    # Nothing comes before the marker on the serial port: no driver and no script complained.
    assert machine.serial_output().splitlines()[0] == "ATP-GUEST-READY"
    screen = machine.screendump()
    assert screen.shape == shape
    assert len(text_lines(screen)) >= 1


@pytest.mark.parametrize("name", ["qxl_machine", "vga_machine"])
def test_typed_text_shows_beside_the_prompt(request, name):
    machine = request.getfixturevalue(name)
    machine.send_keys("ctrl", "c")  # what another test may have left there
    # Two lines first, so that one with nothing but the prompt can only be what comes after `clear`.
    type_text(machine, "\n")
    wait_for_screen(machine, lambda screen: len(text_lines(screen)) >= 2)
    type_text(machine, "clear\n")
    empty = wait_for_screen(machine, lambda screen: list(text_lines(screen)) == [0] and not screen[:16, 7 * 8 :].any())
    type_text(machine, "echo")
    # Four characters of 8 x 16 pixels, after the 7 of the prompt, each with some of its pixels lit.
    place = (slice(0, 16), slice(7 * 8, 11 * 8))
    typed = wait_for_screen(machine, lambda screen: screen[place].reshape(16, 4, 8).any(axis=(0, 2)).all())
    elsewhere = typed != empty
    elsewhere[place] = False
    assert not elsewhere.any()
    type_text(machine, "\n")
    wait_for_screen(machine, lambda screen: len(text_lines(screen)) == 2)


@pytest.mark.parametrize(
    ("name", "driver", "tablet"), [("qxl_machine", "qxldrmfb", True), ("vga_machine", "bochs-drmdrmfb", False)]
)
def test_guest_drives_its_devices(request, name, driver, tablet):
    machine = request.getfixturevalue(name)
    assert run_in_guest(machine, "cat /proc/fb").split() == ["0", driver]
    inputs = run_in_guest(machine, "cat /proc/bus/input/devices")
    assert "AT Translated Set 2 keyboard" in inputs
    assert "PS/2" in inputs
    assert "Power Button" in inputs
    assert ("QEMU USB Tablet" in inputs) == tablet
    assert [mouse["absolute"] for mouse in machine.qmp("query-mice") if mouse["current"]] == [tablet]


def test_servers_listen_on_loopback_only(qxl_machine):
    ports = {qxl_machine.port, qxl_machine.tls_port}
    assert len(ports) == 2
    assert listening_addresses(qxl_machine.pid) == {("127.0.0.1", port) for port in ports}


def test_tickets_are_set_and_expire_through_qmp(qemu):
    with qemu(spice=SpiceOptions(password="first secret")) as machine:
        assert "first secret" not in Path(f"/proc/{machine.pid}/cmdline").read_text()
        assert "first secret" not in repr(machine)
        assert link_result(machine.port, "first secret") == OK
        machine.wait_event("SPICE_INITIALIZED", within=WITHIN)
        assert link_result(machine.port, "another") == PERMISSION_DENIED
        machine.set_password("another")
        assert link_result(machine.port, "another") == OK
        assert link_result(machine.port, "first secret") == PERMISSION_DENIED
        machine.expire_password()
        assert link_result(machine.port, "another") == PERMISSION_DENIED
        machine.expire_password("never")
        assert link_result(machine.port, "another") == OK


def test_nobody_comes_in_before_a_ticket_is_set(qemu):
    with qemu(spice=SpiceOptions(password="")) as machine:
        assert link_result(machine.port, "") == PERMISSION_DENIED


def test_without_tickets_everybody_comes_in(qemu_firmware):
    assert link_result(qemu_firmware.port, "whatever") == OK
    with pytest.raises(QmpError, match=r"set_password") as caught:
        qemu_firmware.set_password("a secret")
    assert "a secret" not in str(caught.value)


def test_tls_port_shows_our_certificate(qemu_firmware, tls_files):
    context = ssl.create_default_context(cafile=tls_files.ca)
    with (
        socket.create_connection(("127.0.0.1", qemu_firmware.tls_port), WITHIN) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as tls,
    ):
        assert tls.getpeercert()["subject"] == ((("organizationName", "atp"),), (("commonName", "localhost"),))


def test_tls_alone_and_unix_socket(qemu, tls_files):
    with qemu(spice=SpiceOptions(plain=False, tls=tls_files.directory, more=("tls-channel=main",))) as machine:
        assert machine.port is None
        assert machine.uri == f"spice+tls://127.0.0.1:{machine.tls_port}"
        assert listening_addresses(machine.pid) == {("127.0.0.1", machine.tls_port)}
    with qemu(spice=SpiceOptions(unix=True, image_compression="off", streaming_video="all")) as machine:
        assert (machine.port, machine.tls_port) == (None, None)
        assert machine.uri == f"spice+unix://{machine.socket_path}"
        assert listening_addresses(machine.pid) == set()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(machine.socket_path))


def test_a_port_that_was_taken_meanwhile_is_replaced(qemu, monkeypatch):
    free = qemu_module._free_ports
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        choices = iter([(taken, free()[1]), (taken, free()[1])])
        monkeypatch.setattr(qemu_module, "_free_ports", lambda: next(choices, None) or free())
        with qemu() as machine:
            assert next(choices, None) is None
            assert machine.port != taken
            assert link_result(machine.port, "") == OK


def test_leaves_nothing_behind(qemu):
    with qemu(spice=SpiceOptions(unix=True)) as machine:
        pid, directory = machine.pid, machine.socket_path.parent
        assert directory.is_dir()
    assert not machine.alive()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    machine.stop()
    with pytest.raises(HypervisorError, match="not running"):
        machine.screendump()
    with pytest.raises(HypervisorError, match="only once"), machine:
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"display": "nonsense"}, "'nonsense' is not a valid device model name"),
        ({"extra": ("-nonsense",)}, "-nonsense: invalid option"),
        ({"spice": SpiceOptions(image_compression="nonsense")}, "invalid image compression: nonsense"),
    ],
)
def test_what_qemu_refuses_is_told_in_its_words(qemu, options, words):
    machine = qemu(**options)
    with pytest.raises(HypervisorError, match=re.escape(words)), machine:
        pass
    assert not machine.alive()


def test_a_machine_that_dies_is_noticed(qemu):
    with qemu() as machine:
        machine.wait_ready(within=WITHIN)
        with pytest.raises(HypervisorError, match=r"in vain for 'never written'.*No bootable device"):
            machine.wait_serial("never written", within=0)
        os.kill(machine.pid, 9)
        with pytest.raises(HypervisorError, match="not running"):
            machine.wait_serial("never written", within=WITHIN)
        with pytest.raises(HypervisorError, match="QEMU did not answer query-status"):
            machine.qmp("query-status")


def test_events_are_kept_until_waited_for(qemu):
    with qemu() as machine:
        machine.wait_ready(within=WITHIN)
        machine.qmp("stop")
        machine.qmp("cont")
        machine.qmp("system_reset")
        assert machine.wait_event("RESET", within=WITHIN)["data"]["guest"] is False
        assert "STOP" not in [event["event"] for event in machine.events]
        with pytest.raises(HypervisorError, match="the event STOP"):
            machine.wait_event("STOP", within=0)
