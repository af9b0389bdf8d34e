"""`atp doctor` as a program, on this machine as it is, and against hosts and machines that are real."""

from __future__ import annotations

import json
import os
import sys

import pytest
import trio

from atp_trio.hypervisor.host import open_host
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType

WITHIN = 60
PASSWORD = "correct horse"


@pytest.fixture
def doctor():
    """Runs it; gives the exit code and the document."""

    async def run(*words, **variables):
        command = [sys.executable, "-m", "atp_trio", "doctor", "--json", *map(str, words)]
        environment = {**os.environ, **variables}
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, env=environment)
        # libvirt's own library may say there what it thinks of a certificate; errors of ours are not.
        assert b"atp: " not in done.stderr, done.stderr
        assert b"Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


async def test_this_machine(doctor, libvirtd):
    with trio.fail_after(WITHIN):
        code, document = await doctor()
    assert (code, document["places"]) == (0, [])
    states = {part["name"]: part["state"] for part in document["parts"]}
    # What these tests could not run without.
    needed = (
        "python",
        "trio",
        "numpy",
        "C extension",
        "libvirt-python",
        "ssh",
        "virsh",
        "libvirtd",
        "qemu",
        "qemu with SPICE",
        "gcc",
    )
    assert {states[name] for name in needed} == {"ok"}
    assert all((part["remedy"] is None) == (part["state"] == "ok") for part in document["parts"])


async def test_every_way_to_a_host(doctor, libvirtd, sasl_libvirtd, sasl_login):
    user, password = sasl_login
    uris = [libvirtd.uri, libvirtd.tcp_uri, libvirtd.tls_uri, libvirtd.ssh_uri]
    wrong = libvirtd.tls_uri.replace(str(libvirtd.pki.client), str(libvirtd.pki.stranger))
    guarded = sasl_libvirtd.tcp_uri.replace("://", f"://{user}@")
    with trio.fail_after(WITHIN):
        code, document = await doctor(*uris, guarded, ATP_HOST_PASSWORD=password)
        assert (code, [place["reached"] for place in document["places"]]) == (0, [True] * 5)
        assert "QEMU" in document["places"][0]["detail"]
        code, document = await doctor(wrong, guarded, libvirtd.uri, ATP_HOST_PASSWORD="hunter2")
    tls, sasl, local = document["places"]
    assert (code, tls["reached"], sasl["reached"], local["reached"]) == (1, False, False, True)
    assert "authority" in tls["remedy"]
    assert "password" in sasl["remedy"]
    assert "hunter2" not in json.dumps(document)


async def test_a_configuration_and_nobody_is_disturbed(doctor, libvirtd, make_domain, tmp_path):
    name = make_domain(agent=False, console=False, password=PASSWORD, display="vga", tablet=False, memory_mib=64)
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            endpoint = await (await host.domain(name)).spice_endpoint()
        file = tmp_path / "atp.yaml"
        file.write_text(f"""
hosts:
  - {{id: local, host: localhost, uri: "{libvirtd.uri}"}}
  - {{id: remote, host: 127.0.0.1, uri: "{libvirtd.tcp_uri}"}}
spice:
  vms:
    - {{vm_id: direct, uri: "{endpoint.uri}", password: {{env: TICKET}}}}
    - {{vm_id: passed, host: local, domain: {name}}}
    - {{vm_id: found, host: remote, domain: {name}}}
    - {{vm_id: wrong, uri: "{endpoint.uri}", password: hunter2}}
    - {{vm_id: nobody, host: local}}
""")
        async with open_spice(endpoint.uri, password=PASSWORD, channels=[ChannelType.INPUTS]) as vm:
            code, document = await doctor(file, TICKET=PASSWORD)
            await vm.inputs.press("shift")
            await vm.inputs.wait_sent()
            assert {channel.name for channel in vm.channels} == {"main:0", "inputs:0"}
    places = {place["place"].split(" (")[0]: place for place in document["places"]}
    assert code == 1
    assert {place: found["reached"] for place, found in places.items()} == {
        "host local": True,
        "host remote": True,
        "machine direct": True,
        "machine passed": True,
        "machine found": True,
        "machine wrong": False,
        "machine nobody": False,
    }
    assert "password" in places["machine wrong"]["detail"]
    assert "atp domains" in places["machine nobody"]["remedy"]
    assert not any(secret in json.dumps(document) for secret in (PASSWORD, "hunter2"))
