"""Runs of benchmarks, as short as can be: what is measured, and what is said where it cannot be."""

from __future__ import annotations

import contextlib

import attrs
import pytest
import trio

from atp_trio import AuthenticationFailed, ConfigError, ConnectFailed, Rect, SpiceTlsConfig, SpiceUri
from atp_trio.bench import Amount, BenchSettings, Distribution, Report, run_bench, scenario_names
from atp_trio.bench.run import BenchRun, CannotMeasure
from atp_trio.bench.scenarios import input as input_scenario
from atp_trio.testing.faults import LinkConditions
from atp_trio.testing.server import open_spice_server

QUICK = 0.02
PATIENCE = 20


@contextlib.asynccontextmanager
async def serving(**options):
    """A small server in this loop, and settings that measure it."""
    with trio.fail_after(PATIENCE):
        async with open_spice_server(**{"size": (64, 48), "network_test": False} | options) as server:
            yield server, BenchSettings(uri=SpiceUri.parse(server.uri), seconds=QUICK)


def by_name(report: Report) -> dict[str, Amount | Distribution]:
    return {figure.name: figure for figure in report.figures}


def test_the_default_is_everything():
    assert BenchSettings().scenarios == scenario_names()


async def test_link():
    async with serving() as (_, settings):
        report = await run_bench(attrs.evolve(settings, scenarios=("link",)))
    figures = by_name(report)
    assert (report.skipped, report.failed) == ((), ())
    steps = {
        f"{channel}:0.{step}"
        for channel in ("main", "display", "inputs", "cursor")
        for step in ("stream", "reply", "ticket", "result", "total")
    }
    assert set(figures) == {f"link.{name}" for name in steps | {"open_spice", "first_picture", "leave"}}
    assert all(isinstance(figure, Distribution) and figure.unit == "ms" and figure.n >= 1 for figure in report.figures)
    assert figures["link.open_spice"].p50 >= figures["link.main:0.total"].p50 > 0


@pytest.mark.parametrize("modes", [[1], [1, 2]])
async def test_input(modes):
    async with serving(mouse_modes=modes, regions={"key": (8, 8, 16, 16)}) as (server, settings):
        report = await run_bench(attrs.evolve(settings, scenarios=("input",), region=Rect.at(10, 10, 2, 2)))
        moved = server.machine.motions, server.machine.positions
    figures = by_name(report)
    assert list(figures) == ["input.motion_ack", "input.motions", "input.key_to_region"]
    assert figures["input.motion_ack"].n * 4 <= max(moved)
    assert min(moved) == 0
    assert figures["input.motions"].value > 0
    assert 0 < figures["input.key_to_region"].p50 < 1000 * PATIENCE


async def test_input_without_a_region():
    async with serving() as (server, settings):
        report = await run_bench(attrs.evolve(settings, scenarios=("input",)))
        assert not server.machine.keys_down
    assert [shortfall.name for shortfall in report.skipped] == ["input.key_to_region"]
    assert "input.key_to_region" not in by_name(report)


async def test_a_region_where_nothing_shows_up(monkeypatch):
    monkeypatch.setattr(input_scenario, "KEY_PATIENCE", 0.05)
    async with serving() as (_, settings):
        report = await run_bench(attrs.evolve(settings, scenarios=("input",), region=Rect.at(10, 10, 2, 2)))
    assert [(one.name, "drew nothing" in one.reason) for one in report.failed] == [("input", True)]


async def test_display():
    async with serving(scene="rectangles", rate=1000) as (_, settings):
        report = await run_bench(attrs.evolve(settings, scenarios=("display",), seconds=0.1))
    figures = by_name(report)
    assert report.failed == ()
    assert figures["display.machine.updates"].value > 0
    assert figures["display.machine.pixels"].value > 0
    assert figures["display.machine.latency"].p50 > 0


async def test_a_display_that_shows_nothing_new():
    async with serving(scene="still") as (_, settings):
        report = await run_bench(attrs.evolve(settings, scenarios=("display",)))
    assert [shortfall.name for shortfall in report.skipped] == ["display.machine.latency"]
    assert by_name(report)["display.machine.updates"].value == 0


async def test_a_scenario_that_cannot_run_does_not_hold_up_the_next():
    told = []
    async with serving(channels=[]) as (_, settings):
        report = await run_bench(settings, lambda what, done: told.append((what, done)))
    assert [shortfall.name for shortfall in report.failed] == ["input", "display"]
    assert {figure.name.partition(".")[0] for figure in report.figures} == {"link"}
    assert told[0] == ("link: connecting", 0)
    assert told[-1] == ("done", 1)


async def test_a_machine_that_lets_nobody_in():
    async with serving(password="sesame") as (_, settings):
        with pytest.raises(AuthenticationFailed):
            await run_bench(settings)
        report = await run_bench(attrs.evolve(settings, password="sesame", scenarios=("link",)))
    assert report.figures
    assert "sesame" not in repr(settings) + str(report.to_json())


async def test_a_machine_that_is_not_there(tmp_path):
    with pytest.raises(ConnectFailed):
        await run_bench(BenchSettings(uri=SpiceUri(unix_path=f"{tmp_path}/none")))


async def test_a_scenario_that_is_not_there():
    with pytest.raises(ConfigError, match="opera"):
        await run_bench(BenchSettings(scenarios=("link", "opera")))


async def test_a_link_that_hides_the_servers_name():
    """The certificate names the host, and the client connects to the proxy's address."""
    settings = BenchSettings(uri=SpiceUri.parse("spice+tls://127.0.0.1:1"), link=LinkConditions(delay=0.01))
    run = BenchRun(settings, lambda _what, _done: None)
    with pytest.raises(ConfigError, match="held to its host name"):
        async with run.server():
            pass
    run = BenchRun(attrs.evolve(settings, tls=SpiceTlsConfig.insecure()), lambda _what, _done: None)
    async with run.server() as uri:
        assert (uri.host, uri.tls_port != 1) == ("127.0.0.1", True)


async def test_a_measurement_that_does_not_end(autojump_clock):
    run = BenchRun(BenchSettings(seconds=2, patience=30), lambda _what, _done: None)
    with pytest.raises(CannotMeasure, match="waiting: the machine did not answer within 32 s"), run.measuring("waiting", 0):
        await trio.sleep_forever()


def test_nothing_measured():
    run = BenchRun(BenchSettings(seconds=2), lambda _what, _done: None)
    with pytest.raises(CannotMeasure, match=r"x was not measured once in 2 s"):
        run.distribution("x", "s", [])


async def test_embedded_servers():
    report = await run_bench(BenchSettings(scenarios=("link", "input"), seconds=0.1))
    figures = by_name(report)
    assert (report.skipped, report.failed) == ((), ())
    # A key of 1024 bits takes far longer to make than all the rest of a link.
    assert figures["link.without_keys.main:0.reply"].p50 < figures["link.main:0.reply"].p50
    assert figures["input.key_to_region"].n >= 1
    assert report.settings["uri"] is None
