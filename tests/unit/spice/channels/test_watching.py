"""Looking at the screen, and waiting for what it shows."""

from __future__ import annotations

import math
import re
import sys
import threading

import numpy as np
import pytest
import trio
import trio.testing

from atp_trio.errors import ChannelNotAvailable, ConfigError, ConnectionLost
from atp_trio.spice.channels import watching
from atp_trio.spice.imaging.ocr import TextLine
from atp_trio.spice.imaging.search import Match, Needle
from atp_trio.spice.messages import display as messages
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode

PART = Rect.at(20, 10, 16, 8)
INSIDE, OUTSIDE = Rect.at(22, 12, 3, 3), Rect.at(40, 30, 3, 3)


async def draw(pair, rect, colour):
    """Draw, and wait until the client has drawn it too."""
    shown = pair.vm.display
    updates = shown.display_statistics().updates
    pair.server.machine.canvases[0].post(rect, colour)
    while shown.display_statistics().updates == updates:
        await shown.wait_damage()


async def settle(channel):
    """Wait until everybody waits, and no thread is at work."""
    while True:
        await trio.testing.wait_all_tasks_blocked(0.002)
        if not channel._judging.borrowed_tokens and not trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            return


class Waiting:
    """A wait in a task of its own."""

    def __init__(self, nursery, wait):
        self.result, self.done, self.scope = None, trio.Event(), trio.CancelScope()
        nursery.start_soon(self._run, wait)

    async def _run(self, wait):
        with self.scope:
            self.result = await wait()
        self.done.set()


# --- screenshots


async def test_the_pointer_is_drawn_in_at_its_hot_spot(pair):
    vm, shown = pair.vm, pair.server.surface()
    pair.server.cursor.move(30, 20)
    await vm.cursor.wait_change(after=1)
    assert np.array_equal((await vm.display.screenshot()).pixels, shown)
    whole = await vm.display.screenshot(cursor=True)
    # The server's pointer: an opaque white triangle, whose hot spot is its corner.
    expected = shown.copy()
    for row in range(8):
        expected[20 + row, 30 : 38 - row] = 0xFFFFFF
    assert np.array_equal(whole.pixels, expected)
    part = await vm.display.screenshot(Rect.at(33, 15, 100, 10), cursor=True)
    assert np.array_equal(part.pixels, expected[15:25, 33:])
    pair.server.cursor.hide()
    await vm.cursor.wait_change()
    assert np.array_equal((await vm.display.screenshot(cursor=True)).pixels, shown)


async def test_the_pointer_without_its_channel(connected):
    async with connected(client={"channels": {ChannelType.DISPLAY}}) as pair:
        with pytest.raises(ChannelNotAvailable, match="cursor:0 is not open"):
            await pair.vm.display.screenshot(cursor=True)


async def test_in_mouse_mode_client_the_pointer_is_where_the_program_put_it(pair):
    vm, shown = pair.vm, pair.server.surface()
    pair.server.cursor.move(1, 1)
    await vm.cursor.wait_change(after=1)
    await vm.inputs.position(30, 20)
    expected = shown.copy()
    for row in range(8):
        expected[20 + row, 30 : 38 - row] = 0xFFFFFF
    assert np.array_equal((await vm.display.screenshot(cursor=True)).pixels, expected)
    await vm.inputs.position(30, 20, display_id=1)  # on another screen
    assert np.array_equal((await vm.display.screenshot(cursor=True)).pixels, shown)


async def test_in_mouse_mode_server_the_pointer_is_where_the_server_says(connected):
    async with connected(client={"mouse_mode": MouseMode.SERVER}) as pair:
        pair.vm.inputs.last_position = (0, 30, 20)  # from before the mode changed
        pair.server.cursor.move(40, 40)
        await pair.vm.cursor.wait_change(after=1)
        seen = (await pair.vm.display.screenshot(cursor=True)).pixels
        assert (seen[40, 40], seen[20, 30]) == (0xFFFFFF, pair.server.surface()[20, 30])


