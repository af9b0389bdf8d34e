"""`atp screenshot`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from atp_trio import DisplayChannel


@pytest.mark.parametrize("name", ["screen.png", "screen.PPM"])
def test_saves_what_is_shown(atp, server, tmp_path, name):
    outcome = atp("screenshot", server.uri, tmp_path / name)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    with Image.open(tmp_path / name) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    shown = server.call(server.server.surface)
    assert np.array_equal(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], shown & 0xFFFFFF)
    assert len(np.unique(shown)) > 1


def test_does_not_connect_for_a_format_there_is_not(atp, server, tmp_path):
    assert atp("screenshot", server.uri, tmp_path / "screen.jpg").says(2, "screen.jpg", ".png", ".ppm")
    assert not server.server.closed


def test_a_file_that_cannot_be_written(atp, server, tmp_path):
    path = tmp_path / "nowhere" / "screen.png"
    assert atp("screenshot", server.uri, path).says(1, str(path), "No such file or directory")


def test_a_directory_in_place_of_the_file(atp, server, tmp_path):
    path = tmp_path / "folder.png"
    path.mkdir()
    assert atp("screenshot", server.uri, path).says(1, "Is a directory")


def test_a_machine_without_a_display(atp, tmp_path, serving):
    with serving(channels=[]) as server:
        assert atp("screenshot", server.uri, tmp_path / "screen.png").says(1, "display:0 is not open")


def test_no_picture_in_time(atp, server, tmp_path, monkeypatch):
    monkeypatch.setattr(DisplayChannel, "is_ready", False)
    outcome = atp("screenshot", server.uri, tmp_path / "screen.png", "--timeout", "0.5")
    assert outcome.says(1, "no complete picture came within 0.5 s")
    assert not (tmp_path / "screen.png").exists()
