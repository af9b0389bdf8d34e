"""Leaving a real server, at every moment and in every way: it must live on.

Some servers die when a display channel that they have accepted is closed before its first message was read, and the virtual
machine with them. Everything here leaves and then asks whether QEMU still runs and still serves.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys

import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType

WITHIN = 30
LEFT = ("Connection reset by peer", "Broken pipe")
SCRIPT = """
import signal, sys, trio
# A shell starts what runs in its background with SIGINT ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
from atp_trio.spice.connection import open_spice

async def main():
    async with open_spice(sys.argv[1]) as vm:
        await vm.display.wait_ready()
        await vm.inputs.key_down("shift")
        await vm.inputs.wait_sent()
        print("open", flush=True)
        await vm.main.wait_closed()

trio.run(main)
"""


@pytest.fixture
def machine(qemu):
    """A machine of its own for each test: one that dies takes no other test with it."""
    with qemu(display="VGA") as machine:
        machine.wait_ready()
        yield machine


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when tasks have been stepped that many times: the finest moments there are."""

    def __init__(self, scope, steps):
        self.scope = scope
        self.left = steps

    def before_task_step(self, task):
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


@contextlib.contextmanager
def cancelled_at_step(steps):
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(scope, steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(instrument)


async def use(machine):
    """What is cancelled: everything up to a picture and keys held."""
    async with open_spice(machine.uri) as vm:
        await vm.display.wait_ready()
        await vm.inputs.key_down("shift")
        await vm.inputs.button_down()
        await vm.inputs.wait_sent()


async def use_for_long(machine):
    async with open_spice(machine.uri) as vm:
        await vm.display.wait_ready()
        await trio.sleep_forever()


async def still_serves(machine, settle_screen):
    assert machine.alive(), machine.stderr()
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            assert (await settle_screen(vm, machine)).any()
    assert machine.alive(), machine.stderr()


def connected(machine):
    """The client channels that QEMU has."""
    return machine.qmp("query-spice").get("channels", [])


async def wait_all_left(machine):
    with trio.fail_after(WITHIN):
        while await trio.to_thread.run_sync(connected, machine):  # noqa: ASYNC110 - QEMU tells no event for it
            await trio.sleep(0.02)


async def test_cancelled_at_random_moments(machine, settle_screen):
    moments = random.Random(2026)
    for number in range(100):
        seconds = moments.uniform(0, 0.15)
        started = trio.current_time()
        with trio.move_on_after(seconds):
            await use_for_long(machine)
        assert machine.alive(), f"QEMU died after opening number {number}, cancelled after {seconds} s"
        assert trio.current_time() - started < seconds + 5
    await still_serves(machine, settle_screen)


async def test_cancelled_at_random_moments_while_the_guest_draws(qemu, guest, settle_screen, tell_guest, shell_port):
    moments = random.Random(7)
    with qemu(guest=guest, extra=shell_port()) as machine:
        machine.wait_ready()
        with trio.fail_after(WITHIN):
            await tell_guest(machine, "(while draw code text noise nothing; do :; done) & true")
        for number in range(40):
            seconds = moments.uniform(0, 0.3)
            with trio.move_on_after(seconds):
                await use_for_long(machine)
            assert machine.alive(), f"QEMU died after opening number {number}, cancelled after {seconds} s"
        with trio.fail_after(2 * WITHIN):
            async with open_spice(machine.uri) as vm:
                # Not by stopping the machine: QEMU's own screen would then be ahead of what its SPICE server has been given.
                await tell_guest(machine, "kill $!; wait")
                await settle_screen(vm, machine)
        # What a server says of a client that left while something was on its way, and nothing worse.
        assert [line for line in machine.stderr().splitlines() if not line.endswith(LEFT)] == []


async def test_cancelled_at_every_step(machine, settle_screen):
    for steps in range(1, 500):
        with trio.fail_after(WITHIN), cancelled_at_step(steps) as scope:
            await use(machine)
        assert machine.alive(), f"QEMU died after an opening that was cancelled at step {steps}"
        if not scope.cancelled_caught:
            break
    # Fewer would mean that we do not count what we think.
    assert 50 < steps < 499
    await still_serves(machine, settle_screen)


async def test_cancelled_while_single_channels_open_and_close(machine, settle_screen):
    moments = random.Random(11)
    with trio.fail_after(60):
        async with open_spice(machine.uri, channels=()) as vm:
            for _ in range(40):
                with trio.move_on_after(moments.uniform(0, 0.04)):
                    await vm.open_channel(ChannelType.DISPLAY)
                    await vm.display.wait_ready()
                with trio.move_on_after(moments.uniform(0, 0.01)):
                    await vm.close_channel(ChannelType.DISPLAY)
                await vm.close_channel(ChannelType.DISPLAY)
                assert vm.main.is_open
                assert machine.alive(), machine.stderr()
            await vm.open_channel(ChannelType.DISPLAY)
            await settle_screen(vm, machine)
    await still_serves(machine, settle_screen)


async def test_many_at_once_cancelled_together(machine, settle_screen):
    # Each new main channel throws the client before it out: links in every stage end from the server's side, and then from ours.
    for seconds in (0.03, 0.1, 0.2):
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(_use_until_lost, machine)
        assert machine.alive(), machine.stderr()
    await still_serves(machine, settle_screen)


async def _use_until_lost(machine):
    with contextlib.suppress(trio.BrokenResourceError):
        await use_for_long(machine)


@pytest.mark.parametrize("moment", ["at once", "with a picture", "keys down"])
async def test_left_by_an_exception(machine, settle_screen, moment):
    with trio.fail_after(WITHIN), pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with open_spice(machine.uri) as vm:
            if moment != "at once":
                await vm.display.wait_ready()
            if moment == "keys down":
                await vm.inputs.key_down("a")
            raise ZeroDivisionError
    await wait_all_left(machine)
    await still_serves(machine, settle_screen)


async def test_the_first_picture_is_read_before_leaving(machine):
    # The rule itself, seen from our side: whatever the moment, the display has had a message before it closed.
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            display = vm.display
        assert display.statistics().messages_received > 0
        assert not display.is_open
        await wait_all_left(machine)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_process_that_is_ended(machine, settle_screen, how):
    with subprocess.Popen(  # noqa: ASYNC220 - starting is fast
        [sys.executable, "-c", SCRIPT, machine.uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            with trio.fail_after(WITHIN):
                assert await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True) == "open\n"
                process.send_signal(how)
                _, complaint = await trio.to_thread.run_sync(process.communicate, abandon_on_cancel=True)
        finally:
            process.kill()
    if how is signal.SIGINT:
        # In order, as the one exception that it is.
        assert complaint.rstrip().endswith("KeyboardInterrupt")
        assert "ExceptionGroup" not in complaint
    else:
        assert process.returncode == -how
    await wait_all_left(machine)
    await still_serves(machine, settle_screen)
