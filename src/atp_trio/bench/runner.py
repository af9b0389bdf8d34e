"""One run of the chosen scenarios."""

from __future__ import annotations

import atp_trio
from atp_trio.bench.environment import describe_environment
from atp_trio.bench.figure import Report, Shortfall
from atp_trio.bench.run import BenchRun, BenchSettings, Progress
from atp_trio.bench.scenarios import SCENARIOS


def scenario_names() -> tuple[str, ...]:
    """The scenarios there are."""
    return tuple(SCENARIOS)


async def run_bench(settings: BenchSettings, progress: Progress = lambda _what, _done: None) -> Report:
    """Run scenarios, one after another.

    A scenario that cannot run is told in `Report.failed`, and the next one begins.

    Args:
        settings: What to measure and where.
        progress: Is told how far the run is.

    Raises:
        ConfigError: A scenario or a setting that cannot be meant.
        AtpError: The machine cannot be reached, or lets nobody in; as `open_spice`.

    Cancellation: the machine is left in order; what was measured is lost.
    """
    for name in settings.scenarios:
        if name not in SCENARIOS:
            raise atp_trio.ConfigError(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    run = BenchRun(settings, progress)
    environment = describe_environment()
    if settings.uri is not None:
        async with run.connect(settings.uri):
            pass  # whether it can be reached at all: one answer, not one a scenario
    failed: list[Shortfall] = []
    for number, name in enumerate(settings.scenarios):
        run.begin(number, name)
        try:
            await SCENARIOS[name](run)
        except atp_trio.AtpError as error:
            failed.append(Shortfall(name, str(error)))
    progress("done", 1.0)
    return Report(environment, settings.to_json(), tuple(run.figures), tuple(run.skipped), tuple(failed))
