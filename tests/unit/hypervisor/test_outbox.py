"""What waits to be sent, without a thread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atp_trio.hypervisor.outbox import Outbox


@given(pieces=st.lists(st.binary(min_size=1, max_size=30), max_size=12), takes=st.lists(st.integers(1, 20)))
def test_everything_is_sent_in_order(pieces, takes):
    outbox, sent = Outbox(limit=10, slice_size=8), b""
    for piece in pieces:
        outbox.put(piece)
    while data := outbox.peek():
        assert len(data) <= 8
        count = min(len(data), takes.pop() if takes else len(data))  # some of it only, as libvirt may
        outbox.sent(count)
        sent += data[:count]
        assert outbox.size == sum(map(len, pieces)) - len(sent)
    assert sent == b"".join(pieces)
    assert outbox.stop()


def test_small_pieces_go_together():
    outbox = Outbox(limit=10, slice_size=8)
    for piece in (b"abc", b"def", b"ghi"):
        outbox.put(piece)
    assert outbox.peek() == b"abcdef"
    outbox.sent(6)
    assert outbox.peek() == b"ghi"


def test_tells_once_that_there_is_room():
    outbox = Outbox(limit=10, slice_size=8)
    outbox.put(bytes(30))
    assert outbox.is_full
    assert [outbox.sent(8), outbox.sent(8), outbox.sent(8), outbox.sent(6)] == [False, False, True, False]
    assert not outbox.is_full


def test_one_thread():
    outbox = Outbox(limit=10, slice_size=8)
    assert outbox.put(b"a")
    assert not outbox.put(b"b")
    assert not outbox.stop()
    outbox.sent(2)
    assert outbox.is_running
    assert outbox.stop()
    assert outbox.put(b"c")


def test_cleared_while_it_is_sent():
    outbox = Outbox(limit=10, slice_size=8)
    outbox.put(bytes(20))
    outbox.peek()
    outbox.clear()
    assert not outbox.sent(8)
    assert outbox.size == 0
    assert outbox.stop()
