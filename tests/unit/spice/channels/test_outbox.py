"""The outbox and the channel that has one, over streams in memory."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectionLost
from atp_trio.spice.channels.inputs import InputsChannel
from atp_trio.spice.channels.outbox import HIGH_WATER, Outbox
from atp_trio.spice.channels.session import Session
from atp_trio.spice.channels.state import Link, LinkTimings
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.streams.base import AdaptedStream
from atp_trio.spice.wire import Role


def lockstep():
    """Two streams of which neither takes a byte before the other asks for it."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    return AdaptedStream(ours, address="memory"), theirs


async def test_closing_releases_who_waits(nursery):
    stream, _ = lockstep()
    outbox = Outbox(stream)
    nursery.start_soon(outbox.run)
    outbox.put([bytes(HIGH_WATER)])
    assert outbox.queued == HIGH_WATER
    assert not outbox.has_room
    done = []

    async def wait(name, method):
        await method()
        done.append(name)

    nursery.start_soon(wait, "room", outbox.wait_room)
    nursery.start_soon(wait, "drained", outbox.wait_drained)
    await trio.testing.wait_all_tasks_blocked()
    assert not done
    outbox.close()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(done) == ["drained", "room"]
    outbox.put([b"late"])
    assert outbox.queued == HIGH_WATER
    nursery.cancel_scope.cancel()


async def test_what_is_put_comes_out_in_order(nursery):
    ours, theirs = trio.testing.memory_stream_pair()
    outbox = Outbox(AdaptedStream(ours, address="memory"))
    nursery.start_soon(outbox.run)
    sent = [bytes([number]) * (number * 700) for number in range(1, 200)]
    for number, piece in enumerate(sent):
        outbox.put([piece])
        if number % 50 == 0:
            await trio.testing.wait_all_tasks_blocked()
    await outbox.wait_drained()
    assert outbox.queued == 0
    assert bytes(await theirs.receive_some(1 << 30)) == b"".join(sent)
    nursery.cancel_scope.cancel()


class Recorder(AdaptedStream):
    """Keeps what it is given to send, call by call."""

    def __init__(self):
        super().__init__(trio.testing.memory_stream_pair()[0], address="memory")
        self.calls = []

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        self.calls.append(bytes(data))


@pytest.mark.parametrize(("joins", "calls"), [(True, [b"onetwothree"]), (False, [b"one", b"two", b"three"])])
async def test_small_pieces_are_sent_together_or_each_by_itself(nursery, joins, calls):
    stream = Recorder()
    outbox = Outbox(stream, joins=joins)
    nursery.start_soon(outbox.run)
    outbox.put([b"one", b"two"])
    outbox.put([b"three"])
    await outbox.wait_drained()
    assert stream.calls == calls
    nursery.cancel_scope.cancel()


def fill(channel):
    """Send until the channel takes no more."""
    for _ in range(HIGH_WATER // 1000):
        try:
            channel.send_nowait(inputs.KeyScancode(data=bytes(2000)))
        except trio.WouldBlock:
            return
    pytest.fail("it takes everything")


@pytest.mark.parametrize("waiter", ["send", "wait_sent", "wait_motion"])
async def test_a_sender_that_waits_meets_the_end_of_the_connection(nursery, waiter):
    stream, theirs = lockstep()
    channel = InputsChannel(Session(), ChannelType.INPUTS, 0)

    async def connect(_):
        core = ChannelCore(Role.CLIENT, ChannelType.INPUTS, mini_header=True)
        return Link(stream, core, frozenset({0}), LinkTimings(0, 0, 0, 0))

    nursery.start_soon(channel.run, connect)
    await channel.wait_open()
    fill(channel)
    assert channel.statistics().queued_bytes >= HIGH_WATER
    calls = {
        "send": lambda: channel.send(inputs.KeyDown(code=1)),
        "wait_sent": channel.wait_sent,
        "wait_motion": channel.wait_motion,
    }
    failed = []

    async def call():
        with pytest.raises(ConnectionLost):
            await calls[waiter]()
        failed.append(True)

    nursery.start_soon(call)
    await trio.testing.wait_all_tasks_blocked()
    assert not failed
    await theirs.aclose()
    await channel.wait_closed()
    await trio.testing.wait_all_tasks_blocked()
    assert failed
    assert channel.statistics().phase.value == "closed"
