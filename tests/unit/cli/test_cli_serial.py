"""`atp serial`, on a stream in memory; how it gets there is tried on a real machine."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from atp_trio.cli.serial import _Pipe
from atp_trio.errors import ConnectionLost


@pytest.fixture
def typed(monkeypatch):
    """Where standard input comes from."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb", buffering=0) as sink:
        monkeypatch.setattr("sys.stdin", source)
        yield sink


@pytest.fixture
def pair():
    return trio.testing.memory_stream_pair()


async def test_binary_both_ways_until_silence(pair, typed, capsysbinary):
    ours, guest = pair
    data = bytes(range(256)) * 1000
    sent = bytearray()

    async def echo():
        async for got in guest:
            sent.extend(got)
            await guest.send_all(got)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        nursery.start_soon(trio.to_thread.run_sync, lambda: (typed.write(data), typed.close()))
        with trio.fail_after(5):
            await _Pipe(ours, 0.05).run()
        nursery.cancel_scope.cancel()
    assert sent == data
    assert capsysbinary.readouterr().out == data


async def test_lingers_from_the_last_output_on(pair, typed, capsysbinary):
    ours, guest = pair
    typed.close()
    started = trio.current_time()

    async def answer():
        for _ in range(4):
            await trio.sleep(0.1)
            await guest.send_all(b".")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with trio.fail_after(5):
            await _Pipe(ours, 0.3).run()
    assert capsysbinary.readouterr().out == b"...."
    assert trio.current_time() - started >= 0.7


async def test_the_port_ends_first(pair, typed, capsysbinary):
    ours, guest = pair
    await guest.send_all(b"last")
    await guest.aclose()
    with trio.fail_after(5):
        await _Pipe(ours, 60).run()
    assert capsysbinary.readouterr().out == b"last"
    typed.close()  # the thread that reads it is left behind


async def test_a_lost_port_is_an_error_after_its_last_words(pair, typed, capsysbinary, monkeypatch):
    ours, guest = pair
    await guest.send_all(b"last")
    receives = [ours.receive_some]

    async def receive_some():
        if not receives:
            raise ConnectionLost("lost")
        return await receives.pop()()

    monkeypatch.setattr(ours, "receive_some", receive_some)
    with trio.fail_after(5), pytest.raises(ConnectionLost, match="lost"):
        await _Pipe(ours, 60).run()
    assert capsysbinary.readouterr().out == b"last"
    typed.close()


def test_wrong_usage(atp):
    assert atp("serial", "test:///default", "test").says(2, "PORT")
    assert atp("serial", "test:///default", "test", "console", "--linger", "-1").says(2, "0 or more")


def test_no_such_port(atp):
    pytest.importorskip("libvirt")
    assert atp("serial", "test:///default", "test", "nosuch").says(1, "no port nosuch")
