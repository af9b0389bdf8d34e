"""What every protocol is, on a protocol that talks to a list."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectFailed, ConnectionLost, LocalProtocolError
from atp_trio.protocols.base import Protocol


class Echo(Protocol[list, str, str]):
    """What is sent is received; the list it is connected to is its log."""

    def __init__(self):
        super().__init__()
        self.gate = trio.Event()
        self.gate.set()
        self.goodbye = trio.Event()
        self.goodbye.set()

    @asynccontextmanager
    async def _open(self, domain):
        if domain is None:
            raise ConnectFailed("there is no list")
        domain.append("open")
        try:
            await self.gate.wait()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                self.log = domain
                yield
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self.goodbye.wait()
            domain.append("closed")

    async def send(self, value):
        self._check_connected()
        await trio.lowlevel.checkpoint()
        self.log.append(value)

    async def receive(self):
        self._check_connected()
        await trio.lowlevel.checkpoint()
        return self.log[-1]


async def test_connects_and_disconnects_with_its_block():
    log = []
    async with Echo() as echo:
        assert not echo.is_connected
        await echo.connect(log)
        assert echo.is_connected
        await echo.send("hello")
        assert await echo.receive() == "hello"
    assert not echo.is_connected
    assert log == ["open", "hello", "closed"]


async def test_a_deadline_around_connect_ends_with_connect(autojump_clock):
    async with Echo() as echo:
        with trio.fail_after(1):
            await echo.connect([])
        await trio.sleep(10)
        assert echo.is_connected


async def test_connects_again():
    first, second = [], []
    async with Echo() as echo:
        await echo.connect(first)
        await echo.disconnect()
        await echo.disconnect()
        assert first == ["open", "closed"]
        await echo.connect(second)
        await echo.send("x")
    assert second == ["open", "x", "closed"]
    async with echo:
        await echo.connect(first)
    assert first == ["open", "closed"] * 2


async def test_a_call_before_connect_is_the_callers_mistake():
    async with Echo() as echo:
        with pytest.raises(LocalProtocolError, match="this Echo is not connected"):
            await echo.send("x")
        with pytest.raises(LocalProtocolError):
            await echo.receive()


async def test_connect_outside_of_a_block_and_twice_are_mistakes():
    echo, log = Echo(), []
    with pytest.raises(LocalProtocolError, match="inside `async with`"):
        await echo.connect(log)
    async with echo:
        await echo.connect(log)
        with pytest.raises(LocalProtocolError, match="connected already"):
            await echo.connect(log)
        with pytest.raises(LocalProtocolError, match="in use by another block"):
            async with echo:
                pass
        assert echo.is_connected
    assert log == ["open", "closed"]


async def test_a_failed_connect_leaves_as_it_is_and_can_be_tried_again():
    log = []
    async with Echo() as echo:
        with pytest.raises(ConnectFailed, match="there is no list"):
            await echo.connect(None)
        assert not echo.is_connected
        await echo.connect(log)
    assert log == ["open", "closed"]


async def test_the_blocks_own_exception_leaves_as_it_is():
    log = []

    async def use():
        async with Echo() as echo:
            await echo.connect(log)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await use()
    assert log == ["open", "closed"]


async def test_a_cancelled_block_leaves_in_order():
    log = []
    with trio.CancelScope() as scope:
        async with Echo() as echo:
            await echo.connect(log)
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                # Shielded: still connected, for whoever has to say goodbye.
                assert echo.is_connected
                with trio.CancelScope(shield=True):
                    await echo.send("goodbye")
    assert scope.cancelled_caught
    assert log == ["open", "goodbye", "closed"]


async def test_a_cancelled_connect_leaves_nothing_open(autojump_clock):
    log = []
    async with Echo() as echo:
        echo.gate = trio.Event()
        with trio.move_on_after(1) as scope:
            await echo.connect(log)
        assert scope.cancelled_caught
        assert log == ["open", "closed"]
        echo.gate.set()
        await echo.connect(log)


async def test_disconnect_ends_a_connect_under_way(nursery):
    log, raised = [], []
    async with Echo() as echo:
        echo.gate = trio.Event()

        async def connect():
            with pytest.raises(ConnectionLost, match="while it was being connected"):
                await echo.connect(log)
            raised.append(True)

        nursery.start_soon(connect)
        await trio.testing.wait_all_tasks_blocked()
        await echo.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert raised
        assert log == ["open", "closed"]


async def test_a_cancelled_disconnect_disconnects_all_the_same(autojump_clock):
    log = []
    async with Echo() as echo:
        await echo.connect(log)
        echo.goodbye = trio.Event()
        with trio.move_on_after(1) as scope:
            await echo.disconnect()
        assert scope.cancelled_caught
        assert not echo.is_connected
        with pytest.raises(LocalProtocolError, match="connected already"):
            await echo.connect(log)
        echo.goodbye.set()
        await trio.testing.wait_all_tasks_blocked()
        assert log == ["open", "closed"]
        await echo.connect(log)


async def test_a_connect_cancelled_at_the_very_moment_it_succeeds():
    log = []

    class Late(Echo):
        @asynccontextmanager
        async def _open(self, domain):
            async with super()._open(domain):
                scope.cancel()
                yield

    with trio.fail_after(5):
        async with Late() as echo:
            with trio.CancelScope() as scope:
                await echo.connect(log)
            assert scope.cancelled_caught
            assert not echo.is_connected
            assert log == ["open", "closed"]
            await echo.connect([])
            assert echo.is_connected
