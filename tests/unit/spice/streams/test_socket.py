"""SocketStream: Trio's conformance checks, then the two extras."""

import contextlib
import socket
import struct
import sys

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectionLost
from atp_trio.spice.streams.socket import SocketStream

pytestmark = pytest.mark.parametrize("family", ["tcp", "unix"])


@pytest.fixture
async def pair(socket_pair, family):
    left, right = await socket_pair(family)
    async with left, right:
        yield left, right


def clog(stream):
    """Send until nothing more is taken; how much was."""
    sent = 0
    while taken := stream.send_nowait(bytes(65536)):
        sent += taken
    return sent


def reset(stream):
    """Close so that the peer sees a reset: RST over TCP, unread data over UNIX."""
    stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


async def test_it_is_a_half_closeable_stream(socket_pair, family):
    async def make():
        return await socket_pair(family)

    async def make_clogged():
        left, right = await socket_pair(family)
        clog(left)
        clog(right)
        return left, right

    await trio.testing.check_two_way_stream(make, make_clogged)
    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_receive_into_fills_what_there_is(pair):
    left, right = pair
    buffer = bytearray(b"........")
    await left.send_all(b"abc")
    assert await right.receive_into(memoryview(buffer)[2:]) == 3
    assert buffer == b"..abc..."
    await left.send_all(b"0123456789")
    assert await right.receive_into(memoryview(buffer)) == 8
    assert await right.receive_into(memoryview(buffer)) == 2
    assert buffer == b"89234567"


async def test_receive_into_waits(pair, nursery):
    left, right = pair
    buffer = bytearray(4)
    received = []

    async def receive():
        received.append(await right.receive_into(memoryview(buffer)))

    async with trio.open_nursery() as inner:
        inner.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert received == []
        await left.send_all(b"x")
    assert received == [1]


class Thief(trio.abc.Instrument):
    """Takes what was received away before the task that waits for it runs again."""

    def __init__(self, stream):
        self.socket, self.stolen = stream._socket, b""

    def after_io_wait(self, timeout):
        if not self.stolen:
            with contextlib.suppress(BlockingIOError):
                self.stolen = self.socket.recv(100)


async def test_receive_into_waits_again_when_woken_for_nothing(pair):
    left, right = pair
    buffer = bytearray(4)
    thief = Thief(right)
    received = []

    async def receive():
        received.append(await right.receive_into(memoryview(buffer)))

    async with trio.open_nursery() as inner:
        inner.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(thief)
        left.send_nowait(b"stolen")
        while not thief.stolen:
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(thief)
        await trio.testing.wait_all_tasks_blocked()
        assert received == []
        left.send_nowait(b"kept")
    assert (thief.stolen, received, buffer) == (b"stolen", [4], b"kept")


async def test_receive_into_gives_0_at_the_end_and_goes_on_doing_so(pair):
    left, right = pair
    await left.send_eof()
    for _ in range(2):
        assert await right.receive_into(memoryview(bytearray(4))) == 0


async def test_receive_into_is_a_checkpoint_with_and_without_data(pair):
    left, right = pair
    await left.send_all(b"xy")
    with trio.testing.assert_checkpoints():
        await right.receive_into(memoryview(bytearray(1)))


