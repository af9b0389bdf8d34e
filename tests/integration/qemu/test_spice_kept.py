"""Real machines that are kept: killed, channels cut alone, a network that goes silent, a ticket that expires between links."""

from __future__ import annotations

import contextlib
import os
import signal
from contextlib import asynccontextmanager

import pytest
import trio

from atp_trio.errors import AuthenticationFailed
from atp_trio.keyboard import Key
from atp_trio.spice.manager import open_spice_manager
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.state import Channel, ConnectionState
from atp_trio.testing.faults import open_fault_proxy
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 60
C = ConnectionState
NAMES = ["display", "inputs", "cursor"]
# Far above what an emulated machine on a busy host takes to answer.
INTERVAL = 2.0


@asynccontextmanager
async def keep(uri, *, password=None, interval=30.0):
    reconnect, heartbeat = ReconnectConfig(initial=0.1, maximum=1), HeartbeatConfig(interval=interval)
    with trio.fail_after(WITHIN):
        async with open_spice_manager(reconnect=reconnect, heartbeat=heartbeat) as manager:
            manager.add_vm("vm", uri, password=password)
            await settled(manager)
            yield manager


async def settled(manager):
    """All of the machine works, and goes on to."""
    source = manager.get_state("vm")
    while True:
        await source.wait_state(C.CONNECTED)
        await trio.sleep(0.3)
        if source.state is C.CONNECTED:
            return manager.get_vm_connection("vm")


@pytest.mark.parametrize("fault", ["cut", "hang_up"])
async def test_each_channel_cut_alone_while_the_others_work_on(fault, qxl_machine, settle_screen, tell_guest, run_in_guest):
    async with open_fault_proxy(qxl_machine.uri) as proxy, keep(proxy.uri) as manager:
        vm = manager.get_vm_connection("vm")
        for name in NAMES:
            await tell_guest(qxl_machine, "draw code smooth text")
            await settle_screen(vm, qxl_machine)
            others = [channel for channel in vm.channels if channel.name != f"{name}:0"]
            assert getattr(proxy, fault)(name) == 1
            await manager.get_state("vm").wait_state(C.DEGRADED)
            await tell_guest(qxl_machine, "draw flat noise")
            assert all(channel.is_open for channel in others)
            await vm.wait_channel(ChannelType[name.upper()])
            await settle_screen(await settled(manager), qxl_machine)
            assert await run_in_guest(vm, qxl_machine, "echo abc-123") == "abc-123\n"
        assert manager.get_vm_connection("vm") is vm
        assert vm.relinks() == {f"{name}:0": 1 for name in NAMES}
        assert vm.display.display_statistics().failed == {}


async def test_key_that_is_held_stays_held(qxl_machine, run_in_guest):
    async with open_fault_proxy(qxl_machine.uri) as proxy, keep(proxy.uri) as manager:
        vm = manager.get_vm_connection("vm")
        await vm.inputs.key_down("shift")
        proxy.cut("inputs")
        await manager.get_state("vm").wait_state(C.DEGRADED)
        vm = await settled(manager)
        assert vm.inputs.held_keys == (Key.LEFTSHIFT,)
        before = len(qxl_machine.serial_output())
        await vm.inputs.press("ctrl+c")
        for key in "echo":
            await vm.inputs.press(key)
            await trio.sleep(0.05)
        await vm.inputs.release_all()
        # What was typed under Shift is no command: the guest's shell says so, on the screen.
        await vm.inputs.type_text(" x >/dev/ttyS0\n", interval=0.05)
        assert await run_in_guest(vm, qxl_machine, "echo abc-123", interval=0.05) == "abc-123\n"
        assert "x\n" not in qxl_machine.serial_output()[before:].replace("abc-123\nend\n", "")


async def test_machine_that_is_killed_and_started_again(qemu, settle_screen):
    machines = []

    async def connect():
        # Another process listens on another port.
        uri = SpiceUri.parse(machines[-1].uri)
        return await open_tcp_stream(uri.host, uri.port)

    async def start():
        machine = stack.enter_context(qemu(display="VGA", spice=SpiceOptions(password="secret")))
        await trio.to_thread.run_sync(machine.wait_ready)
        machines.append(machine)

    with contextlib.ExitStack() as stack:
        await start()
        async with keep(connect, password="secret") as manager:
            vm = manager.get_vm_connection("vm")
            await settle_screen(vm, machines[-1])
            os.kill(machines[-1].pid, signal.SIGKILL)
            change = await manager.get_state("vm").wait_state(C.DISCONNECTED)
            assert change.cause is not None
            assert not vm.main.is_open
            await start()
            new = await settled(manager)
            assert new is not vm
            await settle_screen(new, machines[-1])
        assert machines[-1].alive()


async def test_silent_network_is_found_in_time_on_every_channel(qemu_firmware, settle_screen):
    async with open_fault_proxy(qemu_firmware.uri) as proxy, keep(proxy.uri, interval=INTERVAL) as manager:
        await trio.sleep(2 * INTERVAL)  # silent, and alive
        assert manager.get_state("vm").state is C.CONNECTED
        assert manager.statistics()["vm"].connections == 1
        for name in [*NAMES, "main"]:
            await settled(manager)
            source = manager.states.get(Channel("vm", f"{name}:0"))
            proxy.blackhole(name)
            started = trio.current_time()
            await source.wait_state(C.DISCONNECTED)
            assert trio.current_time() - started <= 2 * INTERVAL
            proxy.heal()
        await settle_screen(await settled(manager), qemu_firmware)


async def test_idle_machine_is_asked_without_harm(vga_machine, run_in_guest):
    # The guest has no tablet: in this mouse mode what is asked on inputs must not move its pointer either.
    async with keep(vga_machine.uri, interval=0.3) as manager:
        vm = manager.get_vm_connection("vm")
        channels = vm.channels
        await trio.sleep(3)
        assert vm.channels == channels
        assert set(vm.latencies()) >= {"main:0", "inputs:0"}
        assert await run_in_guest(vm, vga_machine, "echo abc-123") == "abc-123\n"


async def test_ticket_that_expires_between_links(qemu, settle_screen):
    ticket = ["secret"]
    with qemu(display="VGA", spice=SpiceOptions(password="secret")) as machine:
        machine.wait_ready()
        async with open_fault_proxy(machine.uri) as proxy, keep(proxy.uri, password=lambda: ticket[0]) as manager:
            vm = manager.get_vm_connection("vm")
            await trio.to_thread.run_sync(machine.set_password, "other")
            proxy.cut("display")
            source = manager.states.get(Channel("vm", "display:0"))
            async with source.watch() as changes:
                async for change in changes:
                    if isinstance(change.cause, AuthenticationFailed):
                        break
            assert manager.get_verdict("vm").missing == ("display:0",)
            await vm.inputs.press("a")
            ticket[0] = "other"
            await settle_screen(await settled(manager), machine)
            proxy.cut()
            await manager.get_state("vm").wait_state(C.DISCONNECTED)
            await settle_screen(await settled(manager), machine)
