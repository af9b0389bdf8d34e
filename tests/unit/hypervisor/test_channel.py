"""Streams, over a virStream that is a socket."""

from __future__ import annotations

import select
import socket
import threading
import time

import pytest
import trio
import trio.testing

from atp_trio.errors import ChannelNotAvailable, ConnectionLost, HypervisorError
from atp_trio.hypervisor import channel
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.host import open_host
from atp_trio.supervision.state import ConnectionState

from .fake_libvirt import FakeConnection, FakeDomain, FakeError

BUSY, NOT_RUNNING = 9, 55


class FakeStream:
    """A virStream; a thread of its own is libvirt's event thread."""

    def __init__(self, connection, flags):
        assert flags == 1, "a blocking stream"
        self.connection = connection
        self.socket = None
        self.callback = None
        self.is_watched = False
        self.receives = 0
        self.finishes = 0
        self.is_free = False

    def __del__(self):
        self.is_free = True

    def recv(self, size):
        self.receives += 1
        try:
            return self.socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return -2
        except OSError as error:
            raise FakeError(f"cannot read from stream: {error}") from error

    def send(self, data):
        end = time.monotonic() + 5
        while self.connection.is_alive and time.monotonic() < end:
            try:
                return self.socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                select.select([], [self.socket], [], 0.005)
            except OSError as error:
                raise FakeError(f"cannot write to stream: {error}") from error
        raise FakeError("client socket is closed")

    def eventAddCallback(self, events, callback, opaque):  # noqa: N802
        self.callback, self.opaque, self.is_watched = callback, opaque, True
        self.connection.callbacks[self] = callback
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while self.is_watched:
            try:
                readable, _, _ = select.select([self.socket], [], [], 0.005)
            except (OSError, ValueError):
                return  # closed
            if readable and self.is_watched:
                self.callback(self, 1, self.opaque)

    def eventUpdateCallback(self, events):  # noqa: N802
        self.is_watched = bool(events)

    def eventRemoveCallback(self):  # noqa: N802
        self.is_watched = False
        del self.connection.callbacks[self]

    def finish(self):
        self.finishes += 1
        self.socket.close()


class Ports:
    """The other ends of what `openChannel` opens, by name."""

    def __init__(self):
        self.sockets = {}
        self.made = []
        self.streams = []
        self.failure = None
        self.gate = None
        self.asked = []

    def add(self, name):
        ours, self.sockets[name] = self.pair()
        ours.settimeout(5)
        return ours

    def pair(self):
        pair = socket.socketpair()
        self.made += pair
        return pair

    def connections(self):
        """Those of streams; the host has another."""
        return {stream.connection for stream in self.streams if stream.connection in stream.connection.libvirt.connections}

    def open(self, name, stream, flags):
        self.asked.append((name, flags))
        if self.gate is not None:
            assert self.gate.wait(5)
        if self.failure is not None:
            raise self.failure
        stream.socket = self.sockets.pop(name)
        self.streams.append(stream)
        stream.connection.streams = [stream]


@pytest.fixture
def ports(monkeypatch):
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
    async with open_host("qemu:///system", load=libvirt.load) as host:
        yield host


@pytest.fixture
def domain(host):
    return Domain(host, "vm", "uuid-of-vm")


@pytest.fixture
async def pair(domain, ports):
    """A stream, and the guest's side of it as a socket."""
    guest = ports.add("port")
    with guest:
        async with await domain.open_channel("port") as stream:
            yield stream, guest


def read(guest, size):
    """So much that came to the guest's side; for a thread."""
    data = bytearray()
    while len(data) < size and (got := guest.recv(size - len(data))):
        data += got
    return bytes(data)


async def receive_exactly(stream, size):
    data = b""
    while len(data) < size:
        got = await stream.receive_some()
        assert got
        data += got
    return data


async def test_conforms_to_trio(domain, ports):
    async def make():
        ports.sockets["a"], ports.sockets["b"] = ports.pair()
        return await domain.open_channel("a"), await domain.open_channel("b")

    with trio.fail_after(30):
        await trio.testing.check_two_way_stream(make, None)


async def test_both_ways(pair):
    stream, guest = pair
    await stream.send_all(b"to")
    await stream.send_all(memoryview(b" guest"))
    await stream.send_all(b"")
    assert await trio.to_thread.run_sync(read, guest, 8) == b"to guest"
    guest.sendall(b"from guest")
    assert await stream.receive_some(4) == b"from"
    assert await stream.receive_some(4) == b" gue"
    assert await stream.receive_some() == b"st"
    assert "port of vm" in repr(stream)


