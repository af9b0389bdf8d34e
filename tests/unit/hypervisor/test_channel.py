"""Streams, over a virStream that is a socket."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from atp_trio.errors import ChannelNotAvailable, ConnectionLost, HypervisorError
from atp_trio.hypervisor import channel
from atp_trio.supervision.state import ConnectionState

from .fake_libvirt import FakeError
from .fake_stream import read, receive_exactly

BUSY, NOT_RUNNING = 9, 55


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
