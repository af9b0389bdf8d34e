"""Who watches a state misses none, and the slow are told."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from atp_trio.errors import ConnectionLost, LocalProtocolError
from atp_trio.supervision.state import ConnectionEvent, ConnectionState, Host, Machine
from atp_trio.supervision.watch import DEPTH, StateBoard, StateSource

S, E = ConnectionState, ConnectionEvent


@pytest.fixture
def source():
    return StateSource(Machine("vm1"))


def pending(receiver):
    changes = []
    try:
        while True:
            changes.append(receiver.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return changes


async def test_the_present_comes_first_then_every_change(source):
    source.apply(E.CONNECT)
    async with source.watch() as receiver:
        source.apply(E.ESTABLISHED)
        cause = ConnectionLost("cut")
        source.apply(E.LOST, cause=cause)
        changes = [await receiver.receive() for _ in range(3)]
    assert [(one.previous, one.state, one.cause) for one in changes] == [
        (None, S.CONNECTING, None),
        (S.CONNECTING, S.CONNECTED, None),
        (S.CONNECTED, S.DISCONNECTED, cause),
    ]


async def test_a_reader_waits(source, nursery):
    got = []

    async def read():
        while True:
            got.append((await receiver.receive()).state)

    receiver = source.watch()
    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    assert got == [S.DISCONNECTED]
    source.apply(E.CONNECT)
    await wait_all_tasks_blocked()
    assert got == [S.DISCONNECTED, S.CONNECTING]
    nursery.cancel_scope.cancel()


async def test_one_reader_at_a_time(source, nursery):
    receiver = source.watch()
    await receiver.receive()
    nursery.start_soon(receiver.receive)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await receiver.receive()
    source.apply(E.CONNECT)


async def test_a_cancelled_receive_loses_nothing(source):
    receiver = source.watch()
    with trio.CancelScope() as scope:
        scope.cancel()
        await receiver.receive()
    assert scope.cancelled_caught
    assert (await receiver.receive()).state is S.DISCONNECTED
    with trio.move_on_after(0):
        await receiver.receive()
    source.apply(E.CONNECT)
    assert (await receiver.receive()).state is S.CONNECTING


async def test_a_slow_reader_is_told_and_has_the_newest(source):
    receiver = source.watch()
    for _ in range(50):
        source.apply(E.CONNECT)
        source.apply(E.LOST)
    source.apply(E.CONNECT)
    changes = pending(receiver)
    assert len(changes) == DEPTH
    assert changes[0].missed == 1 + 101 - DEPTH
    assert [one.missed for one in changes[1:]] == [0] * (DEPTH - 1)
    assert changes[-1].state is S.CONNECTING
    assert receiver._numbers == {}


async def test_a_busy_subject_does_not_push_out_a_quiet_one():
    board = StateBoard()
    quiet, busy = board.add(Host("quiet")), board.add(Host("busy"))
    receiver = board.watch()
    quiet.apply(E.CONNECT)
    for _ in range(100):
        busy.apply(E.CONNECT)
        busy.apply(E.LOST)
    of_quiet = [one.state for one in pending(receiver) if one.subject == Host("quiet")]
    assert of_quiet == [S.DISCONNECTED, S.CONNECTING]


async def test_end(source):
    receiver = source.watch()
    source.apply(E.CONNECT)
    source.close()
    assert [change.state async for change in receiver] == [S.DISCONNECTED, S.CONNECTING]
    with pytest.raises(trio.EndOfChannel):
        await receiver.receive()
    # Who comes too late is told the last state, and that it is the last.
    assert [change.state async for change in source.watch()] == [S.CONNECTING]


async def test_close_wakes_the_reader_and_is_forgotten(source, nursery):
    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await receiver.receive()

    receiver = source.watch()
    await receiver.receive()
    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    await receiver.aclose()
    await receiver.aclose()
    assert not source._listeners
    with pytest.raises(trio.ClosedResourceError):
        receiver.receive_nowait()


async def test_wait_state(source, nursery):
    assert (await source.wait_state(S.DISCONNECTED)).previous is None
    got = []

    async def wait():
        got.append(await source.wait_state(S.CONNECTED, S.FAILED))

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    source.apply(E.CONNECT)
    await wait_all_tasks_blocked()
    assert not got
    # It is left again before the waiter runs.
    source.apply(E.ESTABLISHED)
    source.apply(E.LOST)
    await wait_all_tasks_blocked()
    assert [(one.state, one.previous) for one in got] == [(S.CONNECTED, S.CONNECTING)]
    assert not source._wishes


async def test_a_cancelled_wait_leaves_nothing(source):
    with trio.move_on_after(0):
        await source.wait_state(S.CONNECTED)
    assert not source._wishes


async def test_waiting_for_what_cannot_come(source, nursery):
    cause = ConnectionLost("cut")

    async def wait():
        with pytest.raises(ConnectionLost, match="machine vm1 is disconnected: cut, and stays so") as caught:
            await source.wait_state(S.CONNECTED)
        assert caught.value.__cause__ is cause

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    source.apply(E.CONNECT)
    source.apply(E.LOST, cause=cause)
    source.close()
    await wait_all_tasks_blocked()
    await wait()


async def test_what_cannot_be_meant_is_told_to_nobody(source):
    receiver = source.watch()
    await receiver.receive()
    assert not source.allows(E.ESTABLISHED)
    with pytest.raises(LocalProtocolError):
        source.apply(E.ESTABLISHED)
    assert pending(receiver) == []


async def test_a_board_shows_who_comes_and_goes():
    board = StateBoard()
    host = board.add(Host("h"))
    assert board.add(Host("h")) is host
    host.apply(E.CONNECT)
    receiver = board.watch()
    machine = board.add(Machine("vm1"))
    machine.apply(E.CONNECT)
    assert board.get(Machine("vm1")) is machine
    machine.close()
    assert (board.get(Machine("vm1")), len(board.present)) == (None, 1)
    again = board.add(Machine("vm1"))
    machine.close()  # the old one: the new one stays
    assert board.get(Machine("vm1")) is again
    board.close()
    assert [(str(one.subject), one.state) async for one in receiver] == [
        ("host h", S.CONNECTING),
        ("machine vm1", S.DISCONNECTED),
        ("machine vm1", S.CONNECTING),
        ("machine vm1", S.DISCONNECTED),
    ]
    assert board.present == ()


@given(st.lists(st.sampled_from(["read", *E]), max_size=200))
def test_changes_form_a_chain(steps):
    """Whenever nothing was missed each change begins where the one before ended; the last one read is the present state."""

    async def run():
        source = StateSource(Host("h"))
        receiver = source.watch()
        seen = []
        for step in [*steps, *(["read"] * (DEPTH + 1))]:
            if step != "read":
                if source.allows(step):
                    source.apply(step)
            elif receiver._pending:
                seen.append(receiver.receive_nowait())
        assert seen[-1].state is source.state
        for before, after in pairwise(seen):
            assert after.missed or after.previous is before.state

    trio.run(run)
