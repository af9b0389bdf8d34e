"""Schedules of faults against machines that are kept, under a mock clock: whatever the network does, nothing is wrong afterwards.

The network is the fault proxy over streams in memory, the machine the embedded server. A schedule has steps, each a fault
or something that a program does, and a time after it. While it runs: no state lies, there is at most one connection a channel, no
attempt comes before the backoff allows it. Afterwards all heals, every waiter was answered, no key is down and no task is left.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from atp_trio.errors import AtpError, ConnectFailed
from atp_trio.keyboard import Key
from atp_trio.spice.codec.video import available_codecs
from atp_trio.spice.manager import open_spice_manager
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.ticket import prepare
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.state import Channel, ConnectionState, Machine
from atp_trio.testing.faults import LinkConditions
from atp_trio.testing.faults.proxy import FaultProxy
from atp_trio.testing.server import ServerOptions, SpiceServer
from atp_trio.testing.server.link import shared_key
from atp_trio.testing.server.machine import Machine as ServedMachine

S = ConnectionState
RECONNECT = ReconnectConfig(initial=1, maximum=8)
INTERVAL = 30.0
CHANNELS = ["main", "display", "inputs", "cursor", None]
FAULTS = ["cut", "hang_up", "half_open", "garbage", "stall", "blackhole", "refuse", "withhold_acks", "heal"]
DEEDS = ["press", "hold", "release", "look", "wait", "channel", "kill", "start", "password", "connect_now"]

faults = st.tuples(st.sampled_from(FAULTS), st.sampled_from(CHANNELS))
deeds = st.tuples(st.sampled_from(DEEDS), st.none())
pauses = st.sampled_from([0, 0.0015, 0.05, 1.1, 20, 70])
schedules = st.lists(st.tuples(faults | deeds, pauses), max_size=12)


class World:
    """One machine, its network, and a program that uses it."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.options = ServerOptions(size=(32, 24), network_test=False, scene="text", rate=2, password="a")
        self.proxy = FaultProxy(LinkConditions(delay=0.001), 0)
        self.served = set()
        self.is_listening = True
        self.ticket = "a"
        self.attempts = []
        self.waiting = 0
        self.silent_since = math.inf
        self.server = SpiceServer(self.options, ServedMachine(self.options))

    async def open(self):
        await trio.lowlevel.checkpoint()
        if not self.is_listening:
            raise ConnectFailed("nobody listens")
        client, near = memory_stream_pair()
        self.nursery.start_soon(self.proxy.serve_stream, near, self.reach)
        return client

    async def reach(self):
        await trio.lowlevel.checkpoint()
        far, near = memory_stream_pair()
        self.nursery.start_soon(self.serve, near)
        return far

    async def serve(self, stream):
        scope = trio.CancelScope()
        self.served.add(scope)
        with scope:
            await self.server.serve_stream(stream)
        self.served.discard(scope)

    # --- what happens

    async def do(self, what, channel):
        if what == "heal" and channel in {None, "main"}:
            self.silent_since = math.inf
        elif what == "blackhole" and channel in {None, "main"}:
            self.silent_since = min(self.silent_since, trio.current_time())
        if what in FAULTS:
            getattr(self.proxy, what)(channel)
        else:
            getattr(self, f"do_{what}")()
        await trio.lowlevel.checkpoint()

    def do_press(self):
        self.nursery.start_soon(self.answered, lambda vm: vm.inputs.press("shift+a"))

    def do_hold(self):
        self.nursery.start_soon(self.answered, lambda vm: vm.inputs.key_down("ctrl"))

    def do_release(self):
        self.nursery.start_soon(self.answered, lambda vm: vm.inputs.key_up("ctrl"))

    def do_look(self):
        self.nursery.start_soon(self.answered, lambda vm: vm.display.screenshot())

    def do_wait(self):
        self.nursery.start_soon(self.answered, lambda vm: vm.display.wait_until(lambda _: False))

    def do_channel(self):
        self.nursery.start_soon(self.answered, lambda vm: vm.wait_channel(ChannelType.INPUTS))

    async def answered(self, deed):
        """The program does something: it succeeds, or is told in our words that it cannot."""
        self.waiting += 1
        try:
            await deed(self.manager.get_vm_connection("vm"))
        except AtpError:
            pass
        finally:
            self.waiting -= 1

    def do_kill(self):
        self.is_listening = False
        for scope in self.served:
            scope.cancel()

    def do_start(self):
        if not self.is_listening:
            self.server = SpiceServer(self.options, ServedMachine(self.options))
            self.server.set_password(self.ticket)
            self.is_listening = True

    def do_password(self):
        self.ticket = "b" if self.ticket == "a" else "a"
        self.server.set_password(self.ticket)

    def do_connect_now(self):
        self.manager.connect_now("vm")

    # --- what must hold

    def check(self):
        states = {change.subject: change.state for change in self.manager.states.present}
        verdict = self.manager.get_verdict("vm")
        try:
            vm = self.manager.get_vm_connection("vm")
        except AtpError:
            assert verdict.state is not S.CONNECTED or states[Machine("vm")] is not S.CONNECTED
        else:
            assert states[Machine("vm")].is_usable
            names = [channel.name for channel in vm.channels]
            assert len(names) == len(set(names))
            # What is told to work does; what is told to be down may be linked, and not have been heard yet.
            told = {subject.name for subject, state in states.items() if isinstance(subject, Channel) and state is S.CONNECTED}
            assert told <= set(names)
            assert not told & set(verdict.down)
            if states[Machine("vm")] is S.CONNECTED:
                assert {"main:0", "display:0", "inputs:0"} <= set(names)
            assert trio.current_time() - self.silent_since <= 2 * INTERVAL
        # One connection a channel, and for a moment the one that asks whether anybody is at home.
        linked = Counter(self.server.open_channels)
        assert all(count == 1 for count in linked.values())

    async def watch(self):
        """Attempts come no sooner than the backoff allows: from the second on, and unless somebody asked for one."""
        due = None
        async with self.manager.get_state("vm").watch() as changes:
            async for change in changes:
                if change.state is S.DISCONNECTED and change.retry_at is not None:
                    assert RECONNECT.initial <= change.retry_at - change.at <= RECONNECT.maximum
                    due = change.retry_at
                elif change.state is S.CONNECTING and due is not None:
                    self.attempts.append(change.at - due)
                    due = None

    async def run(self, schedule):
        async with open_spice_manager(reconnect=RECONNECT, heartbeat=HeartbeatConfig(interval=INTERVAL)) as self.manager:
            self.manager.add_vm("vm", self.open, password=lambda: self.ticket)
            self.nursery.start_soon(self.watch)
            source = self.manager.get_state("vm")
            for (what, channel), pause in schedule:
                await self.do(what, channel)
                await trio.sleep(pause)
                await wait_all_tasks_blocked()
                self.check()
            self.proxy.heal()
            self.do_start()
            await self.heal(source)
            await self.check_works()
            self.proxy.cut()  # whoever waits for the display is answered
            await trio.sleep(INTERVAL)
            assert not self.waiting
        if not any(what == "connect_now" for (what, _), _ in schedule):
            assert all(0 <= late <= 0.001 for late in self.attempts)

    async def heal(self, source):
        with trio.fail_after(6 * INTERVAL):
            while True:
                await source.wait_state(S.CONNECTED)
                # What is silently gone is found, and what was lost is linked, within this.
                await trio.sleep(2 * INTERVAL + 2 * RECONNECT.maximum)
                if source.state is S.CONNECTED:
                    return

    async def check_works(self):
        vm = self.manager.get_vm_connection("vm")
        assert {channel.name for channel in vm.channels} == {"main:0", "display:0", "inputs:0", "cursor:0"}
        self.server.pause_scene()
        await trio.sleep(1)
        assert np.array_equal((await vm.display.screenshot()).pixels, self.server.surface())
        assert vm.display.display_statistics().failed == {}
        assert self.server.keys_down == vm.inputs.held_keys
        assert set(vm.inputs.held_keys) <= {Key.LEFTCTRL}
        await vm.inputs.release_all()
        await trio.sleep(1)
        assert self.server.keys_down == ()


async def simulate(schedule):
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await world.run(schedule)
        world.proxy.heal()
        await trio.sleep(2 * INTERVAL)
        assert world.server.keys_down == ()
        assert world.proxy.connections == ()
        assert not nursery.child_tasks


@example([(("look", None), 1.1), (("hold", None), 1.1), (("cut", "inputs"), 0.0015)])
@example([(("look", None), 1.1), (("hold", None), 1.1), (("cut", "inputs"), 0.0015), (("release", None), 0.0015)])
@example([(("look", None), 1.1), (("blackhole", "main"), 70)])
@example([(("look", None), 1.1), (("refuse", "display"), 0), (("cut", "display"), 0.05)])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedule=schedules)
def test_whatever_the_network_does_it_heals(schedule):
    prepare()  # what would go to a thread, for which a clock that jumps does not wait
    available_codecs()
    shared_key()
    trio.run(simulate, schedule, clock=MockClock(autojump_threshold=0))
