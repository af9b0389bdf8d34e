"""Messages that are handled as they lie in the receive buffer: `peek` and `skip` beside `next_message`."""

import pytest

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.messages import base, display
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Role


def sent(*messages, mini_header=True):
    server = ChannelCore(Role.SERVER, ChannelType.DISPLAY, mini_header=mini_header)
    for message in messages:
        server.send(message)
    return b"".join(server.data_to_send())


def new_core(data=b"", *, mini_header=True):
    core = ChannelCore(Role.CLIENT, ChannelType.DISPLAY, mini_header=mini_header)
    core.receive_data(data)
    return core


def test_nothing_is_found_where_nothing_is():
    core = new_core()
    assert core.peek() is None
    core.receive_data(sent(display.Mark())[:3])
    assert core.peek() is None
    core.receive_data(sent(display.Mark())[3:])
    found = core.peek()
    assert len(found) == 1
    assert list(found.table)[found.row][0] == display.Mark.numbers[Role.SERVER]


@pytest.mark.parametrize("mini_header", [True, False])
def test_what_was_skipped_counts_as_processed(mini_header):
    core = new_core(sent(*[display.Mark()] * 5, display.Reset(), mini_header=mini_header), mini_header=mini_header)
    assert isinstance(core.next_message(), display.Mark)
    assert core.last_serial == 0
    assert len(core.peek()) == 5
    core.skip(4)
    assert core.last_serial == 5
    assert core.traffic.messages_received == 5
    assert isinstance(core.next_message(), display.Reset)
    assert core.last_serial == 5
    assert core.next_message() is None
    assert core.last_serial == 6


def test_the_buffer_stays_until_everything_was_taken():
    core = new_core(sent(display.Mark(), display.Mark()))
    core.peek()
    with pytest.raises(LocalProtocolError):
        core.free_space()
    core.skip(1)
    assert not core.is_drained
    with pytest.raises(LocalProtocolError):
        core.free_space()
    core.skip(1)
    assert core.is_drained
    core.free_space()
    core.received(0)
    assert not core.is_drained  # who knows
    assert core.peek() is None
    assert core.next_message() is None
    assert core.is_drained


def test_more_than_there_is_cannot_be_skipped():
    core = new_core(sent(display.Mark(), display.Mark()))
    with pytest.raises(LocalProtocolError):
        core.skip(1)
    core.peek()
    for count in (3, -1):
        with pytest.raises(LocalProtocolError):
            core.skip(count)
    core.skip(0)
    assert core.traffic.messages_received == 0


def test_what_is_malformed_is_for_next_message_to_tell():
    core = new_core(sent(display.Mark()) + b"\x66\x00\xff\xff\xff\xff")
    assert len(core.peek()) == 1
    core.skip(1)
    assert core.peek() is None
    for _ in range(2):
        with pytest.raises(MalformedMessage, match="announces"):
            core.next_message()
        assert core.peek() is None


def test_sub_messages_are_not_skipped():
    # A message with a list behind it: its sub-messages come first, and until they were taken nothing is found.
    sub = b"\x66\x00\x00\x00\x00\x00"
    body = b"\x01\x00\x06\x00\x00\x00" + sub
    header = (1).to_bytes(8, "little") + b"\x08\x00" + len(body).to_bytes(4, "little") + b"\x00\x00\x00\x00"
    core = new_core(header + body, mini_header=False)
    assert len(core.peek()) == 1
    assert isinstance(core.next_message(), display.Mark)
    assert core.peek() is None
    with pytest.raises(LocalProtocolError):
        core.skip(0)
    assert core.next_message() is None


@pytest.mark.parametrize("window", [0, 1, 2, 7, 40])
def test_acks_are_those_of_single_messages(window):
    core = new_core(sent(base.SetAck(generation=1, window=window), *[display.Mark()] * 100))
    assert len(core.peek()) == 101
    assert isinstance(core.next_message(), display.Mark)
    core.skip(99)
    assert core.ack.acks == (100 // window if window else 0)


def acks(core):
    """How many ACKs are to be sent; nothing else is."""
    data = b"".join(core.data_to_send())
    assert data == b"\x02\x00\x00\x00\x00\x00" * (len(data) // 6)
    return len(data) // 6


def with_window(window, *, mini_header=True):
    core = new_core(sent(base.SetAck(generation=1, window=window), mini_header=mini_header), mini_header=mini_header)
    assert core.next_message() is None
    core.data_to_send()
    return core


def test_messages_are_acknowledged_before_they_are_handled_and_not_once_more():
    core = with_window(3)
    core.receive_data(sent(*[display.Mark()] * 7))
    core.acknowledge_early()
    assert acks(core) == 2
    assert core.traffic.messages_received == core.last_serial == 1  # SET_ACK
    core.acknowledge_early()  # twice is once
    core.skip(2)
    core.acknowledge_early()
    assert isinstance(core.next_message(), display.Mark)
    core.peek()
    core.skip(4)
    assert acks(core) == 0
    core.receive_data(sent(*[display.Mark()] * 2))  # the 8th and 9th
    core.peek()
    core.skip(2)
    assert acks(core) == 1


def test_nothing_is_acknowledged_early_before_an_ack_is_due():
    core = with_window(3)
    core.receive_data(sent(*[display.Mark()] * 2))
    core.acknowledge_early()
    core.skip(2)
    core.receive_data(sent(display.Mark()))
    core.acknowledge_early()
    assert acks(core) == 1
    unlimited = with_window(0)
    unlimited.acknowledge_early()
    unlimited.receive_data(sent(*[display.Mark()] * 50))
    unlimited.acknowledge_early()
    assert acks(unlimited) == 0


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_what_comes_behind_a_new_window_is_counted_by_that(window):
    early, late = with_window(2), with_window(2)
    for core in (early, late):
        core.receive_data(sent(*[display.Mark()] * 3, base.SetAck(generation=2, window=window), *[display.Mark()] * 8))
    early.acknowledge_early()
    assert acks(early) == 1
    while early.next_message():
        early.acknowledge_early()
    while late.next_message():
        pass
    assert (early.ack.left, early.ack.acks) == (late.ack.left, late.ack.acks)


def test_a_message_that_carries_others_is_not_acknowledged_early():
    core = with_window(1, mini_header=False)
    body = b"\x00" + b"\x01\x00\x07\x00\x00\x00" + b"\x66\x00\x00\x00\x00\x00"  # a list behind the first byte
    plain = (2).to_bytes(8, "little") + b"\x66\x00" + bytes(8)
    carrier = (3).to_bytes(8, "little") + b"\x66\x00" + len(body).to_bytes(4, "little") + (1).to_bytes(4, "little")
    core.receive_data(plain + carrier + body)
    assert len(core.peek()) == 2
    core.acknowledge_early()
    assert core.ack.acks == 1
