"""Machines that are kept connected: what is lost, what is linked again, and what programs see of it."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import trio

from atp_trio.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionLost,
    DomainNotFound,
    NotConnected,
)
from atp_trio.keyboard import Key
from atp_trio.spice.channels import DisplayChannel
from atp_trio.spice.messages.display import VideoCodecType
from atp_trio.spice.messages.image import ImageCompression
from atp_trio.spice.messages.inputs import KeyboardModifierFlag, MouseButton, MouseButtonMask
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.degradation import ChannelsConfig
from atp_trio.supervision.state import Channel, ConnectionState
from atp_trio.testing.faults.treatment import Flow, Treatment
from atp_trio.testing.server.display import DisplayChannel as ServerDisplayChannel

from .kept_world import open_world

C = ConnectionState
NAMES = ["display", "inputs", "cursor"]


def state_of(world, name):
    return world.manager.states.get(Channel("vm", f"{name}:0")).state


async def settled(world):
    """The machine is connected, all of it."""
    await world.manager.get_state("vm").wait_state(C.CONNECTED)
    await trio.sleep(0.1)
    assert world.manager.get_state("vm").state is C.CONNECTED
    return world.manager.get_vm_connection("vm")


async def assert_same_picture(world, vm):
    assert np.array_equal((await vm.display.screenshot()).pixels, world.server.surface())


# --- the machine


async def test_it_is_connected_with_all_its_channels_and_left_in_order(autojump_clock):
    async with open_world() as world:
        assert world.manager.vm_ids == ("vm",)
        with pytest.raises(NotConnected, match="machine vm is disconnected"):
            world.manager.get_vm_connection("vm")
        vm = await world.manager.wait_vm_connection("vm")
        assert vm is await settled(world)
        await vm.inputs.key_down("shift")
        await assert_same_picture(world, vm)
        assert [state_of(world, name) for name in ["main", *NAMES]] == [C.CONNECTED] * 4
        counters = world.manager.statistics()["vm"]
        assert (counters.state, counters.connections, set(counters.relinks.values())) == (C.CONNECTED, 1, {0})
        assert set(counters.channels) == {"main:0", "display:0", "inputs:0", "cursor:0"}
    assert world.server.keys_down == ()
    assert all(one.said_goodbye and one.error is None for one in world.server.closed)
    assert len(world.server.closed) == 4


async def test_ids(autojump_clock):
    async with open_world() as world:
        with pytest.raises(ConfigError, match="'vm' already"):
            world.manager.add_vm("vm", "spice://127.0.0.1:1")
        with pytest.raises(ConfigError, match="scheme"):
            world.manager.add_vm("other", "http://127.0.0.1")
        for call in (
            world.manager.get_vm_connection,
            world.manager.get_state,
            world.manager.get_verdict,
            world.manager.connect_now,
        ):
            with pytest.raises(DomainNotFound, match="'other'"):
                call("other")
        with pytest.raises(DomainNotFound):
            await world.manager.wait_vm_connection("other")
        with pytest.raises(DomainNotFound):
            await world.manager.remove_vm("other")


async def test_removed_machine_is_left_and_watchers_are_told(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        await settled(world)
        world.is_listening = False
        told = []

        async def watch():
            async with world.manager.get_state("vm").watch() as changes:
                told.extend([change.state async for change in changes])

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await world.manager.remove_vm("vm")
        assert world.manager.vm_ids == ()
        assert world.manager.states.present == ()
        await trio.sleep(1)
        assert told == [C.CONNECTED, C.DISCONNECTED]
        assert world.server.open_channels == ()


async def test_who_waits_for_a_machine_that_is_removed_is_told(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        world.is_listening = False

        async def wait():
            with pytest.raises(ConnectionLost):
                await world.manager.wait_vm_connection("vm")

        nursery.start_soon(wait)
        await trio.sleep(5)
        await world.manager.disconnect_all()


async def test_lost_main_reconnects_the_machine_after_the_backoff(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        await vm.inputs.key_down("shift")
        lost_at = trio.current_time()
        world.proxy.cut("main")
        await trio.sleep(0.1)
        with pytest.raises(NotConnected) as caught:
            world.manager.get_vm_connection("vm")
        assert isinstance(caught.value.__cause__, ConnectionLost)
        with pytest.raises(ConnectionLost):
            _ = vm.inputs
        new = await world.manager.wait_vm_connection("vm")
        assert 0.75 <= trio.current_time() - lost_at <= 1.5
        assert new is not vm
        await settled(world)
        await assert_same_picture(world, new)
        assert (new.inputs.held_keys, world.server.keys_down) == ((), ())
        assert world.manager.statistics()["vm"].connections == 2


async def test_machine_that_is_killed_and_started_again(autojump_clock):
    async with open_world() as world:
        await settled(world)
        world.stop()
        await world.manager.get_state("vm").wait_state(C.DISCONNECTED)
        await trio.sleep(100)
        assert world.manager.get_verdict("vm").state is C.DISCONNECTED
        world.start()
        with trio.fail_after(10):
            await assert_same_picture(world, await settled(world))


async def test_it_is_given_up_and_asked_for_again(autojump_clock):
    async with open_world(reconnect=ReconnectConfig(attempts=2)) as world:
        world.stop()
        with pytest.raises(ConnectionLost, match="given up") as caught:
            await world.manager.wait_vm_connection("vm")
        assert "nobody listens" in str(caught.value)
        world.start()
        await trio.sleep(1000)
        assert world.manager.get_state("vm").state is C.FAILED
        world.manager.connect_now("vm")
        await world.manager.get_state("vm").wait_state(C.CONNECTED)


async def test_connection_that_is_closed_on_purpose_stays_closed(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        await vm.disconnect_all()
        await trio.sleep(100)
        assert world.manager.get_state("vm").state is C.DISCONNECTED
        assert world.server.open_channels == ()
        with pytest.raises(NotConnected):
            world.manager.get_vm_connection("vm")


async def test_server_that_never_answers_is_tried_again(autojump_clock):
    async with open_world() as world:
        world.proxy.blackhole()
        source = world.manager.get_state("vm")
        await source.wait_state(C.CONNECTING)
        with trio.fail_after(31):
            change = await source.wait_state(C.DISCONNECTED)
        assert "within 30 s" in str(change.cause)
        world.proxy.heal()
        with trio.fail_after(10):
            await settled(world)


# --- a channel alone


@pytest.mark.parametrize("fault", ["cut", "hang_up"])
@pytest.mark.parametrize("name", NAMES)
async def test_lost_channel_is_linked_again_alone(name, fault, autojump_clock):
    async with open_world(scene="text", rate=10) as world:
        vm = await settled(world)
        before = {channel.name: channel for channel in vm.channels}
        getattr(world.proxy, fault)(name)
        change = await world.manager.get_state("vm").wait_state(C.DEGRADED)
        assert f"{name}:0 down" in str(change.cause)
        with pytest.raises(NotConnected, match=name):
            getattr(vm, name)
        verdict = world.manager.get_verdict("vm")
        assert verdict.down == (f"{name}:0",)
        assert verdict.is_usable is (name == "cursor")
        assert world.manager.get_vm_connection("vm") is vm
        assert await vm.wait_channel(ChannelType[name.upper()]) is getattr(vm, name)
        await settled(world)
        after = {channel.name: channel for channel in vm.channels}
        assert {one for one in after if after[one] is not before[one]} == {f"{name}:0"}
        assert world.manager.statistics()["vm"].connections == 1
        assert world.manager.statistics()["vm"].relinks[f"{name}:0"] == 1
        world.server.pause_scene()
        await trio.sleep(1)
        await assert_same_picture(world, vm)
        assert vm.display.display_statistics().failed == {}


async def test_waiters_of_a_lost_channel_are_answered(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        vm = await settled(world)
        answered = []

        async def wait(waiting, *args):
            with pytest.raises(ConnectionLost):
                await waiting(*args)
            answered.append(waiting)

        waits = [vm.display.wait_damage, vm.inputs.wait_modifiers, vm.cursor.wait_change]
        for waiting in waits:
            nursery.start_soon(wait, waiting)
        nursery.start_soon(wait, vm.display.wait_until, lambda _: False)
        await trio.testing.wait_all_tasks_blocked()
        for name in NAMES:
            world.proxy.cut(name)
        await trio.sleep(0.1)
        assert len(answered) == 4


async def test_keys_and_buttons_that_are_held_are_pressed_again(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        old = vm.inputs
        old.motion_window = 100
        for key in ("shift", "ctrl", "a"):
            await old.key_down(key)
        await old.button_down(MouseButton.RIGHT)
        await old.position(3, 4)
        world.proxy.cut("inputs")
        await trio.sleep(0.1)
        # Released while the channel is down: it is not pressed again.
        with pytest.raises(ConnectionLost):
            await old.key_up("ctrl")
        await settled(world)
        assert world.server.keys_down == vm.inputs.held_keys == (Key.LEFTSHIFT, Key.A)
        assert world.server.buttons == {MouseButtonMask.RIGHT}
        assert (vm.inputs.motion_window, vm.inputs.last_position) == (100, (0, 3, 4))
        # Who still has the old channel is told, and yet the key goes up.
        with pytest.raises(ConnectionLost):
            await old.key_up("shift")
        with pytest.raises(ConnectionLost):
            await old.button_up(MouseButton.RIGHT)
        await trio.sleep(0.1)
        assert world.server.keys_down == (Key.A,)
        assert world.server.buttons == set()
        await vm.inputs.release_all()
        await trio.sleep(0.1)
        assert world.server.keys_down == ()


async def test_keys_of_a_press_that_was_cut_are_not_left_down(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        old = vm.inputs

        async def press_and_cut():
            while True:
                await old.press("shift+a")
                if trio.current_time() > 1:
                    world.proxy.cut("inputs")
                await trio.sleep(0.05)

        with pytest.raises(ConnectionLost):
            await press_and_cut()
        await settled(world)
        assert world.server.keys_down == vm.inputs.held_keys == ()


async def test_caps_lock_that_typing_has_turned_off_is_turned_on_again(autojump_clock):
    async with open_world() as world:
        world.server.machine.modifiers = int(KeyboardModifierFlag.CAPS_LOCK)
        vm = await settled(world)
        with trio.move_on_after(1):
            await vm.inputs.type_text("abc" * 1000)
        await trio.sleep(0.1)
        assert world.server.machine.modifiers == KeyboardModifierFlag.CAPS_LOCK

        async with trio.open_nursery() as nursery:

            async def cut():
                await trio.sleep(1)
                assert world.server.machine.modifiers == 0
                world.proxy.cut("inputs")

            nursery.start_soon(cut)
            with pytest.raises(ConnectionLost):
                await vm.inputs.type_text("abc" * 1000)
        await settled(world)
        assert world.server.machine.modifiers == KeyboardModifierFlag.CAPS_LOCK
        assert world.server.keys_down == ()


async def test_mouse_mode_stays(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        await vm.main.request_mouse_mode(MouseMode.SERVER)
        await vm.inputs.motion(5, 6)
        await trio.sleep(0.1)
        world.proxy.cut("inputs")
        await trio.sleep(0.1)
        await settled(world)
        assert vm.mouse_mode is MouseMode.SERVER
        await vm.inputs.motion(1, 1)
        await trio.sleep(0.1)
        assert world.server.machine.pointer == (6, 7)


async def test_what_the_server_was_asked_to_prefer_is_asked_again(monkeypatch, autojump_clock):
    # The embedded server has no choice to offer; what it does not announce it takes and counts.
    monkeypatch.setattr(DisplayChannel, "_require", lambda self, _: self._open_parts())
    async with open_world() as world:
        vm = await settled(world)
        await vm.display.set_preferred_compression(ImageCompression.LZ)
        await vm.display.set_preferred_video_codecs([VideoCodecType.MJPEG])
        for _ in range(2):
            await trio.sleep(0.1)
            world.proxy.cut("display")
            await trio.sleep(0.1)
            await settled(world)
    asked = [one.received for one in world.server.closed if one.channel_type is ChannelType.DISPLAY]
    wishes = ("PreferredCompression", "PreferredVideoCodecType")
    assert [[one.get(wish) for wish in wishes] for one in asked] == [[1, 1]] * 3


async def test_two_displays_do_not_share_what_one_of_them_has_lost(autojump_clock):
    offered = [(ChannelType.DISPLAY, 0), (ChannelType.DISPLAY, 1), (ChannelType.INPUTS, 0)]
    async with open_world(channels=offered) as world:
        vm = await settled(world)
        first, second = vm.get_display(0), vm.get_display(1)
        assert first.caches is second.caches
        world.proxy.cut("display:1")
        await trio.sleep(0.1)
        await settled(world)
        assert vm.get_display(0) is first
        assert vm.get_display(1).caches is not first.caches
        world.proxy.cut("display:0")
        await trio.sleep(0.1)
        await settled(world)
        assert vm.get_display(0).caches is not first.caches
        for number in (0, 1):
            picture = (await vm.get_display(number).screenshot()).pixels
            assert np.array_equal(picture, world.server.surface(number))


async def test_password_that_expires_between_relinks(autojump_clock):
    ticket = ["secret"]
    async with open_world(ticket=lambda: ticket[0], password="secret") as world:
        vm = await settled(world)
        world.server.expire_password()
        world.proxy.cut("display")
        await trio.sleep(20)
        state = world.manager.get_state("vm").present
        assert state.state is C.DEGRADED
        present = world.manager.states.get(Channel("vm", "display:0")).present
        assert isinstance(present.cause, AuthenticationFailed)
        assert world.manager.get_verdict("vm").missing == ("display:0",)
        await vm.inputs.press("a")  # the others work on
        world.server.set_password("other")
        ticket[0] = "other"
        await settled(world)
        await assert_same_picture(world, vm)


async def test_channel_that_is_refused_leaves_the_machine_usable_or_not(autojump_clock):
    for name, is_usable in (("cursor", True), ("inputs", False)):
        async with open_world() as world:
            world.proxy.refuse(name)
            vm = await world.manager.wait_vm_connection("vm")
            await trio.sleep(1)
            assert world.manager.get_state("vm").state is C.DEGRADED
            assert world.manager.get_verdict("vm").is_usable is is_usable
            await assert_same_picture(world, vm)
            world.proxy.heal()
            await settled(world)


async def test_settings_say_which_channels_there_are_and_which_are_required(autojump_clock):
    config = ChannelsConfig(open=("display", "cursor"), required=("main", "cursor"))
    async with open_world(kept=config) as world:
        vm = await settled(world)
        assert {channel.name for channel in vm.channels} == {"main:0", "display:0", "cursor:0"}
        world.proxy.cut()
        await world.manager.get_state("vm").wait_state(C.DISCONNECTED)
        world.proxy.refuse("cursor")
        await world.manager.get_state("vm").wait_state(C.DEGRADED)
        assert world.manager.get_verdict("vm").missing == ("cursor:0",)


# --- silence


@pytest.mark.parametrize("name", ["main", *NAMES])
async def test_silent_channel_is_found_within_two_intervals(name, autojump_clock):
    async with open_world() as world:
        await settled(world)
        await trio.sleep(100)
        source = world.manager.states.get(Channel("vm", f"{name}:0"))
        assert source.state is C.CONNECTED
        world.proxy.blackhole(name)
        silent_since = trio.current_time()
        change = await source.wait_state(C.DISCONNECTED)
        assert "no sign of life" in str(change.cause)
        assert trio.current_time() - silent_since <= 60
        world.proxy.heal()
        await settled(world)


async def test_idle_machine_is_asked_and_nothing_moves(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        channels = vm.channels
        await vm.inputs.position(7, 8)
        await trio.sleep(3600)
        assert vm.channels == channels
        assert world.server.machine.pointer == (7, 8)
        assert set(world.manager.statistics()["vm"].latencies) == {"main:0", "display:0", "inputs:0", "cursor:0"}
        # The pointer can be moved as before: what was asked does not fill the window.
        for _ in range(20):
            await vm.inputs.position(1, 2)
        await vm.main.request_mouse_mode(MouseMode.SERVER)
        await vm.inputs.motion(1, 1)
        await trio.sleep(3600)
        assert vm.channels == channels
        assert world.server.machine.pointer == (2, 3)


async def test_machine_that_draws_is_not_asked(autojump_clock):
    async with open_world(scene="text", rate=1) as world:
        await settled(world)
        await trio.sleep(600)
        assert "display:0" not in world.manager.statistics()["vm"].latencies


async def test_channel_that_only_we_have_lost_takes_a_new_connection(autojump_clock):
    # As when a router forgets a connection: the server takes it for open, and resets the one in its place.
    async with open_world() as world:
        vm = await settled(world)
        (connection,) = [one for one in world.proxy.connections if one.channel == "inputs:0"]
        connection._treatment_of = lambda _: Treatment(to_server=Flow.DISCARD, to_client=Flow.DISCARD)
        with trio.fail_after(120):
            await vm.inputs.wait_closed()
            new = await _wait_other(world, vm)
        await settled(world)
        await assert_same_picture(world, new)
        assert world.manager.statistics()["vm"].connections == 2


async def _wait_other(world, vm):
    while True:
        await world.manager.get_state("vm").wait_state(C.DISCONNECTED)
        new = await world.manager.wait_vm_connection("vm")
        if new is not vm:
            return new


async def test_what_was_lost_is_not_held_by_those_who_remember_why(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        lost = weakref.ref(vm.display)
        world.proxy.refuse("display")
        world.proxy.cut("display")
        await trio.sleep(100)
        gc.collect()
        assert lost() is None
        lost = weakref.ref(vm)
        world.stop()
        await trio.sleep(100)
        del vm
        gc.collect()
        assert lost() is None
        assert world.manager.get_state("vm").present.cause is not None
        world.proxy.heal()


async def test_server_that_does_not_know_the_connection_gets_a_new_one(autojump_clock):
    async with open_world() as world:
        vm = await settled(world)
        world.server._session = None
        world.proxy.cut("cursor")
        with trio.fail_after(10):
            assert await _wait_other(world, vm) is await settled(world)
        assert world.manager.statistics()["vm"].connections == 2


async def test_link_that_is_accepted_and_then_silent_is_none(autojump_clock, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ServerDisplayChannel, "_init", lambda self, _: None)
        async with open_world(ack_window=0) as world:
            started = trio.current_time()
            vm = await world.manager.wait_vm_connection("vm")
            assert trio.current_time() - started <= 31
            assert world.manager.get_verdict("vm").missing == ("display:0",)
            await trio.sleep(0.1)
            with pytest.raises(NotConnected, match="within 30 s"):
                _ = vm.display
            await vm.inputs.press("a")
            patch.undo()
            await settled(world)
            await assert_same_picture(world, vm)


async def test_who_waits_for_a_channel_is_told_when_main_ends(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        vm = await settled(world)
        told_at = []

        async def wait():
            with pytest.raises(ConnectionLost, match="has ended"):
                await vm.wait_channel(ChannelType.DISPLAY)
            told_at.append(trio.current_time())

        world.proxy.refuse("display")
        world.proxy.cut("display")
        await trio.sleep(0.1)
        nursery.start_soon(wait)
        await trio.sleep(10)
        world.stop()
        stopped_at = trio.current_time()
        await trio.sleep(100)
        assert told_at[0] - stopped_at < 1


async def test_channel_that_is_given_up_is_not_waited_for(autojump_clock):
    async with open_world(reconnect=ReconnectConfig(attempts=2)) as world:
        vm = await settled(world)
        world.proxy.refuse("cursor")
        world.proxy.cut("cursor")
        await trio.sleep(0.1)
        with pytest.raises(NotConnected, match="cursor:0 of machine vm is failed"):
            await vm.wait_channel(ChannelType.CURSOR)
        assert world.manager.get_state("vm").state is C.DEGRADED
        with pytest.raises(NotConnected):
            await vm.wait_channel(ChannelType.CURSOR)