async def test_consoles_and_force(domain, ports):
    for alias in (None, "serial0"):
        with ports.add(alias):
            await (await domain.open_console(alias, force=alias is None)).aclose()
    assert ports.asked == [(None, 1), ("serial0", 0)]


@pytest.mark.parametrize(
    ("code", "kind"), [(BUSY, ChannelNotAvailable), (1, ChannelNotAvailable), (NOT_RUNNING, HypervisorError)]
)
async def test_what_cannot_be_opened(domain, ports, libvirt, wait_until, code, kind):
    ports.failure = FakeError("no way", code)
    with pytest.raises(kind, match="no way") as caught:
        await domain.open_channel("port")
    assert ("force" in str(caught.value)) == (code == BUSY)
    await wait_until(lambda: len(libvirt.connections) <= 2)
    assert domain.host.state is ConnectionState.CONNECTED


async def test_left_while_it_is_opened(domain, ports, libvirt, wait_until):
    guest = ports.add("port")
    ports.gate = threading.Event()
    with trio.move_on_after(0.02) as scope:
        await domain.open_channel("port")
    assert scope.cancelled_caught
    ports.gate.set()
    await wait_until(lambda: ports.streams and not ports.connections())
    with guest:
        assert guest.recv(1) == b""


async def test_each_has_a_connection_that_goes_with_it(domain, ports, libvirt, wait_until):
    with ports.add("a"), ports.add("b"):
        a, b = await domain.open_channel("a"), await domain.open_channel("b")
        assert a is not b
        assert len(ports.connections()) == 2
        await a.aclose()
        await b.aclose()
        await wait_until(lambda: not ports.connections())
    assert [stream.finishes for stream in ports.streams] == [1, 1]


async def test_the_guest_ends(pair):
    stream, guest = pair
    guest.sendall(b"last")
    guest.close()
    assert await receive_exactly(stream, 4) == b"last"
    assert await stream.receive_some() == b""
    assert await stream.receive_some() == b""
    with pytest.raises(ConnectionLost, match="has ended"):
        await stream.send_all(b"x")


async def test_a_lost_stream_is_told_after_what_came(pair, monkeypatch, wait_until, ports):
    stream, guest = pair
    guest.sendall(b"last")
    await wait_until(lambda: stream._inbox.size == 4)

    def fail(size):
        raise FakeError("Connection reset by peer")

    ports.streams[0].recv = fail
    guest.sendall(b"x")
    await wait_until(lambda: stream._inbox.is_ended)
    assert await stream.receive_some() == b"last"
    for call in (stream.receive_some, lambda: stream.send_all(b"x"), stream.send_eof):
        with pytest.raises(ConnectionLost, match="port port of vm was lost: Connection reset"):
            await call()


async def test_a_slow_reader_loses_the_stream(domain, ports, wait_until):
    with ports.add("port") as guest:
        async with await domain.open_channel("port", max_waiting=1000) as stream:
            for _ in range(11):
                guest.sendall(b"x" * 100)
            await wait_until(lambda: stream._inbox.is_ended)
            receives = ports.streams[0].receives
            guest.sendall(b"y" * 1000)
            assert await receive_exactly(stream, 1100) == b"x" * 1100
            with pytest.raises(ConnectionLost, match="too slow"):
                await stream.receive_some()
            assert ports.streams[0].receives == receives


async def test_bytes_that_wait_in_small_pieces(pair, wait_until):
    stream, guest = pair
    guest.sendall(bytes(range(256)))
    await wait_until(lambda: stream._inbox.size == 256)
    assert b"".join([await stream.receive_some(7) for _ in range(36)] + [await stream.receive_some(7)]) == bytes(range(256))
    assert stream._inbox.size == 0


async def test_receiving_cancelled_loses_nothing(pair, cancel_everywhere):
    stream, guest = pair
    received = bytearray()
    sent = 0

    async def settle():
        nonlocal sent
        guest.sendall(b"%d," % sent)
        sent += 1

    async def receive():
        received.extend(await stream.receive_some())

    await settle()
    assert await cancel_everywhere(receive, settle) > 0
    expected = b"".join(b"%d," % number for number in range(sent))
    while len(received) < len(expected):
        received += await stream.receive_some()
    assert received == expected


