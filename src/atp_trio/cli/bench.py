"""`atp bench`: measure the link, input and display."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import trio
from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, Positive, Uri
from atp_trio.cli.execute import FAILED, complain
from atp_trio.cli.looking import parse_region
from atp_trio.cli.output import print_line, print_table
from atp_trio.cli.place import find_place

if TYPE_CHECKING:
    from atp_trio.bench import Figure, Progress, Report


async def bench(
    uri: Uri | None = None,
    /,
    *,
    scenario: Annotated[str, Parameter(help="Which, separated by commas: link, input, display.")] = "link,input,display",
    seconds: Annotated[float, Parameter(help="How long each measurement lasts; there are about ten."), Positive] = 2.0,
    region: Annotated[
        str | None, Parameter(help="X,Y,WxH: the part of the machine's screen where a typed character shows up.")
    ] = None,
    link: Annotated[
        str | None,
        Parameter(help="What the way to the server is to be like: 'delay=40ms rate=10mbit jitter=5ms'; the delay is one way."),
    ] = None,
    json_file: Annotated[Path | None, Parameter(name="--json", help="Write all figures to this file.")] = None,
    access: Access = Access(),  # noqa: B008 - frozen
) -> int:
    """Measure a machine; without a URI, this program itself against servers that it starts."""
    from atp_trio.bench import BenchSettings, run_bench
    from atp_trio.testing.faults import parse_link

    settings = BenchSettings(
        scenarios=tuple(scenario.split(",")),
        seconds=seconds,
        tls=access.tls,
        region=None if region is None else parse_region(region),
        patience=access.timeout,
        link=None if link is None else parse_link(link),
    )
    if json_file is not None:
        json_file.touch()  # before half a minute's work, not after it
    async with _machine(uri, access) as (where, password):
        settings = attrs.evolve(settings, uri=where, password=password)
        with _progress_bar() as progress:
            report = await run_bench(settings, progress)
    if json_file is not None:
        await trio.Path(json_file).write_text(json.dumps(report.to_json(), indent=2) + "\n")
    _print(report)
    for shortfall in report.failed:
        complain(f"{shortfall.name}: {shortfall.reason}", FAILED)
    return FAILED if report.failed else 0


@asynccontextmanager
async def _machine(uri: str | None, access: Access) -> AsyncIterator[tuple[atp_trio.SpiceUri | None, Path | str | None]]:
    """Where the machine is, and its password; None for embedded servers."""
    if uri is None:
        yield None, None
        return
    async with find_place(uri, access.host_password_file, by_address=True) as place:
        assert isinstance(place.where, atp_trio.SpiceUri)
        yield place.where, access.password or place.password


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    # Drawing the bar is work of the process that is measured: twice a second is enough.
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def _print(report: Report) -> None:
    if report.figures:
        print_table(("", "n", "p50", "p90", "p99", "max", "unit"), [_row(figure) for figure in report.figures])
    for shortfall in report.skipped:
        print_line(f"skipped {shortfall.name}: {shortfall.reason}")


def _row(figure: Figure) -> tuple[object, ...]:
    from atp_trio.bench import Amount

    if isinstance(figure, Amount):
        return (figure.name, "", _number(figure.value), "", "", "", figure.unit)
    return (figure.name, figure.n, *map(_number, (figure.p50, figure.p90, figure.p99, figure.max)), figure.unit)


def _number(value: float) -> str:
    """With three digits that say something, and no fewer of the whole number."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
