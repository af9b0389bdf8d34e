"""A run of benchmarks: the settings, the server that is measured, and what scenarios tell as they go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import trio

import atp_trio
from atp_trio.bench.figure import Amount, Distribution, Figure, Shortfall
from atp_trio.testing.faults import LinkConditions

MILLI: Final = 1e3
MICRO: Final = 1e6

T = TypeVar("T")


class CannotMeasure(atp_trio.AtpError):
    """A scenario cannot run here, or did not get on; the sentence says why."""


@attrs.frozen(kw_only=True)
class BenchSettings:
    """What to measure, and where.

    Attributes:
        scenarios: Their names, in the order of running.
        seconds: How long each measurement lasts; a scenario makes one to five of them.
        uri: The machine to measure; None starts embedded servers.
        password: Its password, as for `open_spice`.
        tls: How to verify it, as for `open_spice`.
        region: The part of the machine's screen in which a typed character shows up. None leaves out what needs it; the
            embedded server has its own.
        patience: Seconds a measurement may take beyond `seconds` before it is given up.
        link: What the way to the machine is to be like: a proxy in a process of its own makes it so. None: as it is.
    """

    scenarios: tuple[str, ...] = ("link", "input", "display")
    seconds: float = 2.0
    uri: atp_trio.SpiceUri | None = None
    password: Path | str | None = attrs.field(default=None, repr=False)
    tls: atp_trio.SpiceTlsConfig | None = None
    region: atp_trio.Rect | None = None
    patience: float = 30.0
    link: LinkConditions | None = None

    def to_json(self) -> dict[str, Any]:
        """Without secrets."""
        region = self.region
        return {
            "scenarios": list(self.scenarios),
            "seconds": self.seconds,
            "uri": None if self.uri is None else str(self.uri),
            "region": None if region is None else [region.left, region.top, region.width, region.height],
            "link": None if self.link is None else str(self.link),
        }


Progress = Callable[[str, float], None]
"""Is told what is being measured, and which part of the run is done (0 to 1)."""


@attrs.define(eq=False)
class BenchRun:
    """What a scenario is given: where to connect to, and where its figures go.

    Attributes:
        settings: What was asked for.
        figures: What was found out so far.
        skipped: What does not apply here.
    """

    settings: BenchSettings
    _progress: Progress = attrs.field(repr=False)
    figures: list[Figure] = attrs.field(factory=list)
    skipped: list[Shortfall] = attrs.field(factory=list)
    _scenario: tuple[int, str] = (0, "")

    @property
    def is_embedded(self) -> bool:
        """Whether scenarios bring their own server."""
        return self.settings.uri is None

    def begin(self, number: int, scenario: str) -> None:
        """The scenario of that number, from 0, begins."""
        self._scenario = (number, scenario)

    def distribution(self, name: str, unit: str, values: Sequence[float]) -> None:
        """Record what was measured many times.

        Raises:
            CannotMeasure: There are no values.
        """
        if not values:
            raise CannotMeasure(f"{name} was not measured once in {self.settings.seconds:g} s")
        self.figures.append(Distribution.of(f"{self._scenario[1]}.{name}", unit, values))

    def amount(self, name: str, unit: str, value: float) -> None:
        """Record one number."""
        self.figures.append(Amount(f"{self._scenario[1]}.{name}", unit, value))

    def skip(self, name: str, reason: str) -> None:
        """Record what does not apply here."""
        self.skipped.append(Shortfall(f"{self._scenario[1]}.{name}", reason))

    @contextmanager
    def measuring(self, what: str, done: float) -> Iterator[None]:
        """One measurement of the running scenario, of which `done` (0 to 1) lies behind.

        Raises:
            CannotMeasure: It did not come to an end.
        """
        number, scenario = self._scenario
        self._progress(f"{scenario}: {what}", (number + done) / len(self.settings.scenarios))
        limit = self.settings.seconds + self.settings.patience
        with trio.move_on_after(limit) as scope:
            yield
        if scope.cancelled_caught:
            raise CannotMeasure(f"{what}: the machine did not answer within {limit:g} s")

    @asynccontextmanager
    async def server(self, **options: Any) -> AsyncIterator[atp_trio.SpiceUri]:
        """The URI to measure: the machine's, or that of an embedded server with these options, in a process of its own.

        Raises:
            ConfigError: The settings' link cannot be put before this machine.
        """
        async with AsyncExitStack() as stack:
            uri = self.settings.uri
            if uri is None:
                from atp_trio.testing.server import run_server_in_process

                started = await stack.enter_async_context(_in_thread(run_server_in_process(**options)))
                uri = atp_trio.SpiceUri.parse(started.uri)
            if self.settings.link is not None:
                uri = await self._put_link_before(uri, self.settings.link, stack)
            yield uri

    async def _put_link_before(self, uri: atp_trio.SpiceUri, link: LinkConditions, stack: AsyncExitStack) -> atp_trio.SpiceUri:
        from atp_trio.testing.faults import run_fault_proxy_in_process

        tls = self.settings.tls or atp_trio.SpiceTlsConfig()
        if uri.tls_port is not None and tls.verify and tls.host_subject is None:
            raise atp_trio.ConfigError(
                "behind a link the certificate cannot be held to its host name: give the host subject, or do not verify it"
            )
        place = attrs.evolve(uri, password=None)
        proxy = await stack.enter_async_context(_in_thread(run_fault_proxy_in_process(str(place), link)))
        return attrs.evolve(atp_trio.SpiceUri.parse(proxy), password=uri.password)

    @asynccontextmanager
    async def connect(self, uri: atp_trio.SpiceUri, *channels: atp_trio.ChannelType) -> AsyncIterator[atp_trio.SpiceVmConnection]:
        """`open_spice` with the settings' way in.

        Raises:
            CannotMeasure: It took too long.
            AtpError: As `open_spice`.
        """
        settings = self.settings
        with trio.move_on_after(settings.patience) as scope:
            async with atp_trio.open_spice(uri, password=settings.password, tls=settings.tls, channels=channels) as vm:
                scope.deadline = float("inf")
                yield vm
        if scope.cancelled_caught:
            raise CannotMeasure(f"no connection to {uri} within {settings.patience:g} s")


@asynccontextmanager
async def _in_thread(process: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A process that is started and ended by calls that block."""
    started = await trio.to_thread.run_sync(process.__enter__)
    try:
        yield started
    finally:
        with trio.CancelScope(shield=True):  # it ends within a few seconds, by force if need be
            await trio.to_thread.run_sync(process.__exit__, None, None, None)
