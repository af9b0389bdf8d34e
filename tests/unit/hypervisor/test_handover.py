import socket

import pytest

from atp_trio.hypervisor.handover import Handover


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours:
        yield ours, theirs.detach()


def test_taken(pair):
    ours, descriptor = pair
    handover = Handover()
    handover.put(descriptor)
    with handover.take() as taken:
        taken.sendall(b"x")
        assert ours.recv(1) == b"x"


@pytest.mark.parametrize("order", ["before", "after"])
def test_closed_when_the_caller_leaves(pair, order):
    ours, descriptor = pair
    handover = Handover()
    if order == "before":
        handover.drop()
        handover.put(descriptor)
    else:
        handover.put(descriptor)
        handover.drop()
    assert ours.recv(1) == b""
