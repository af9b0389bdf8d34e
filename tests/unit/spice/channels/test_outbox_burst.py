"""What goes to the kernel at once, and what goes together."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from atp_trio.spice.channels import outbox as module
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.streams.base import ByteStream


class Kernel(ByteStream):
    """A stream that notes what it is given in one go, and takes no more than `room` of it without waiting."""

    address = "memory"

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.room = 1 << 20

    def send_nowait(self, data):
        taken = bytes(data[: self.room])
        if taken:
            self.given.append(taken)
        return len(taken)

    async def send_all(self, data):
        self.given.append(bytes(data))
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self): ...

    async def receive_some(self, max_bytes=None): ...

    async def aclose(self): ...


@pytest.fixture
async def kernel(nursery):
    kernel = Kernel()
    kernel.outbox = Outbox(kernel)
    nursery.start_soon(kernel.outbox.run)
    await trio.testing.wait_all_tasks_blocked()
    return kernel


@pytest.fixture(params=[0.0, 3600.0], ids=["alone", "burst"])
def is_burst(request, monkeypatch):
    """Whether messages that are put one after another are a burst."""
    monkeypatch.setattr(module, "BURST", request.param)
    return bool(request.param)


async def test_the_first_goes_at_once_and_the_rest_of_a_burst_together(kernel, is_burst):
    for piece in (b"one", b"two", b"three"):
        kernel.outbox.put([piece])
    assert kernel.given == ([b"one"] if is_burst else [b"one", b"two", b"three"])
    assert kernel.outbox.queued == (8 if is_burst else 0)
    await trio.testing.wait_all_tasks_blocked()
    assert kernel.given == ([b"one", b"twothree"] if is_burst else [b"one", b"two", b"three"])
    assert kernel.outbox.queued == 0


async def test_the_pieces_of_one_message_are_no_burst(kernel, is_burst):
    kernel.outbox.put([b"header", b"body"])
    assert kernel.given == [b"header", b"body"]


async def test_what_the_kernel_does_not_take_is_waited_for(kernel, is_burst):
    kernel.room = 2
    for piece in (b"one", b"two"):
        kernel.outbox.put([piece])
    assert kernel.given == [b"on"]
    await kernel.outbox.wait_drained()
    assert b"".join(kernel.given) == b"onetwo"
    assert kernel.outbox.queued == 0
