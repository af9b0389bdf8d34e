"""How a stream ends, in threads that are not Trio's."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectionLost
from atp_trio.hypervisor import pipe
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.host import open_host
from atp_trio.supervision.state import ConnectionState

from .fake_libvirt import FakeError
from .fake_stream import receive_exactly


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


async def test_a_bug_while_reading_leaves_nobody_waiting(pair, ports, caplog):
    stream, guest = pair

    def fail(size):
        raise RuntimeError("a bug")

    ports.streams[0].recv = fail
    guest.sendall(b"x")
    with trio.fail_after(10), pytest.raises(ConnectionLost, match=r"could not be read.*a bug"):
        await stream.receive_some()
    assert "could not be read" in caplog.text


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
    monkeypatch.setattr(pipe, "_GUEST_STALLS", 0.01)
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
