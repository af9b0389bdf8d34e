"""Our screen against the machine's own, pixel for pixel: QMP's screendump is what QEMU itself renders."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 30


async def draw(vm, machine, names, settle_screen, tell_guest):
    """Draw these in the guest at once, and compare."""
    await tell_guest(machine, "draw nothing")
    before = await settle_screen(vm, machine)
    await tell_guest(machine, f"draw {names}")
    # The guest flushes its frame buffer in its own time.
    while ((await settle_screen(vm, machine)) != before).sum() < 10000:
        await vm.display.wait_damage()


def assert_all_drawn(display):
    statistics = display.display_statistics()
    assert (statistics.not_drawn, statistics.failed) == ({}, {}), [*display.screen.reasons]
    assert statistics.updates > 0
    assert not display.statistics().skipped
    assert not display.statistics().unhandled


async def test_firmware(qemu_firmware, settle_screen):
    with trio.fail_after(WITHIN):
        async with open_spice(qemu_firmware.uri) as vm:
            screen = await settle_screen(vm, qemu_firmware)
            assert screen.shape == (400, 720)
            assert set(np.unique(screen)) == {0, 0xA8A8A8}
            assert_all_drawn(vm.display)


@pytest.mark.parametrize("compression", ["off", "lz", "glz", "quic", "auto_lz", "auto_glz"])
async def test_first_picture_under_each_option_of_the_server(qemu, compression, settle_screen):
    # One large image, in an uneventful machine that is up in no time.
    with qemu(display="VGA", spice=SpiceOptions(image_compression=compression)) as machine, trio.fail_after(WITHIN):
        machine.wait_ready()
        async with open_spice(machine.uri) as vm:
            await settle_screen(vm, machine)
            assert_all_drawn(vm.display)
            size = vm.display.statistics().bytes_received
            assert (size > 720 * 400 * 4) == (compression == "off")


async def test_part_of_the_screen(qemu_firmware, settle_screen):
    with trio.fail_after(WITHIN):
        async with open_spice(qemu_firmware.uri) as vm:
            screen = await settle_screen(vm, qemu_firmware)
            part = await vm.display.screenshot(Rect.at(100, 7, 33, 50))
            np.testing.assert_array_equal(part.pixels, screen[7:57, 100:133])


@pytest.mark.parametrize("device", ["qxl-vga", "VGA", "virtio-vga"])
async def test_from_power_on_to_drawings(qemu, guest, device, settle_screen, tell_guest, shell_port):
    with qemu(display=device, guest=guest, extra=shell_port()) as machine, trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            await trio.to_thread.run_sync(machine.wait_ready)
            await draw(vm, machine, "flat code noise smooth", settle_screen, tell_guest)
            await draw(vm, machine, "text", settle_screen, tell_guest)
            assert_all_drawn(vm.display)
    assert machine.stderr() == ""
