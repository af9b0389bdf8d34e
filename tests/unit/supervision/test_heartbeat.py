"""A peer that is gone is found within two intervals, one that lives is left alone."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from atp_trio.errors import ConfigError, ConnectionLost, HypervisorError
from atp_trio.supervision.heartbeat import HELD_UP, Gone, Heartbeat, HeartbeatConfig, HeartbeatCore, Probe, Wait


def test_silence_probe_gone():
    core = HeartbeatCore(HeartbeatConfig(interval=30, patience=10), 100)
    assert core.decide(100) == Wait(130)
    assert core.decide(129.9) == Wait(130)
    assert core.decide(130) == Probe(140)
    assert core.decide(130) == Wait(140)  # it is given once
    assert core.decide(140) == Gone(40)


def test_a_sign_of_life_begins_anew():
    core = HeartbeatCore(HeartbeatConfig(), 0)
    assert core.decide(30) == Probe(45)
    core.heard(20)  # before the probe: says nothing about it
    assert core.decide(45) == Gone(25)
    core.heard(31)
    assert core.decide(45) == Wait(61)
    core.heard(5)  # older than what is known
    assert core.decide(45) == Wait(61)


def test_a_loop_that_was_held_up_asks_again():
    core = HeartbeatCore(HeartbeatConfig(), 0)
    assert core.decide(3600) == Probe(3615)
    assert core.decide(3615 + HELD_UP + 0.1) == Probe(3631.1)
    assert core.decide(3631.1) == Gone(3631.1)


@pytest.mark.parametrize(
    "setting", [{"interval": 0}, {"interval": math.inf}, {"patience": 0}, {"interval": 5, "patience": 6}, {"interval": True}]
)
def test_settings_that_cannot_be_meant(setting):
    with pytest.raises(ConfigError, match=list(setting)[-1]):
        HeartbeatConfig(**setting)


@given(st.floats(0.01, 100), st.floats(0.01, 1), st.lists(st.floats(0, 50), max_size=20), st.floats(0, 1000))
def test_a_peer_that_vanishes_is_found_within_two_intervals(interval, patience, pauses, vanished_after):
    """Signs of life come at any times, until the peer vanishes; probes are answered at once while it lives."""

    async def run():
        vanished_at = trio.current_time() + vanished_after
        last_sign = trio.current_time()
        signs, at = [], last_sign
        for pause in pauses:
            at += pause
            signs.append(at)

        def last_heard():
            return max((one for one in signs if one <= min(trio.current_time(), vanished_at)), default=-math.inf)

        async def probe():
            if trio.current_time() >= vanished_at:
                await trio.sleep_forever()

        config = HeartbeatConfig(interval=interval, patience=interval * patience)
        with pytest.raises(ConnectionLost, match="no sign of life"):
            await Heartbeat(config, probe, last_heard).run()
        assert vanished_at <= trio.current_time() <= vanished_at + 2 * interval + 1e-6

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_a_peer_that_talks_is_not_probed(autojump_clock):
    async def probe():
        raise AssertionError

    heartbeat = Heartbeat(HeartbeatConfig(), probe, lambda: trio.current_time() - 29)
    with trio.move_on_after(3600) as scope:
        await heartbeat.run()
    assert scope.cancelled_caught
    assert heartbeat.probes == 0


async def test_without_traffic_to_go_by_it_is_probed_at_every_interval(autojump_clock):
    asked = []

    async def probe():
        asked.append(trio.current_time())
        await trio.sleep(2)

    heartbeat = Heartbeat(HeartbeatConfig(), probe)
    begun = trio.current_time()
    with trio.move_on_after(100):
        await heartbeat.run()
    assert [at - begun for at in asked] == [30, 62, 94]
    assert (heartbeat.probes, heartbeat.latency) == (3, 2)


async def test_a_peer_that_answers_by_traffic_alone(autojump_clock):
    """A probe whose answer does not come, while something else does: the peer lives."""
    heard = [trio.current_time()]

    async def probe():
        await trio.sleep(3)
        heard.append(trio.current_time())
        await trio.sleep_forever()

    heartbeat = Heartbeat(HeartbeatConfig(), probe, lambda: heard[-1])
    with trio.move_on_after(300) as scope:
        await heartbeat.run()
    assert scope.cancelled_caught
    assert heartbeat.probes > 3
    assert heartbeat.latency is None


async def test_a_probe_that_fails(autojump_clock):
    cause = HypervisorError("no such call")

    async def probe():
        raise cause

    with pytest.raises(ConnectionLost, match="did not take a probe: no such call") as caught:
        await Heartbeat(HeartbeatConfig(), probe).run()
    assert caught.value.__cause__ is cause


async def test_a_late_loop_is_no_dead_peer():
    """The answer was there, but the loop was held up past the deadline: the peer is asked again, not given up."""
    clock = MockClock()
    answers = []

    async def run():
        async def probe():
            if not answers:
                answers.append("late")
                clock.jump(50)  # nobody runs meanwhile
                await trio.sleep_forever()
            answers.append("in time")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(Heartbeat(HeartbeatConfig(), probe).run)
            for _ in range(2):
                await trio.testing.wait_all_tasks_blocked()
                clock.jump(30)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    await trio.to_thread.run_sync(lambda: trio.run(run, clock=clock))
    assert answers[:2] == ["late", "in time"]
