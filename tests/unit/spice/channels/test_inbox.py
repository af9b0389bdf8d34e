"""The inbox: who receives when, and whose turn it is."""

from __future__ import annotations

import itertools
import socket
import time

import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectionLost, MalformedMessage
from atp_trio.spice.channels import inbox as inbox_module
from atp_trio.spice.channels.inbox import Inbox
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.channels.pace import PATIENCE, Pace
from atp_trio.spice.messages import base, inputs
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.streams.base import AdaptedStream, ByteStream
from atp_trio.spice.streams.socket import SocketStream
from atp_trio.spice.wire import Role


class Peer:
    """An inbox on one end of a socket pair, and the server's core on the other."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        self.stream = SocketStream(ours, address="pair")
        self.socket = theirs
        self.server = ChannelCore(Role.SERVER, ChannelType.INPUTS, mini_header=True)
        self.core = ChannelCore(Role.CLIENT, ChannelType.INPUTS, mini_header=True)
        self.handled = []
        self.batches = 0
        self.inbox = Inbox(self.core, Outbox(self.stream), self.handled.append, self.batch)
        self.say(inputs.Init(modifiers=0))

    def batch(self):
        self.batches += 1

    def say(self, *messages):
        self.server.send(*messages)
        for piece in self.server.data_to_send():
            self.socket.sendall(piece)

    async def aclose(self):
        self.socket.close()
        await self.stream.aclose()


@pytest.fixture
async def peer():
    peer = Peer()
    yield peer
    await peer.aclose()


async def test_the_reader_handles_what_comes_and_a_caller_what_comes_while_it_sleeps(peer, nursery):
    nursery.start_soon(peer.inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    assert [type(one) for one in peer.handled] == [inputs.Init]
    peer.say(inputs.MouseMotionAck())
    # No checkpoint here: the reader has had no turn, and still the message is handled.
    peer.inbox.look()
    assert [type(one) for one in peer.handled] == [inputs.Init, inputs.MouseMotionAck]
    peer.inbox.look()
    peer.say(inputs.KeyModifiers(modifiers=4))
    await trio.testing.wait_all_tasks_blocked()
    assert [type(one) for one in peer.handled] == [inputs.Init, inputs.MouseMotionAck, inputs.KeyModifiers]
    assert peer.core.traffic.messages_received == 3


async def test_a_message_may_begin_with_a_caller_and_end_with_the_reader(peer, nursery):
    nursery.start_soon(peer.inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    peer.server.send(inputs.KeyModifiers(modifiers=2))
    (data,) = peer.server.data_to_send()
    for part in (data[:3], data[3:7], data[7:]):
        peer.socket.sendall(part)
        peer.inbox.look()
    peer.server.send(inputs.KeyModifiers(modifiers=1))
    (data,) = peer.server.data_to_send()
    peer.socket.sendall(data[:5])
    peer.inbox.look()
    peer.socket.sendall(data[5:])
    await trio.testing.wait_all_tasks_blocked()
    assert [one.modifiers for one in peer.handled] == [0, 2, 1]


async def test_what_is_received_is_acknowledged_before_it_is_handled(peer, nursery):
    unacknowledged = []

    def handle(message):
        if not unacknowledged:
            peer.server.receive_data(peer.socket.recv(4096))
            assert peer.server.next_message() is None
        unacknowledged.append(peer.server.send_window.unacknowledged)

    outbox = Outbox(peer.stream)
    nursery.start_soon(outbox.run)
    inbox = Inbox(peer.core, outbox, peer.handled.append, lambda: None, pace=Pace())
    nursery.start_soon(inbox.run)
    peer.socket.settimeout(5)
    peer.server.announce_window(3)
    peer.say()
    await trio.testing.wait_all_tasks_blocked()
    peer.server.receive_data(peer.socket.recv(4096))
    assert peer.server.next_message() is None  # ACK_SYNC
    inbox._handle = handle
    peer.say(*[inputs.KeyModifiers(modifiers=1)] * 3)
    inbox.look()
    assert unacknowledged == [0, 0, 0]


async def test_a_caller_does_not_look_before_the_reader_sleeps(peer):
    peer.inbox.look()
    assert peer.handled == []


async def test_a_stream_that_must_be_waited_for_is_left_to_the_reader(nursery):
    ours, theirs = trio.testing.memory_stream_pair()
    core = ChannelCore(Role.CLIENT, ChannelType.INPUTS, mini_header=True)
    handled = []
    inbox = Inbox(core, Outbox(AdaptedStream(ours, address="memory")), handled.append, lambda: None)
    nursery.start_soon(inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    server = ChannelCore(Role.SERVER, ChannelType.INPUTS, mini_header=True)
    server.send(inputs.Init(modifiers=0))
    await theirs.send_all(*server.data_to_send())
    inbox.look()
    assert handled == []
    await trio.testing.wait_all_tasks_blocked()
    assert len(handled) == 1
    nursery.cancel_scope.cancel()


async def test_what_is_wrong_reaches_the_caller_who_looks(peer, nursery):
    async def run():
        with pytest.raises((ConnectionLost, MalformedMessage)):
            await peer.inbox.run()

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    peer.socket.sendall(b"\x66\x00\xff\xff\xff\xff")  # KEY_MODIFIERS of 4 GiB
    with pytest.raises(MalformedMessage):
        peer.inbox.look()
    peer.socket.close()


async def test_the_end_of_the_stream_is_left_to_the_reader(peer):
    async with trio.open_nursery() as nursery:

        async def run():
            with pytest.raises(ConnectionLost, match="closed"):
                await peer.inbox.run()

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        peer.socket.close()
        peer.inbox.look()


async def test_others_get_their_turn_within_a_long_batch(peer, nursery, monkeypatch):
    monkeypatch.setattr(inbox_module, "SLICE", 0.0)
    peer.say(*[inputs.MouseMotionAck()] * 50)
    turns = []

    async def other():
        while True:
            turns.append(len(peer.handled))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(peer.inbox.run)
    nursery.start_soon(other)
    while len(peer.handled) < 51:
        await trio.lowlevel.checkpoint()
    nursery.cancel_scope.cancel()
    assert len({count for count in turns if 0 < count < 51}) > 20


async def test_an_ack_goes_out_before_the_rest_of_the_batch_is_handled(peer, nursery):
    peer.say(base.SetAck(generation=1, window=2))
    outbox = peer.inbox._outbox
    nursery.start_soon(outbox.run)
    seen = []

    def handle(message):
        seen.append(outbox.queued + peer.core.traffic.messages_sent)

    peer.inbox._handle = handle
    peer.say(*[inputs.MouseMotionAck()] * 4)
    nursery.start_soon(peer.inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    assert seen[-1] > seen[0]
    nursery.cancel_scope.cancel()


async def test_handling_time_is_counted(peer, nursery):
    def handle(_):
        end = time.perf_counter() + 1e-3
        while time.perf_counter() < end:
            pass

    peer.inbox._handle = handle
    nursery.start_soon(peer.inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    assert peer.inbox.handling_seconds >= 1e-3
    assert peer.batches == 2  # one when it began, with nothing there yet
    nursery.cancel_scope.cancel()


class GatheringStream(ByteStream):
    """A stream in memory that waits for as many bytes as it is told."""

    address = "memory"
    can_receive_nowait = True

    def __init__(self):
        self.data = b""
        self.low_water = 1
        self.arrived = trio.lowlevel.ParkingLot()

    def come(self, data):
        self.data += data
        if len(self.data) >= self.low_water:
            self.arrived.unpark_all()

    def set_receive_low_water(self, size):
        self.low_water = size
        return True

    async def wait_receivable(self):
        await trio.lowlevel.checkpoint()
        while len(self.data) < self.low_water:
            await self.arrived.park()

    def receive_nowait(self, buffer):
        taken, self.data = self.data[: len(buffer)], self.data[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken) or None

    async def send_all(self, data): ...

    async def wait_send_all_might_not_block(self): ...

    async def receive_some(self, max_bytes=None): ...

    async def aclose(self): ...


class Gathering:
    """An inbox that gathers, and when it handled what."""

    def __init__(self, monkeypatch):
        # The jumping clock counts as one that goes by itself, and messages are received at its times.
        monkeypatch.setattr(inbox_module, "_is_clock_going", lambda: True)
        monkeypatch.setattr(inbox_module.time, "perf_counter", trio.current_time)
        self.stream, self.handled = GatheringStream(), []
        self.server = ChannelCore(Role.SERVER, ChannelType.INPUTS, mini_header=True)
        core = ChannelCore(Role.CLIENT, ChannelType.INPUTS, mini_header=True)
        self.inbox = Inbox(core, Outbox(self.stream), self.handle, lambda: None, pace=Pace())
        self.waits_for = None

    def handle(self, message):
        self.handled.append(trio.current_time())
        return self.waits_for() if self.waits_for else None

    def say(self):
        if not self.server.traffic.messages_sent:
            self.server.send(inputs.Init(modifiers=0))
        self.server.send(inputs.KeyModifiers(modifiers=0))
        self.stream.come(b"".join(self.server.data_to_send()))

    async def say_steadily(self, count=100):
        for _ in range(count):
            await trio.sleep(1e-3)
            self.say()


@pytest.fixture
async def gathering(nursery, monkeypatch):
    gathering = Gathering(monkeypatch)
    nursery.start_soon(gathering.inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    yield gathering
    nursery.cancel_scope.cancel()


async def test_a_steady_stream_is_gathered(autojump_clock, gathering):
    await gathering.say_steadily()
    assert len(set(gathering.handled)) < 50
    latest = gathering.handled[-50:]
    assert max(b - a for a, b in itertools.pairwise(latest)) <= PATIENCE


async def test_the_last_of_a_stream_waits_no_longer_than_the_patience(autojump_clock, gathering):
    await gathering.say_steadily(101)
    assert gathering.stream.low_water > 1
    last = trio.current_time()
    await trio.sleep(1)
    assert len(gathering.handled) == 102
    assert gathering.handled[-1] - last <= PATIENCE


async def test_the_first_after_a_quiet_time_is_not_waited_for(autojump_clock, gathering):
    await gathering.say_steadily()
    await trio.sleep(1)
    for _ in range(3):
        gathering.say()
        await trio.testing.wait_all_tasks_blocked()
        assert gathering.handled[-1] == trio.current_time()
        await trio.sleep(1)


async def test_a_handler_that_waits_is_not_cut_short(autojump_clock, gathering):
    await gathering.say_steadily()
    done = []

    async def wait():
        await trio.sleep(1)
        done.append(True)

    gathering.waits_for = wait
    gathering.say()
    await trio.sleep(60)
    assert len(done) >= 1
    assert len(gathering.handled) == 102


async def test_a_handler_is_not_cut_short_by_a_patience_that_ended_meanwhile(autojump_clock, gathering):
    await gathering.say_steadily(101)
    assert gathering.stream.low_water > 1
    done = []

    async def wait():
        await trio.sleep(1)
        done.append(True)

    before = len(gathering.handled)
    gathering.waits_for = wait
    while len(gathering.stream.data) < gathering.stream.low_water:
        gathering.say()
    autojump_clock.jump(2 * PATIENCE)  # before the reader, which was woken, gets its turn
    await trio.sleep(60)
    assert len(done) == len(gathering.handled) - before > 0
    assert len(gathering.handled) == gathering.server.traffic.messages_sent


async def test_a_large_message_is_waited_for_as_a_whole(autojump_clock, gathering):
    gathering.say()
    gathering.server.send(base.Ping(id=1, timestamp=0, data=bytes(100_000)))
    data = b"".join(gathering.server.data_to_send())
    gathering.stream.come(data[:5000])
    await trio.testing.wait_all_tasks_blocked()
    assert gathering.stream.low_water == len(data) - 5000
    for start in range(5000, len(data) - 5000, 5000):
        gathering.stream.come(data[start : start + 5000])
        await trio.sleep(1)
    assert len(gathering.stream.data) == 95_000  # nobody was woken
    gathering.stream.come(data[5000 + len(gathering.stream.data) :])
    await trio.testing.wait_all_tasks_blocked()
    assert not gathering.stream.data
    assert gathering.stream.low_water == 1


async def test_leaving_ends_a_reader_that_gathers(autojump_clock, monkeypatch):
    gathering = Gathering(monkeypatch)
    with trio.move_on_after(0.1) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.inbox.run)
            await gathering.say_steadily(1000)
    assert scope.cancelled_caught


async def test_a_clock_that_a_test_moves_lets_nothing_be_gathered(mock_clock, nursery, monkeypatch):
    gathering = Gathering(monkeypatch)
    monkeypatch.undo()
    nursery.start_soon(gathering.inbox.run)
    for _ in range(30):
        time.sleep(1e-3)  # noqa: ASYNC251 - the other tasks are waited for below
        mock_clock.jump(1e-3)
        gathering.say()
        await trio.testing.wait_all_tasks_blocked()
    assert gathering.stream.low_water == 1
    assert len(gathering.handled) == 31
    nursery.cancel_scope.cancel()