async def test_a_cancelled_receive_into_has_received_nothing(pair):
    left, right = pair
    await left.send_all(b"x")
    buffer = bytearray(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await right.receive_into(memoryview(buffer))
    assert scope.cancelled_caught
    assert buffer == b"\0"
    assert await right.receive_into(memoryview(buffer)) == 1


async def test_a_waiting_receive_into_can_be_cancelled(pair):
    _, right = pair
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(right.receive_into, memoryview(bytearray(1)))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_two_tasks_cannot_receive(pair):
    _, right = pair
    async with trio.open_nursery() as inner:
        inner.start_soon(right.receive_into, memoryview(bytearray(1)))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await right.receive_into(memoryview(bytearray(1)))
        inner.cancel_scope.cancel()


async def test_an_empty_buffer_is_refused(pair):
    with pytest.raises(ConfigError, match="no room"):
        await pair[0].receive_into(memoryview(b""))


async def test_a_reset_is_connection_lost_and_names_the_address(pair, family):
    left, right = pair
    if family == "unix":
        await right.send_all(b"unread, so that closing is a reset")
    reset(left)
    with pytest.raises(ConnectionLost, match="connection to right was lost: Connection reset by peer") as caught:
        await right.receive_into(memoryview(bytearray(100)))
    assert isinstance(caught.value, trio.BrokenResourceError)
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_receive_some_meets_a_reset_alike(pair, family):
    left, right = pair
    if family == "unix":
        await right.send_all(b"unread, so that closing is a reset")
    reset(left)
    with pytest.raises(ConnectionLost, match=r"connection to right was lost: .*reset"):
        await right.receive_some()


async def test_sending_to_a_closed_peer_is_connection_lost(pair):
    left, right = pair
    reset(left)
    with pytest.raises(ConnectionLost, match="connection to right was lost"):
        await right.send_all(b"x")
    with pytest.raises(ConnectionLost, match="connection to right was lost: Broken pipe"):
        right.send_nowait(b"x")


async def test_closing_wakes_a_waiting_receive_into(pair):
    _, right = pair

    async def receive():
        with pytest.raises(trio.ClosedResourceError):
            await right.receive_into(memoryview(bytearray(1)))

    async with trio.open_nursery() as inner:
        inner.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        right.close()


async def test_a_closed_stream_says_so(pair):
    left, _ = pair
    await left.aclose()
    left.close()
    with pytest.raises(trio.ClosedResourceError):
        await left.receive_into(memoryview(bytearray(1)))
    for data in (b"x", b""):
        with pytest.raises(trio.ClosedResourceError):
            left.send_nowait(data)


async def test_send_nowait_takes_what_fits(pair):
    left, right = pair
    assert left.send_nowait(b"") == 0
    assert left.send_nowait(memoryview(b"abc")) == 3
    assert await right.receive_some(10) == b"abc"
    sent = clog(left)
    assert left.send_nowait(b"x") == 0
    left.close()
    received = 0
    while count := await right.receive_into(memoryview(bytearray(1 << 20))):
        received += count
    assert received == sent


async def test_send_nowait_does_not_cut_into_send_all(pair):
    left, _ = pair
    clog(left)
    async with trio.open_nursery() as inner:
        inner.start_soon(left.send_all, bytes(1 << 20))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            left.send_nowait(b"x")
        inner.cancel_scope.cancel()
    assert left.send_nowait(b"") == 0


async def test_send_nowait_after_send_eof_is_refused(pair):
    left, _ = pair
    await left.send_eof()
    with pytest.raises(trio.ClosedResourceError):
        left.send_nowait(b"x")


async def test_adopting_takes_the_socket_from_trio(family):
    ends = socket.socketpair() if family == "unix" else None
    if ends is None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ends = socket.create_connection(listener.getsockname()), listener.accept()[0]
    theirs = trio.SocketStream(trio.socket.from_stdlib_socket(ends[0]))
    async with SocketStream.adopt(theirs, address="here") as ours, SocketStream(ends[1], address="there") as peer:
        assert ours.address == "here"
        assert theirs.socket.fileno() == -1
        await ours.send_all(b"x")
        assert await peer.receive_some() == b"x"


async def test_a_low_water_is_waited_for(pair, family):
    left, right = pair
    if not right.set_receive_low_water(100):
        assert family == "unix" or sys.platform != "linux"
        return
    await left.send_all(bytes(99))
    buffer = bytearray(1000)
    assert await right.receive_into(memoryview(buffer)) == 99  # it may be there already
    await left.send_all(bytes(99))
    with trio.move_on_after(0) as scope:
        await right.wait_receivable()
    assert scope.cancelled_caught
    # Who does not wait gets what is there, and who asks for any byte is woken by what is there already.
    assert right.receive_nowait(memoryview(buffer)[:9]) == 9
    right._is_drained = True
    assert right.set_receive_low_water(1)
    await right.wait_receivable()
    assert right.receive_nowait(memoryview(buffer)) == 90


async def test_the_end_comes_through_a_low_water(pair, family):
    left, right = pair
    right.set_receive_low_water(100)
    right._is_drained = True
    left.close()
    await right.wait_receivable()
    assert right.receive_nowait(memoryview(bytearray(10))) == 0


async def test_a_closed_stream_takes_no_low_water(pair, family):
    _, right = pair
    right.close()
    if family == "tcp" and sys.platform == "linux":
        with pytest.raises(trio.ClosedResourceError):
            right.set_receive_low_water(2)
    else:
        assert not right.set_receive_low_water(2)
