"""Reaching places, against embedded servers and libvirt's test driver, without disturbing anybody."""

from __future__ import annotations

import socket

import pytest
import trio

from atp_trio.cli.access import Access
from atp_trio.cli.execute import CommandFailed
from atp_trio.cli.reach import Place, find_places, reach_all
from atp_trio.errors import AtpError, ConfigError, DomainNotFound, LinkError
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType

PASSWORD = "correct horse"
WITHIN = 20


async def reach(text, **options):
    places = find_places(str(text), Access(**options))
    found = await reach_all(places, WITHIN)
    assert PASSWORD not in repr(places) + repr(found)
    return found


async def reach_one(text, **options):
    (found,) = await reach(text, **options)
    return found


async def test_a_server(server):
    found = await reach_one(server.uri)
    assert (found.name, found.is_reached, found.remedy) == (server.uri, True, None)


async def test_the_present_client_stays(server):
    async with open_spice(server.uri, channels=[ChannelType.INPUTS]) as vm:
        for _ in range(3):
            assert (await reach_one(server.uri)).is_reached
        await vm.inputs.press("a")
        await vm.inputs.wait_sent()
        assert {channel.name for channel in vm.channels} == {"main:0", "inputs:0"}


async def test_a_password(serving, password_file, monkeypatch):
    with serving(password=PASSWORD) as server:
        assert (await reach_one(server.uri, password_file=password_file(PASSWORD))).is_reached
        refused = await reach_one(server.uri, password_file=password_file("hunter2"))
        assert not refused.is_reached
        assert "password" in refused.remedy
        assert "hunter2" not in repr(refused)
        assert not (await reach_one(server.uri)).is_reached
        monkeypatch.setenv("ATP_SPICE_PASSWORD", PASSWORD)
        assert (await reach_one(server.uri)).is_reached


async def test_tls(tls_server, tls_files):
    assert (await reach_one(tls_server.uri, insecure=True)).is_reached
    stranger = await reach_one(tls_server.uri)
    assert "certificate" in stranger.detail
    assert "--ca-file" in stranger.remedy


async def test_a_channel_that_goes_over_tls_alone(serving, tls_files):
    files = {"cert_file": tls_files.directory / "server-cert.pem", "key_file": tls_files.directory / "server-key.pem"}
    with serving(**files, secure_channels=frozenset({ChannelType.INPUTS})) as server:
        uri = server.uri if "tls-port" in server.uri else f"{server.uri}?tls-port={server.server.tls_port}"
        assert (await reach_one(uri, insecure=True)).is_reached
        plain = await reach_one(uri.partition("?")[0])
        assert "spice+tls://" in plain.remedy


async def test_nobody_listens(refusing, tmp_path):
    for uri in (refusing, f"spice+unix://{tmp_path}/none"):
        found = await reach_one(uri)
        assert not found.is_reached
        assert "start what is to listen there" in found.remedy


async def test_not_a_spice_server(answering):
    assert "does not speak SPICE" in (await reach_one(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"))).remedy
    assert "look which program listens there" in (await reach_one(answering(b""))).remedy


async def test_a_server_that_never_says_a_word(autojump_clock):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (place,) = find_places(f"spice://127.0.0.1:{silent.getsockname()[1]}", Access())
        (found,) = await reach_all([place], 5)
    assert (found.is_reached, found.detail) == (False, "no answer within 5 s")
    assert "firewall" in found.remedy


async def test_a_host():
    found = await reach_one("test:///default")
    assert (found.name, found.is_reached) == ("test:///default", True)
    assert "TEST" in found.detail
    assert "1 domains" in found.detail
    assert not (await reach_one("qemu+tcp://127.0.0.1:1/system")).is_reached


async def test_all_of_a_configuration(serving, refusing, tmp_path):
    with serving(password=PASSWORD) as server:
        (tmp_path / "password").write_text(PASSWORD)
        file = tmp_path / "atp.yaml"
        file.write_text(f"""
hosts: [{{id: a, host: a, uri: "test:///default"}}]
spice:
  vms:
    - {{vm_id: right, uri: "{server.uri}", password: {{file: password}}}}
    - {{vm_id: wrong, uri: "{server.uri}", password: hunter2}}
    - {{vm_id: gone, uri: "{refusing}"}}
    - {{vm_id: test, host: a}}
    - {{vm_id: nobody, host: a}}
    - {{vm_id: unset, uri: "{server.uri}", password: {{env: NOBODY_SETS_THIS}}}}
""")
        found = {one.name: one for one in await reach(file)}
    assert [name for name, one in found.items() if one.is_reached] == [
        "host a (test:///default)",
        f"machine right ({server.uri})",
    ]
    assert "hunter2" not in repr(found)
    assert "no SPICE" in found["machine test (test of host a)"].detail
    assert "atp domains" in found["machine nobody (nobody of host a)"].remedy
    assert "NOBODY_SETS_THIS" in found[f"machine unset ({server.uri})"].detail


@pytest.mark.parametrize("text", ["spice://h", "http://h", "qemu+carrier-pigeon://h/system", "spice://h:1?password=hunter2"])
def test_what_cannot_be_meant(text):
    with pytest.raises(ConfigError) as caught:
        find_places(text, Access())
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        find_places(str(tmp_path / "atp.yaml"), Access())


async def test_at_once_but_in_order():
    arrived = trio.Event()
    running = 0

    async def first():
        await arrived.wait()
        return "first"

    async def second():
        arrived.set()
        return "second"

    async def crowd():
        nonlocal running
        running += 1
        most.append(running)
        await trio.lowlevel.checkpoint()
        running -= 1
        return ""

    most = []
    found = await reach_all([Place("1", first), Place("2", second)], WITHIN)
    assert [one.detail for one in found] == ["first", "second"]
    await reach_all([Place("", crowd)] * 100, WITHIN)
    assert (len(most), max(most)) == (100, 8)


@pytest.mark.parametrize(
    ("error", "word"),
    [(CommandFailed(""), "firewall"), (DomainNotFound(""), "domains"), (LinkError(""), None), (OSError(""), None)],
)
async def test_remedies(error, word):
    async def fail():
        raise error

    (found,) = await reach_all([Place("it", fail)], WITHIN)
    assert not found.is_reached
    assert found.remedy is None if word is None else word in found.remedy


async def test_a_bug_is_not_an_outcome():
    async def fail():
        raise RuntimeError

    assert not issubclass(RuntimeError, AtpError)
    with pytest.RaisesGroup(RuntimeError):
        await reach_all([Place("it", fail)], WITHIN)
