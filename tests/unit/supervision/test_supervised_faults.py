"""Supervisor, heartbeat and fault proxy together, under a mock clock: whatever the network does, it is noticed and healed."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from atp_trio.errors import ConnectFailed, ConnectionLost
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import Heartbeat, HeartbeatConfig
from atp_trio.supervision.state import ConnectionState, Host
from atp_trio.supervision.supervisor import Supervisor
from atp_trio.supervision.watch import StateSource
from atp_trio.testing.faults import LinkConditions
from atp_trio.testing.faults.proxy import FaultProxy

S = ConnectionState
INTERVAL = 30
CONNECT_WITHIN = 5
FAULTS = ["cut", "hang_up", "half_open", "stall", "blackhole", "refuse"]


class World:
    """A server that echoes, behind a proxy, and a client that is kept connected to it."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.proxy = FaultProxy(LinkConditions(delay=0.01), 0)
        self.source = StateSource(Host("echo"))
        self.supervisor = Supervisor(self.source, self.session, ReconnectConfig())
        self.sessions = 0

    async def serve(self, stream):
        try:
            async for data in stream:
                await stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await stream.aclose()

    async def connect_to_server(self):
        await trio.lowlevel.checkpoint()
        far, server = memory_stream_pair()
        self.nursery.start_soon(self.serve, server)
        return far

    async def session(self, life):
        self.sessions += 1
        assert self.sessions == 1
        client, near = memory_stream_pair()
        self.nursery.start_soon(self.proxy.serve_stream, near, self.connect_to_server)
        try:
            await self.talk(client, life)
        finally:
            self.sessions -= 1
            await trio.aclose_forcefully(client)

    async def talk(self, stream, life):
        with trio.move_on_after(CONNECT_WITHIN) as scope:
            await self.ask(stream, ConnectFailed)
        if scope.cancelled_caught:
            raise ConnectFailed("no answer")
        life.established()
        answered = [trio.current_time(), trio.Event()]

        async def read():
            try:
                async for _ in stream:
                    answered[0] = trio.current_time()
                    answered[1].set()
            except trio.BrokenResourceError as error:
                raise ConnectionLost("reset") from error
            raise ConnectionLost("end")

        async def probe():
            answered[1] = trio.Event()
            try:
                await stream.send_all(b"?")
            except trio.BrokenResourceError as error:
                raise ConnectionLost("reset") from error
            await answered[1].wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(Heartbeat(HeartbeatConfig(interval=INTERVAL), probe, lambda: answered[0]).run)

    async def ask(self, stream, error):
        try:
            await stream.send_all(b"!")
            if await stream.receive_some() != b"!":
                raise error("end")
        except trio.BrokenResourceError as cause:
            raise error("reset") from cause


def in_world(test):
    """Run a test in a world of its own, under a clock that jumps."""

    async def main():
        async with trio.open_nursery() as outer:
            world = World(outer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.supervisor.run)
                await world.source.wait_state(S.CONNECTED)
                await test(world)
                nursery.cancel_scope.cancel()
            assert (world.source.state, world.sessions) == (S.DISCONNECTED, 0)
            world.proxy.heal()
            # What the last session left behind ends by itself.
            with trio.fail_after(3600):
                await world.proxy.wait_until(lambda: not world.proxy.connections)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("fault", FAULTS[:-1])
@pytest.mark.parametrize("after", [0, 7.5, 29.99, 30, 44, 1000])
def test_found_within_two_intervals_and_connected_again(fault, after):
    async def test(world):
        await trio.sleep(after)
        struck_at = trio.current_time()
        getattr(world.proxy, fault)()
        change = await world.source.wait_state(S.DISCONNECTED)
        assert trio.current_time() - struck_at <= 2 * INTERVAL
        assert isinstance(change.cause, ConnectionLost)
        world.proxy.heal()
        with trio.fail_after(2 + CONNECT_WITHIN):
            await world.source.wait_state(S.CONNECTED)

    in_world(test)


def test_a_network_that_is_down_for_long():
    """Attempts go on at growing delays, and the first one after it has healed succeeds."""

    async def test(world):
        world.proxy.blackhole()
        await world.source.wait_state(S.DISCONNECTED)
        attempts = 0
        with trio.move_on_after(3600):
            while True:
                await world.source.wait_state(S.CONNECTING)
                await world.source.wait_state(S.DISCONNECTED)
                attempts += 1
        # Six short delays, and then one a minute at most, each attempt taking five seconds.
        assert 3600 / (60 + CONNECT_WITHIN) <= attempts <= 6 + 3600 / (45 + CONNECT_WITHIN)
        world.proxy.heal()
        with trio.fail_after(60 + 2 * CONNECT_WITHIN):
            await world.source.wait_state(S.CONNECTED)

    in_world(test)


def test_a_peer_that_answers_is_kept():
    async def test(world):
        with trio.move_on_after(24 * 3600) as scope:
            await world.source.wait_state(S.DISCONNECTED, S.DEGRADED, S.FAILED)
        assert scope.cancelled_caught

    in_world(test)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([*FAULTS, "heal", "garbage"])), max_size=12))
def test_any_faults_heal(schedule):
    async def test(world):
        for pause, fault in schedule:
            await trio.sleep(pause)
            getattr(world.proxy, fault)()
        world.proxy.heal()
        # A loss that has not been noticed yet, the longest delay, and the time to connect.
        await trio.sleep(2 * INTERVAL + 60 + 2 * CONNECT_WITHIN)
        assert world.source.state is S.CONNECTED
        assert len(world.proxy.connections) == 1

    in_world(test)
