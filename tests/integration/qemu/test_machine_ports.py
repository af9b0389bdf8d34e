"""What a machine offers beside SPICE, over sockets: virtio-serial ports, the guest agent's port, and QMP for other clients."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from atp_trio.testing.guest import DRAW_PORT, ECHO_PORT, EVENTS_PORT

WITHIN = 20.0


@pytest.fixture(scope="module")
def machine(qemu, guest):
    ports = (ECHO_PORT, EVENTS_PORT, DRAW_PORT)
    with qemu(guest=guest, tablet=True, ports=ports, agent=True, qmp_unix=True, qmp_tcp=True) as machine:
        machine.wait_ready()
        yield machine


@contextlib.contextmanager
def lines(address):
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as connection:
        connection.settimeout(WITHIN)
        connection.connect(address)
        yield connection.makefile("rw")


def ask(file, line):
    file.write(line + "\n")
    file.flush()
    return json.loads(file.readline())


def test_every_port_is_served(machine):
    with lines(str(machine.port_path(ECHO_PORT))) as echo:
        assert ask(echo, '["back"]') == ["back"]
    with lines(str(machine.port_path(DRAW_PORT))) as draw:
        assert ask(draw, "size") == {"width": 1024, "height": 768}
    with lines(str(machine.agent_path)) as agent:
        assert ask(agent, '{"execute": "guest-sync", "arguments": {"id": 7}}') == {"return": 7}


def test_keys_are_reported_with_their_time(machine):
    with lines(str(machine.port_path(EVENTS_PORT))) as events:
        before = ask(events, "ping")["clock"]
        machine.send_keys("x")
        reports = [json.loads(events.readline()) for _ in range(3)]
        assert [(report["type"], report["value"]) for report in reports] == [(4, 45), (1, 1), (0, 0)]
        assert before < reports[0]["time"]


def test_two_more_monitors(machine):
    for address in (str(machine.qmp_path), ("127.0.0.1", machine.qmp_port)):
        with lines(address) as monitor:
            assert "QMP" in json.loads(monitor.readline())
            assert ask(monitor, '{"execute": "qmp_capabilities"}') == {"return": {}}
            assert ask(monitor, '{"execute": "query-status"}')["return"]["status"] == "running"
