"""The mouse, against the embedded server."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ConfigError, LocalProtocolError
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.inputs import MouseButton, MouseButtonMask
from atp_trio.spice.messages.main import MouseMode

SERVER_MODE = {"mouse_mode": MouseMode.SERVER}


async def received(pair, count):
    await pair.server.wait_until(lambda: len(pair.server.events) >= count)
    return list(pair.server.events)


async def test_buttons(pair):
    await pair.vm.inputs.button_down(MouseButton.LEFT)
    await pair.vm.inputs.button_down(MouseButton.RIGHT)
    assert pair.vm.inputs.held_buttons == MouseButtonMask.LEFT | MouseButtonMask.RIGHT
    await pair.vm.inputs.button_up(MouseButton.LEFT)
    events = await received(pair, 3)
    assert events[1] == inputs.MousePress(button=MouseButton.RIGHT, buttons_state=5)
    assert events[2] == inputs.MouseRelease(button=MouseButton.LEFT, buttons_state=4)
    assert pair.server.buttons == {MouseButtonMask.RIGHT}
    with pytest.raises(ConfigError, match="no mouse button"):
        await pair.vm.inputs.button_down(99)
    await pair.vm.inputs.release_all()
    await received(pair, 4)
    assert not pair.server.buttons


async def test_the_wheel(pair):
    await pair.vm.inputs.wheel(2)
    await pair.vm.inputs.wheel(-1)
    events = await received(pair, 6)
    assert [event.button for event in events] == [MouseButton.UP] * 4 + [MouseButton.DOWN] * 2


async def test_a_click_on_a_pixel(pair):
    await pair.vm.inputs.click(12, 34)
    position, press, release = await received(pair, 3)
    assert position == inputs.MousePosition(x=12, y=34)
    assert (press.button, release.button) == (MouseButton.LEFT, MouseButton.LEFT)
    assert pair.server.machine.pointer == (12, 34)
    with pytest.raises(ConfigError, match="both x and y"):
        await pair.vm.inputs.click(12)


async def test_motions_are_acknowledged_by_fours(connected):
    async with connected(client=SERVER_MODE) as pair:
        channel = pair.vm.inputs
        for _ in range(7):
            await channel.motion(1, 2)
        await channel.wait_motions_acknowledged()
        assert channel.motions_sent == 7
        assert channel.motion_acks == 1
        assert channel.unacknowledged_motions == 3
        await pair.server.wait_until(lambda: pair.server.machine.motions == 7)
        assert pair.server.machine.pointer == (7, 14)


async def test_the_window_of_motions(connected):
    async with connected(client=SERVER_MODE) as pair:
        channel = pair.vm.inputs
        for _ in range(8):
            channel.motion_nowait(1, 0)
        with pytest.raises(trio.WouldBlock):
            channel.motion_nowait(1, 0)
        await channel.wait_motion()
        channel.motion_nowait(1, 0)
        channel.motion_window = 1000
        for _ in range(990):
            channel.motion_nowait(0, 0)
        await channel.wait_motions_acknowledged()
        assert channel.motion_acks == 999 // 4
        await pair.server.wait_until(lambda: pair.server.machine.motions == 999)


async def test_the_kind_of_movement_that_the_mouse_mode_forbids(pair, connected):
    with pytest.raises(LocalProtocolError, match="CLIENT: send positions"):
        await pair.vm.inputs.motion(1, 1)
    async with connected(client=SERVER_MODE) as other:
        with pytest.raises(LocalProtocolError, match="SERVER: send motions"):
            await other.vm.inputs.position(1, 1)


async def test_positions_wait_for_the_mode_that_is_asked_for(pair):
    """Right after connecting the mode may not have been granted yet: the first position waits for it."""
    session = pair.vm.inputs.session
    await pair.vm.inputs.position(1, 1)
    await pair.vm.main.request_mouse_mode(MouseMode.SERVER)
    assert session.mouse_mode is MouseMode.SERVER
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.vm.main.request_mouse_mode, MouseMode.CLIENT)
        while session.requested_mouse_mode is not MouseMode.CLIENT:
            await trio.lowlevel.checkpoint()
        await pair.vm.inputs.position(9, 9)
    await pair.server.wait_until(lambda: pair.server.machine.pointer == (9, 9))
