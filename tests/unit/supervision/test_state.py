"""The table of states, and what a connection's core makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConnectionLost, LocalProtocolError
from atp_trio.supervision.state import (
    TRANSITIONS,
    Channel,
    ConnectionEvent,
    ConnectionState,
    Host,
    Machine,
    StateCore,
)

S, E = ConnectionState, ConnectionEvent

# The states that an event leads to, said once more from the outside.
PATHS = [
    ([E.CONNECT, E.ESTABLISHED], S.CONNECTED),
    ([E.CONNECT, E.IMPAIRED], S.DEGRADED),
    ([E.CONNECT, E.IMPAIRED, E.ESTABLISHED], S.CONNECTED),
    ([E.CONNECT, E.ESTABLISHED, E.LOST], S.DISCONNECTED),
    ([E.CONNECT, E.ESTABLISHED, E.LOST, E.LOST, E.CONNECT], S.CONNECTING),
    ([E.CONNECT, E.LOST, E.GIVEN_UP], S.FAILED),
    ([E.CONNECT, E.GIVEN_UP, E.LOST], S.FAILED),
    ([E.GIVEN_UP, E.CONNECT], S.CONNECTING),
    ([E.GIVEN_UP, E.CLOSED], S.DISCONNECTED),
    ([E.CONNECT, E.IMPAIRED, E.CLOSED], S.DISCONNECTED),
]


def test_the_table_is_whole():
    assert set(TRANSITIONS) == set(S)
    assert all(set(row) == set(E) for row in TRANSITIONS.values())


def test_what_is_usable():
    assert {state for state in S if state.is_usable} == {S.CONNECTED, S.DEGRADED}


@pytest.mark.parametrize(("events", "state"), PATHS)
def test_paths(events, state):
    core = StateCore(Machine("vm1"))
    for event in events:
        core.apply(event, now=0)
    assert core.state is state


@pytest.mark.parametrize("state", S)
def test_one_connection_at_a_time(state):
    """Nothing that is connected or being connected can be connected once more, and nothing is established unasked."""
    assert (TRANSITIONS[state][E.CONNECT] is None) == (state.is_usable or state is S.CONNECTING)
    assert (TRANSITIONS[state][E.ESTABLISHED] is None) == (state in {S.DISCONNECTED, S.FAILED})


def test_a_change_tells_all():
    core = StateCore(Channel("vm1", "display:0"))
    core.apply(E.CONNECT, now=1)
    cause = ConnectionLost("reset")
    change = core.apply(E.LOST, now=2.5, cause=cause, retry_at=3.5)
    assert (change.subject, change.state, change.previous) == (Channel("vm1", "display:0"), S.DISCONNECTED, S.CONNECTING)
    assert (change.event, change.cause, change.at, change.retry_at, change.missed) == (E.LOST, cause, 2.5, 3.5, 0)
    assert str(change) == "channel display:0 of machine vm1 is disconnected: reset"
    assert core.present.previous is None
    assert (core.present.state, core.present.cause) == (S.DISCONNECTED, cause)


def test_the_first_state():
    present = StateCore(Host("h")).present
    assert (present.state, present.previous, present.event, present.cause) == (S.DISCONNECTED, None, None, None)
    assert str(present) == "host h is disconnected"


def test_what_is_said_twice_is_no_change():
    core = StateCore(Host("h"))
    core.apply(E.CONNECT, now=0)
    assert core.apply(E.ESTABLISHED, now=1) is not None
    assert core.apply(E.ESTABLISHED, now=2) is None
    assert core.apply(E.LOST, now=3) is not None
    assert core.apply(E.LOST, now=4, cause=ConnectionLost("late")) is None
    assert core.present.at == 3


def test_another_cause_is_a_change_where_it_is_impaired():
    core = StateCore(Machine("vm1"))
    core.apply(E.CONNECT, now=0)
    audio, usb = ConnectionLost("playback:0"), ConnectionLost("usbredir:0")
    core.apply(E.IMPAIRED, now=1, cause=audio)
    assert core.apply(E.IMPAIRED, now=2, cause=audio) is None
    change = core.apply(E.IMPAIRED, now=2, cause=usb)
    assert (change.previous, change.state, change.cause) == (S.DEGRADED, S.DEGRADED, usb)


def test_a_plan_to_try_again_is_a_change():
    core = StateCore(Machine("vm1"))
    assert core.apply(E.LOST, now=1, retry_at=2).retry_at == 2
    assert core.apply(E.LOST, now=1, retry_at=2) is None
    assert core.apply(E.LOST, now=1) is None
    assert core.apply(E.LOST, now=2, retry_at=4).retry_at == 4


@given(st.lists(st.sampled_from(E)))
def test_any_event_in_any_state_is_in_the_table_or_refused(events):
    core = StateCore(Host("h"))
    for now, event in enumerate(events):
        before = core.present
        wanted = TRANSITIONS[before.state][event]
        assert core.allows(event) == (wanted is not None)
        if wanted is None:
            with pytest.raises(LocalProtocolError, match=f"{before.state.value}: {event.name}"):
                core.apply(event, now=now)
            assert core.present == before
        else:
            change = core.apply(event, now=now)
            assert core.state is wanted
            assert (change is None) == (wanted is before.state)
