"""A kept connection under schedules of faults: one session at a time, states that tell the truth, delays within the bounds."""

from __future__ import annotations

import gc
import weakref

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from atp_trio.errors import AuthenticationFailed, ConfigError, ConnectFailed, ConnectionLost
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.state import ConnectionEvent, ConnectionState, Machine
from atp_trio.supervision.supervisor import Supervisor
from atp_trio.supervision.watch import StateSource

S, E = ConnectionState, ConnectionEvent


def fails(*errors):
    """A session that fails with these, one after another, and then stays connected."""
    left = list(errors)

    async def session(life):
        if left:
            raise left.pop(0)
        life.established()
        await trio.sleep_forever()

    return session


async def connects(life):
    life.established()
    await trio.sleep_forever()


@pytest.fixture
def source():
    return StateSource(Machine("vm1"))


async def test_tries_again_by_the_backoff(source, nursery, autojump_clock):
    errors = [ConnectFailed(str(number)) for number in range(4)]
    supervisor = Supervisor(source, fails(*errors), ReconnectConfig(jitter=0))
    receiver = source.watch()
    begun = trio.current_time()
    nursery.start_soon(supervisor.run)
    await source.wait_state(S.CONNECTED)
    assert trio.current_time() - begun == pytest.approx(1 + 2 + 4 + 8)
    changes = [await receiver.receive() for _ in range(1 + 2 * 5)]
    assert [one.state for one in changes[1:]] == [S.CONNECTING, S.DISCONNECTED] * 4 + [S.CONNECTING, S.CONNECTED]
    waits = changes[2:-2:2]
    assert [one.cause for one in waits] == errors
    assert [one.retry_at - one.at for one in waits] == pytest.approx([1, 2, 4, 8])
    nursery.cancel_scope.cancel()


async def test_a_loss_after_a_steady_time_begins_at_the_shortest_delay(source, nursery, autojump_clock):
    lost_at = []

    async def session(life):
        life.established()
        await trio.sleep(3600)
        lost_at.append(trio.current_time())
        raise ConnectionLost("cut")

    nursery.start_soon(Supervisor(source, session, ReconnectConfig(jitter=0)).run)
    for _ in range(3):
        await source.wait_state(S.CONNECTED)
        await source.wait_state(S.DISCONNECTED)
        assert source.present.retry_at == lost_at[-1] + 1
    nursery.cancel_scope.cancel()


async def test_gives_up_and_is_asked_again(source, nursery, autojump_clock):
    errors = [AuthenticationFailed("expired")] * 3
    supervisor = Supervisor(source, fails(*errors), ReconnectConfig(attempts=2))
    nursery.start_soon(supervisor.run)
    change = await source.wait_state(S.FAILED)
    assert change.cause is errors[0]
    assert change.cause.__notes__ == ["gave up after 2 further attempts"]
    await trio.sleep(3600)
    assert source.state is S.FAILED
    supervisor.connect_now()
    await source.wait_state(S.CONNECTED)
    nursery.cancel_scope.cancel()


async def test_what_no_attempt_can_heal_is_not_tried_again(source, nursery, autojump_clock):
    cause = ConfigError("no such file")
    nursery.start_soon(Supervisor(source, fails(cause)).run)
    assert (await source.wait_state(S.FAILED)).cause is cause
    nursery.cancel_scope.cancel()


async def test_a_loss_is_told_before_it_is_given_up(source, nursery, autojump_clock):
    async def session(life):
        life.established()
        raise ConnectionLost("cut")

    receiver = source.watch()
    nursery.start_soon(Supervisor(source, session, ReconnectConfig(attempts=0)).run)
    await source.wait_state(S.FAILED)
    states = [(await receiver.receive()).state for _ in range(5)]
    assert states == [S.DISCONNECTED, S.CONNECTING, S.CONNECTED, S.DISCONNECTED, S.FAILED]
    nursery.cancel_scope.cancel()


async def test_connect_now_cuts_the_wait_short_and_only_that(source, nursery, autojump_clock):
    supervisor = Supervisor(source, fails(ConnectFailed("1"), ConnectFailed("2")), ReconnectConfig(initial=1000, maximum=1000))
    begun = trio.current_time()
    nursery.start_soon(supervisor.run)
    for _ in range(2):
        await wait_all_tasks_blocked()
        assert source.state is S.DISCONNECTED
        supervisor.connect_now()
        await wait_all_tasks_blocked()
    assert source.state is S.CONNECTED
    supervisor.connect_now()
    await wait_all_tasks_blocked()
    assert (source.state, trio.current_time()) == (S.CONNECTED, begun)
    nursery.cancel_scope.cancel()


async def test_what_was_asked_while_connected_is_not_done_later(source, nursery, autojump_clock):
    cut = trio.Event()

    async def session(life):
        life.established()
        await cut.wait()
        raise ConnectionLost("cut")

    supervisor = Supervisor(source, session)
    nursery.start_soon(supervisor.run)
    await source.wait_state(S.CONNECTED)
    supervisor.connect_now()
    cut.set()
    change = await source.wait_state(S.DISCONNECTED)
    assert change.retry_at >= change.at + 1
    nursery.cancel_scope.cancel()


async def test_a_session_that_returns_ends_it(source):
    async def session(life):
        life.established()

    await Supervisor(source, session).run()
    assert (source.state, source.present.event) == (S.DISCONNECTED, E.CLOSED)


