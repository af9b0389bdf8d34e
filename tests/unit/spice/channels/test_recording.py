"""Filming the screen of the embedded server."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectionLost
from atp_trio.spice.imaging.movie import Movie
from atp_trio.spice.messages.display import Head, MonitorsConfig
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType

WHOLE, PART = Rect.at(0, 0, 64, 48), Rect.at(16, 16, 32, 16)


def frames(path):
    """Times in seconds, and the grey level in the middle."""
    with av.open(str(path)) as container:
        return [
            (
                round(float(frame.pts * frame.time_base), 3),
                int(frame.to_ndarray(format="gray")[frame.height // 2, frame.width // 2]),
            )
            for frame in container.decode(video=0)
        ]


async def until(holds):
    """Wait for what a thread does, of which nothing tells."""
    while not holds():
        await trio.testing.wait_all_tasks_blocked(0.002)


def draw(pair, level, rect=WHOLE):
    pair.server.machine.canvases[0].post(rect, level * 0x010101)


async def test_every_change_at_its_time(mock_clock, pair, tmp_path):
    await pair.vm.display.wait_ready()
    async with pair.vm.display.record(tmp_path / "film.mp4") as recording:
        assert recording.path == tmp_path / "film.mp4"
        for frame, level in enumerate((60, 200), 1):
            await until(lambda frame=frame: recording.frames == frame)
            mock_clock.jump(1.5)
            draw(pair, level)
        await until(lambda: recording.frames == 3)
        mock_clock.jump(0.5)
    assert repr(recording) == f"<Recording {tmp_path}/film.mp4 4 frames>"
    seen = frames(recording.path)
    assert [seconds for seconds, _ in seen] == [0, 1.5, 3, 3.5]
    assert [abs(level - wanted) < 20 for (_, level), wanted in zip(seen[1:], (60, 200, 200), strict=True)] == [True] * 3


async def test_a_part_at_so_many_frames_a_second_with_what_was_drawn_last(mock_clock, pair, tmp_path):
    display = pair.vm.display
    await display.wait_ready()
    async with display.record(tmp_path / "film.webm", PART, fps=2) as recording:
        await until(lambda: recording.frames == 1)
        for level in (50, 100, 150):
            draw(pair, level)
            await display.wait_until(lambda screen, level=level: screen.pixels[20, 20] == level * 0x010101)
        mock_clock.jump(0.5)
        await until(lambda: recording.frames == 2)
        draw(pair, 220)
        await display.wait_until(lambda screen: screen.pixels[20, 20] == 220 * 0x010101)
        mock_clock.jump(0.25)
    with av.open(str(recording.path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (32, 16)
    seen = frames(recording.path)
    assert [seconds for seconds, _ in seen] == [0, 0.5, 0.75, 0.751]
    assert [abs(level - wanted) < 20 for (_, level), wanted in zip(seen[1:], (150, 220, 220), strict=True)] == [True] * 3


async def test_a_monitor(pair, tmp_path):
    display = pair.vm.display
    await display.wait_ready()
    pair.server.send(MonitorsConfig(max_allowed=1, heads=(Head(2, 0, 20, 10, 40, 30),)), ChannelType.DISPLAY)
    await display._wait_until(lambda: display.monitors[0].id == 2)
    async with display.record(tmp_path / "film.mp4", monitor=2) as recording:
        await until(lambda: recording.frames == 1)
        draw(pair, 200, Rect.at(0, 0, 40, 48))
        await display.wait_until(lambda screen: screen.pixels[0, 0] == 200 * 0x010101)
        draw(pair, 90, Rect.at(40, 30, 20, 10))
        await until(lambda: recording.frames == 2)
    with av.open(str(recording.path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (20, 10)
    assert abs(frames(recording.path)[-1][1] - 90) < 20


async def test_cancelled_anywhere_the_film_is_whole_and_the_display_goes_on(pair, tmp_path, cancel_everywhere):
    display = pair.vm.display
    await display.wait_ready()
    films = []

    async def film():
        films.append(tmp_path / f"{len(films)}.webm")
        async with display.record(films[-1], PART) as recording:
            draw(pair, 9 + len(films))
            await display.wait_until(lambda screen: screen.pixels[20, 20] == (9 + len(films)) * 0x010101)
            await until(lambda: recording.frames >= 2)

    async def settle():
        while trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            await trio.testing.wait_all_tasks_blocked(0.002)

    assert await cancel_everywhere(film, settle) > 5
    assert not display._watches
    # Cancelled before it began there is no file; afterwards there is a film that can be read.
    assert 0 < len(list(tmp_path.iterdir())) < len(films)
    assert all(frames(path) for path in tmp_path.iterdir())
    assert np.array_equal((await display.screenshot()).pixels, pair.server.surface())


class Custom(Exception):
    pass


async def test_however_the_block_ends_the_film_is_whole(pair, tmp_path):
    with pytest.raises(Custom):
        async with pair.vm.display.record(tmp_path / "raised.mp4"):
            raise Custom
    with trio.CancelScope() as scope:
        async with pair.vm.display.record(tmp_path / "cancelled.mp4") as recording:
            await until(lambda: recording.frames == 1)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert len(frames(tmp_path / "cancelled.mp4")) == 2


async def test_the_connection_is_lost_meanwhile(pair, tmp_path):
    async def film():
        async with pair.vm.display.record(tmp_path / "film.mp4") as recording:
            await until(lambda: recording.frames == 1)
            pair.server.drop(ChannelType.DISPLAY)
            await until(lambda: recording.failure is not None)

    with pytest.raises(ConnectionLost):
        await film()
    assert len(frames(tmp_path / "film.mp4")) == 2


async def test_the_disk_is_full_meanwhile(pair, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    async def film():
        async with pair.vm.display.record(tmp_path / "film.mp4") as recording:
            await until(lambda: recording.frames == 1)
            monkeypatch.setattr(Movie, "add", full)
            draw(pair, 9)
            await until(lambda: recording.failure is not None)

    with pytest.raises(OSError, match="No space left"):
        await film()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("film.avi", {}, "film.avi"),
        ("film.mp4", {"fps": 0}, "0 frames a second"),
        ("film.mp4", {"fps": float("nan")}, "nan frames a second"),
        ("film.mp4", {"region": Rect.at(64, 0, 5, 5)}, "outside of the screen"),
    ],
)
async def test_what_cannot_be_filmed(pair, tmp_path, name, options, words):
    with pytest.raises(ConfigError, match=words):
        async with pair.vm.display.record(tmp_path / name, **options):
            pytest.fail("it began")
    assert not list(tmp_path.iterdir())


async def test_without_the_extra(pair, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'atp-trio\[video\]'"):
        async with pair.vm.display.record(tmp_path / "film.mp4"):
            pytest.fail("it began")


async def test_a_film_that_cannot_be_written(pair, tmp_path):
    with pytest.raises(FileNotFoundError):
        async with pair.vm.display.record(tmp_path / "nowhere" / "film.mp4"):
            pytest.fail("it began")
    assert np.array_equal((await pair.vm.display.screenshot()).pixels, pair.server.surface())