async def test_sending_cancelled_sends_all_or_nothing(pair, cancel_everywhere):
    stream, guest = pair

    async def settle():
        with trio.fail_after(5):
            await stream.wait_send_all_might_not_block()

    assert await cancel_everywhere(lambda: stream.send_all(b"0123456789"), settle) > 1
    await stream.send_all(b".")
    received = b""
    while not received.endswith(b"."):
        received += guest.recv(65536)
    assert received.replace(b"0123456789", b"") == b"."
    assert b"0123456789" in received


async def test_what_is_on_its_way_goes_on_and_the_next_waits(pair):
    stream, guest = pair
    large = bytes(range(256)) * 8192  # more than a socket takes
    with trio.move_on_after(0.05) as scope:
        await stream.send_all(large)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"next")
        received = await trio.to_thread.run_sync(read, guest, len(large) + 4)
    assert received == large + b"next"


async def test_closing_does_not_wait_for_a_guest_that_does_not_read(domain, ports, libvirt, monkeypatch, wait_until):
    monkeypatch.setattr(channel, "LEAVE_SECONDS", 0.05)
    with ports.add("port") as guest:
        stream = await domain.open_channel("port")
        async with trio.open_nursery() as nursery:

            async def send():
                with pytest.raises(trio.ClosedResourceError):
                    await stream.send_all(bytes(1 << 22))

            nursery.start_soon(send)
            await wait_until(lambda: stream._pipe._sending_since is not None)
            with trio.fail_after(2):
                await stream.aclose()
        assert len(ports.connections()) == 1
        ports.streams[0].connection.is_alive = False  # as libvirtd does in the end
        await wait_until(lambda: not ports.connections())
        assert ports.streams[0].finishes == 0
        guest.settimeout(0.5)
        while guest.recv(1 << 20):
            pass
    assert domain.host.state is ConnectionState.CONNECTED


async def test_closed_by_force(domain, ports, libvirt, wait_until):
    with ports.add("port") as guest:
        stream = await domain.open_channel("port")
        await trio.aclose_forcefully(stream)
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        await stream.aclose()
        await wait_until(lambda: not ports.connections())
        assert guest.recv(1) == b""


async def test_half_closed(pair):
    stream, guest = pair
    await stream.send_eof()
    await stream.send_eof()
    for call in (lambda: stream.send_all(b"x"), stream.wait_send_all_might_not_block):
        with pytest.raises(trio.ClosedResourceError):
            await call()
    guest.sendall(b"still")
    assert await receive_exactly(stream, 5) == b"still"


async def test_a_connection_that_ends_ends_the_stream_alone(pair, host, ports):
    stream, _ = pair
    ports.streams[0].connection.break_()
    with pytest.raises(ConnectionLost, match="the connection to qemu:///system has ended"):
        await stream.receive_some()
    with pytest.raises(ConnectionLost):
        await stream.send_all(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert host.statistics().losses == 0


async def test_a_guest_that_does_not_read_is_named_as_the_reason(pair, host, ports, monkeypatch, wait_until):
    monkeypatch.setattr(channel, "_GUEST_STALLS", 0.01)
    stream, _ = pair
    async with trio.open_nursery() as nursery:

        async def send():
            with pytest.raises(ConnectionLost, match="the guest took nothing"):
                await stream.send_all(bytes(1 << 22))

        nursery.start_soon(send)
        await wait_until(lambda: (since := stream._pipe._sending_since) and time.monotonic() - since > 0.02)
        ports.streams[0].connection.break_()
    assert host.state is ConnectionState.CONNECTED
    assert host.statistics().losses == 0


async def test_leaving_the_host_ends_its_streams(libvirt, ports):
    with ports.add("port"):
        async with open_host("qemu:///system", load=libvirt.load) as host:
            stream = await Domain(host, "vm", "uuid-of-vm").open_channel("port")
        with pytest.raises(ConnectionLost, match="left or lost"):
            await stream.receive_some()
        await stream.aclose()
    assert not libvirt.connections


async def test_ended_for_another_reason(pair, monkeypatch):
    monkeypatch.setattr(channel, "LEAVE_SECONDS", 0.05)
    stream, _ = pair
    async with trio.open_nursery() as nursery:

        async def send():
            with pytest.raises(ConnectionLost, match="for a reason"):
                await stream.send_all(bytes(1 << 22))

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        stream.end(ConnectionLost("for a reason"))
    with pytest.raises(ConnectionLost, match="for a reason"):
        await stream.receive_some()
