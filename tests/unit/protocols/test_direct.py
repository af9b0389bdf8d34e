"""What is reached directly: a stream, and the tasks that serve it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectFailed, ConnectionLost, RemoteProtocolError
from atp_trio.protocols.direct import DirectConnection, open_stream
from atp_trio.spice.streams.base import as_byte_stream


class Peer:
    """A connection, and what is at its other end."""

    def __init__(self):
        ours, self.stream = trio.testing.memory_stream_pair()
        self.taken = []
        self.ends = 0
        self.connection = DirectConnection("the thing", as_byte_stream(ours, address="the thing"), self.take, self.tell)

    def take(self, data):
        if data == b"wrong":
            raise RemoteProtocolError("that is wrong")
        if data == b"bug":
            raise ZeroDivisionError
        self.taken.append(bytes(data))

    def tell(self):
        self.ends += 1


@pytest.fixture
def peer():
    return Peer()


async def test_what_comes_is_handed_over_and_what_is_put_is_sent(peer):
    async with peer.connection.serve():
        await peer.stream.send_all(b"question")
        peer.connection.outbox.put([b"answer"])
        assert await peer.stream.receive_some() == b"answer"
        await trio.testing.wait_all_tasks_blocked()
        assert peer.taken == [b"question"]
        peer.connection.check()
    assert peer.ends == 1
    assert peer.connection.cause is None


async def test_leaving_closes_the_stream(peer):
    async with peer.connection.serve():
        pass
    assert await peer.stream.receive_some() == b""
    with pytest.raises(ConnectionLost, match="the connection to the thing has ended") as caught:
        peer.connection.check()
    assert caught.value.__cause__ is None


async def test_a_peer_that_closes_ends_it(peer):
    async with peer.connection.serve():
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost) as caught:
            peer.connection.check()
    assert str(caught.value.__cause__) == "QEMU closed the connection to the thing"
    assert peer.ends == 1


async def test_what_is_not_to_be_ends_it(peer):
    async with peer.connection.serve():
        await peer.stream.send_all(b"wrong")
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(peer.connection.cause, RemoteProtocolError)
        assert await peer.stream.receive_some() == b""
    assert isinstance(peer.connection.cause, RemoteProtocolError)  # which leaving does not change


async def test_what_cannot_be_sent_ends_it(peer):
    async with peer.connection.serve():
        await peer.stream.receive_stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        peer.connection.check()
        peer.connection.outbox.put([b"question"])
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost) as caught:
            peer.connection.check()
        assert "the connection to the thing was lost" in str(caught.value.__cause__)


async def test_a_bug_is_not_hidden(peer):
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - it cancels the block
        async with peer.connection.serve():
            await peer.stream.send_all(b"bug")
            await trio.sleep_forever()
    assert caught.group_contains(ZeroDivisionError)
    assert await peer.stream.receive_some() == b""


async def test_a_cancelled_block_can_say_something_in_parting(peer):
    with trio.CancelScope() as scope:
        async with peer.connection.serve():
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    peer.connection.outbox.put([b"goodbye"])
                    assert await peer.stream.receive_some() == b"goodbye"
    assert scope.cancelled_caught


# --- addresses


@pytest.mark.parametrize("make", [lambda path: f"unix:{path}", Path])
async def test_a_socket_is_connected_to(tmp_path, make):
    path = tmp_path / "socket"
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen()
        async with await open_stream(make(path), "the thing") as stream:
            accepted, _ = await listener.accept()
            await stream.send_all(b"hello")
            assert await accepted.recv(5) == b"hello"
            accepted.close()


async def test_a_stream_is_taken_as_it_is():
    ours, theirs = trio.testing.memory_stream_pair()
    async with await open_stream(ours, "the thing") as stream:
        await stream.send_all(b"hello")
        assert await theirs.receive_some() == b"hello"
        assert stream.address == "the thing"
        assert await open_stream(stream, "the thing") is stream


async def test_nobody_listens(tmp_path):
    with pytest.raises(ConnectFailed):
        await open_stream(tmp_path / "none", "the thing")


@pytest.mark.parametrize("address", ["", "unix:", "unix", "tcp:127.0.0.1:4444", "/run/socket"])
async def test_what_is_no_address(address):
    with pytest.raises(ConfigError, match=r"is no address of the thing: that is unix:PATH$"):
        await open_stream(address, "the thing")
