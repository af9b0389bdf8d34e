"""The definition of a test machine; that libvirt takes it and starts it is an integration test."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from atp_trio.errors import ConfigError
from atp_trio.testing.domain_xml import domain_xml
from atp_trio.testing.guest import AGENT_PORT, ECHO_PORT, Guest

GUEST = Guest(Path("/g/vm&linux"), Path("/g/initramfs.cpio"), "quiet <x>")


def parse(*arguments, **options):
    return ET.fromstring(domain_xml("vm", *arguments, **options))


def test_the_guest_is_started_directly():
    assert [parse(GUEST).findtext(f"os/{part}") for part in ("kernel", "initrd", "cmdline")] == [
        "/g/vm&linux",
        "/g/initramfs.cpio",
        "quiet <x>",
    ]
    assert parse().find("os/kernel") is None


@pytest.mark.parametrize(("agent", "names"), [(True, [AGENT_PORT, ECHO_PORT, "<&'\">"]), (False, [ECHO_PORT, "<&'\">"])])
def test_ports_are_channels(agent, names):
    root = parse(agent=agent, ports=(ECHO_PORT, "<&'\">"))
    assert [target.get("name") for target in root.iterfind("devices/channel/target")] == names


@pytest.mark.parametrize(
    ("spice", "listen", "mode"),
    [
        ("tcp", {"type": "address", "address": "127.0.0.1"}, "insecure"),
        ("tls", {"type": "address", "address": "127.0.0.1"}, "secure"),
        ("unix", {"type": "socket"}, None),
        (Path("/s/a&b.sock"), {"type": "socket", "socket": "/s/a&b.sock"}, None),
    ],
)
def test_spice(spice, listen, mode):
    graphics = parse(spice=spice, password="open<sesame").find("devices/graphics")
    assert graphics.find("listen").attrib == listen
    assert graphics.get("defaultMode") == mode
    assert graphics.get("passwd") == "open<sesame"
    assert parse(spice=spice).find("devices/graphics").get("passwd") is None


def test_what_is_left_out():
    root = parse(spice=None, display="", tablet=False, console=False, agent=False)
    assert root.find("devices/graphics") is None
    assert root.find("devices/video/model").get("type") == "none"
    assert root.find("devices/channel") is None
    assert root.find("devices/input") is None
    assert [target.get("type") for target in root.iterfind("devices/console/target")] == ["serial"]
    with pytest.raises(ConfigError, match="display"):
        domain_xml("vm", display="")


def test_serial_output_is_kept():
    assert parse(serial_log=Path("/l/a&b")).find("devices/serial/log").get("file") == "/l/a&b"
    assert parse().find("devices/serial/log") is None
