"""`open_spice` over streams that a function of the caller's gives."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ConnectFailed, ConnectionLost
from atp_trio.spice.connection import open_spice
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.uri import SpiceUri


async def test_one_stream_for_each_channel(serving):
    async with serving(password="secret") as server:
        uri, opened = SpiceUri.parse(server.uri), []

        async def connect():
            opened.append(await trio.open_tcp_stream(uri.host, uri.port))
            return opened[-1]

        async with open_spice(connect, password="secret") as vm:
            assert vm.uri is None
            assert "given streams" in repr(vm)
            assert len(opened) == len(vm.channels) == 4
            await vm.display.screenshot()


async def test_our_own_streams_are_used_as_they_are(serving):
    async with serving() as server:
        uri = SpiceUri.parse(server.uri)
        async with open_spice(lambda: open_tcp_stream(uri.host, uri.port)) as vm:
            await vm.inputs.press("a")


async def test_function_that_fails():
    async def connect():
        await trio.lowlevel.checkpoint()
        raise ConnectFailed("not today")

    with pytest.raises(ConnectFailed, match="not today"):
        async with open_spice(connect):
            raise AssertionError


async def test_stream_that_ends(autojump_clock):
    async def connect():
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_eof()
        return ours

    with pytest.raises(ConnectionLost):
        async with open_spice(connect):
            raise AssertionError
