import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError, ConnectFailed, NotConnected
from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.lanes import LaneConfig, Lanes, Plan, close_lane, plan
from atp_trio.hypervisor.uri import HostUri

from .fake_libvirt import FakeError, new_gate

CONFIG = LaneConfig(prompt=2, maximum=4, patience=0.25)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"free": 1}, Plan("take")),
        ({}, Plan("open")),
        ({"since": [9.9]}, Plan("open")),
        ({"since": [9.9, 9.8]}, Plan("wait", 10.05)),
        ({"since": [9.9], "opening": 1}, Plan("wait", 10.15)),
        ({"opening": 2}, Plan("wait", math.inf)),
        ({"since": [9.0, 9.8]}, Plan("open")),  # one is slow
        ({"since": [1.0, 2.0, 3.0, 9.9]}, Plan("wait", math.inf)),  # no more than the maximum
        ({"since": [1.0, 2.0, 3.0], "opening": 1}, Plan("wait", math.inf)),
    ],
)
def test_plan(state, expected):
    decision = plan(CONFIG, **{"free": 0, "since": [], "opening": 0, "now": 10.0} | state)
    assert decision.action == expected.action
    assert decision.until == pytest.approx(expected.until)


@given(st.integers(0, 3), st.lists(st.floats(0, 10), max_size=6), st.integers(0, 6))
def test_plan_never_exceeds_its_limits_and_never_waits_in_the_past(free, since, opening):
    decision = plan(CONFIG, free=free, since=since, opening=opening, now=10.0)
    if decision.action == "open":
        assert not free
        assert len(since) + opening < CONFIG.maximum
        assert sum(10 - at < CONFIG.patience for at in since) + opening < CONFIG.prompt
    if decision.action == "wait":
        assert decision.until >= 10.0


@pytest.mark.parametrize("wrong", [{"prompt": 0}, {"maximum": 0}, {"patience": 0}, {"streams": 0}, {"prompt": 1.5}])
def test_settings_that_cannot_be_meant(wrong):
    with pytest.raises(ConfigError):
        LaneConfig(**wrong)


@pytest.fixture
async def lanes(libvirt, nursery):
    lanes = Lanes(CONFIG, lambda: Lane(HostUri.parse("qemu:///system"), Credentials(), lambda lane: None), libvirt.load, nursery)
    yield lanes
    for lane in lanes.close():
        await close_lane(lane)
    with trio.fail_after(5):
        while libvirt.connections:  # noqa: ASYNC110 - closed in threads
            await trio.sleep(0.001)


async def test_a_lane_is_used_again(lanes, libvirt):
    first = await lanes.acquire()
    lanes.release(first)
    assert await lanes.acquire() is first
    lanes.release(first)
    assert libvirt.opened == 1


async def test_slow_calls_make_room_for_others_up_to_the_maximum(lanes, autojump_clock):
    started = trio.current_time()
    held = [await lanes.acquire() for _ in range(2)]
    assert trio.current_time() == started
    held += [await lanes.acquire() for _ in range(2)]
    assert trio.current_time() == pytest.approx(started + CONFIG.patience)
    assert lanes.slow(trio.current_time()) == 2
    with trio.move_on_after(10) as scope:
        await lanes.acquire()
    assert scope.cancelled_caught
    assert lanes.count == 4
    for lane in held:
        lanes.release(lane)


async def test_who_waits_gets_what_is_given_back_in_order(lanes, autojump_clock):
    held = [await lanes.acquire() for _ in range(2)]
    await trio.sleep(1)
    held += [await lanes.acquire() for _ in range(2)]
    got = []

    async def want(name):
        lane = await lanes.acquire()
        got.append(name)
        lanes.release(lane)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(want, name)
            await trio.testing.wait_all_tasks_blocked()
        assert got == []
        lanes.release(held.pop())
    assert got == ["a", "b", "c"]
    for lane in held:
        lanes.release(lane)


async def test_more_than_enough_lanes_are_closed(lanes, libvirt, autojump_clock, wait_until):
    held = [await lanes.acquire() for _ in range(2)]
    await trio.sleep(1)
    held += [await lanes.acquire() for _ in range(2)]
    assert len(libvirt.connections) == 4
    for lane in held:
        lanes.release(lane)
    await wait_until(lambda: len(libvirt.connections) == CONFIG.prompt)
    assert lanes.count == CONFIG.prompt


async def test_a_lane_that_ended_is_not_used_again(lanes, libvirt, wait_until):
    lane = await lanes.acquire()
    lane.connection.break_()
    lanes.release(lane)
    other = await lanes.acquire()
    assert other is not lane
    lanes.release(other)
    await wait_until(lambda: len(libvirt.connections) == 1)


async def test_kept_lanes_count_for_themselves(lanes):
    kept = [await lanes.acquire_kept() for _ in range(6)]
    lane = await lanes.acquire()
    assert lanes.count == 7
    for one in [*kept, lane]:
        lanes.release(one)


async def test_cancelled_while_opening(lanes, libvirt, wait_until):
    libvirt.gate = new_gate()
    with trio.move_on_after(0.01) as scope:
        await lanes.acquire()
    assert scope.cancelled_caught
    assert lanes.count == 1  # its thread goes on, and counts
    libvirt.gate.set()
    await wait_until(lambda: libvirt.opened and not libvirt.connections)
    await wait_until(lambda: lanes.count == 0)


async def test_opening_that_fails(lanes, libvirt):
    libvirt.failure = FakeError("refused")
    with pytest.raises(ConnectFailed):
        await lanes.acquire()
    assert lanes.count == 0
    libvirt.failure = None
    lanes.release(await lanes.acquire())


async def test_who_waits_when_the_lanes_are_closed_is_told(lanes, autojump_clock):
    held = [await lanes.acquire() for _ in range(2)]

    async def want():
        with pytest.raises(NotConnected):
            await lanes.acquire()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(want)
        await trio.testing.wait_all_tasks_blocked()
        closing = lanes.close()
    assert set(closing) == set(held)
    with pytest.raises(NotConnected):
        await lanes.acquire()
    with pytest.raises(NotConnected):
        await lanes.acquire_kept()
    for lane in held:
        lanes.release(lane)
        await close_lane(lane)
