"""What the tests of libvirt mode share: a libvirt-python without libvirt."""

from __future__ import annotations

import pytest
import trio

from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.host import open_host

from .fake_libvirt import FakeConnection, FakeDomain, FakeLibvirt
from .fake_stream import FakeStream, Ports


@pytest.fixture
def libvirt():
    """A `libvirt` module."""
    return FakeLibvirt()


@pytest.fixture
def wait_until():
    """Wait for what a thread brings about."""

    async def wait(condition):
        with trio.fail_after(5):
            while not condition():  # noqa: ASYNC110 - threads set no events of Trio's
                await trio.sleep(0.001)

    return wait


@pytest.fixture
def ports(monkeypatch):
    """Where the ports and consoles of domains lead to."""
    ports = Ports()
    close = FakeConnection.close

    def close_with_streams(self):
        for stream in getattr(self, "streams", []):
            stream.socket.close()
        return close(self)

    def new_stream(self, flags):
        return FakeStream(self, flags)

    def open_port(self, name, stream, flags):
        ports.open(name, stream, flags)

    monkeypatch.setattr(FakeConnection, "close", close_with_streams)
    monkeypatch.setattr(FakeConnection, "newStream", new_stream, raising=False)
    for name in ("openChannel", "openConsole"):
        monkeypatch.setattr(FakeDomain, name, open_port, raising=False)
    yield ports
    for stream in ports.streams:
        stream.is_watched = False
    for one in ports.made:
        one.close()


@pytest.fixture
async def host(libvirt, ports):
    """A host whose domains have these ports."""
    async with open_host("qemu:///system", load=libvirt.load) as host:
        yield host


@pytest.fixture
def domain(host):
    """One of its domains."""
    return Domain(host, "vm", "uuid-of-vm")


@pytest.fixture
async def pair(domain, ports):
    """A stream, and the guest's side of it as a socket."""
    guest = ports.add("port")
    with guest:
        async with await domain.open_channel("port") as stream:
            yield stream, guest
