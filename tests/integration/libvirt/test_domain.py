"""What a domain can do, against a real libvirtd and QEMU: screenshots, its SPICE server, connections passed by libvirt."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import AgentUnavailable, ConfigError, HypervisorError
from atp_trio.hypervisor.domain import DomainState
from atp_trio.hypervisor.host import open_host
from atp_trio.spice.connection import open_spice
from atp_trio.spice.streams.uri import SpiceUri

WITHIN = 60


async def wait_same_screen(domain, vm):
    while not (await domain.screenshot()).equals(await vm.display.screenshot()):  # noqa: ASYNC110 - the machine goes on drawing
        await trio.sleep(0.05)


async def test_life(libvirtd, make_domain):
    name = make_domain(agent=False, console=False, spice=None, display="", tablet=False, memory_mib=32)
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            domain = await host.domain(name)
            assert await domain.state() is DomainState.RUNNING
            await domain.suspend()
            assert await domain.state() is DomainState.PAUSED
            await domain.resume()
            await domain.destroy()
            assert await domain.state() is DomainState.SHUTOFF
            with pytest.raises(HypervisorError, match="not running") as caught:
                await domain.suspend()
            assert caught.value.code == 55  # OPERATION_INVALID
            await domain.start()
            assert await domain.state() is DomainState.RUNNING
            with pytest.raises(HypervisorError):
                await domain.screenshot()


@pytest.mark.parametrize("spice", ["tcp", "unix"])
async def test_spice_and_libvirt_show_the_same_screen(libvirtd, make_domain, spice):
    name = make_domain(agent=False, console=False, spice=spice, password="secret", display="vga", tablet=False, memory_mib=64)
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            domain = await host.domain(name)
            endpoint = await domain.spice_endpoint()
            assert endpoint.password == "secret"
            uri = endpoint.uri
            if spice == "unix":
                # The private libvirtd sees its own directory at that place.
                path = uri.unix_path.replace("/var/lib/libvirt", f"{libvirtd.directory}/lib")
                uri = SpiceUri(unix_path=path)
            async with open_spice(uri, password=endpoint.password) as vm:
                await wait_same_screen(domain, vm)


async def test_spice_over_connections_that_libvirt_passes(libvirtd, make_domain):
    name = make_domain(agent=False, console=False, password="secret", display="vga", tablet=False, memory_mib=64)
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            domain = await host.domain(name)
            async with open_spice(domain.open_graphics) as vm:
                assert {channel.name for channel in vm.channels} == {"main:0", "display:0", "inputs:0", "cursor:0"}
                await wait_same_screen(domain, vm)
            with pytest.raises(HypervisorError):
                await domain.open_graphics(7)
            assert await domain.state() is DomainState.RUNNING


async def test_connections_are_not_passed_over_a_network(libvirtd, idle_domains):
    async with open_host(libvirtd.tcp_uri) as host:
        with pytest.raises(ConfigError, match="its own machine"):
            await (await host.domain(idle_domains[0])).open_graphics()
        assert await host.domains()


async def test_agent_that_is_not_there(libvirtd, make_domain):
    name = make_domain(console=False, spice=None, display="", tablet=False, memory_mib=32)
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            with pytest.raises(AgentUnavailable):
                await (await host.domain(name)).agent('{"execute": "guest-ping"}')


async def test_agent(libvirtd, domain):
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host:
            machine = await host.domain(domain)
            assert await machine.agent('{"execute": "guest-ping"}') == '{"return":{}}'
