"""The windows of acknowledgement by themselves; with a core around them they are tested in `test_channel`."""

import pytest

from atp_trio.spice.messages import base
from atp_trio.spice.protocol.flow import AckWindow, SendWindow


@pytest.mark.parametrize("window", [0, 1, 2, 7, 40])
def test_messages_are_counted_together_as_one_by_one(window):
    one_by_one, together = AckWindow(), AckWindow()
    for ack in (one_by_one, together):
        ack.set(1, window)
    for count in (1, 0, 3, 7, 100, 2, 13):
        assert sum(one_by_one.count() for _ in range(count)) == together.count(count)
        assert (one_by_one.left, one_by_one.acks) == (together.left, together.acks)


def test_the_room_keeps_half_a_window_until_the_server_waits():
    ack = AckWindow()
    assert ack.room is None  # it never waits
    ack.set(1, 4)
    rooms = []
    for _ in range(7):
        rooms.append(ack.room)
        ack.count()
    assert rooms == [6, 5, 4, 3, 6, 5, 4]


def announced(window, generation=1):
    sender = SendWindow(generation=generation - 1)
    sender.announced(sender.set_ack(window))
    return sender


def test_an_ack_sync_of_another_generation_opens_nothing():
    sender = announced(1, generation=2)
    sender.unacknowledged = 3
    sender.sync(1)
    sender.acknowledge()
    assert sender.unacknowledged == 3
    assert not sender.is_open
    sender.sync(2)
    sender.acknowledge()
    assert sender.unacknowledged == 2
    assert sender.is_open


def test_more_acks_than_messages_leave_none():
    sender = announced(2)
    sender.unacknowledged = 3
    sender.sync(1)
    sender.acknowledge()
    sender.acknowledge()
    assert sender.unacknowledged == 0


def test_a_window_of_zero_never_closes():
    sender = announced(0)
    sender.unacknowledged = 1000
    assert sender.is_open


def test_generations_wrap():
    assert SendWindow(generation=2**32 - 1).set_ack(20) == base.SetAck(generation=0, window=20)
