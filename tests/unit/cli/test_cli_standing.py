"""Rows, lines and the document of `atp status`, made of states and counters."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from atp_trio.cli.standing import HEADER, cells, describe, document, is_decided, line, summary
from atp_trio.errors import ConnectionLost
from atp_trio.hypervisor.calls import HostStatistics
from atp_trio.spice.channels.state import ChannelStatistics, Phase
from atp_trio.spice.manager import MachineStatistics
from atp_trio.spice.messages.link import ChannelType
from atp_trio.supervision.state import Channel, ConnectionEvent, ConnectionState, Host, Machine, StateChange

S, E = ConnectionState, ConnectionEvent
HOST, VM, MAIN, DISPLAY = Host("h"), Machine("v"), Channel("v", "main:0"), Channel("v", "display:0")
OPEN = ChannelStatistics(ChannelType.MAIN, 0, Phase.OPEN, 1, 1, 1, 1, 0.1, 0, 0, 0, {}, {}, 0)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def change(subject, state, event, *, at=90.0, **options):
    return StateChange(subject=subject, state=state, event=event, at=at, **options)


def connected(subject, **options):
    return change(subject, S.CONNECTED, E.ESTABLISHED, **options)


def lost(subject, cause="gone", **options):
    return change(subject, S.DISCONNECTED, E.LOST, cause=ConnectionLost(cause), **options)


def host_statistics(losses):
    return HostStatistics(
        calls=0, errors=0, in_flight=0, slow=0, abandoned=0, connections=1, losses=losses, latency=None, last_error=None
    )


def machine_statistics(connections=1, *, relinks=None, latencies=None, is_connected=True):
    return MachineStatistics(
        state=S.CONNECTED if is_connected else S.DISCONNECTED,
        connections=connections,
        relinks=relinks or {},
        latencies=latencies or {},
        channels={"main:0": OPEN} if is_connected else {},
    )


def standing(change, *, hosts=None, machines=None, measured=None):
    (one,) = describe([change], hosts or {}, machines or {}, measured or {}, 100.0)
    return one


def test_order_is_hosts_then_machines_each_before_its_channels():
    other = Machine("w")
    board = [MAIN, VM, other, DISPLAY, HOST]
    found = describe(map(connected, board), {}, {}, {}, 100.0)
    assert [one.subject for one in found] == [HOST, VM, MAIN, DISPLAY, other]


def test_times():
    one = standing(lost(VM, at=97.5, retry_at=104.0))
    assert (one.seconds, one.next_attempt, one.cause) == (2.5, 4.0, "gone")
    one = standing(lost(VM, retry_at=99.0))  # which is about to begin
    assert one.next_attempt == 0.0
    one = standing(StateChange(subject=VM, state=S.DISCONNECTED))  # nothing has happened yet
    assert (one.seconds, one.next_attempt, one.cause) == (None, None, None)


def test_latency_is_of_what_is_connected():
    measured = {HOST: 0.25, VM: 0.5}
    machines = {"v": machine_statistics(latencies={"display:0": 0.125})}
    assert standing(connected(HOST), measured=measured).latency == 0.25
    assert standing(connected(VM), measured=measured).latency == 0.5
    assert standing(connected(DISPLAY), machines=machines).latency == 0.125
    assert standing(connected(MAIN), machines=machines).latency is None
    assert standing(lost(HOST), measured=measured).latency is None


@pytest.mark.parametrize(
    ("state", "losses", "again"), [(S.CONNECTED, 0, 0), (S.CONNECTED, 2, 2), (S.DEGRADED, 1, 1), (S.CONNECTING, 2, 1)]
)
def test_reconnects_of_a_host(state, losses, again):
    one = standing(change(HOST, state, E.CONNECT), hosts={"h": host_statistics(losses)})
    assert one.reconnects == again


def test_reconnects_of_a_host_never_connected():
    assert standing(lost(HOST)).reconnects == 0


def test_reconnects_of_machines_and_channels():
    machines = {"v": machine_statistics(3, relinks={"display:0": 2})}
    assert standing(connected(VM), machines=machines).reconnects == 2
    assert standing(connected(DISPLAY), machines=machines).reconnects == 2
    assert standing(connected(MAIN), machines=machines).reconnects == 0
    machines = {"v": machine_statistics(0, is_connected=False)}
    assert standing(lost(VM), machines=machines).reconnects == 0
    assert standing(lost(DISPLAY), machines=machines).reconnects is None


def test_document():
    states = [
        lost(VM, at=99.0, retry_at=101.5),
        connected(MAIN),
        connected(HOST),
    ]
    found = describe(states, {"h": host_statistics(1)}, {"v": machine_statistics()}, {HOST: 0.0012345678}, 100.0)
    told = document(found, NOON)
    assert json.loads(json.dumps(told)) == told
    nothing = {"latency": None, "reconnects": 0, "next_attempt": None, "cause": None}
    since = {"since": "2026-11-22T11:59:50.000+00:00"}
    assert told == {
        "at": "2026-11-22T12:00:00.000+00:00",
        "hosts": [nothing | since | {"id": "h", "state": "connected", "latency": 0.001235, "reconnects": 1}],
        "machines": [
            {
                "id": "v",
                "state": "disconnected",
                "since": "2026-11-22T11:59:59.000+00:00",
                "latency": None,
                "reconnects": 0,
                "next_attempt": 1.5,
                "cause": "gone",
                "channels": [nothing | since | {"name": "main:0", "state": "connected"}],
            }
        ],
    }


def test_document_of_nothing():
    assert document([], NOON) == {"at": "2026-11-22T12:00:00.000+00:00", "hosts": [], "machines": []}


def test_nothing_that_is_told_has_control_characters():
    evil = lost(Machine("v\x1b[2J"), "line 1\nline 2\x1b]0;title\x07")
    one = standing(evil)
    texts = [*cells(one), line(evil, NOON), *map(str, document([one], NOON)["machines"][0].values())]
    assert all(text.isprintable() for text in texts)
    assert one.cause == "line 1 line 2\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}"


def test_a_cause_without_words_is_told_by_its_name():
    assert standing(lost(VM, "")).cause == "ConnectionLost"


def test_cells():
    machines = {"v": machine_statistics(relinks={"display:0": 2}, latencies={"display:0": 0.0123})}
    row = cells(standing(connected(DISPLAY), machines=machines))
    assert row == ("  display:0", "connected", "10 s", "12.3 ms", "2", "", "")
    assert cells(standing(lost(HOST, retry_at=250.0))) == ("host h", "disconnected", "10 s", "", "0", "in 2 min", "gone")
    assert cells(standing(StateChange(subject=VM, state=S.DISCONNECTED)))[:3] == ("machine v", "disconnected", "")
    assert len(row) == len(HEADER)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (200000, "2 d")]
)
def test_spans(seconds, text):
    assert cells(standing(connected(VM, at=100.0 - seconds)))[2] == text


def test_summary():
    found = describe([connected(VM), connected(MAIN), lost(HOST)], {}, {}, {}, 100.0)
    assert summary(found) == "1 hosts, 1 machines, 1 channels: 1 disconnected, 2 connected"
    assert summary([]) == "0 hosts, 0 machines, 0 channels"


def test_line():
    assert line(connected(MAIN), NOON) == "2026-11-22T12:00:00.000+00:00 channel main:0 of machine v is connected"
    told = line(lost(VM, at=90.0, retry_at=91.25, missed=3), NOON)
    assert told.endswith("machine v is disconnected: gone; next attempt in 1.2 s; 3 changes before this are not shown")


@pytest.mark.parametrize(
    ("state", "event", "decided"),
    [
        (S.DISCONNECTED, None, False),
        (S.CONNECTING, E.CONNECT, False),
        (S.CONNECTED, E.ESTABLISHED, True),
        (S.DEGRADED, E.IMPAIRED, True),
        (S.DISCONNECTED, E.LOST, True),
        (S.FAILED, E.GIVEN_UP, True),
        (S.DISCONNECTED, E.CLOSED, False),
    ],
)
def test_is_decided(state, event, decided):
    assert is_decided(change(VM, state, event)) is decided
