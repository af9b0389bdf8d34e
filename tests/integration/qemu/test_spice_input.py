"""Keyboard and mouse as the guest's kernel sees them: its input events, by way of the serial port."""

from __future__ import annotations

import base64
import contextlib
import string
import struct

import pytest
import trio

from atp_trio.errors import LocalProtocolError
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.inputs import KeyboardModifierFlag, MouseButton
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode

WITHIN = 60
EVENT = struct.Struct("<16xHHi")  # time, type, code, value
KEY, REL, ABS = 1, 2, 3
X, Y, WHEEL = 0, 1, 8
LEFT, RIGHT, MIDDLE = 0x110, 0x111, 0x112
DOWN, UP = 1, 0
CODES = {"ctrl": 29, "shift": 42, "alt": 56, "a": 30, "delete": 111, "left": 105, "enter": 28}
PAUSE = 0.1  # QEMU keeps 16 bytes of keys and 16 events of a tablet, and the guest takes them in its own time
END_CODE = 54  # the right Shift key
KEYBOARD, TABLET, MOUSE = "AT Translated Set 2 keyboard", "QEMU QEMU USB Tablet", "ImExPS/2 Generic Explorer Mouse"


async def wait_serial(machine, text, after):
    while text not in machine.serial_output()[after:]:  # noqa: ASYNC110 - a file
        await trio.sleep(0.02)
    return machine.serial_output()[after:]


@contextlib.asynccontextmanager
async def guest_events(vm, machine, device):
    """What the guest's kernel tells of a device in the block, after it: (type, code, value), without the separators."""
    events = []
    before = len(machine.serial_output())
    await vm.inputs.press("ctrl+c")
    await vm.inputs.type_text(f"listen {device} &\n")
    await wait_serial(machine, "listening\n", before)
    yield events
    before = len(machine.serial_output())
    await vm.inputs.press("shift_r")
    await vm.inputs.type_text("kill $!; base64 /tmp/events >/dev/ttyS0; echo end >/dev/ttyS0\n")
    data = base64.b64decode((await wait_serial(machine, "end\n", before)).removesuffix("end\n"))
    events += [event for event in EVENT.iter_unpack(data) if event[0] in (KEY, REL, ABS)]
    if device == KEYBOARD:
        # Between the Enter that began and the key that ended.
        end = events.index((KEY, END_CODE, DOWN))
        events[:] = [event for event in events[:end] if event[1] != CODES["enter"]]


def keys(*names):
    return [(KEY, CODES[name.removeprefix("-")], UP if name.startswith("-") else DOWN) for name in names]


async def test_every_character_arrives_as_typed(qxl_machine, run_in_guest):
    text = "".join(sorted({*string.printable} - {*string.whitespace} - {"'"} | {" "}))
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            assert await run_in_guest(vm, qxl_machine, f"echo '{text}'") == f"{text}\n"
            assert await run_in_guest(vm, qxl_machine, 'echo "it\'s" ATP-$((6*7))') == "it's ATP-42\n"


async def test_typed_text_shows(qxl_machine, settle_screen, run_in_guest):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await run_in_guest(vm, qxl_machine, "clear >/dev/tty1")
            before = await settle_screen(vm, qxl_machine)
            await vm.inputs.type_text("x" * 40)
            # Each character changes its own 8 x 16 pixels, somewhere in one line of them.
            await vm.display.wait_until(lambda screen: (screen.pixels != before).any(axis=0).sum() >= 40 * 6)
            after = await settle_screen(vm, qxl_machine)
            assert (after != before).any(axis=1).sum() <= 16


async def test_a_chord_goes_down_in_order_and_up_in_reverse(qxl_machine):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            async with guest_events(vm, qxl_machine, KEYBOARD) as events:
                for chord in ("ctrl+shift+a", "delete", "shift+left"):
                    await vm.inputs.press(chord)
                    await trio.sleep(PAUSE)
            assert events == keys(
                *("ctrl", "shift", "a", "-a", "-shift", "-ctrl"),
                *("delete", "-delete"),
                *("shift", "left", "-left", "-shift"),
            )


async def test_a_chord_that_the_shell_obeys(vga_machine, run_in_guest):
    with trio.fail_after(WITHIN):
        async with open_spice(vga_machine.uri) as vm:
            # It eats what is typed, until Ctrl-C, which `run_in_guest` begins with.
            before = len(vga_machine.serial_output())
            await vm.inputs.type_text("echo eating >/dev/ttyS0; cat\neat this\n")
            await wait_serial(vga_machine, "eating\n", before)
            assert await run_in_guest(vm, vga_machine, "echo back") == "back\n"


async def test_keys_still_down_are_released_when_the_channel_closes(qxl_machine):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            async with guest_events(vm, qxl_machine, KEYBOARD) as events:
                await vm.inputs.key_down("ctrl")
                await vm.inputs.key_down("alt")
                await vm.close_channel(ChannelType.INPUTS)
                await vm.open_channel(ChannelType.INPUTS)
            assert events == keys("ctrl", "alt", "-alt", "-ctrl")


