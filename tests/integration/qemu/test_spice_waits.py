"""Waiting for what a real machine shows: pictures, text, stillness, change; damage; and what is seen where time runs out.

What is waited for is taken from QEMU's own rendering. The guest is told to draw past SPICE, so nothing else is drawn.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.imaging.search import Needle
from atp_trio.spice.messages.geometry import Rect

WITHIN = 60
# Where `draw flat` and `draw code` draw, and a part of that.
FLAT, CODE = Rect.at(0, 100, 1024, 160), Rect.at(0, 260, 1024, 160)
PART = Rect.at(300, 290, 200, 90)


def part(pixels, rect):
    return pixels[rect.top : rect.bottom, rect.left : rect.right].copy()


async def draw(vm, machine, tell_guest, settle_screen, names, is_shown):
    """Draw, and wait until that is shown: the guest flushes its frame buffer in its own time. Gives the screen."""
    await tell_guest(machine, f"draw {names}")
    while not is_shown(screen := await settle_screen(vm, machine)):
        await vm.display.wait_damage()
    return screen


@pytest.fixture
async def vm(qxl_machine, tell_guest, settle_screen):
    """A connection to a machine with an empty screen."""
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await draw(vm, qxl_machine, tell_guest, settle_screen, "nothing", lambda screen: not screen.any())
            yield vm


@pytest.fixture
async def code(vm, qxl_machine, tell_guest, settle_screen):
    """A part of what `draw code` shows, as QEMU renders it. The screen is empty again."""
    await draw(vm, qxl_machine, tell_guest, settle_screen, "code", lambda screen: part(screen, PART).any())
    pixels = part(await trio.to_thread.run_sync(qxl_machine.screendump), PART)
    await draw(vm, qxl_machine, tell_guest, settle_screen, "nothing", lambda screen: not screen.any())
    return pixels


async def found_when_drawn(nursery, machine, tell_guest, wait, *, draw):
    """What a wait gives that must not end before this is drawn."""
    results, order = [], []

    async def run():
        results.append(await wait())
        order.append("found")

    async with trio.open_nursery() as waiting:
        waiting.start_soon(run)
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        order.append("drawn")
        await tell_guest(machine, draw)
    assert order == ["drawn", "found"]
    return results[0]


def noisy(pixels, by):
    """The same with other colours, by no more than that much."""
    levels = pixels.view(np.uint8).astype(int)
    levels += np.random.default_rng(3).integers(-by, by + 1, levels.shape)
    return np.ascontiguousarray(levels.clip(0, 255).astype(np.uint8)).view(np.uint32) & 0xFFFFFF


async def test_a_picture_anywhere(vm, code, nursery, qxl_machine, tell_guest):
    absent = Needle(code[::-1].copy())
    match = await found_when_drawn(
        nursery, qxl_machine, tell_guest, lambda: vm.display.wait_image([absent, code]), draw="draw flat code"
    )
    assert (match.index, match.region, match.wrong) == (1, PART, 0)
    # In a part of the screen, and in its place.
    around = Rect.at(PART.left - 30, PART.top - 20, 300, 200)
    assert (await vm.display.wait_image(code, around)).region == PART
    assert (await vm.display.wait_image(code, PART)).region == PART


async def test_a_picture_with_tolerance_and_with_a_mask(vm, code, nursery, qxl_machine, tell_guest):
    other, masked, mask = noisy(code, 5), code.copy(), np.ones(code.shape, bool)
    masked[20:50], mask[20:50] = 0x123456, False
    match = await found_when_drawn(
        nursery, qxl_machine, tell_guest, lambda: vm.display.wait_image(other, tolerance=5), draw="draw code"
    )
    assert match.region == PART
    assert (await vm.display.wait_image(masked, mask=mask)).region == PART
    # Without either, time runs out; the evidence names the place.
    for needle, wrong in ((other, (0.9, 1)), (masked, (0.3, 0.34))):
        with trio.move_on_after(2) as scope:
            await vm.display.wait_image(needle)
        assert scope.cancelled_caught
        evidence = vm.display.last_wait
        assert evidence.nearest.region == PART
        assert wrong[0] < evidence.nearest.wrong <= wrong[1]
        assert np.array_equal(evidence.picture.pixels, await trio.to_thread.run_sync(qxl_machine.screendump))
        assert "the picture: not in 1 look; the nearest was picture 0 at 300,290" in str(evidence)


async def test_a_text(vm, nursery, qxl_machine, tell_guest):
    top = Rect.at(0, 0, 320, 40)
    lines = r"printf 'Welcome to the machine\nLogin incorrect: 42\n' >/dev/tty1"
    line = await found_when_drawn(
        nursery, qxl_machine, tell_guest, lambda: vm.display.wait_text("Login incorrect", top), draw=lines
    )
    # Of 8x16 pixels a character; what was read may be larger by a little.
    assert line.region.width == pytest.approx(19 * 8, abs=24)
    assert line.region.height == pytest.approx(16, abs=10)
    assert "42" in line.text
    assert (await vm.display.wait_text(re.compile(r"incorrect.*42$"), top)).region == line.region
    both = await vm.display.wait_text("machine\nLogin", top)
    assert both.text.count("\n") == 1
    assert both.region.top < line.region.top < both.region.bottom == line.region.bottom
    with trio.move_on_after(4):
        await vm.display.wait_text("Login correct: 43", top)
    assert vm.display.last_wait.nearest.text == line.text
    assert vm.display.last_wait.region == top


async def test_stillness(vm, qxl_machine, tell_guest, film):
    display = vm.display
    await tell_guest(qxl_machine, "(while film 90; do :; done) & true")
    await display.wait_damage(film.AREA)
    with trio.move_on_after(2.5) as scope:
        await display.wait_still(2, film.AREA)
    assert scope.cancelled_caught
    assert display.last_wait.looks > 3
    assert film.judge(display.last_wait.picture.pixels)[1] == np.inf
    # Elsewhere it is still.
    started = trio.current_time()
    await display.wait_still(0.5, Rect.at(0, 600, 1024, 100))
    assert 0.5 <= trio.current_time() - started < 1.5
    await tell_guest(qxl_machine, "kill $!; killall film dd; wait")
    picture = await display.wait_still(0.5)
    theirs = await trio.to_thread.run_sync(qxl_machine.screendump)
    assert np.array_equal(picture.pixels, theirs)


async def test_change_and_a_predicate(vm, nursery, qxl_machine, tell_guest, settle_screen):
    display = vm.display
    before = await display.screenshot(FLAT)
    changed = await found_when_drawn(
        nursery, qxl_machine, tell_guest, lambda: display.wait_change(FLAT, since=before), draw="draw code flat"
    )
    assert set(np.unique(changed.pixels)) <= {0, 0x555555}
    await display.wait_until(lambda screen: bool((screen.region(0, 100, 1024, 160) == 0x555555).all()), FLAT)
    # All is as it was, although it was drawn again.
    now = await settle_screen(vm, qxl_machine)
    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as drawing:
            drawing.start_soon(tell_guest, qxl_machine, "draw flat; draw flat")
            await display.wait_change(FLAT)
    assert scope.cancelled_caught
    assert str(display.last_wait).startswith("a change: not in ")
    assert np.array_equal(display.last_wait.picture.pixels, part(now, FLAT))


async def test_damage_holds_whatever_changes(vm, qxl_machine, tell_guest, settle_screen):
    before = await vm.display.screenshot()
    seen, bottom = np.zeros(before.pixels.shape, bool), Rect.at(200, 250, 500, 60)
    covered = seen.copy()
    async with vm.display.damage() as everything, vm.display.damage(bottom) as some:
        after = await draw(vm, qxl_machine, tell_guest, settle_screen, "flat code", lambda screen: screen[419].any())
        changed = after != before.pixels
        while (changed & ~seen).any():
            rect = await everything.receive()
            seen[rect.top : rect.bottom, rect.left : rect.right] = True
        while (part(changed, bottom) & ~part(covered, bottom)).any():
            rect = await some.receive()
            assert rect.intersection(bottom) == rect
            covered[rect.top : rect.bottom, rect.left : rect.right] = True
        # Nothing was drawn elsewhere, and there is no end of the channel.
        assert not seen[: FLAT.top].any()
        assert not seen[CODE.bottom :].any()
        with trio.move_on_after(0.3) as scope:
            while True:
                await some.receive()
        assert scope.cancelled_caught
