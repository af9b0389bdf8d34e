"""Several graphics devices, and several monitors of one: each is seen as QEMU itself renders it."""

from __future__ import annotations

import attrs
import av
import numpy as np
import pytest
import trio
from PIL import Image

from atp_trio.spice.channels import DisplayChannel, Monitor
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 60
# Two outputs that the kernel takes for connected. On its console, both show the same.
TWO_OUTPUTS = "video=Virtual-1:800x600e video=Virtual-2:640x480e"
FIRST, SECOND = (800, 600), (640, 480)
NOISE = "dd if=/dev/urandom of=/dev/fb0 bs=64k count=30 2>/dev/null"


@pytest.fixture
def two_outputs(guest):
    return attrs.evolve(guest, command_line=f"{guest.command_line} {TWO_OUTPUTS}")


@pytest.fixture
def dump(tmp_path):
    """What QEMU renders of a device: `dump(machine, "id", head=1)`."""

    async def dump(machine, device, head=0):
        path = tmp_path / "dump.ppm"
        arguments = {"filename": str(path), "device": device, "head": head}
        await trio.to_thread.run_sync(lambda: machine.qmp("screendump", **arguments))
        with Image.open(path) as image:
            rgb = np.asarray(image).astype(np.uint32)
        return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]

    return dump


async def agree(take, render, display, is_shown=np.any):
    """Wait until our picture and QEMU's are the same, and show something; gives it."""
    while True:
        theirs = await render()
        ours = (await take()).pixels
        if ours.shape == theirs.shape and np.array_equal(ours, theirs) and is_shown(ours):
            return ours
        with trio.move_on_after(0.1):
            await display.wait_damage()


def displays(vm):
    return {one.channel_id: one for one in vm.channels if isinstance(one, DisplayChannel)}


def is_noise(pixels):
    return len(np.unique(pixels)) > pixels.size // 4


async def test_two_graphics_devices(qemu, guest, tell_guest, shell_port, dump):
    extra = ("-device", "qxl,id=second", *shell_port())
    with qemu(guest=guest, display="qxl-vga,id=first", extra=extra) as machine, trio.fail_after(WITHIN):
        await trio.to_thread.run_sync(machine.wait_ready)
        async with open_spice(machine.uri) as vm:
            first, second = displays(vm)[0], displays(vm)[1]
            changes = []

            async def wait(display):
                await display.wait_until(lambda screen: is_noise(screen.region(0, 0, 1024, 256)))
                changes.append(display.channel_id)

            # The guest's console is on the first; what it has not used yet, the second shows in another size.
            await tell_guest(machine, "fbset -fb /dev/fb1 -g 1024 768 1024 768 32; echo 0 >/sys/class/graphics/fb1/blank")
            await second.wait_until(lambda screen: screen.width == 1024)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, first)
                await wait_for_noise(machine, tell_guest, wait, second, "/dev/fb1")
                assert changes == [1]
                await tell_guest(machine, NOISE)
            assert changes == [1, 0]
            one = await agree(first.screenshot, lambda: dump(machine, "first"), first, is_noise)
            other = await agree(second.screenshot, lambda: dump(machine, "second"), second, lambda seen: is_noise(seen[:400]))
            assert not np.array_equal(one[:400], other[:400])
            assert all(one.display_statistics().failed == {} for one in (first, second))


async def wait_for_noise(machine, tell_guest, wait, display, device):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, display)
        await tell_guest(machine, NOISE.replace("/dev/fb0", device))


async def test_two_monitors_on_one_surface(qemu, two_outputs, tell_guest, shell_port, dump, tmp_path):
    device = "qxl-vga,max_outputs=2,id=card"
    with qemu(guest=two_outputs, display=device, extra=shell_port()) as machine, trio.fail_after(WITHIN):
        await trio.to_thread.run_sync(machine.wait_ready)
        async with open_spice(machine.uri) as vm:
            display = vm.display
            await display.wait_ready()
            assert display.monitors == (Monitor(0, 0, 0, 0, *FIRST), Monitor(1, 0, 800, 0, *SECOND))
            part, films = Rect.at(100, 50, 64, 48), [tmp_path / f"{number}.mp4" for number in (0, 1)]
            async with (
                display.record(films[0], part, monitor=0) as busy,
                display.record(films[1], monitor=1) as idle,
                display.damage(monitor=0) as damage,
                display.damage(monitor=1) as no_damage,
            ):
                before = [await display.screenshot(monitor=number) for number in (0, 1)]
                # Linux's driver draws its console on the first monitor of the two alone.
                await tell_guest(machine, NOISE)
                await display.wait_change(part, monitor=0, since=before[0])
                rect = await damage.receive()
                assert rect == rect.intersection(Rect.at(0, 0, *FIRST))
                whole = await agree(
                    display.screenshot, lambda: dump(machine, "card"), display, lambda seen: is_noise(seen[:480, :640])
                )
                with trio.move_on_after(0.3) as scope:
                    await display.wait_change(monitor=1, since=before[1])
                assert scope.cancelled_caught
                with trio.move_on_after(0) as scope:
                    await no_damage.receive()
                assert scope.cancelled_caught
            shown = [(await display.screenshot(monitor=number)).pixels for number in (0, 1)]
            assert whole.shape == (600, 1600)
            assert np.array_equal(shown[0], whole[:600, :800])
            assert np.array_equal(shown[1], whole[:480, 800:1440])
            assert (await display.wait_still(0, monitor=1)).equals(before[1])
            # Found where it is, in the pixels of its monitor.
            needle = shown[0][50:98, 100:164]
            assert (await display.wait_image(needle, monitor=0)).region == part
            assert busy.frames > idle.frames
            for path, size in zip(films, ((64, 48), SECOND), strict=True):
                with av.open(str(path)) as container:
                    assert (container.streams.video[0].width, container.streams.video[0].height) == size


# With GLZ, images that one channel brought are referred to on the other: one dictionary serves both.
@pytest.mark.parametrize("compression", ["lz", "glz"])
async def test_two_monitors_that_are_channels(qemu, two_outputs, tell_guest, shell_port, dump, compression):
    options = {"spice": SpiceOptions(image_compression=compression), "extra": shell_port()}
    device = "virtio-vga,max_outputs=2,id=card"
    with qemu(guest=two_outputs, display=device, **options) as machine, trio.fail_after(WITHIN):
        await trio.to_thread.run_sync(machine.wait_ready)
        async with open_spice(machine.uri) as vm:
            seen = displays(vm)
            assert set(seen) == {0, 1}
            await tell_guest(machine, NOISE)
            for number, size in enumerate((FIRST, SECOND)):
                display = seen[number]
                pixels = await agree(
                    display.screenshot,
                    lambda number=number: dump(machine, "card", number),
                    display,
                    lambda seen: is_noise(seen[:480]),
                )
                assert pixels.shape == size[::-1]
                assert display.monitors == (Monitor(0, 0, 0, 0, *size),)
                assert np.array_equal((await display.screenshot(monitor=0)).pixels, pixels)
                assert display.display_statistics().failed == {}
