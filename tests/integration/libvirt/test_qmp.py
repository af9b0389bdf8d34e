"""QMP through a real libvirt."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import trio

from atp_trio.errors import HypervisorError, LocalProtocolError, QmpError
from atp_trio.hypervisor.host import open_host
from atp_trio.protocols.qmp import QmpCommand, QmpProtocol, open_qmp

WITHIN = 60  # seconds; a busy host


async def test_executes_and_is_refused(libvirtd, idle_domains):
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host, open_qmp(await host.domain(idle_domains[0])) as qmp:
            assert qmp.greeting is None
            assert (await qmp.execute("query-status"))["status"] == "running"
            assert "VM status: running" in await qmp.human("info status")
            with pytest.raises(QmpError, match="no-such-command") as caught:
                await qmp.execute("no-such-command")
            assert caught.value.error_class == "CommandNotFound"
            with pytest.raises(LocalProtocolError, match="out of band"):
                await qmp.execute_oob("yank", instances=[])
            text = 'ä€😀 "\\ %s'
            with pytest.raises(QmpError) as caught:
                await qmp.execute("device_del", id=text)
            assert text in caught.value.description


async def test_events_of_this_domain_alone(libvirtd, idle_domains):
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            one, other = [await host.domain(name) for name in idle_domains[:2]]
            async with open_qmp(one) as qmp, open_qmp(other) as another, qmp.events("STOP", pattern="RES.*") as events:
                await another.execute("stop")
                await another.execute("cont")
                await qmp.execute("stop")
                await qmp.execute("cont")
                stop, resume = await events.receive(), await events.receive()
                assert (stop.name, resume.name) == ("STOP", "RESUME")
                assert 0 <= resume.timestamp - stop.timestamp < WITHIN
                with trio.move_on_after(0.2):
                    pytest.fail(f"{await events.receive()} came too")


async def test_fifty_callers_of_four_domains(libvirtd, idle_domains):
    answers = []

    async def work(qmp, number):
        for turn in range(3):
            with pytest.raises(QmpError) as caught:
                await qmp.execute("device_del", id=f"dev{number}-{turn}")
            answers.append(f"'dev{number}-{turn}'" in caught.value.description)

    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host, trio.open_nursery() as nursery:
            protocols = [QmpProtocol() for _ in idle_domains]
            for protocol, name in zip(protocols, idle_domains, strict=True):
                nursery.start_soon(serve, protocol, await host.domain(name), ready := trio.Event())
                await ready.wait()
            async with trio.open_nursery() as callers:
                for number in range(50):
                    callers.start_soon(work, protocols[number % len(protocols)], number)
            nursery.cancel_scope.cancel()
    assert len(answers) == 150
    assert all(answers)


async def serve(protocol, domain, ready):
    async with protocol:
        await protocol.connect(domain)
        ready.set()
        await trio.sleep_forever()


async def test_send_and_receive(libvirtd, idle_domains):
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host, open_qmp(await host.domain(idle_domains[0])) as qmp:
            for name in ("stop", "nothing", "cont"):
                await qmp.send(QmpCommand(name))
            found = [await qmp.receive() for _ in range(5)]
    answers = [one for one in found if hasattr(one, "command")]
    assert [one.command.name for one in answers] == ["stop", "nothing", "cont"]
    assert [one.error is None for one in answers] == [True, False, True]
    assert [one.name for one in found if one not in answers] == ["STOP", "RESUME"]


async def test_a_domain_that_does_not_run(libvirtd, make_domain):
    name = make_domain(agent=False, console=False, spice=None, display="", tablet=False, memory_mib=32)
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            domain = await host.domain(name)
            async with open_qmp(domain) as qmp:
                assert (await qmp.execute("query-status"))["running"]
                await domain.destroy()
                with pytest.raises(HypervisorError, match="not running"):
                    await qmp.execute("query-status")


def test_the_command_line(libvirtd, idle_domains):
    command = [sys.executable, "-m", "atp_trio", "qmp", libvirtd.uri, idle_domains[0]]
    arguments = json.dumps({"command-line": "info status"})
    done = subprocess.run(
        [*command, "human-monitor-command", arguments], capture_output=True, text=True, check=True, timeout=WITHIN
    )
    assert json.loads(done.stdout).startswith("VM status: running")
