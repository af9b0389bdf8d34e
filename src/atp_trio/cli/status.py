"""`atp status`: where everything that a configuration names stands."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
import trio
from cyclopts import Parameter

from atp_trio.background import open_background
from atp_trio.cli.access import Positive
from atp_trio.cli.execute import FAILED
from atp_trio.cli.output import print_json, print_line
from atp_trio.cli.standing import HEADER, Standing, cells, describe, document, is_decided, line, summary
from atp_trio.errors import AtpError
from atp_trio.supervision.state import Channel, ConnectionState, Host, Machine, Subject
from atp_trio.supervision.supervisor import Life, Supervisor
from atp_trio.supervision.watch import StateReceiver, StateSource

if TYPE_CHECKING:
    from rich.table import Table

    from atp_trio.config import TransportConfig
    from atp_trio.hypervisor.host import HostConnection
    from atp_trio.manager import ManagedMachine, TransportManager

# Seconds from one picture of the table to the next.
REFRESH: Final = 0.25
# Seconds from one measurement of the latencies to the next.
MEASURE: Final = 1.0
STYLES: Final = {
    ConnectionState.CONNECTED: "green",
    ConnectionState.CONNECTING: "cyan",
    ConnectionState.DEGRADED: "yellow",
    ConnectionState.DISCONNECTED: "red",
    ConnectionState.FAILED: "bold red",
}


async def status(
    config: Annotated[Path, Parameter(help="The YAML file that names hosts and machines.")],
    /,
    *,
    json: Annotated[
        bool, Parameter(help="Print one JSON document, as soon as every connection was made or could not be, and end.")
    ] = False,
    timeout: Annotated[  # noqa: ASYNC109 - an option
        float, Parameter(help="With --json: seconds to wait for that."), Positive
    ] = 30.0,
) -> int:
    """Connect everything that a configuration names, and show where it stands, until SIGINT or SIGTERM.

    On a terminal this is a table; piped, a line for every change, after the present states. With --json the exit code is 0 if
    everything is connected, and 1 if not. A password comes from where the configuration says.
    """
    from atp_trio.config import load_config

    settings = await trio.to_thread.run_sync(load_config, config)
    async with _open_overview(settings) as overview:
        if json:
            return await _print_once(overview, timeout)
        if sys.stdout.isatty():
            await _show(overview)
        else:
            await _print_changes(overview)
    return 0


async def _print_once(overview: _Overview, seconds: float) -> int:
    with trio.move_on_after(seconds):
        await overview.wait_decided()
        await overview.measure()
    standings = overview.standings()
    print_json(document(standings, datetime.now(UTC)))
    return 0 if all(one.state is ConnectionState.CONNECTED for one in standings) else FAILED


async def _print_changes(overview: _Overview) -> None:
    async with overview.watch() as changes:
        async for change in changes:
            print_line(line(change, datetime.now(UTC)))


async def _show(overview: _Overview) -> None:
    from rich.live import Live

    overview.begin_measuring()
    with Live(auto_refresh=False) as live:
        while True:
            live.update(_table(overview.standings()), refresh=True)
            await trio.sleep(REFRESH)


def _table(standings: list[Standing]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, title=summary(standings), title_justify="left")
    for title in HEADER:
        is_cause = title == HEADER[-1]
        # Text, not str: square brackets in it mean nothing. Where there is little room, the cause gives way.
        table.add_column(
            Text(title), justify="right" if title in {"for", "latency", "again", "next"} else "left", no_wrap=not is_cause
        )
    for one in standings:
        name, state, *others = cells(one)
        table.add_row(Text(name), Text(state, STYLES[one.state]), *map(Text, others))
    return table


@attrs.define(eq=False)
class _Overview:
    """A manager's hosts, kept connected as its machines are, and the states and counters of all."""

    _manager: TransportManager
    _nursery: trio.Nursery
    _hosts: dict[str, HostConnection] = attrs.field(factory=dict)
    """The hosts that are connected, or connected again."""
    _measured: dict[Subject, float] = attrs.field(factory=dict)

    def watch(self) -> StateReceiver:
        """The present states of all, then every change."""
        return self._manager.states.watch()

    def standings(self) -> list[Standing]:
        """Where all of them stand now."""
        hosts = {host_id: host.statistics() for host_id, host in self._hosts.items()}
        machines = self._manager.spice.statistics()
        return describe(self._manager.states.present, hosts, machines, self._measured, trio.current_time())

    # --- hosts: a manager connects one only while somebody wants it, and tries once

    def keep_host(self, host_id: str) -> None:
        """Keep a host connected from now on."""
        source = self._manager.states.add(Host(host_id))
        supervisor = Supervisor(source, partial(self._serve_host, host_id, source), self._manager.config.reconnect)
        self._nursery.start_soon(supervisor.run)

    async def _serve_host(self, host_id: str, source: StateSource, _: Life) -> None:
        async with self._manager.get_libvirt_connection(host_id) as host, host.states.watch() as changes:
            self._hosts[host_id] = host
            try:
                # From here on it connects again by itself, by the same table of states.
                async for change in changes:
                    if change.event is not None and source.allows(change.event):
                        source.apply(change.event, cause=change.cause, retry_at=change.retry_at)
            finally:
                del self._hosts[host_id]

    # --- the first attempts

    async def wait_decided(self) -> None:
        """Wait until every host, machine and channel was connected, or could not be at the first attempt."""
        waiting: set[Subject] = {*map(Host, self._manager.hosts), *map(Machine, self._manager.machines)}
        decided: set[Subject] = set()
        async with self.watch() as changes:
            while waiting:
                change = await changes.receive()
                if is_decided(change):
                    decided.add(change.subject)
                    if isinstance(change.subject, Machine):
                        # Known when it is connected: some are tried only after that. If it was lost, they are not tried.
                        waiting = {one for one in waiting if not _is_channel_of(one, change.subject)}
                        waiting |= self._wanted_channels(change.subject)
                    waiting -= decided

    def _wanted_channels(self, machine: Machine) -> set[Subject]:
        from atp_trio.spice.keeper import channel_name

        try:
            vm = self._manager.get_spice_connection(machine.id)
        except AtpError:
            return set()
        wanted = self._manager.config.channels_of(self._manager.machine(machine.id).config).open
        offered = [(one.type, one.id) for one in vm.main.offered if one.type.name.lower() in wanted]
        return {Channel(machine.id, channel_name(key)) for key in offered}

    # --- latencies

    def begin_measuring(self) -> None:
        """Measure the latencies again and again from now on."""
        self._nursery.start_soon(self._keep_measuring)

    async def _keep_measuring(self) -> None:
        while True:
            await self.measure()
            await trio.sleep(MEASURE)

    async def measure(self) -> None:
        """Ask every host and machine that is connected for an answer; one that gives none in time has no latency."""
        usable = [change.subject for change in self._manager.states.present if change.state.is_usable]
        hosts = [one.id for one in usable if isinstance(one, Host) and one.id in self._hosts]
        machines = [one.id for one in usable if isinstance(one, Machine)]
        asked_hosts = await self._manager.map_hosts(self._ask_host, names=hosts)
        asked_machines = await self._manager.map_machines(self._ask_machine, names=machines)
        answers: dict[Subject, Any] = {Host(name): one.value for name, one in asked_hosts.items()}
        answers |= {Machine(name): one.value for name, one in asked_machines.items()}
        self._measured = {subject: seconds for subject, seconds in answers.items() if seconds is not None}

    async def _ask_host(self, host: HostConnection) -> float:
        asked_at = trio.current_time()
        with trio.fail_after(self._manager.config.heartbeat.answer_within):
            await host.run_on_lane(lambda lane: lane.ping())
        return trio.current_time() - asked_at

    async def _ask_machine(self, machine: ManagedMachine) -> float:
        asked_at = trio.current_time()
        with trio.fail_after(self._manager.config.heartbeat.answer_within):
            await machine.spice.main.ask()
        return trio.current_time() - asked_at


def _is_channel_of(subject: Subject, machine: Machine) -> bool:
    return isinstance(subject, Channel) and subject.machine == machine.id


@asynccontextmanager
async def _open_overview(config: TransportConfig) -> AsyncIterator[_Overview]:
    from atp_trio.hypervisor.host import open_host
    from atp_trio.manager import open_manager

    # All of them at a time, however few a program would use.
    pool = attrs.evolve(config.pool, maximum=max(config.pool.maximum, len(config.hosts)))

    def open_one(*where: Any, board: object, **how: Any) -> Any:  # noqa: ARG001 - the overview has the hosts on it
        return open_host(*where, **how)

    async with open_manager(attrs.evolve(config, pool=pool), open_one=open_one) as manager, open_background() as nursery:
        overview = _Overview(manager, nursery)
        for host_id in manager.hosts:
            overview.keep_host(host_id)
        yield overview
