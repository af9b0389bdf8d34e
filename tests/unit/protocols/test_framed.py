import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectionLost, LocalProtocolError, MalformedMessage
from atp_trio.protocols.framed import FramedChannel
from atp_trio.protocols.framing import JsonFraming, LengthFraming, LineFraming


@pytest.fixture
def pair():
    return trio.testing.memory_stream_pair()


async def test_messages_both_ways(pair):
    ours, theirs = (FramedChannel(stream, JsonFraming()) for stream in pair)
    async with ours, theirs:
        await ours.send({"a": None})
        await ours.send(None)
        assert await theirs.receive() == {"a": None}
        assert await theirs.receive() is None
        await theirs.send("back")
        await theirs.aclose()
        assert [one async for one in ours] == ["back"]


async def test_the_end_within_a_message(pair):
    channel = FramedChannel(pair[0], LengthFraming())
    await pair[1].send_all(b"\x00\x00\x00\x01a\x00\x00")
    await pair[1].aclose()
    assert await channel.receive() == b"a"
    with pytest.raises(ConnectionLost, match="2 bytes into a message"):
        await channel.receive()


async def test_goes_on_after_what_cannot_be_decoded(pair):
    channel = FramedChannel(pair[0], JsonFraming())
    await pair[1].send_all(b"{\n1\n")
    with pytest.raises(MalformedMessage):
        await channel.receive()
    assert await channel.receive() == 1


async def test_many_senders_do_not_mix(pair):
    channel = FramedChannel(trio.StapledStream(Slow(pair[0]), pair[0]), LineFraming())
    other = FramedChannel(pair[1], LineFraming())
    async with trio.open_nursery() as nursery:
        for letter in "abcde":
            nursery.start_soon(channel.send, letter * 20)
    found = {await other.receive() for _ in range(5)}
    assert found == {letter * 20 for letter in "abcde"}


class Slow(trio.abc.SendStream):
    """Sends byte by byte; two at once would mix."""

    def __init__(self, stream):
        self.stream = stream

    async def send_all(self, data):
        for byte in data:
            await self.stream.send_all(bytes([byte]))

    async def wait_send_all_might_not_block(self):
        pass

    async def aclose(self):
        await self.stream.aclose()


async def test_one_receiver(pair):
    channel = FramedChannel(pair[0], LineFraming())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await channel.receive()
        await pair[1].send_all(b"\n")


async def test_nothing_is_sent_of_what_cannot_be(pair):
    channel = FramedChannel(pair[0], LineFraming())
    with pytest.raises(LocalProtocolError):
        await channel.send("a\nb")
    await channel.send("ok")
    assert await pair[1].receive_some() == b"ok\n"


async def test_cancelled_receiving_loses_nothing(pair):
    channel = FramedChannel(pair[0], LineFraming())
    await pair[1].send_all(b"one\ntwo\nthr")
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.receive()
    assert await channel.receive() == "one"
    with trio.testing.assert_checkpoints():
        assert await channel.receive() == "two"
    with trio.move_on_after(0):
        await channel.receive()
    await pair[1].send_all(b"ee\n")
    assert await channel.receive() == "three"
