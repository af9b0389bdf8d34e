"""The data stage: what is answered, counted and handed on, in which order, and what each thing wrong is called."""

import struct
from itertools import pairwise

import pytest

from atp_trio.errors import LocalProtocolError, MalformedMessage, UnexpectedMessage, UnknownMessage
from atp_trio.spice.messages import base, cursor, display, inputs, main
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.buffer import BLOCK, KEEP
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.limit import MAX_BODY_FROM_CLIENT, body_limit
from atp_trio.spice.wire import Message, Role

ACK, ACK_SYNC, PONG = 2, 1, 3
SET_ACK, PING, WAIT, NOTIFY, LIST = 3, 4, 5, 7, 8
MOTION_ACK = 111


def client(channel_type: int = ChannelType.PLAYBACK, *, mini: bool = True, **options) -> ChannelCore:
    return ChannelCore(Role.CLIENT, channel_type, mini_header=mini, **options)


def server(channel_type: int = ChannelType.PLAYBACK, *, mini: bool = True, **options) -> ChannelCore:
    return ChannelCore(Role.SERVER, channel_type, mini_header=mini, **options)


def mini(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<HI", kind, len(body)) + body


def full(serial: int, kind: int, body: bytes = b"", sub_list: int = 0) -> bytes:
    return struct.pack("<QHII", serial, kind, len(body), sub_list) + body


def framed(message: Message, sender: Role = Role.SERVER) -> bytes:
    return mini(message.number(sender), message.encode())


def set_ack(generation: int, window: int) -> bytes:
    return mini(SET_ACK, struct.pack("<II", generation, window))


def ping(id_: int, padding: bytes = b"") -> bytes:
    return mini(PING, struct.pack("<IQ", id_, 1000 + id_) + padding)


def listing(*subs: bytes, before: bytes = b"") -> bytes:
    """A body that holds `before`, a list, and these sub-messages."""
    at, offsets = len(before) + 2 + 4 * len(subs), []
    for sub in subs:
        offsets.append(at)
        at += len(sub)
    return before + struct.pack(f"<H{len(subs)}I", len(subs), *offsets) + b"".join(subs)


def take_all(core: ChannelCore) -> list[object]:
    """Every message that is there; of what is passed over, the kind of error."""
    found: list[object] = []
    while True:
        try:
            message = core.next_message()
        except (UnknownMessage, UnexpectedMessage) as error:
            found.append(type(error))
        else:
            if message is None:
                return found
            found.append(message)


def given(core: ChannelCore, data: bytes) -> list[object]:
    core.receive_data(data)
    return take_all(core)


def sent(core: ChannelCore) -> list[tuple[int, bytes]]:
    """Type and body of what is to be sent, with mini headers."""
    data, found = b"".join(core.data_to_send()), []
    while data:
        kind, size = struct.unpack_from("<HI", data)
        found.append((kind, data[6 : 6 + size]))
        data = data[6 + size :]
    return found


NOTIFY_MESSAGE = base.Notify(time_stamp=1, severity=base.NotifySeverity.WARN, visibility=base.NotifyVisibility.LOW, message=b"hi")
A_NOTIFY = framed(NOTIFY_MESSAGE)

# --- PING and ACK


@pytest.mark.parametrize("padding", [0, 1, 256_000])
def test_a_ping_is_answered_with_twelve_bytes_whatever_its_padding(padding):
    core = client(ChannelType.MAIN)
    assert given(core, ping(7, bytes(padding))) == []
    assert sent(core) == [(PONG, struct.pack("<IQ", 7, 1007))]
    assert core.traffic.pings_answered == 1


def test_the_memory_of_the_network_test_is_given_back():
    core = client(ChannelType.MAIN)
    blocks = [core.free_space().obj]
    for padding in (0, 256000, 0):
        given(core, ping(7, bytes(padding)))
        blocks.append(core.free_space().obj)
    assert [later is earlier for earlier, later in pairwise(blocks)] == [True, False, True]


def test_the_server_is_given_the_pong():
    core = server()
    assert given(core, framed(base.Pong(id=7, timestamp=9), Role.CLIENT)) == [base.Pong(id=7, timestamp=9)]


@pytest.mark.parametrize(("window", "messages", "acks"), [(0, 100, 0), (1, 5, 5), (20, 19, 0), (20, 20, 1), (20, 61, 3)])
def test_one_ack_for_every_window_of_messages(window, messages, acks):
    core = client()
    given(core, set_ack(3, window))
    assert sent(core) == [(ACK_SYNC, struct.pack("<I", 3))]  # and SET_ACK itself is not counted
    assert len(given(core, A_NOTIFY * messages)) == messages
    assert sent(core) == [(ACK, b"")] * acks
    assert core.ack.acks == acks


def test_the_set_ack_that_changes_a_window_counts_in_the_old_one():
    core = client()
    given(core, set_ack(1, 2) + A_NOTIFY)
    assert sent(core) == [(ACK_SYNC, struct.pack("<I", 1))]
    given(core, set_ack(2, 3))
    assert sent(core) == [(ACK, b""), (ACK_SYNC, struct.pack("<I", 2))]
    given(core, A_NOTIFY * 2)
    assert sent(core) == []
    given(core, A_NOTIFY)
    assert sent(core) == [(ACK, b"")]
    given(core, set_ack(3, 0) + A_NOTIFY * 10)
    assert sent(core) == [(ACK_SYNC, struct.pack("<I", 3))]


def test_pings_and_unknown_messages_count_like_any_other():
    core = client()
    given(core, set_ack(1, 2))
    sent(core)
    assert given(core, ping(1) + mini(999)) == [UnknownMessage]
    assert sent(core) == [(PONG, struct.pack("<IQ", 1, 1001)), (ACK, b"")]


def test_an_ack_is_due_before_its_message_is_handled():
    core = client()
    given(core, set_ack(1, 1))
    sent(core)
    core.receive_data(ping(1))
    core.next_message()
    assert [kind for kind, _ in sent(core)] == [ACK, PONG]


# --- the sender's window


def test_a_sender_waits_once_more_than_two_windows_are_unacknowledged():
    core = server()
    assert core.send_window.is_open
    core.announce_window(2)
    assert sent(core) == [(SET_ACK, struct.pack("<II", 1, 2))]
    for _ in range(4):
        core.send(NOTIFY_MESSAGE)
        assert core.send_window.is_open
    core.send(NOTIFY_MESSAGE)
    assert not core.send_window.is_open
    given(core, mini(ACK))  # before the ACK_SYNC: it belongs to an older window
    assert not core.send_window.is_open
    given(core, mini(ACK_SYNC, struct.pack("<I", 1)) + mini(ACK))
    assert core.send_window.is_open
    assert core.send_window.unacknowledged == 3


@pytest.mark.parametrize("core", [client(), server()], ids=["as the client", "too large"])
def test_a_window_that_cannot_be_announced_changes_nothing(core):
    window = core.send_window
    with pytest.raises(LocalProtocolError):
        core.announce_window(2**32 if core.role is Role.SERVER else 20)
    assert core.data_to_send() == []
    assert (window.window, window.generation, window.unacknowledged) == (0, 0, 0)


# --- serials


def test_a_message_is_processed_when_the_next_one_is_asked_for():
    core = client()
    core.receive_data(A_NOTIFY * 2)
    serials = []
    while core.next_message() is not None:
        serials.append(core.last_serial)
    assert serials == [0, 1]
    assert core.last_serial == 2


@pytest.mark.parametrize(
    ("serials", "processed"),
    [
        ((1, 2, 3), [1, 2, 3]),
        ((1, 5, 6, 100), [1, 5, 6, 100]),
        ((3, 3, 3), [3, 4, 5]),
        ((9, 2, 1), [9, 10, 11]),
        ((0, 0), [1, 2]),
        ((2**64 - 1,), [2**64 - 1]),
    ],
    ids=["in order", "skipping", "repeating", "going back", "zero", "largest"],
)
def test_serials_of_full_headers_skip_and_never_stand_still(serials, processed):
    core = client(mini=False)
    found = []
    for serial in serials:
        given(core, full(serial, NOTIFY, A_NOTIFY[6:]))
        found.append(core.last_serial)
    assert found == processed


def test_unknown_messages_and_pings_have_serials_too():
    core = client()
    given(core, mini(999) + ping(1) + set_ack(1, 1))
    assert core.last_serial == 3


def test_full_headers_of_ours_are_numbered_from_one():
    core = client(mini=False)
    given(core, full(1, PING, bytes(12)) + full(2, PING, bytes(12)))
    core.send_body(101, b"x")
    data = b"".join(core.data_to_send())
    assert data == full(1, PONG, bytes(12)) + full(2, PONG, bytes(12)) + full(3, 101, b"x")


# --- lists


def sub_wait(serial: int) -> bytes:
    return framed(base.WaitForChannels(wait_list=(base.WaitForChannel(ChannelType.DISPLAY, 1, serial),)))


def wait(serial: int) -> base.WaitForChannels:
    return base.WaitForChannels(wait_list=(base.WaitForChannel(ChannelType.DISPLAY, 1, serial),))


def test_the_messages_of_a_list_come_in_order_and_are_one_message_of_the_wire():
    core = client()
    given(core, set_ack(1, 1))
    sent(core)
    core.receive_data(mini(LIST, listing(sub_wait(1), A_NOTIFY, sub_wait(2))))
    assert core.next_message() == wait(1)
    assert core.next_message().message == b"hi"
    assert core.next_message() == wait(2)
    assert (core.last_serial, sent(core)) == (1, [])  # the list is not over: neither counted nor processed
    assert core.next_message() is None
    assert (core.last_serial, sent(core)) == (2, [(ACK, b"")])
    assert core.traffic.messages_received == 2


def test_sub_messages_then_the_ack_then_the_message():
    core = client(mini=False)
    given(core, full(1, SET_ACK, struct.pack("<II", 1, 1)))
    core.data_to_send()
    notify = A_NOTIFY[6:]
    core.receive_data(full(2, NOTIFY, listing(sub_wait(8), mini(PING, bytes(12)), before=notify), sub_list=len(notify)))
    assert core.next_message() == wait(8)
    assert core.data_to_send() == []
    message = core.next_message()
    assert isinstance(message, base.Notify)
    kinds = [struct.unpack_from("<QH", data)[1] for data in split_full(core)]
    assert kinds == [PONG, ACK]
    assert core.last_serial == 1
    assert core.next_message() is None
    assert core.last_serial == 2


def split_full(core: ChannelCore) -> list[bytes]:
    data, found = b"".join(core.data_to_send()), []
    while data:
        size = 18 + struct.unpack_from("<I", data, 10)[0]
        found.append(data[:size])
        data = data[size:]
    return found


def test_unknown_sub_messages_are_passed_over_one_by_one():
    core = client()
    assert given(core, mini(LIST, listing(mini(999), A_NOTIFY, mini(998)))) == [UnknownMessage, NOTIFY_MESSAGE, UnknownMessage]
    assert core.last_serial == 1


def test_an_empty_list_is_nothing():
    core = client()
    assert given(core, mini(LIST, listing()) + A_NOTIFY) == [NOTIFY_MESSAGE]
    assert core.last_serial == 2


BAD_LISTS = {
    "nested": listing(mini(LIST, listing())),
    "no count": b"\1",
    "count past the end": struct.pack("<H", 3),
    "offset past the end": struct.pack("<HI", 1, 1000),
    "sub-message past the end": listing(struct.pack("<HI", NOTIFY, 1000)),
    "sub-messages that share bytes": struct.pack("<HII", 2, 10, 10) + mini(999),
    "a sub-message that is too short": listing(mini(NOTIFY, b"x")),
}


@pytest.mark.parametrize("body", BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_bad_list_is_malformed_and_hides_nothing_before_it(body):
    core = client()
    core.receive_data(A_NOTIFY * 2 + mini(LIST, body) + A_NOTIFY)
    assert isinstance(core.next_message(), base.Notify)
    assert isinstance(core.next_message(), base.Notify)
    with pytest.raises(MalformedMessage):
        core.next_message()
    assert core.last_serial == 2


def test_65535_sub_messages_are_taken_one_by_one():
    core = client()
    body = listing(*[mini(NOTIFY, A_NOTIFY[6:])] * 5000)
    assert len(given(core, mini(LIST, body))) == 5000
    huge = struct.pack("<H", 65535) + struct.pack("<I", 2) * 65535
    with pytest.raises(MalformedMessage):
        given(core, mini(LIST, huge))


# --- what is handed on


@pytest.mark.parametrize(
    "message",
    [
        wait(7),
        NOTIFY_MESSAGE,
        base.Disconnecting(time_stamp=5, reason=0),
        base.Migrate(flags=3),
        base.MigrateData(data=b"state"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_not_the_transports_own_business_is_handed_on(message):
    core = client()
    assert given(core, framed(message)) == [message]
    assert sent(core) == []


def test_bytes_are_views_of_the_receive_buffer_until_more_is_received():
    core = client()
    (message,) = given(core, framed(base.MigrateData(data=b"state")))
    assert isinstance(message.data, memoryview)
    assert message.data == b"state"
    given(core, mini(999, b"other bytes come here"))
    assert message.data != b"state"


# --- what is wrong


def test_an_unknown_message_leaves_the_core_usable():
    core = client()
    assert given(core, mini(999, b"abc") + A_NOTIFY) == [UnknownMessage, NOTIFY_MESSAGE]
    assert core.traffic.skipped == {"type 999": 1}


def test_an_unexpected_message_leaves_the_core_usable():
    core = client(ChannelType.INPUTS)
    init = framed(inputs.Init(modifiers=0))
    found = given(core, mini(MOTION_ACK) + init + init + mini(MOTION_ACK))
    assert found == [UnexpectedMessage, inputs.Init(modifiers=0), UnexpectedMessage, inputs.MouseMotionAck()]
    assert core.traffic.skipped == {"MouseMotionAck": 1, "Init": 1}


def test_an_unexpected_message_is_not_even_read():
    core = client(ChannelType.INPUTS)
    with pytest.raises(UnexpectedMessage, match="KeyModifiers before Init"):
        given_raw(core, mini(102))
    assert take_all(core) == []


def given_raw(core: ChannelCore, data: bytes) -> Message | None:
    core.receive_data(data)
    return core.next_message()


@pytest.mark.parametrize(
    "data",
    [mini(NOTIFY, b"x"), mini(SET_ACK, bytes(7)), mini(PING, bytes(11)), struct.pack("<HI", 101, 2**32 - 1)],
    ids=["Notify", "SetAck", "Ping", "a body over the limit"],
)
def test_a_malformed_message_ends_the_core_for_good(data):
    core = client()
    core.receive_data(A_NOTIFY + data + A_NOTIFY)
    assert isinstance(core.next_message(), base.Notify)
    with pytest.raises(MalformedMessage) as caught:
        core.next_message()
    for again in (core.next_message, core.free_space, lambda: core.receive_data(A_NOTIFY)):
        with pytest.raises(MalformedMessage) as repeated:
            again()
        assert repeated.value is caught.value
    assert core.last_serial == 1
    core.send_body(1, b"")  # what is to be said at the end can still be said
    assert sent(core) == [(1, b"")]


@pytest.mark.parametrize("data", [struct.pack("<HI", 101, 2**32 - 1), mini(LIST, b"\1")], ids=["framing", "list"])
def test_an_error_that_is_kept_does_not_keep_the_buffer_exported(data):
    """The garbage collector crashed the interpreter when it met such a memoryview in the cycle of core, error and traceback."""
    core = client()
    core.receive_data(data)
    with pytest.raises(MalformedMessage) as caught:
        core.next_message()
    core._buffer.data.release()  # raises BufferError if C still holds it
    assert caught.value.__traceback__ is not None
    with pytest.raises(ValueError, match="released"):
        len(core._buffer.data)


def test_the_three_errors_are_three():
    assert not issubclass(UnknownMessage, UnexpectedMessage | MalformedMessage)
    assert not issubclass(UnexpectedMessage, UnknownMessage | MalformedMessage)
    assert not issubclass(MalformedMessage, UnknownMessage | UnexpectedMessage)


@pytest.mark.parametrize("core", [client, server])
@pytest.mark.parametrize("channel_type", ChannelType)
def test_the_body_limit_is_exact(core, channel_type):
    made = core(channel_type)
    limit = body_limit(channel_type, made.role.peer)
    assert given(made, struct.pack("<HI", 999, limit)) == []
    made = core(channel_type)
    made.receive_data(struct.pack("<HI", 999, limit + 1))
    with pytest.raises(MalformedMessage, match=f"{limit + 1} bytes"):
        made.next_message()


def test_a_limit_of_the_callers_own():
    core = client(max_body=10)
    assert given(core, mini(999, bytes(10))) == [UnknownMessage]
    with pytest.raises(MalformedMessage, match="the limit here is 10"):
        given(core, mini(999, bytes(11)))


def test_a_channel_of_an_unknown_type_has_the_shared_messages():
    core = client(77)
    assert given(core, A_NOTIFY + mini(101)) == [NOTIFY_MESSAGE, UnknownMessage]


# --- receiving


def test_receiving_before_everything_was_taken_is_refused():
    core = client()
    core.receive_data(A_NOTIFY * 2)
    core.next_message()
    for receive in (core.free_space, lambda: core.receive_data(b"x")):
        with pytest.raises(LocalProtocolError, match="when the core is drained"):
            receive()
    assert len(take_all(core)) == 1
    assert len(core.free_space()) > 0


def test_data_can_be_received_many_times_before_the_first_question():
    core = client()
    for byte in A_NOTIFY:
        core.receive_data(bytes([byte]))
    core.receive_data(b"")
    assert take_all(core) == [NOTIFY_MESSAGE]
    assert core.traffic.bytes_received == len(A_NOTIFY)


def test_what_came_with_the_link_is_received_first():
    core = client(received=A_NOTIFY + A_NOTIFY[:5])
    assert take_all(core) == [NOTIFY_MESSAGE]
    assert given(core, A_NOTIFY[5:]) == [NOTIFY_MESSAGE]
    assert core.traffic.bytes_received == 2 * len(A_NOTIFY)


def test_much_may_have_come_with_the_link():
    count = 3 * BLOCK // len(A_NOTIFY)
    assert len(take_all(client(received=A_NOTIFY * count))) == count


def test_a_hundred_thousand_messages_byte_by_byte():
    core = client(ChannelType.INPUTS, received=framed(inputs.Init(modifiers=0)))
    take_all(core)
    taken, motion_ack = 0, mini(MOTION_ACK)
    for byte in motion_ack * 100_000:
        core.free_space()[0] = byte
        core.received(1)
        while core.next_message() is not None:
            taken += 1
    assert taken == 100_000
    assert core.last_serial == 100_001


def test_one_body_of_64_mib_in_pieces_of_64_kib():
    core = client(ChannelType.DISPLAY)
    size, piece = 64 * 2**20, bytes(range(256)) * 256
    core.receive_data(struct.pack("<HI", 2, size))
    assert core.next_message() is None
    moved = set()
    for _ in range(size // len(piece) - 1):
        core.free_space()[: len(piece)] = piece
        core.received(len(piece))
        assert core.next_message() is None
        moved.add(id(core._buffer.data))
    assert len(moved) == 1  # it was made room for once
    core.receive_data(piece + A_NOTIFY[:3])
    message = core.next_message()
    assert len(message.data) == size
    assert message.data[-65536:] == piece
    assert core.next_message() is None
    core.free_space()
    assert len(core._buffer.data) == BLOCK < KEEP


# --- sending


def test_what_is_sent_is_handed_out_once_and_in_order():
    core = client(ChannelType.INPUTS)
    core.send(inputs.KeyModifiers(modifiers=5))
    core.send_body(101, b"\1\2", b"", b"\3\4")
    assert b"".join(core.data_to_send()) == mini(103, struct.pack("<H", 5)) + mini(101, b"\1\2\3\4")
    assert core.data_to_send() == []
    assert core.traffic.messages_sent == 2
    assert core.traffic.bytes_sent == 8 + 10


def test_large_pieces_are_not_copied_and_small_ones_are_joined():
    core = server(ChannelType.DISPLAY)
    large = bytearray(100_000)
    core.send(NOTIFY_MESSAGE)
    core.send_body(304, b"head", large, memoryview(b"tail"))
    core.send(NOTIFY_MESSAGE)
    first, second, third = core.data_to_send()
    assert first == A_NOTIFY + struct.pack("<HI", 304, 100_008) + b"head"
    assert second is large
    assert third == b"tail" + A_NOTIFY
    assert core.traffic.bytes_sent == len(first) + len(second) + len(third)


def test_a_piece_is_of_one_message_where_messages_are_not_joined():
    core = server(ChannelType.DISPLAY, joins=False)
    core.announce_window(20)
    core.send_body(304, b"head of a picture", large := bytes(100_000))
    core.send_body(101)
    core.send(display.Mark(), display.Mark())
    pieces = core.data_to_send()
    head = struct.pack("<HI", 304, 17 + len(large)) + b"head of a picture"
    assert pieces == [set_ack(1, 20), head, large, mini(101), *[framed(display.Mark())] * 2]
    assert pieces[2] is large
    assert not core.has_data_to_send
    assert core.traffic.bytes_sent == sum(map(len, pieces))


@pytest.mark.parametrize("size", [1, 20_000])
def test_pieces_of_another_shape_are_counted_in_bytes(size):
    core = server(ChannelType.DISPLAY)
    rows = memoryview(bytes(8 * size)).cast("I", (2, size))
    core.send_body(304, rows)
    assert sent(core) == [(304, bytes(8 * size))]


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (client(ChannelType.INPUTS), inputs.Init(modifiers=0)),
        (client(ChannelType.INPUTS), base.SetAck(generation=1, window=1)),
        (client(ChannelType.INPUTS), main.AttachChannels()),
        (client(ChannelType.INPUTS), inputs.KeyModifiers(modifiers=2**16)),
        (client(ChannelType.DISPLAY), display.PreferredCompression(image_compression=1)),
        (server(ChannelType.INPUTS), inputs.MouseMotionAck()),
        (server(ChannelType.CURSOR), cursor.Hide()),
        (server(ChannelType.MAIN), main.Name(name=b"x\0")),
        (client(ChannelType.MAIN), main.AgentData(data=bytes(MAX_BODY_FROM_CLIENT[ChannelType.MAIN] + 1))),
    ],
    ids=["other role", "shared, other role", "other channel", "value", "before", "before", "before", "before", "too large"],
)
def test_what_cannot_be_sent_leaves_nothing_in_the_output(core, message):
    with pytest.raises(LocalProtocolError):
        core.send(message)
    assert core.data_to_send() == []
    assert core.traffic.messages_sent == 0
    assert core.send_window.unacknowledged == 0


@pytest.mark.parametrize("number", [-1, 65536])
def test_a_body_that_no_header_can_announce_leaves_nothing_in_the_output(number):
    core = client(mini=False)
    with pytest.raises(LocalProtocolError):
        core.send_body(number, b"x")
    assert core.data_to_send() == []
    core.send_body(5, b"")
    assert b"".join(core.data_to_send()) == full(1, 5)


def test_an_opening_is_sent_once_and_a_refused_one_does_not_count():
    core = client(ChannelType.DISPLAY)
    wrong = display.Init(pixmap_cache_id=256, pixmap_cache_size=1, glz_dictionary_id=1, glz_dictionary_window_size=1)
    right = display.Init(pixmap_cache_id=1, pixmap_cache_size=1, glz_dictionary_id=1, glz_dictionary_window_size=1)
    with pytest.raises(LocalProtocolError, match="Init"):
        core.send(wrong)
    core.send(right)
    with pytest.raises(LocalProtocolError, match="a second Init"):
        core.send(right)
    assert len(sent(core)) == 1
