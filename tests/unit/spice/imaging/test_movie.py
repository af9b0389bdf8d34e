"""Films: what is written comes out again, at its times."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging.movie import Movie


def frames(path):
    """Times in seconds and pictures as numbers of grey, shape (height, width)."""
    with av.open(str(path)) as container:
        return [(float(frame.pts * frame.time_base), frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def grey(level, width=64, height=48):
    return np.full((height, width), level * 0x010101, np.uint32)


@pytest.mark.parametrize("name", ["film.mp4", "film.WEBM"])
def test_every_frame_at_its_time(tmp_path, name):
    movie = Movie(tmp_path / name, 64, 48)
    for seconds, level in ((0, 40), (0.5, 120), (2.5, 200)):
        movie.add(grey(level), seconds)
    movie.close(4)
    assert movie.frames == 4
    seen = frames(tmp_path / name)
    assert [seconds for seconds, _ in seen] == [0, 0.5, 2.5, 4]
    for (_, picture), level in zip(seen, (40, 120, 200, 200), strict=True):
        assert picture.shape == (48, 64)
        assert abs(int(picture[20, 20]) - level) < 20


def test_times_go_on_even_where_the_clock_does_not(tmp_path):
    movie = Movie(tmp_path / "film.mp4", 64, 48)
    for seconds in (1, 1, 0.5):
        movie.add(grey(9), seconds)
    movie.close(0)
    times = [seconds for seconds, _ in frames(tmp_path / "film.mp4")]
    assert np.diff(times) == pytest.approx([0.001, 0.001, 0.001], abs=1e-4)


def test_other_sizes_are_cut_or_filled_up(tmp_path):
    movie = Movie(tmp_path / "film.mp4", 63, 47)
    movie.add(grey(250, 200, 100), 0)
    movie.add(grey(250, 20, 10), 1)
    movie.close(2)
    (_, whole), (_, part), _ = frames(tmp_path / "film.mp4")
    assert whole.shape == (48, 64)
    assert whole[40, 60] > 200
    assert part[4, 4] > 200
    assert part[40, 60] < 50


def test_a_film_without_frames_can_be_closed(tmp_path):
    movie = Movie(tmp_path / "film.webm", 64, 48)
    movie.close(1)
    assert movie.frames == 0


def test_what_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"film.avi: a film's name ends in .mp4 or .webm"):
        Movie(tmp_path / "film.avi", 64, 48)
    with pytest.raises(FileNotFoundError):
        Movie(tmp_path / "nowhere" / "film.mp4", 64, 48)
    monkeypatch.setattr(av, "codecs_available", set())
    with pytest.raises(ConfigError, match="without libx264"):
        Movie(tmp_path / "film.mp4", 64, 48)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'atp-trio\[video\]'"):
        Movie(tmp_path / "film.mp4", 64, 48)
