"""What came and waits, without a thread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConnectionLost
from atp_trio.hypervisor.inbox import Inbox


@given(pieces=st.lists(st.binary(min_size=1, max_size=30)), mosts=st.lists(st.none() | st.integers(1, 20)))
def test_everything_is_taken_in_order(pieces, mosts):
    inbox, taken = Inbox(1 << 20, lambda: None), b""
    for piece in pieces:
        assert inbox.put(piece)
    while inbox.size:
        most = mosts.pop() if mosts else None
        data = inbox.take(most)
        assert 0 < len(data) <= (most or 30)
        taken += data
    assert taken == b"".join(pieces)
    assert inbox.take(1) == b""


def test_the_limit():
    wakes = []
    inbox = Inbox(4, lambda: wakes.append(1))
    assert inbox.put(b"1234")
    assert not inbox.is_ended
    assert not inbox.put(b"5")
    assert isinstance(inbox.failure, ConnectionLost)
    assert not inbox.put(b"6")
    assert inbox.take(None) + inbox.take(None) == b"12345"
    assert wakes


def test_the_first_reason_counts():
    inbox = Inbox(4, lambda: None)
    inbox.end(None)
    inbox.end(ConnectionLost("later"))
    assert inbox.is_ended
    assert inbox.failure is None


def test_dropped():
    inbox = Inbox(4, lambda: None)
    inbox.put(b"1")
    inbox.drop()
    assert inbox.size == 0
    assert not inbox.put(b"2")
    assert inbox.take(None) == b""