@pytest.mark.parametrize("session", [connects, fails(ConnectFailed("no")), fails(ConfigError("no"))])
async def test_cancelled_in_any_state_it_is_disconnected_and_plans_nothing(source, session):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Supervisor(source, session).run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (source.state, source.present.retry_at) == (S.DISCONNECTED, None)


async def test_a_bug_goes_through(source):
    async def session(life):
        life.established()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Supervisor(source, session).run()
    assert source.state is S.DISCONNECTED
    assert isinstance(source.present.cause, ZeroDivisionError)


async def test_a_bug_beside_an_expected_error_goes_through(source):
    async def session(life):
        raise ExceptionGroup("tasks", [ConnectionLost("cut"), ZeroDivisionError()])

    with pytest.RaisesGroup(ConnectionLost, ZeroDivisionError):
        await Supervisor(source, session).run()


async def test_tasks_of_a_session_may_fail_together(source, nursery, autojump_clock):
    first = ConnectionLost("first")

    async def session(life):
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [first]), ConnectionLost("second")])

    nursery.start_soon(Supervisor(source, session, ReconnectConfig(attempts=0)).run)
    assert (await source.wait_state(S.FAILED)).cause is first
    nursery.cancel_scope.cancel()


async def test_it_runs_once(source, nursery):
    supervisor = Supervisor(source, connects)
    nursery.start_soon(supervisor.run)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await supervisor.run()
    assert source.state is S.CONNECTED
    nursery.cancel_scope.cancel()


async def test_impaired_and_whole_again(source, nursery):
    step = trio.Event()
    audio = ConnectionLost("playback:0")

    async def session(life):
        life.impaired(audio)
        await step.wait()
        life.established()
        await trio.sleep_forever()

    nursery.start_soon(Supervisor(source, session).run)
    assert (await source.wait_state(S.DEGRADED)).cause is audio
    step.set()
    await source.wait_state(S.CONNECTED)
    nursery.cancel_scope.cancel()


async def test_an_ended_session_tells_nothing(source, nursery, autojump_clock):
    lives = []

    async def session(life):
        lives.append(life)
        raise ConnectFailed("no")

    nursery.start_soon(Supervisor(source, session).run)
    await wait_all_tasks_blocked()
    lives[0].established()
    assert source.state is S.DISCONNECTED
    nursery.cancel_scope.cancel()


# --- schedules of faults


@attrs.frozen
class Turn:
    """What one session does."""

    connecting: float
    establishes: bool
    impaired: bool
    holds: float
    grouped: bool


turns = st.builds(
    Turn,
    connecting=st.floats(0, 20),
    establishes=st.booleans(),
    impaired=st.booleans(),
    holds=st.floats(0, 30),
    grouped=st.booleans(),
)
configs = st.builds(
    ReconnectConfig,
    initial=st.floats(0.1, 2),
    maximum=st.floats(2, 60),
    jitter=st.floats(0, 1),
    attempts=st.none() | st.integers(0, 4),
    restarts=st.none() | st.integers(1, 4),
    window=st.floats(1, 200),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(turns, max_size=8), configs, st.lists(st.floats(1, 40), max_size=4))
def test_schedules_of_faults(schedule, config, asking):
    """Whatever happens when: at most one session, no state lies, delays in bounds, nothing left running."""
    left, running, ended = list(schedule), [0], []

    async def session(life):
        running[0] += 1
        assert running[0] == 1
        try:
            await play(life)
        finally:
            running[0] -= 1
            ended.append(trio.current_time())

    async def play(life):
        assert source.state is S.CONNECTING
        if not left:
            life.established()
            await trio.sleep_forever()
        turn = left.pop(0)
        await trio.sleep(turn.connecting)
        if turn.establishes:
            (life.impaired(ConnectionLost("part")) if turn.impaired else life.established())
            assert source.state.is_usable
            await trio.sleep(turn.holds)
        error = ConnectionLost("cut") if turn.establishes else ConnectFailed("no")
        raise ExceptionGroup("tasks", [error]) if turn.grouped else error

    async def ask():
        for pause in asking:
            await trio.sleep(pause)
            supervisor.connect_now()
        while source.state is not S.CONNECTED or left:
            await trio.sleep(1000)
            supervisor.connect_now()

    async def watch():
        before = None
        async for change in receiver:
            assert change.missed == 0
            assert before is None or change.previous is before.state
            if change.retry_at is not None:
                assert change.at == ended[-1]
                assert config.initial <= change.retry_at - change.at + 1e-6
                assert change.retry_at - change.at <= config.maximum + 1e-6
                assert change.cause is not None
            before = change

    async def main():
        nonlocal source, supervisor, receiver
        source = StateSource(Machine("vm1"))
        supervisor = Supervisor(source, session, config)
        receiver = source.watch()
        async with trio.open_nursery() as outer:
            outer.start_soon(watch)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.run)
                await ask()
                assert running == [1]
                nursery.cancel_scope.cancel()
            assert (source.state, running) == (S.DISCONNECTED, [0])
            source.close()

    source = supervisor = receiver = None
    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_nothing_of_a_lost_session_is_held_by_the_next(source, nursery, autojump_clock):
    class Picture:
        """What a session holds much of."""

    pictures = []

    async def session(life):
        picture = Picture()
        pictures.append(weakref.ref(picture))
        life.established()
        await trio.sleep(1)
        if len(pictures) == 1:
            raise ConnectionLost("gone")
        await trio.sleep_forever()

    nursery.start_soon(Supervisor(source, session).run)
    await trio.sleep(20)
    gc.collect()
    assert [picture() is not None for picture in pictures] == [False, True]
    nursery.cancel_scope.cancel()