async def test_one_monitor_of_several(pair):
    display, shown = pair.vm.display, pair.server.surface()
    heads = (messages.Head(3, 0, 40, 48, 0, 0), messages.Head(5, 0, 24, 30, 40, 10))
    pair.server.send(messages.MonitorsConfig(max_allowed=2, heads=heads), ChannelType.DISPLAY)
    await display.wait_ready()
    await draw(pair, OUTSIDE, 1)
    shown = pair.server.surface()
    assert np.array_equal((await display.screenshot(monitor=5)).pixels, shown[10:40, 40:64])
    part = await display.screenshot(Rect.at(20, 5, 100, 100), monitor=5)
    assert np.array_equal(part.pixels, shown[15:40, 60:64])
    with pytest.raises(ConfigError, match="there is no monitor 4; there is 3, 5"):
        await display.screenshot(monitor=4)


async def set_up_monitor(pair, x, y, width=24, height=30):
    head = messages.Head(5, 0, width, height, x, y)
    pair.server.send(messages.MonitorsConfig(max_allowed=1, heads=(head,)), ChannelType.DISPLAY)
    await pair.vm.display._wait_until(lambda: [(one.x, one.y) for one in pair.vm.display.monitors] == [(x, y)])


async def test_waits_and_damage_on_a_monitor_are_in_its_pixels(pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    await set_up_monitor(pair, 40, 10)
    needle = np.full((3, 3), 0x123456, np.uint32)
    looks = []

    def holds(screen):
        looks.append((screen.width, screen.height))
        return screen.region(3, 2, 1, 1)[0, 0] == 0x123456 and screen.pixels[4, 5] == 0x123456

    waits = [
        Waiting(nursery, lambda: display.wait_image(needle, Rect.at(2, 1, 5, 5), monitor=5)),
        Waiting(nursery, lambda: display.wait_change(monitor=5)),
        Waiting(nursery, lambda: display.wait_until(holds, monitor=5)),
        Waiting(nursery, lambda: display.wait_damage(monitor=5)),
    ]
    await settle(display)
    async with display.damage(monitor=5) as damage:
        await draw(pair, Rect.at(3, 2, 3, 3), 0x123456)  # there on the surface, and not on the monitor
        await settle(display)
        assert not any(one.done.is_set() for one in waits)
        await draw(pair, Rect.at(43, 12, 3, 3), 0x123456)
        for one in waits:
            await one.done.wait()
        assert await damage.receive() == Rect.at(3, 2, 3, 3)
    assert waits[0].result == Match(0, Rect.at(3, 2, 3, 3), 0.0)
    assert np.array_equal(waits[1].result.pixels, pair.server.surface()[10:40, 40:64])
    assert looks == [(24, 30), (24, 30)]


async def test_a_monitor_that_is_put_elsewhere_shows_something_else(pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    await draw(pair, Rect.at(3, 2, 3, 3), 0x123456)
    await set_up_monitor(pair, 40, 10)
    waiting = Waiting(nursery, lambda: display.wait_image(np.full((3, 3), 0x123456, np.uint32), monitor=5))
    await settle(display)
    async with display.damage(Rect.at(1, 1, 50, 50), monitor=5) as damage:
        await set_up_monitor(pair, 0, 0)
        await waiting.done.wait()
        assert waiting.result == Match(0, Rect.at(3, 2, 3, 3), 0.0)
        assert await damage.receive() == Rect.at(1, 1, 23, 29)


@pytest.mark.parametrize("wait", ["change", "still", "image", "until"])
async def test_a_monitor_that_goes_away(pair, nursery, wait):
    display = pair.vm.display
    await display.wait_ready()
    await set_up_monitor(pair, 0, 0)
    calls = {
        "change": lambda: display.wait_change(monitor=5),
        "still": lambda: display.wait_still(1000, monitor=5),
        "image": lambda: display.wait_image(np.zeros((2, 2), np.uint32), monitor=5),
        "until": lambda: display.wait_until(lambda _: False, monitor=5),
    }

    async def lose():
        with pytest.raises(ConfigError, match="there is no monitor 5; there is 1"):
            await calls[wait]()

    waiting = Waiting(nursery, lose)
    await settle(display)
    pair.server.send(messages.MonitorsConfig(max_allowed=1, heads=(messages.Head(1, 0, 9, 9, 0, 0),)), ChannelType.DISPLAY)
    await waiting.done.wait()
    assert (display.last_wait.monitor, display.last_wait.looks) == (5, 1)


async def test_a_monitor_whose_surface_is_still_to_come(pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    head = messages.Head(5, 3, 30, 20, 0, 0)
    pair.server.send(messages.MonitorsConfig(max_allowed=1, heads=(head,)), ChannelType.DISPLAY)
    await display._wait_until(lambda: display.monitors[0].id == 5)
    waits = [
        Waiting(nursery, lambda: display.wait_still(0, monitor=5)),
        Waiting(nursery, lambda: display.wait_until(lambda screen: screen.height == 20, monitor=5)),
    ]
    await settle(display)
    assert not any(one.done.is_set() for one in waits)
    form = messages.SurfaceFormat.FMT_32_xRGB
    pair.server.send(messages.SurfaceCreate(surface_id=3, width=30, height=20, format=form, flags=0), ChannelType.DISPLAY)
    for one in waits:
        await one.done.wait()
    assert (waits[0].result.width, waits[0].result.height) == (30, 20)


# --- change


async def test_a_change_is_what_looks_different(pair, nursery):
    display = pair.vm.display
    before = await display.screenshot(PART)
    waiting = Waiting(nursery, lambda: display.wait_change(PART))
    await settle(display)
    await draw(pair, OUTSIDE, 1)
    await settle(display)
    assert not waiting.done.is_set()
    await draw(pair, INSIDE, 2)
    await waiting.done.wait()
    assert np.array_equal(waiting.result.pixels, pair.server.surface()[10:18, 20:36])
    # What has changed since is found without anything being drawn; and that drawn back is a change.
    assert (await display.wait_change(PART, since=before)).equals(waiting.result)


async def test_drawing_the_same_again_is_no_change(pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    await draw(pair, INSIDE, 2)
    waiting = Waiting(nursery, display.wait_change)
    await settle(display)
    await draw(pair, INSIDE, 2)
    await settle(display)
    assert not waiting.done.is_set()
    waiting.scope.cancel()
    await waiting.done.wait()
    assert display.last_wait.looks == 2
    assert np.array_equal(display.last_wait.picture.pixels, pair.server.surface())
    assert str(display.last_wait) == "a change: not in 2 looks"


async def test_another_size_is_a_change(pair, nursery):
    display = pair.vm.display
    waiting = Waiting(nursery, display.wait_change)
    await settle(display)
    pair.server.send(messages.SurfaceDestroy(surface_id=0), ChannelType.DISPLAY)
    form = messages.SurfaceFormat.FMT_32_xRGB
    pair.server.send(messages.SurfaceCreate(surface_id=0, width=30, height=20, format=form, flags=1), ChannelType.DISPLAY)
    pair.server.send(messages.Mark(), ChannelType.DISPLAY)
    await waiting.done.wait()
    assert (waiting.result.width, waiting.result.height) == (30, 20)


# --- stillness


async def test_still_from_the_last_change_on(mock_clock, pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    waiting = Waiting(nursery, lambda: display.wait_still(1.0, PART))
    await settle(display)
    for colour in (1, 2):
        mock_clock.jump(0.75)
        await draw(pair, INSIDE, colour)
        await settle(display)
    mock_clock.jump(0.75)
    await settle(display)
    assert not waiting.done.is_set()
    mock_clock.jump(0.25)
    await waiting.done.wait()
    assert np.array_equal(waiting.result.pixels, pair.server.surface()[10:18, 20:36])


async def test_what_is_drawn_elsewhere_or_the_same_is_still(mock_clock, pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    await draw(pair, INSIDE, 7)
    waiting = Waiting(nursery, lambda: display.wait_still(1.0, PART))
    await settle(display)
    mock_clock.jump(0.5)
    await draw(pair, INSIDE, 7)
    await draw(pair, OUTSIDE, 8)
    await settle(display)
    mock_clock.jump(0.5)
    await waiting.done.wait()


async def test_what_is_drawn_the_same_for_ever_is_still(mock_clock, pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    await draw(pair, INSIDE, 7)

    async def draw_for_ever():
        while True:
            await draw(pair, INSIDE, 7)

    async with trio.open_nursery() as drawing:
        drawing.start_soon(draw_for_ever)
        waiting = Waiting(nursery, lambda: display.wait_still(0.01))
        while not waiting.done.is_set():
            mock_clock.jump(0.001)  # little, as a slow thread sees many of these
            await display.wait_damage()
        drawing.cancel_scope.cancel()


async def test_drawn_just_in_time_is_not_still(mock_clock, pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    waiting = Waiting(nursery, lambda: display.wait_still(1.0))
    await settle(display)
    await draw(pair, INSIDE, 7)
    mock_clock.jump(1.0)  # before the wait has come to look
    await settle(display)
    assert not waiting.done.is_set()
    mock_clock.jump(1.0)
    await waiting.done.wait()


@pytest.mark.parametrize("seconds", [-1, math.nan])
async def test_a_time_that_cannot_be(pair, seconds):
    with pytest.raises(ConfigError):
        await pair.vm.display.wait_still(seconds)


async def test_evidence_of_a_screen_that_is_never_still(mock_clock, pair, nursery):
    display = pair.vm.display
    waiting = Waiting(nursery, lambda: display.wait_still(1.0, PART))
    await settle(display)
    await draw(pair, INSIDE, 9)
    await settle(display)
    waiting.scope.cancel()
    await waiting.done.wait()
    assert np.array_equal(display.last_wait.picture.pixels, pair.server.surface()[10:18, 20:36])
    assert str(display.last_wait) == "1 s without a change: not in 2 looks"


# --- pictures


async def test_a_picture_in_place(pair, nursery, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    display = pair.vm.display
    before = await display.screenshot(PART)
    await draw(pair, INSIDE, 3)
    other = await display.screenshot(PART)
    waiting = Waiting(nursery, lambda: display.wait_image([Needle(before.pixels ^ 0xFFFFFF), before], PART))
    await settle(display)
    assert not waiting.done.is_set()
    waiting.scope.cancel()
    await waiting.done.wait()
    evidence = display.last_wait
    assert evidence.picture.equals(other)
    assert evidence.nearest == Match(1, PART, 9 / 128)
    assert str(evidence) == (
        "one of the pictures: not in 1 look; the nearest was picture 1 at 20,10, where 7.03% of its pixels differ"
    )
    assert await display.wait_image(other, PART) == Match(0, PART, 0.0)
    with pytest.raises(ConfigError, match="vision"):
        await display.wait_image(before)


async def test_a_picture_anywhere_as_soon_as_it_comes(pair, nursery):
    display = pair.vm.display
    await display.wait_ready()
    needle = np.full((3, 3), 0x123456, np.uint32)
    waiting = Waiting(nursery, lambda: display.wait_image(needle, Rect.at(10, 5, 40, 40)))
    await settle(display)
    await draw(pair, Rect.at(1, 1, 3, 3), 0x123456)
    await settle(display)
    assert not waiting.done.is_set()
    await draw(pair, INSIDE, 0x123456)
    await waiting.done.wait()
    assert waiting.result == Match(0, INSIDE, 0.0)


async def test_tolerance_and_mask(pair):
    display = pair.vm.display
    shown = await display.screenshot(PART)
    pixels, mask = shown.pixels ^ 1, np.ones((8, 16), bool)
    assert (await display.wait_image(pixels, PART, tolerance=1)).is_found
    pixels, mask[0] = shown.pixels.copy(), False
    pixels[0] = 0
    assert (await display.wait_image(pixels, PART, mask=mask)).is_found


@pytest.mark.parametrize(
    "arguments",
    [
        {"pictures": []},
        {"pictures": np.zeros((2, 2), np.uint8)},
        {"pictures": np.zeros((9, 9), np.uint32), "region": Rect.at(0, 0, 8, 9)},
        {"pictures": np.zeros((9, 9), np.uint32), "tolerance": 256},
        {"pictures": np.zeros((9, 9), np.uint32), "mask": np.ones((2, 2), bool)},
    ],
)
async def test_what_cannot_be_looked_for(pair, arguments):
    with pytest.raises(ConfigError):
        await pair.vm.display.wait_image(**arguments)


class SlowFind:
    """A search that takes until it is let go, and then finds nothing."""

    def __init__(self):
        self.calls, self.started, self.go = 0, threading.Event(), threading.Event()

    def __call__(self, *_, **__):
        self.calls += 1
        self.started.set()
        self.go.wait(20)

    async def wait_started(self):
        assert await trio.to_thread.run_sync(self.started.wait, 20)


async def test_a_screen_that_changes_fast_is_looked_at_when_there_is_time(pair, nursery, monkeypatch):
    display, find = pair.vm.display, SlowFind()
    monkeypatch.setattr(watching, "find", find)
    waiting = Waiting(nursery, lambda: display.wait_image(np.zeros((2, 2), np.uint32)))
    await find.wait_started()
    for colour in range(1, 9):
        await draw(pair, INSIDE, colour)
    find.go.set()
    await settle(display)
    assert find.calls == 2
    waiting.scope.cancel()
    await waiting.done.wait()
    assert display.last_wait.picture.pixels[12, 22] == 8


async def test_time_runs_out_during_a_slow_look(pair, nursery, monkeypatch):
    display, find = pair.vm.display, SlowFind()
    monkeypatch.setattr(watching, "find", find)
    waiting = Waiting(nursery, lambda: display.wait_image(np.zeros((2, 2), np.uint32)))
    await find.wait_started()
    waiting.scope.cancel()
    await waiting.done.wait()
    assert not find.go.is_set()
    assert np.array_equal(display.last_wait.picture.pixels, pair.server.surface())
    find.go.set()
    await settle(display)


# --- text


async def test_a_text_and_the_line_that_comes_nearest(pair, nursery, monkeypatch):
    def read_text(pixels, *, x, y):
        return (TextLine("login:" if pixels[2, 2] == 1 else "logi n", Rect.at(x, y, 5, 5), 0.9),)

    monkeypatch.setattr(watching, "read_text", read_text)
    display = pair.vm.display
    waiting = Waiting(nursery, lambda: display.wait_text("log in:", PART))
    await settle(display)
    waiting.scope.cancel()
    await waiting.done.wait()
    assert str(display.last_wait) == "the text 'log in:': not in 1 look; the nearest was 'logi n' at 20,10"
    waiting = Waiting(nursery, lambda: display.wait_text(re.compile("^log.*:"), PART))
    await settle(display)
    await draw(pair, INSIDE, 1)
    await waiting.done.wait()
    assert waiting.result == TextLine("login:", Rect.at(20, 10, 5, 5), 0.9)


async def test_no_text(pair):
    with pytest.raises(ConfigError, match="no text"):
        await pair.vm.display.wait_text(" ")


# --- a predicate, and the ends of waits


async def test_evidence_of_a_predicate(pair, nursery):
    display = pair.vm.display
    waiting = Waiting(nursery, lambda: display.wait_until(lambda _: False, PART))
    await settle(display)
    assert display.last_wait is None
    waiting.scope.cancel()
    await waiting.done.wait()
    assert np.array_equal(display.last_wait.picture.pixels, pair.server.surface()[10:18, 20:36])
    assert str(display.last_wait) == "what the program waits for: not in 1 look"


async def test_no_picture_ever(connected):
    async with connected() as pair:
        await pair.vm.close_channel(ChannelType.DISPLAY)
        display = await pair.vm.open_channel(ChannelType.DISPLAY)
        with trio.CancelScope() as scope:
            scope.cancel()
            await display.wait_change()
        assert str(display.last_wait) == "a change: there was no picture to look at"


WAITS = {
    "change": lambda display: display.wait_change(),
    "still": lambda display: display.wait_still(1000),
    "image": lambda display: display.wait_image(np.zeros((48, 64), np.uint32)),
    "until": lambda display: display.wait_until(lambda _: False),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_the_connection_is_lost_meanwhile(pair, nursery, wait):
    display = pair.vm.display

    async def lose():
        with pytest.raises(ConnectionLost):
            await wait(display)

    waiting = Waiting(nursery, lose)
    await settle(display)
    pair.server.drop(ChannelType.DISPLAY)
    await waiting.done.wait()
    assert display.last_wait.looks == 1


@pytest.mark.parametrize("wait", ["change", "image", "until"])
async def test_cancelled_anywhere_the_display_goes_on(pair, cancel_everywhere, wait):
    display = pair.vm.display
    before = await display.screenshot()
    await draw(pair, INSIDE, 1)
    after = await display.screenshot()
    operations = {
        "change": lambda: display.wait_change(since=before),
        "image": lambda: display.wait_image(after),
        "until": lambda: display.wait_until(lambda screen: screen.pixels[12, 22] == 1),
    }
    assert await cancel_everywhere(operations[wait], lambda: settle(display)) > 0
    assert not display._watches
    assert (await display.screenshot()).equals(after)


async def test_a_large_screen_is_copied_in_a_thread(connected):
    async with connected(size=(1024, 600)) as pair:
        whole = await pair.vm.display.screenshot()
        assert (await pair.vm.display.wait_image(whole)).region == Rect.at(0, 0, 1024, 600)
