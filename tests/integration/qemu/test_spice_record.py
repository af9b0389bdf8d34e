"""Films of a real machine, decoded again: what they show, and when."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.geometry import Rect

WITHIN = 60
ENOUGH = 33  # dB, after H.264 or VP8 in colours of half the resolution
LAST = 39


def frames_of(path):
    """Times in seconds and pictures, as shape (height, width), numbers `0x00RRGGBB`."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24").astype(np.uint32)
            yield float(frame.pts * frame.time_base), rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


async def note_times(display, film, times):
    """When each of the numbered pictures was seen first."""

    def look(screen):
        area = film.AREA
        number = film.read_number(screen.region(area.left, area.top, area.width, film.MARKER))
        if number is not None:
            times.setdefault(number, trio.current_time())
        return False

    await display.wait_until(look, film.AREA)


@pytest.mark.parametrize("ending", ["mp4", "webm"])
async def test_a_film_shows_what_was_shown_when_it_was(qxl_machine, tell_guest, film, tmp_path, ending):
    path, times = tmp_path / f"film.{ending}", {}
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm, trio.open_nursery() as nursery:
            await tell_guest(qxl_machine, "draw nothing")
            await vm.display.wait_still(0.3)
            nursery.start_soon(note_times, vm.display, film, times)
            async with vm.display.record(path, film.AREA) as recording:
                began = trio.current_time()
                await tell_guest(qxl_machine, f"film {LAST + 1}")
                await vm.display.wait_still(0.5, film.AREA)
                lasted = trio.current_time() - began
            nursery.cancel_scope.cancel()
    seen = [(seconds, *film.judge(pixels)) for seconds, pixels in frames_of(path)]
    assert len(seen) == recording.frames
    # It begins with an empty screen; then come the pictures, none of them mixed of two, in order, up to the last.
    pictures = [one for one in seen if one[1] is not None]
    assert seen[0][:2] == (0, None)
    assert all(decibels > ENOUGH for _, _, decibels in pictures)
    numbers = [number for _, number, _ in pictures]
    assert numbers == sorted(numbers)
    assert numbers[-1] == LAST
    assert len(set(numbers)) > LAST / 4
    # Each at the time when it was seen, up to the end of the recording.
    first = {number: seconds for seconds, number, _ in reversed(pictures)}
    late = [first[number] - (times[number] - began) for number in first.keys() & times.keys()]
    assert len(late) > LAST / 4
    assert np.median(np.abs(late)) < 0.25
    assert abs(seen[-1][0] - lasted) < 0.5


async def test_a_film_of_a_part_at_so_many_frames_a_second(qxl_machine, tell_guest, film, tmp_path):
    part = Rect.at(0, 256, 1024, film.MARKER)
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm, vm.display.record(tmp_path / "film.mp4", part, fps=4):
            await tell_guest(qxl_machine, f"film {LAST + 1}")
            await vm.display.wait_still(0.5, part)
    seen = list(frames_of(tmp_path / "film.mp4"))
    assert {pixels.shape for _, pixels in seen} == {(film.MARKER, 1024)}
    times = [seconds for seconds, _ in seen]
    # But for what ends the film.
    assert all(after - before > 0.249 for before, after in pairwise(times[:-2]))
    assert film.read_number(seen[-1][1]) == LAST
