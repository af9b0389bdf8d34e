"""`open_spice(relink=True)`: channels that are linked again while main lives, without a manager; and cancellation."""

from __future__ import annotations

import contextlib

import pytest
import trio

from atp_trio.errors import ChannelNotAvailable, ConfigError, ConnectionLost, NotConnected, TransportError
from atp_trio.spice.connection import open_spice
from atp_trio.spice.manager import open_spice_manager
from atp_trio.spice.messages.link import ChannelType
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.state import Channel, ConnectionState

SOON = ReconnectConfig(initial=0.001, maximum=0.01)
KINDS = [ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR]


@pytest.mark.parametrize("kind", KINDS)
async def test_lost_channel_comes_back(serving, kind):
    async with serving() as server, open_spice(server.uri, relink=SOON) as vm:
        main, old = vm.main, vm.get_channel(kind)
        source = vm.states.get(Channel(str(vm.uri), old.name))
        async with source.watch() as changes:
            server.drop(kind)
            seen = [(await changes.receive()).state for _ in range(4)]
        states = ConnectionState
        assert seen == [states.CONNECTED, states.DISCONNECTED, states.CONNECTING, states.CONNECTED]
        new = await vm.wait_channel(kind)
        assert new is vm.get_channel(kind) is not old
        assert vm.main is main
        assert main.is_open
        assert vm.relinks()[new.name] == 1
        await vm.display.screenshot()


async def test_lost_channel_without_it_stays_lost(serving):
    async with serving() as server, open_spice(server.uri) as vm:
        cursor = vm.cursor
        server.drop(ChannelType.CURSOR)
        await cursor.wait_closed()
        with pytest.raises(ChannelNotAvailable):
            await vm.wait_channel(ChannelType.CURSOR)
        assert (vm.states.present, vm.relinks(), vm.latencies()) == ((), {}, {})
        assert await vm.wait_channel(ChannelType.DISPLAY) is vm.display


async def test_main_that_ends_ends_it(serving):
    async with serving() as server, open_spice(server.uri, relink=True) as vm:
        server.drop()
        await vm.main.wait_closed()
        for kind in KINDS:
            with pytest.raises(ConnectionLost):
                await vm.wait_channel(kind)
        assert all(change.state is ConnectionState.DISCONNECTED for change in vm.states.present)


async def test_channel_that_is_closed_on_purpose_is_not_kept_and_one_that_is_opened_is(serving):
    async with serving() as server, open_spice(server.uri, relink=SOON, channels=[ChannelType.INPUTS]) as vm:
        display = await vm.open_channel(ChannelType.DISPLAY)
        await trio.testing.wait_all_tasks_blocked(0.01)
        server.drop(ChannelType.DISPLAY)
        await display.wait_closed()
        display = await vm.wait_channel(ChannelType.DISPLAY)
        await vm.close_channel(ChannelType.DISPLAY)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (ChannelType.DISPLAY, 0) not in server.open_channels
        with pytest.raises(ChannelNotAvailable):
            await vm.wait_channel(ChannelType.DISPLAY)
        assert await vm.open_channel(ChannelType.DISPLAY) is not display


async def test_channel_that_cannot_be_linked_at_first_is_an_error(serving):
    async with serving(secure_channels=[ChannelType.DISPLAY]) as server:
        with pytest.raises(TransportError, match="TLS"):
            async with open_spice(server.uri, relink=True):
                raise AssertionError


async def test_settings_are_checked(serving):
    async with serving() as server:
        with pytest.raises(ConfigError):
            async with open_spice(server.uri, relink=True, channels=[ChannelType.TUNNEL]):
                raise AssertionError


async def test_what_is_down_says_so(serving):
    async with serving(password="secret") as server, open_spice(server.uri, password="secret", relink=True) as vm:
        server.expire_password()
        cursor = vm.cursor
        server.drop(ChannelType.CURSOR)
        await cursor.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NotConnected, match="cursor:0") as caught:
            _ = vm.cursor
        assert isinstance(caught.value.__cause__, ConnectionLost)
        assert vm.inputs.is_open


async def test_cancelled_anywhere_it_leaves_nothing_behind(serving, cancel_everywhere):
    async with serving() as server:

        async def connect():
            async with open_spice(server.uri, relink=SOON) as vm:
                await vm.inputs.key_down("a")
                cursor = vm.cursor
                server.drop(ChannelType.CURSOR)
                await cursor.wait_closed()
                await vm.wait_channel(ChannelType.CURSOR)

        async def settle():
            await server.wait_until(lambda: not server.connections)
            assert server.keys_down == ()

        assert await cancel_everywhere(connect, settle) > 50


async def test_manager_that_is_cancelled_anywhere_leaves_nothing_behind(serving, cancel_everywhere):
    async with serving() as server:

        async def connect():
            # Machines are left by tasks of their own: what the block does meanwhile may find a channel gone.
            with contextlib.suppress(TransportError):
                await use()

        async def use():
            async with open_spice_manager(reconnect=SOON) as manager:
                manager.add_vm("vm", server.uri)
                vm = await manager.wait_vm_connection("vm")
                server.drop()
                await vm.main.wait_closed()
                vm = await manager.wait_vm_connection("vm")
                await vm.inputs.key_down("a")
                await manager.remove_vm("vm")

        async def settle():
            await server.wait_until(lambda: not server.connections)
            assert server.keys_down == ()

        assert await cancel_everywhere(connect, settle) > 50
