"""The manager with a private libvirtd: a machine known to both sides, its SPICE found by its definition, input by every way."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from atp_trio.config import HostConfig, SpiceVmConfig, TransportConfig
from atp_trio.errors import NotConnected
from atp_trio.hypervisor.host import open_host
from atp_trio.hypervisor.uri import HostUri
from atp_trio.manager import InputWay, open_manager
from atp_trio.protocols.spice import KeyPress, SpiceProtocol, TypedText
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.state import ConnectionState
from atp_trio.testing.faults import open_fault_proxy

WITHIN = 90


@asynccontextmanager
async def managing(libvirtd):
    config = TransportConfig(reconnect=ReconnectConfig(initial=0.1, maximum=1))
    with trio.fail_after(WITHIN):
        async with open_manager(config) as manager:
            manager.add_host(HostConfig(id="host", host="localhost", uri=HostUri.parse(libvirtd.uri)))
            yield manager


async def screen_is(vm, domain):
    """Wait until our screen is the same as the one that libvirt takes a picture of."""
    while True:
        theirs, ours = (await domain.screenshot()).pixels, (await vm.display.screenshot()).pixels
        if ours.shape == theirs.shape and (ours == theirs).all():
            return
        await trio.sleep(0.1)


async def test_machine_by_one_name(libvirtd, domain):
    async with managing(libvirtd) as manager:
        machine = manager.add_spice_vm(SpiceVmConfig(vm_id="one name", host="host", domain=domain))
        vm = await machine.wait_spice()
        async with machine.domain() as known:
            assert known.name == domain
            await screen_is(vm, known)
        assert (await machine.send(KeyPress("a"))).way is InputWay.SPICE
        found = await manager.map_hosts(lambda host: host.domain(domain))
        assert found["host"].get().uuid == known.uuid


async def test_machine_that_is_started_anew_is_found_on_its_new_port(libvirtd, make_domain):
    name = make_domain(agent=False, console=False, display="vga", tablet=False, memory_mib=32)
    async with managing(libvirtd) as manager:
        machine = manager.add_spice_vm(SpiceVmConfig(vm_id="vm", host="host", domain=name))
        old = await machine.wait_spice()
        async with machine.domain() as domain:
            await domain.destroy()
            change = await manager.spice.get_state("vm").wait_state(ConnectionState.DISCONNECTED)
            assert change.cause is not None
            with pytest.raises(NotConnected):
                _ = machine.spice
            await domain.start()
            vm = await machine.wait_spice()
            assert vm is not old
            await screen_is(vm, domain)


async def test_input_goes_another_way_while_spice_is_cut(libvirtd, domain):
    async with open_host(libvirtd.uri) as host:
        endpoint = await (await host.domain(domain)).spice_endpoint()
    async with open_fault_proxy(str(endpoint.uri)) as proxy, managing(libvirtd) as manager:
        vm = SpiceVmConfig(vm_id="vm", uri=SpiceUri.parse(proxy.uri), host="host", domain=domain)
        machine = manager.add_spice_vm(vm)
        await machine.wait_spice()
        proxy.refuse()
        proxy.cut()
        await manager.spice.get_state("vm").wait_state(ConnectionState.DISCONNECTED)
        report = await machine.send(TypedText("a"))
        assert report.way is InputWay.QMP
        assert [way for way, _ in report.refused] == [InputWay.SPICE]
        found = await manager.broadcast(KeyPress("backspace"))
        assert found["vm"].get().way is InputWay.QMP
        proxy.heal()
        await machine.wait_spice()
        assert (await machine.send(KeyPress("a"))).way is InputWay.SPICE


async def test_protocol_finds_the_server(libvirtd, domain):
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host, SpiceProtocol() as spice:
            known = await host.domain(domain)
            await spice.connect(known)
            assert {channel.name for channel in spice.vm.channels} == {"main:0", "display:0", "inputs:0"}
            await spice.send(KeyPress("enter"))
            await screen_is(spice.vm, known)
            assert (await spice.receive()).width > 0
