"""Ports of a domain, on a domain in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from atp_trio.errors import ChannelNotAvailable, ConnectionLost, HypervisorError, LocalProtocolError
from atp_trio.hypervisor.event import EventsMissed, QemuMonitorEvent
from atp_trio.protocols.framing import JsonFraming, LineFraming, RawFraming
from atp_trio.protocols.virtio_serial import TAIL_SECONDS, SerialPort, VirtioSerialProtocol, find_serial_port, list_serial_ports

XML = """<domain><devices>
<serial type='pty'><target type='isa-serial' port='0'/><alias name='serial0'/></serial>
<console type='pty'><target type='serial' port='0'/><alias name='serial0'/></console>
<console type='pty'><target type='virtio' port='1'/><alias name='console1'/></console>
<channel type='unix'><target type='virtio' name='org.test.0' state='{state}'/><alias name='channel0'/></channel>
<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/><alias name='channel1'/></channel>
<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>
<disk><target dev='vda'/><alias name='virtio-disk0'/></disk>
</devices></domain>"""


def test_ports():
    assert list_serial_ports(XML.format(state="connected")) == [
        SerialPort(name="serial0", alias="serial0", is_console=True),
        SerialPort(name="console1", alias="console1", is_console=True),
        SerialPort(name="org.test.0", alias="channel0", is_console=False, is_open_in_guest=True),
        SerialPort(name="com.redhat.spice.0", alias="channel1", is_console=False),
    ]
    assert find_serial_port(XML, "console").alias == "serial0"
    with pytest.raises(ChannelNotAvailable, match=r"no port nosuch; it has serial0, console1, org\.test\.0"):
        find_serial_port(XML, "nosuch")
    with pytest.raises(ChannelNotAvailable, match="none"):
        find_serial_port("<domain/>", "console")
    with pytest.raises(HypervisorError, match="no XML"):
        list_serial_ports("<domain>")


class Stream(trio.abc.Stream):
    """Half of a pair, which can be ended as a `LibvirtStream` can."""

    def __init__(self, stream):
        self.stream, self.failure, self.ended = stream, None, trio.Event()

    def end(self, failure):
        self.failure = failure
        self.ended.set()

    async def receive_some(self, max_bytes=None):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watch, scope)
                data = await self.stream.receive_some(max_bytes)
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise self.failure
        return data

    async def watch(self, scope):
        await self.ended.wait()
        scope.cancel()

    async def send_all(self, data):
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self):
        await self.stream.aclose()


class Machine:
    """A `Domain`, and its host."""

    def __init__(self):
        self.host = self
        self.state = "connected"
        self.opened = []
        self.refuses_events = False
        self.send_event, self.receive_event = trio.open_memory_channel(10)
        self.guest = None

    async def xml(self):
        await trio.lowlevel.checkpoint()
        return XML.format(state=self.state)

    async def open_channel(self, name, *, force, max_waiting):
        await trio.lowlevel.checkpoint()
        self.opened.append((name, force, max_waiting))
        ours, self.guest = trio.testing.memory_stream_pair()
        return Stream(ours)

    async def open_console(self, alias, *, force, max_waiting):
        return await self.open_channel(f"console {alias}", force=force, max_waiting=max_waiting)

    @asynccontextmanager
    async def events(self, *types, domain):
        assert types == (QemuMonitorEvent,)
        assert domain is self
        await trio.lowlevel.checkpoint()
        if self.refuses_events:
            raise HypervisorError("no such events")
        yield self.receive_event

    def change(self, *, is_open, alias="channel0", event="VSERPORT_CHANGE"):
        data = {"id": alias, "open": is_open}
        self.send_event.send_nowait(QemuMonitorEvent(name="vm", uuid="u", event=event, seconds=0, microseconds=0, data=data))


@pytest.fixture
def machine():
    return Machine()


async def test_messages_on_a_port(machine):
    async with VirtioSerialProtocol(JsonFraming()) as port:
        with pytest.raises(LocalProtocolError, match="not connected"):
            await port.receive()
        await port.connect(machine, "org.test.0", force=True, max_waiting=5)
        assert machine.opened == [("org.test.0", True, 5)]
        assert port.is_open_in_guest
        await port.send({"execute": "ping"})
        assert await machine.guest.receive_some() == b'{"execute":"ping"}\n'
        await machine.guest.send_all(b"[1]\n")
        assert await port.receive() == [1]
        await machine.guest.aclose()
        with pytest.raises(trio.EndOfChannel):
            await port.receive()


@pytest.mark.parametrize(("name", "alias"), [("console", "serial0"), ("console1", "console1")])
async def test_consoles_are_not_watched(machine, name, alias):
    machine.refuses_events = True
    async with VirtioSerialProtocol(LineFraming()) as port:
        await port.connect(machine, name)
        assert machine.opened[0][0] == f"console {alias}"
        assert port.is_open_in_guest is None
        await machine.guest.send_all(b"login:\r\n")
        assert await port.receive() == "login:"


async def test_no_such_port(machine):
    async with VirtioSerialProtocol(RawFraming()) as port:
        with pytest.raises(ChannelNotAvailable, match="nosuch"):
            await port.connect(machine, "nosuch")
        assert machine.opened == []
        await port.connect(machine)


async def test_the_guest_closes_the_port(machine, autojump_clock):
    async with VirtioSerialProtocol(RawFraming()) as port:
        await port.connect(machine, "org.test.0")
        machine.change(is_open=False, alias="channel7")
        machine.change(is_open=False, event="OTHER")
        machine.send_event.send_nowait(EventsMissed(count=1))
        with trio.move_on_after(1):
            await port.receive()
        assert port.is_open_in_guest
        machine.change(is_open=False)
        await trio.sleep(TAIL_SECONDS / 2)
        assert not port.is_open_in_guest
        await machine.guest.send_all(b"tail")
        assert await port.receive() == b"tail"
        with pytest.raises(ConnectionLost, match=r"the guest closed port org\.test\.0"):
            await port.receive()


async def test_news_that_was_missed(machine, autojump_clock):
    async with VirtioSerialProtocol(RawFraming()) as port:
        await port.connect(machine, "org.test.0")
        machine.state = "disconnected"
        machine.send_event.send_nowait(EventsMissed(count=None))
        with pytest.raises(ConnectionLost, match="the guest closed"):
            await port.receive()


async def test_a_port_that_is_opened_again_stays(machine, autojump_clock):
    machine.state = "disconnected"
    async with VirtioSerialProtocol(RawFraming()) as port:
        await port.connect(machine, "org.test.0")
        assert port.is_open_in_guest is False
        machine.change(is_open=True)
        machine.change(is_open=False)
        await trio.sleep(TAIL_SECONDS / 2)
        machine.change(is_open=True)
        await trio.sleep(TAIL_SECONDS * 2)
        assert port.is_open_in_guest
        await machine.guest.send_all(b"on")
        assert await port.receive() == b"on"


async def test_hosts_without_such_events(machine):
    machine.refuses_events = True
    async with VirtioSerialProtocol(RawFraming()) as port:
        await port.connect(machine, "org.test.0")
        await port.stream.send_all(b"x")
        assert await machine.guest.receive_some() == b"x"


async def test_the_stream_is_closed_with_the_protocol(machine):
    async with VirtioSerialProtocol(RawFraming()) as port:
        await port.connect(machine, "org.test.0")
        first = machine.guest
        await port.disconnect()
        assert await first.receive_some() == b""
        await port.connect(machine, "org.test.0")
        second = machine.guest
    assert await second.receive_some() == b""
