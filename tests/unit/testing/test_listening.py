"""Serving for the time of a block."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from atp_trio.testing.listening import serving


@pytest.fixture
async def listener():
    (one,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    yield one
    await one.aclose()


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def test_each_connection_is_handled(listener):
    async with serving([(listener, echo)]):
        for _ in range(2):
            stream = await trio.testing.open_stream_to_socket_listener(listener)
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            await stream.aclose()


async def test_handlers_end_with_the_block(listener):
    ended = []

    async def wait(stream):
        try:
            await stream.receive_some()
        finally:
            ended.append(stream)

    async with serving([(listener, wait)]):
        stream = await trio.testing.open_stream_to_socket_listener(listener)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not ended
    assert len(ended) == 1
    await stream.aclose()


async def test_the_blocks_exception_is_in_no_group(listener):
    with pytest.raises(ZeroDivisionError):
        async with serving([(listener, echo)]):
            _ = 1 / 0


async def test_the_blocks_cancellation_passes(listener):
    with trio.move_on_after(0) as scope:
        async with serving([(listener, echo)]):
            await trio.sleep_forever()
    assert scope.cancelled_caught
