"""Single channels closed and opened again while the others stay: the machine goes on, and the picture is right again."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ChannelNotAvailable, LocalProtocolError
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.streams.tls import SpiceTlsConfig

WITHIN = 60


async def reopen(vm, channel_type):
    old = vm.get_channel(channel_type)
    await vm.close_channel(channel_type)
    assert not old.is_open
    assert old.closed_by is None
    with pytest.raises(ChannelNotAvailable):
        vm.get_channel(channel_type)
    new = await vm.open_channel(channel_type)
    assert new is not old
    assert vm.get_channel(channel_type) is new
    return new


async def test_display_with_what_it_had_cached(qxl_machine, settle_screen, tell_guest):
    # The guest draws before and after, so that the dictionaries and caches of both ends are full, and must begin anew.
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            for names in ("flat noise", "code smooth", "text"):
                await tell_guest(qxl_machine, f"draw {names}")
                await settle_screen(vm, qxl_machine)
                await reopen(vm, ChannelType.DISPLAY)
                await settle_screen(vm, qxl_machine)
            await tell_guest(qxl_machine, "draw code nothing")
            await settle_screen(vm, qxl_machine)
            assert vm.display.display_statistics().failed == {}
            assert vm.main.is_open


async def test_while_the_guest_draws(qxl_machine, settle_screen, tell_guest):
    # The thread of a server that draws is late to notice that a channel has ended, and would reset its successor.
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            busy = "(while [ -e /tmp/busy ]; do draw text noise nothing; done) & true"
            await tell_guest(qxl_machine, f"touch /tmp/busy; {busy}")
            for _ in range(15):
                display = await reopen(vm, ChannelType.DISPLAY)
                cursor = await reopen(vm, ChannelType.CURSOR)
                await display.wait_damage()
                await cursor.wait_change(after=0)
            await tell_guest(qxl_machine, "rm /tmp/busy; wait")
            await settle_screen(vm, qxl_machine)
            assert vm.display.display_statistics().failed == {}


async def test_inputs(qxl_machine, run_in_guest):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await vm.inputs.key_down("shift")
            await reopen(vm, ChannelType.INPUTS)
            assert vm.inputs.held_keys == ()
            # With Shift still down in the guest, this would be other characters.
            assert await run_in_guest(vm, qxl_machine, "echo abc-123") == "abc-123\n"


async def test_cursor(qxl_machine):
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            first = vm.cursor
            while not first.changes:
                await first.wait_change(after=0)
            cursor = await reopen(vm, ChannelType.CURSOR)
            await cursor.wait_change(after=0)  # the server tells it anew
            assert (cursor.shape is None, cursor.is_visible) == (first.shape is None, first.is_visible)


@pytest.mark.parametrize("channel_type", [ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR])
@pytest.mark.parametrize("is_secure", [False, True])
async def test_again_and_again_without_a_pause(qemu_firmware, tls_files, channel_type, is_secure):
    # A server resets a channel whose predecessor it has not seen end yet.
    uri = f"spice+tls://127.0.0.1:{qemu_firmware.tls_port}" if is_secure else qemu_firmware.uri
    with trio.fail_after(WITHIN):
        async with open_spice(uri, tls=SpiceTlsConfig(ca_file=tls_files.ca)) as vm:
            for _ in range(10):
                channel = await reopen(vm, channel_type)
                # Its first message has come, and the connection still stands.
                while not channel.statistics().messages_received:  # noqa: ASYNC110 - cursors and keyboards differ
                    await trio.sleep(0.001)
                assert channel.is_open
            assert len(vm.channels) == 4


async def test_main_stays(qemu_firmware, settle_screen):
    with trio.fail_after(WITHIN):
        async with open_spice(qemu_firmware.uri) as vm:
            with pytest.raises(LocalProtocolError):
                await vm.close_channel(ChannelType.MAIN)
            await vm.close_channel(ChannelType.PLAYBACK)  # not open: nothing happens
            with pytest.raises(ChannelNotAvailable):
                await vm.open_channel(ChannelType.WEBDAV)
            with pytest.raises(ChannelNotAvailable):
                await vm.open_channel(ChannelType.DISPLAY, 7)
            assert len(vm.channels) == 4
            await settle_screen(vm, qemu_firmware)
