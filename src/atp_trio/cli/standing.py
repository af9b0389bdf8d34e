"""Where hosts, machines and channels stand, as rows, lines and a document: made of states and counters, without Trio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from atp_trio.cli.execute import printable
from atp_trio.supervision.state import Channel, ConnectionEvent, ConnectionState, Host, Machine, StateChange, Subject

if TYPE_CHECKING:
    from atp_trio.hypervisor.calls import HostStatistics
    from atp_trio.spice.manager import MachineStatistics

HEADER: Final = ("", "state", "for", "latency", "again", "next", "cause")


@attrs.frozen(kw_only=True)
class Standing:
    """Where one of them stands."""

    subject: Subject
    """Which."""
    state: ConnectionState
    """Where."""
    seconds: float | None
    """How long it has stood there; None where nothing has happened yet."""
    latency: float | None
    """How long it took to answer when it was last asked, in seconds; None where it was not asked on this connection."""
    reconnects: int | None
    """How often it was connected again; of a channel, on the present connection of its machine; None where there is none."""
    next_attempt: float | None
    """In how many seconds the next attempt begins; None where none is planned."""
    cause: str | None
    """What went wrong, in one printable line."""


def is_decided(change: StateChange) -> bool:
    """Whether this change tells how an attempt to connect went."""
    ended = change.state.is_usable or change.state is ConnectionState.FAILED
    return ended or change.event is ConnectionEvent.LOST


def describe(
    states: Iterable[StateChange],
    hosts: Mapping[str, HostStatistics],
    machines: Mapping[str, MachineStatistics],
    measured: Mapping[Subject, float],
    now: float,
) -> list[Standing]:
    """Where all of them stand: the hosts, then the machines, each before its channels.

    Args:
        states: Their present states.
        hosts: The counters of the hosts that are connected, or were.
        machines: The counters of the machines.
        measured: How long hosts and machines took to answer, in seconds.
        now: The time, on the clock of the states.
    """
    found: dict[Subject, list[StateChange]] = {}
    for change in states:
        subject = change.subject
        found.setdefault(Machine(subject.machine) if isinstance(subject, Channel) else subject, []).append(change)
    ordered = sorted(found.items(), key=lambda item: isinstance(item[0], Machine))
    # What it belongs to comes before a channel, whichever was on the board first.
    changes = [change for _, group in ordered for change in sorted(group, key=lambda one: isinstance(one.subject, Channel))]
    return [_stand(change, hosts, machines, measured, now) for change in changes]


def _stand(
    change: StateChange,
    hosts: Mapping[str, HostStatistics],
    machines: Mapping[str, MachineStatistics],
    measured: Mapping[Subject, float],
    now: float,
) -> Standing:
    latency = measured.get(change.subject)
    reconnects: int | None
    match change.subject:
        case Host(host_id):
            losses = hosts[host_id].losses if host_id in hosts else 0
            reconnects = max(losses - (not change.state.is_usable), 0)
        case Machine(vm_id):
            reconnects = max(machines[vm_id].connections - 1, 0) if vm_id in machines else 0
        case Channel(vm_id, name):
            machine = machines.get(vm_id)
            latency = machine.latencies.get(name) if machine is not None else None
            # Main is not among them: it is never linked again alone.
            reconnects = machine.relinks.get(name, 0) if machine is not None and machine.channels else None
    return Standing(
        subject=change.subject,
        state=change.state,
        seconds=None if change.event is None else max(now - change.at, 0.0),
        latency=latency if change.state.is_usable else None,
        reconnects=reconnects,
        next_attempt=None if change.retry_at is None else max(change.retry_at - now, 0.0),
        cause=_clause(change.cause),
    )


def _clause(cause: BaseException | None) -> str | None:
    return None if cause is None else printable(cause) or type(cause).__name__


def document(standings: Iterable[Standing], at: datetime) -> dict[str, Any]:
    """All of it as one document; times of day are ISO 8601, everything else is in seconds.

    Args:
        standings: As `describe` gives them.
        at: The time of day.
    """
    hosts: list[dict[str, Any]] = []
    machines: dict[str, dict[str, Any]] = {}
    for one in standings:
        match one.subject:
            case Host(host_id):
                hosts.append({"id": printable(host_id)} | _fields(one, at))
            case Machine(vm_id):
                machines[vm_id] = {"id": printable(vm_id)} | _fields(one, at) | {"channels": []}
            case Channel(vm_id, name) if vm_id in machines:
                machines[vm_id]["channels"].append({"name": printable(name)} | _fields(one, at))
    return {"at": _time(at), "hosts": hosts, "machines": list(machines.values())}


def _fields(one: Standing, at: datetime) -> dict[str, Any]:
    return {
        "state": one.state.value,
        "since": None if one.seconds is None else _time(at - timedelta(seconds=one.seconds)),
        "latency": None if one.latency is None else round(one.latency, 6),
        "reconnects": one.reconnects,
        "next_attempt": None if one.next_attempt is None else round(one.next_attempt, 3),
        "cause": one.cause,
    }


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def summary(standings: Sequence[Standing]) -> str:
    """How many stand where, in one line."""
    counts: dict[str, int] = {}
    for one in standings:
        counts[one.state.value] = counts.get(one.state.value, 0) + 1
    of_kind = [sum(isinstance(one.subject, kind) for one in standings) for kind in (Host, Machine, Channel)]
    known = "{} hosts, {} machines, {} channels".format(*of_kind)
    return ": ".join(part for part in (known, ", ".join(f"{count} {state}" for state, count in counts.items())) if part)


def cells(one: Standing) -> tuple[str, ...]:
    """A row below `HEADER`."""
    name = f"  {one.subject.name}" if isinstance(one.subject, Channel) else printable(one.subject)
    return (
        name,
        one.state.value,
        "" if one.seconds is None else _span(one.seconds),
        "" if one.latency is None else f"{one.latency * 1000:.1f} ms",
        "" if one.reconnects is None else str(one.reconnects),
        "" if one.next_attempt is None else f"in {_span(one.next_attempt)}",
        one.cause or "",
    )


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def line(change: StateChange, at: datetime) -> str:
    """A change as a line for logs.

    Args:
        change: The change.
        at: The time of day.
    """
    cause = _clause(change.cause)
    parts = [f"{_time(at)} {change.subject} is {change.state.value}"]
    if change.retry_at is not None:
        parts.append(f"next attempt in {change.retry_at - change.at:.1f} s")
    if change.missed:
        parts.append(f"{change.missed} changes before this are not shown")
    if cause is not None:
        parts[0] += f": {cause}"
    return printable("; ".join(parts))
