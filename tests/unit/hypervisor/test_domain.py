import pytest
import trio

from atp_trio.errors import ConfigError, HypervisorError
from atp_trio.hypervisor.domain import Domain, DomainState
from atp_trio.hypervisor.host import open_host


async def test_life_of_a_domain():
    async with open_host("test:///default") as host:
        domain = await host.domain("test")
        assert await domain.state() is DomainState.RUNNING
        await domain.suspend()
        assert await domain.state() is DomainState.PAUSED
        await domain.resume()
        await domain.destroy()
        assert await domain.state() is DomainState.SHUTOFF
        await domain.start()
        assert await domain.state() is DomainState.RUNNING
        with pytest.raises(HypervisorError, match="running") as caught:
            await domain.start()
        assert (caught.value.code, caught.value.domain) == (1, 12)  # INTERNAL_ERROR of the test driver
        assert "<name>test</name>" in await domain.xml()
        await domain.shutdown()
        with pytest.raises(HypervisorError, match="no SPICE"):
            await domain.spice_endpoint()


async def test_any_function_of_libvirts():
    import libvirt

    async with open_host("test:///default") as host:
        domain = await host.domain("test")
        assert (await domain.call(libvirt.virDomain.info))[0] == libvirt.VIR_DOMAIN_RUNNING
        assert await domain.call(lambda one, flags: one.XMLDesc(flags), 0, lane="monitor")


async def test_monitor(libvirt):
    async with open_host("qemu:///system", load=libvirt.load) as host:
        domain = Domain(host, "a", "uuid-of-a")
        assert await domain.monitor('{"execute": "stop"}') == 'a: {"execute": "stop"}'


async def test_graphics_of_another_machine_are_refused_before_libvirt_is_asked(libvirt):
    async with open_host("qemu+tcp://127.0.0.1/system", load=libvirt.load) as host:
        with pytest.raises(ConfigError, match="its own machine"):
            await Domain(host, "a", "uuid-of-a").open_graphics()
        assert host.statistics().calls == 0


async def test_graphics_left_while_libvirt_opens_them(libvirt, monkeypatch, wait_until):
    import socket
    import threading

    from .fake_libvirt import FakeDomain

    ours, theirs = socket.socketpair()
    gate = threading.Event()

    def open_graphics(self, index, flags):
        assert gate.wait(5)
        return theirs.detach()

    monkeypatch.setattr(FakeDomain, "openGraphicsFD", open_graphics, raising=False)
    async with open_host("qemu:///system", load=libvirt.load) as host:
        with trio.move_on_after(0.02):
            await Domain(host, "a", "uuid-of-a").open_graphics()
        gate.set()
        await wait_until(lambda: host.statistics().in_flight == 0)
    with ours:
        assert ours.recv(1) == b""


async def test_graphics_opened(libvirt, monkeypatch):
    import socket

    from .fake_libvirt import FakeDomain

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(FakeDomain, "openGraphicsFD", lambda self, index, flags: theirs.detach(), raising=False)
    async with open_host("qemu:///system", load=libvirt.load) as host:
        stream = await Domain(host, "a", "uuid-of-a").open_graphics()
        with ours:
            await stream.send_all(b"x")
            assert ours.recv(1) == b"x"
        await stream.aclose()
