"""Listeners and their queues."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectionLost
from atp_trio.hypervisor.event import EventsMissed
from atp_trio.protocols.qmp import QmpEvent, QmpEvents
from atp_trio.protocols.qmp.listening import Listeners, make_filter


def listener(*names, pattern=None, capacity=3):
    return QmpEvents(make_filter(names, pattern), capacity)


def put(events, *names):
    for name in names:
        events.put(QmpEvent(name))


def take(events):
    """What is there: names, and how many were missed."""
    found = []
    while True:
        try:
            event = events.receive_nowait()
        except trio.WouldBlock:
            return found
        found.append(event.count if isinstance(event, EventsMissed) else event.name)


@pytest.mark.parametrize(
    ("names", "pattern", "wanted"),
    [
        ((), None, ["STOP", "BLOCK_JOB_READY", "BLOCK"]),
        (("STOP",), None, ["STOP"]),
        ((), "BLOCK_.*", ["BLOCK_JOB_READY"]),
        ((), re.compile("block_.*|stop", re.IGNORECASE), ["STOP", "BLOCK_JOB_READY"]),
        (("STOP",), "BLOCK", ["STOP", "BLOCK"]),
    ],
)
def test_gives_what_was_asked_for(names, pattern, wanted):
    events = listener(*names, pattern=pattern)
    put(events, "STOP", "BLOCK_JOB_READY", "BLOCK")
    assert take(events) == wanted


def test_a_pattern_that_is_none_is_the_callers_mistake():
    with pytest.raises(ConfigError, match="no regular expression"):
        make_filter((), "(")
    with pytest.raises(ConfigError, match="at least one"):
        listener(capacity=0)


def test_the_oldest_are_lost_and_counted():
    events = listener("A", "B", capacity=3)
    put(events, *"AXBXAXXXBXA")
    assert take(events) == [2, "A", "B", "A"], "what is not wanted pushes nothing out"
    put(events, "A")
    assert take(events) == ["A"]


def test_what_nobody_counted_stands_where_it_belongs():
    events = listener()
    put(events, "A")
    events.put_missed()
    put(events, "B")
    assert take(events) == ["A", None, "B"]
    events.put_missed()
    put(events, "A", "B", "C", "D")
    assert take(events) == [None, "B", "C", "D"], "a lost marker makes the count unknown"


async def test_waits_for_what_comes(nursery):
    events, found = listener(), []

    async def receive():
        found.extend([event.name async for event in events])

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    put(events, "A", "B")
    put(events, "C")
    await trio.testing.wait_all_tasks_blocked()
    events.end(None)
    await trio.testing.wait_all_tasks_blocked()
    assert found == ["A", "B", "C"]
    with pytest.raises(trio.EndOfChannel):
        await events.receive()


async def test_two_receivers_share(nursery):
    events, found = listener(), []

    async def receive():
        found.append((await events.receive()).name)

    nursery.start_soon(receive)
    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    put(events, "A")
    await trio.testing.wait_all_tasks_blocked()
    assert found == ["A"]
    put(events, "B")
    await trio.testing.wait_all_tasks_blocked()
    assert found == ["A", "B"]


async def test_after_a_lost_connection_what_came_before_is_given_first():
    events, cause = listener(), ConnectionLost("gone")
    put(events, "A")
    events.end(cause)
    events.end(None)
    put(events, "B")
    assert (await events.receive()).name == "A"
    with pytest.raises(ConnectionLost) as caught:
        await events.receive()
    assert caught.value.__cause__ is cause


async def test_closing_releases_who_waits(nursery):
    events, raised = listener(), []

    async def receive():
        with pytest.raises(trio.ClosedResourceError):
            await events.receive()
        raised.append(True)

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    await events.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert raised
    put(events, "A")
    with pytest.raises(trio.ClosedResourceError):
        events.receive_nowait()


async def test_a_cancelled_receive_loses_nothing(autojump_clock):
    events = listener()
    with trio.move_on_after(1) as scope:
        await events.receive()
    assert scope.cancelled_caught
    put(events, "A")
    with trio.CancelScope() as scope:
        scope.cancel()
        await events.receive()
    assert scope.cancelled_caught
    assert take(events) == ["A"]


def test_each_listener_has_its_own():
    listeners = Listeners()
    with listeners.add(make_filter(("A",), None), 5) as first, listeners.add(make_filter((), None), 5) as second:
        listeners.put(QmpEvent("A"))
        listeners.put(QmpEvent("B"))
        assert take(first) == ["A"]
        assert take(second) == ["A", "B"]
    listeners.put(QmpEvent("A"))
    with pytest.raises(trio.ClosedResourceError):
        first.receive_nowait()
