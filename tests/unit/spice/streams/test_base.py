"""AdaptedStream: any Trio stream as a ByteStream."""

import ssl

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectionLost
from atp_trio.spice.streams.base import AdaptedStream, reason


def make_pair():
    left, right = trio.testing.memory_stream_pair()
    return AdaptedStream(left, address="left"), AdaptedStream(right, address="right")


async def test_it_is_a_two_way_stream():
    async def make():
        return make_pair()

    await trio.testing.check_two_way_stream(make, None)


async def test_receive_into_copies():
    left, right = make_pair()
    await left.send_all(b"abcdef")
    buffer = bytearray(4)
    assert await right.receive_into(memoryview(buffer)) == 4
    assert buffer == b"abcd"
    assert await right.receive_into(memoryview(buffer)) == 2
    assert buffer == b"efcd"
    await left.aclose()
    assert await right.receive_into(memoryview(buffer)) == 0


async def test_an_empty_buffer_is_refused():
    with pytest.raises(ConfigError, match="no room"):
        await make_pair()[0].receive_into(memoryview(b""))


async def test_send_nowait_takes_nothing():
    assert make_pair()[0].send_nowait(b"abc") == 0


async def test_a_broken_stream_is_connection_lost():
    left, right = make_pair()
    await right.aclose()
    with pytest.raises(ConnectionLost, match="connection to left was lost: MemoryReceiveStream was closed"):
        await left.send_all(b"x")


def test_reasons_are_words():
    assert reason(ConnectionResetError(104, "Connection reset by peer")) == "Connection reset by peer"
    assert reason(trio.BrokenResourceError("tired")) == "tired"
    assert reason(trio.BrokenResourceError()) == "it is broken"
    error = ssl.SSLError(1, "[SSL: NO_CIPHERS] long text (_ssl.c:1)")
    error.reason = "NO_CIPHERS_AVAILABLE"
    assert reason(error) == "TLS: no ciphers available"
