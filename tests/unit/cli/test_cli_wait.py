"""`atp wait`, `atp record` and `atp screenshot --watch`."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from atp_trio import DisplayChannel
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType


def save(server, path, left=10, top=5, width=20, height=10):
    """A part of what the server shows, as a file."""
    shown = server.call(server.server.surface)
    Screenshot(shown[top : top + height, left : left + width]).save(path)
    return path


def test_an_image_that_is_there(atp, server, tmp_path):
    outcome = atp("wait", server.uri, "--image", save(server, tmp_path / "needle.png"), "--region", "5,0,50x40")
    assert (outcome.code, outcome.out, outcome.err) == (0, "picture 0 at 10,5\n", "")


def test_time_runs_out_and_the_evidence_is_written(atp, server, tmp_path):
    Screenshot(np.full((48, 64), 0x123456, np.uint32)).save(tmp_path / "needle.png")
    proof = tmp_path / "proof.png"
    outcome = atp("wait", server.uri, "--image", tmp_path / "needle.png", "--evidence", proof, "--timeout", "0.5")
    assert outcome.says(1, "the picture: not in 1 look", "the nearest was picture 0 at 0,0", "within 0.5 s")
    with Image.open(proof) as image:
        rgb = np.asarray(image).astype(np.uint32)
    shown = server.call(server.server.surface)
    assert np.array_equal(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], shown)


def test_stillness_and_change(atp, server, serving):
    assert atp("wait", server.uri, "--still", "0.01").code == 0
    assert atp("wait", server.uri, "--change", "--timeout", "0.2").says(1, "a change: not in 1 look, within 0.2 s")
    with serving(scene="rectangles", rate=200) as moving:
        assert atp("wait", moving.uri, "--change").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of --image"),
        (["--change", "--still", "1"], "one of --image"),
        (["--change", "--region", "1,2,0x5"], "1,2,0x5 is no region"),
        (["--change", "--region", "1,2"], "1,2 is no region"),
        (["--change", "--monitor", "3"], "there is no monitor 3; there is 0"),
        (["--change", "--display", "-1"], "0 or more"),
        (["--still", "nan"], "without a change"),
        (["--change", "--evidence", "proof.gif"], "proof.gif"),
    ],
)
def test_what_cannot_be_waited_for(atp, server, arguments, words):
    assert atp("wait", server.uri, *arguments).says(2, words)


def test_an_image_file_that_is_not_there(atp, server, tmp_path):
    assert atp("wait", server.uri, "--image", tmp_path / "none.png").says(1, "none.png", "No such file")


def test_record(atp, serving, tmp_path):
    with serving(scene="rectangles", rate=100) as moving:
        outcome = atp("record", moving.uri, tmp_path / "film.mp4", "--seconds", "0.3", "--fps", "20")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    with av.open(str(tmp_path / "film.mp4")) as film:
        times = [float(frame.pts * frame.time_base) for frame in film.decode(video=0)]
    assert len(times) >= 2
    assert 0.25 < times[-1] < 5


def test_another_screen_a_monitor_and_a_part_of_it(atp, serving, tmp_path):
    screen, film = tmp_path / "screen.png", tmp_path / "film.mp4"
    displays = [(ChannelType.DISPLAY, 0), (ChannelType.DISPLAY, 1)]
    with serving(channels=displays) as server:
        server.call(lambda: server.server.machine.canvases[1].post(Rect.at(8, 8, 9, 3), 0x123456))
        where = ["--display", "1", "--monitor", "0", "--region", "4,6,20x10"]
        assert atp("screenshot", server.uri, screen, *where).code == 0
        assert atp("record", server.uri, film, "--seconds", "0.1", *where).code == 0
        outcome = atp("wait", server.uri, "--image", screen, *where)
        assert (outcome.code, outcome.out, outcome.err) == (0, "picture 0 at 4,6\n", "")
        shown = server.call(lambda: server.server.surface(1))
        assert atp("screenshot", server.uri, screen, "--display", "2").says(1, "display:2 is not open")
    with Image.open(screen) as image:
        rgb = np.asarray(image).astype(np.uint32)
    assert np.array_equal(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], shown[6:16, 4:24])
    assert shown[8, 8] == 0x123456
    with av.open(str(film)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (20, 10)


def test_record_to_a_format_there_is_not(atp, server, tmp_path):
    assert atp("record", server.uri, tmp_path / "film.avi", "--seconds", "1").says(2, "film.avi", ".mp4", ".webm")
    assert not server.server.closed


def test_screenshot_watch_writes_what_has_changed(atp, serving, tmp_path, monkeypatch):
    """Ends here when the third picture is wanted, as if the machine had gone."""
    wait_change, seen = DisplayChannel.wait_change, []

    async def wait_twice(self, region=None, *, monitor=None, since=None):
        seen.append((tmp_path / "screen.ppm").read_bytes())
        if len(seen) == 3:
            raise OSError("enough")
        return await wait_change(self, region, monitor=monitor, since=since)

    monkeypatch.setattr(DisplayChannel, "wait_change", wait_twice)
    with serving(scene="rectangles", rate=100) as moving:
        assert atp("screenshot", moving.uri, tmp_path / "screen.ppm", "--watch").says(1, "enough")
    assert len(set(seen)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["screen.ppm"]
