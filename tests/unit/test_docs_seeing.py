"""The examples of docs/seeing.md, run one after the other against the embedded server."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import trio

import atp_trio
from atp_trio.spice.channels import watching
from atp_trio.spice.imaging.ocr import TextLine
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.server import open_spice_server

PAGE = Path(__file__).parents[2] / "docs" / "seeing.md"
CHANNELS = [(ChannelType.DISPLAY, 0), (ChannelType.DISPLAY, 1), (ChannelType.INPUTS, 0), (ChannelType.CURSOR, 0)]


async def test_every_example_runs(doc_page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watching, "read_text", lambda *_, **__: (TextLine("login:", Rect.at(1, 2, 3, 4), 0.9),))
    # A picture of what only one place shows: the corner of what changes colour with every key.
    options = {"size": (640, 480), "regions": {"key": Rect.at(300, 200, 64, 48)}, "channels": CHANNELS}
    async with open_spice_server(network_test=False, **options) as server, atp_trio.open_spice(server.uri) as vm:
        names = {"vm": vm, "trio": trio, "np": np, "Rect": atp_trio.Rect, "Needle": atp_trio.Needle}
        with trio.fail_after(30):
            for example in doc_page("docs/seeing.md").of("python"):
                if "button.png" in example.text:
                    await vm.display.wait_still(0)
                    Screenshot(server.surface()[190:230, 290:330].copy()).save("button.png")
                await example.run(names)
                assert vm.display.is_open, f"line {example.line}"
        assert names["match"].region == Rect.at(290, 190, 40, 40)
        assert names["scope"].cancelled_caught
        assert names["rect"] == Rect.at(300, 200, 64, 48)
        assert names["recording"].frames >= 2
        assert np.array_equal(names["second"].pixels, server.surface(1))
    assert {"screen.png", "evidence.png", "film.mp4"} <= {path.name for path in tmp_path.iterdir()}
    assert "the nearest was picture 0 at" in capsys.readouterr().out


@pytest.mark.parametrize("name", re.findall(r"^\| `(\w+)\(", PAGE.read_text("utf-8"), re.MULTILINE))
def test_the_table_names_what_there_is(name):
    assert inspect.iscoroutinefunction(getattr(atp_trio.DisplayChannel, name))