async def test_keys_still_down_are_released_when_the_block_is_left(qxl_machine, run_in_guest):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await vm.inputs.key_down("shift")
            await vm.inputs.key_down("altgr")
        with trio.CancelScope() as scope:
            async with open_spice(qxl_machine.uri) as vm:
                await vm.inputs.key_down("ctrl")
                scope.cancel()
        async with open_spice(qxl_machine.uri) as vm:
            # With any of them still down in the guest, this would be something else.
            assert await run_in_guest(vm, qxl_machine, "echo abc-123") == "abc-123\n"


@pytest.mark.parametrize("name", ["qxl_machine", "vga_machine"])
async def test_caps_lock_goes_round_through_the_guest(request, name, run_in_guest):
    machine = request.getfixturevalue(name)
    caps = KeyboardModifierFlag.CAPS_LOCK
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            before = (await vm.inputs.wait_modifiers(after=0)) & caps
            assert await press_caps_lock(vm) == before ^ caps
            # Typing is as meant all the same, and Caps Lock is as it was afterwards.
            assert await run_in_guest(vm, machine, "echo aBc") == "aBc\n"
            while vm.inputs.modifiers & caps == before:
                await vm.inputs.wait_modifiers()
        async with open_spice(machine.uri) as vm:
            # Also where we have not been told yet that it is on.
            assert await run_in_guest(vm, machine, "echo aBc") == "aBc\n"
            while vm.inputs.modifiers & caps == before:
                await vm.inputs.wait_modifiers()
            assert await press_caps_lock(vm) == before


async def press_caps_lock(vm):
    told = vm.inputs.modifiers_told
    await vm.inputs.press("capslock")
    return (await vm.inputs.wait_modifiers(after=told)) & KeyboardModifierFlag.CAPS_LOCK


async def test_positions_arrive_at_the_tablet(qxl_machine):
    places = [(1, 2), (511, 384), (1023, 767), (3, 4)]
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await vm.display.wait_ready()
            width, height = vm.display.size
            async with guest_events(vm, qxl_machine, TABLET) as events:
                for x, y in places:
                    await vm.inputs.click(x, y, button=MouseButton.RIGHT if x == 3 else MouseButton.LEFT)
                    await trio.sleep(PAUSE)
                await vm.inputs.wheel(-2)
                await trio.sleep(PAUSE)
            assert vm.inputs.mouse_mode is MouseMode.CLIENT
            assert vm.inputs.motion_acks == 1
            with pytest.raises(LocalProtocolError):
                await vm.inputs.motion(1, 1)
            # QEMU's scale of positions. An axis that stays is not told again; here both always change.
            expected = []
            for x, y in places:
                button = RIGHT if x == 3 else LEFT
                expected += [
                    (ABS, X, x * 0x7FFF // width),
                    (ABS, Y, y * 0x7FFF // height),
                    (KEY, button, DOWN),
                    (KEY, button, UP),
                ]
            turns = [event for event in events if event[0] == REL]
            assert [event for event in events if event[0] != REL] == expected
            assert sum(value for _, code, value in turns if code == WHEEL) == -2


async def test_motions_arrive_at_the_ps2_mouse(vga_machine):
    motions = [(10, 20), (-30, 5), (1, -1), (0, 7)]
    with trio.fail_after(WITHIN):
        async with open_spice(vga_machine.uri) as vm:
            async with guest_events(vm, vga_machine, MOUSE) as events:
                for dx, dy in motions:
                    await vm.inputs.motion(dx, dy)
                await vm.inputs.wait_motions_acknowledged()
                await trio.sleep(PAUSE)
                await vm.inputs.click(button=MouseButton.MIDDLE)
                await trio.sleep(PAUSE)
                await vm.inputs.wheel(1)
                await trio.sleep(PAUSE)
            assert vm.inputs.mouse_mode is MouseMode.SERVER
            assert vm.inputs.motion_acks == 1
            with pytest.raises(LocalProtocolError):
                await vm.inputs.position(1, 1)
            # The mouse may report several motions in one.
            for axis in (X, Y):
                moved = sum(value for kind, code, value in events if (kind, code) == (REL, axis))
                assert moved == sum(motion[axis] for motion in motions)
            assert [event for event in events if event[0] == KEY] == [(KEY, MIDDLE, DOWN), (KEY, MIDDLE, UP)]
            assert [event for event in events if event[:2] == (REL, WHEEL)] == [(REL, WHEEL, 1)]


async def test_the_mouse_mode_follows_what_the_machine_has(qxl_machine, vga_machine):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri, mouse_mode=MouseMode.SERVER) as vm:
            assert vm.mouse_mode is MouseMode.SERVER
            await vm.inputs.motion(3, 3)
            await vm.main.request_mouse_mode(MouseMode.CLIENT)
            await vm.inputs.position(3, 3)
            assert vm.mouse_mode is MouseMode.CLIENT
        async with open_spice(vga_machine.uri) as vm:
            assert vm.mouse_mode is MouseMode.SERVER  # CLIENT was wished for, but there is no tablet
            with pytest.raises(LocalProtocolError):
                await vm.main.request_mouse_mode(MouseMode.CLIENT)


async def test_hundreds_of_positions_are_all_acknowledged(qxl_machine):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            for number in range(400):
                await vm.inputs.position(number, number)
                assert vm.inputs.unacknowledged_motions <= vm.inputs.motion_window
            await vm.inputs.wait_motions_acknowledged()
            assert (vm.inputs.motions_sent, vm.inputs.motion_acks) == (400, 100)
