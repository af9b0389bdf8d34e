"""open_unix_stream: paths, abstract addresses, errors in words, cancellation."""

import contextlib
import os
import socket

import pytest

from atp_trio.errors import ConnectFailed
from atp_trio.spice.streams.unix import open_unix_stream


@contextlib.contextmanager
def listening(address, backlog=5):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(backlog)
        yield listener


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spice.sock"


async def check_conversation(stream, listener):
    peer, _ = listener.accept()
    with peer:
        await stream.send_all(b"hello")
        assert peer.recv(10) == b"hello"
        peer.send(b"welcome")
        assert await stream.receive_some() == b"welcome"


async def test_a_path(path):
    with listening(str(path)) as listener:
        async with await open_unix_stream(path) as stream:
            assert stream.address == str(path)
            await check_conversation(stream, listener)


async def test_an_abstract_address():
    name = f"atp-trio-test-{os.getpid()}"
    with listening("\0" + name) as listener:
        async with await open_unix_stream("@" + name) as stream:
            assert stream.address == "@" + name
            await check_conversation(stream, listener)


async def test_no_such_socket(path):
    with pytest.raises(ConnectFailed, match=rf"^cannot connect to {path}: No such file or directory$"):
        await open_unix_stream(path)


async def test_nobody_listens(path):
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with pytest.raises(ConnectFailed, match="Connection refused"):
        await open_unix_stream(path)


async def test_a_full_queue(path):
    with listening(str(path), backlog=0):
        async with await open_unix_stream(path):
            with pytest.raises(ConnectFailed, match="its queue of connections is full"):
                await open_unix_stream(path)


@pytest.mark.parametrize(("name", "reason"), [("/" + "x" * 200, "too long"), ("/a\0b", "not a path"), ("/\ud800", "not a path")])
async def test_what_is_no_path_is_refused(name, reason):
    with pytest.raises(ConnectFailed, match=reason):
        await open_unix_stream(name)


async def test_failures_and_cancellation_leave_no_socket(path, cancel_everywhere, open_files):
    before = open_files()
    with pytest.raises(ConnectFailed):
        await open_unix_stream(path)
    assert open_files() == before

    async def settled():
        pass

    with listening(str(path), backlog=100):
        assert await cancel_everywhere(lambda: open_unix_stream(path), settled) >= 1
