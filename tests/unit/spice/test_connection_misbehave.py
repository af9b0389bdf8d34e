"""Servers that stall, vanish or talk nonsense at each step: one clear error, never a hang, and nothing is left behind."""

from __future__ import annotations

import socket
import struct

import attrs
import pytest
import trio
import trio.testing

from atp_trio.errors import AtpError, ConnectionLost, LinkError, MalformedMessage
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages import main
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.link import LinkRequested, ServerLink, TicketReceived
from atp_trio.spice.wire import Role
from atp_trio.testing.server.link import shared_key

GARBAGE = b"\xfe\xdc" * 4096
STEPS = ("accepted", "requested", "half of the reply", "ticket", "half of the result", "linked", "after INIT")
RESULT = ("ticket", "half of the result")


class Misbehaved(Exception):
    """This connection has been spoiled."""


@attrs.define(eq=False)
class BadServer:
    """Serves main and a display, until it comes to one step of one channel."""

    channel: ChannelType
    step: str
    how: str
    port: int = 0
    open: int = 0
    reached: int = 0

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self.handle, [listener], task_status=task_status)

    async def handle(self, stream):
        self.open += 1
        try:
            await self.talk(stream)
        except (Misbehaved, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)

    async def misbehave(self, stream, step, channel=None):
        # What is asked for is not known when a connection is accepted: main comes first.
        if step != self.step or (channel or ChannelType.MAIN) != self.channel:
            return
        self.reached += 1
        if self.how == "stall":
            async for _ in stream:
                pass
        elif self.how == "garbage":
            await stream.send_all(GARBAGE)
            async for _ in stream:
                pass
        elif self.how == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Misbehaved

    async def talk(self, stream):
        await self.misbehave(stream, "accepted")
        link = ServerLink()
        mess = (await self.event(stream, link, LinkRequested)).mess
        await self.misbehave(stream, "requested", mess.channel_type)
        link.accept(shared_key().public_key)
        reply = link.data_to_send()
        await stream.send_all(reply[:100])
        await self.misbehave(stream, "half of the reply", mess.channel_type)
        await stream.send_all(reply[100:])
        await self.event(stream, link, TicketReceived)
        await self.misbehave(stream, "ticket", mess.channel_type)
        linked = link.finish()
        result = link.data_to_send()
        await stream.send_all(result[:2])
        await self.misbehave(stream, "half of the result", mess.channel_type)
        await stream.send_all(result[2:])
        await self.misbehave(stream, "linked", mess.channel_type)
        core = ChannelCore(Role.SERVER, mess.channel_type, mini_header=linked.mini_header, received=link.trailing_data)
        if mess.channel_type == ChannelType.MAIN:
            await self.be_main(stream, core)
        async for _ in stream:
            pass

    async def be_main(self, stream, core):
        core.send(
            main.Init(
                session_id=7,
                display_channels_hint=1,
                supported_mouse_modes=1,
                current_mouse_mode=main.MouseMode.SERVER,
                agent_connected=0,
                agent_tokens=10,
                multi_media_time=0,
                ram_hint=0,
            )
        )
        await self.flush(stream, core)
        await self.misbehave(stream, "after INIT")
        core.send(main.ChannelsList(channels=(main.ChannelId(ChannelType.DISPLAY, 0),)))
        await self.flush(stream, core)

    async def flush(self, stream, core):
        for piece in core.data_to_send():
            await stream.send_all(piece)

    async def event(self, stream, link, kind):
        await stream.send_all(link.data_to_send())
        while (event := link.next_event()) is None:
            data = await stream.receive_some()
            if not data:
                raise Misbehaved
            link.receive_data(data)
        assert isinstance(event, kind)
        return event


def cases():
    for step in STEPS:
        yield ChannelType.MAIN, step
    for step in ("requested", "half of the reply", "ticket", "half of the result"):
        yield ChannelType.DISPLAY, step


CASES = [pytest.param(*case, id=f"{case[0].name.lower()}, {case[1]}") for case in cases()]


@pytest.mark.parametrize(("channel", "step"), CASES)
@pytest.mark.parametrize("how", ["close", "reset", "garbage"])
async def test_an_error_and_nothing_else(nursery, channel, step, how):
    server = BadServer(channel, step, how)
    await nursery.start(server.serve)
    with trio.fail_after(20):
        with pytest.raises(AtpError) as caught:
            async with open_spice(f"spice://127.0.0.1:{server.port}"):
                pytest.fail("it was let in")
        # Nonsense in place of the link's result is a number without a name.
        expected = ConnectionLost if how != "garbage" else LinkError if step in RESULT else (MalformedMessage, ConnectionLost)
        assert isinstance(caught.value, expected)
        assert str(caught.value)
        while server.open:
            await trio.lowlevel.checkpoint()
    assert server.reached == 1


@pytest.fixture
def jumping_clock():
    """A clock that jumps when nothing has happened for a hundredth of a second: sockets on loopback are faster."""
    return trio.testing.MockClock(autojump_threshold=0.01)


@pytest.mark.parametrize(("channel", "step"), CASES)
async def test_a_stall_lasts_as_long_as_the_caller_wants(jumping_clock, nursery, channel, step):
    server = BadServer(channel, step, "stall")
    await nursery.start(server.serve)
    started = trio.current_time()
    with trio.move_on_after(5) as scope:
        async with open_spice(f"spice://127.0.0.1:{server.port}"):
            pytest.fail("it was let in")
    assert scope.cancelled_caught
    # Leaving a channel whose ticket was sent waits for the server, but not for long.
    assert 5 <= trio.current_time() - started <= 10
    assert server.reached == 1
    while server.open:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("how", ["close", "reset", "garbage"])
async def test_a_display_that_is_spoiled_after_its_link(nursery, how):
    server = BadServer(ChannelType.DISPLAY, "linked", how)
    await nursery.start(server.serve)
    with trio.fail_after(20):
        async with open_spice(f"spice://127.0.0.1:{server.port}") as vm:
            assert vm.main.is_open
            channels = [one for one in vm.channels if one is not vm.main]
            for channel in channels:
                await channel.wait_closed()
                assert isinstance(channel.closed_by, ConnectionLost)
            assert vm.main.is_open
        while server.open:
            await trio.lowlevel.checkpoint()
