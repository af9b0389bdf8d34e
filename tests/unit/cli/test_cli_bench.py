"""`atp bench`, against a machine: what it measures is tested with `atp_trio.bench`."""

from __future__ import annotations

import json
import sys

import pytest

from atp_trio import ConfigError, Rect
from atp_trio.cli.bench import _progress_bar, parse_region

QUICK = ("--seconds", "0.02")


def test_measures_a_machine(atp, server, tmp_path):
    path = tmp_path / "figures.json"
    outcome = atp("bench", server.uri, *QUICK, "--json", path)
    assert (outcome.code, outcome.err) == (0, "")
    header, *rows = outcome.out.splitlines()
    assert header.split() == ["n", "p50", "p90", "p99", "max", "unit"]
    assert any(row.startswith("input.motion_ack ") and row.endswith(" us") for row in rows)
    assert rows[-1].startswith("skipped input.key_to_region: ") or rows[-1].startswith("skipped display.")
    report = json.loads(path.read_text())
    assert report["settings"] == {
        "scenarios": ["link", "input", "display"],
        "seconds": 0.02,
        "uri": server.uri,
        "region": None,
        "link": None,
    }
    assert {figure["name"] for figure in report["figures"]} >= {"link.open_spice", "input.motions", "display.machine.updates"}


def test_measures_keys_where_a_region_is_given(atp, serving):
    with serving(regions={"key": (8, 8, 16, 16)}) as server:
        outcome = atp("bench", server.uri, *QUICK, "--scenario", "input", "--region", "10,10,4x4")
    assert (outcome.code, outcome.err) == (0, "")
    assert "input.key_to_region" in outcome.out


def test_fails_when_a_scenario_cannot_run(atp, serving):
    with serving(channels=[]) as server:
        outcome = atp("bench", server.uri, *QUICK, "--scenario", "link,input")
    assert outcome.code == 1
    assert "link.open_spice" in outcome.out
    assert outcome.err == "atp: input: inputs:0 is not open\n"


def test_measures_over_a_link(atp, server, tmp_path):
    path = tmp_path / "figures.json"
    outcome = atp("bench", server.uri, *QUICK, "--scenario", "link", "--link", "delay=20ms", "--json", path)
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads(path.read_text())
    assert report["settings"]["link"] == "delay=20ms"
    (reply,) = [figure for figure in report["figures"] if figure["name"] == "link.main:0.reply"]
    assert reply["p50"] >= 40


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--scenario", "opera"], 2, ("opera", "link")),
        (["--scenario", ""], 2, ("link",)),
        (["--seconds", "0"], 2, ("greater than 0",)),
        (["--region", "1,2"], 2, ("X,Y,WxH",)),
        (["--link", "delay=40"], 2, ("delay=40ms",)),
        (["--json", "nowhere/figures.json"], 1, ("nowhere/figures.json", "No such file or directory")),
    ],
)
def test_what_cannot_be_measured(atp, tmp_path, monkeypatch, options, code, words):
    monkeypatch.chdir(tmp_path)
    assert atp("bench", "spice://127.0.0.1:1", *options).says(code, *words)


def test_region():
    assert parse_region("1,2,30x40") == Rect.at(1, 2, 30, 40)


@pytest.mark.parametrize("text", ["", "1,2,3,4", "1,2,0x4", "-1,2,3x4", "1,2,3x4 "])
def test_a_region_that_is_none(text):
    with pytest.raises(ConfigError, match="X,Y,WxH"):
        parse_region(text)


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with _progress_bar() as progress:
        progress("link: connecting", 0.5)
    captured = capsys.readouterr()
    assert "link: connecting" in captured.err
    assert captured.out == ""
