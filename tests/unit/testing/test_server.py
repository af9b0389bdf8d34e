"""The embedded server itself: what hostile and careless clients get from it, and that it stays up."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import trio
import trio.testing

from atp_trio.errors import (
    AuthenticationFailed,
    ConfigError,
    LinkBadConnectionId,
    LinkInvalidData,
    LinkInvalidMagic,
    LinkNeedSecured,
    LinkVersionMismatch,
    LocalProtocolError,
)
from atp_trio.spice.codec.framing import pack_mini_header
from atp_trio.spice.codec.link import LinkHeader, LinkMess, pack_link
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages import base, display, inputs, main
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.link import CLIENT_CAPS, ClientLink, TicketNeeded
from atp_trio.spice.protocol.ticket import encrypt_ticket
from atp_trio.spice.wire import Role
from atp_trio.testing import server as server_module
from atp_trio.testing.server import ServerOptions, open_spice_server
from atp_trio.testing.server.link import LINK_SECONDS

QUICK = {"size": (64, 48), "network_test": False}


class Client:
    """A client of one channel on a stream in memory, without manners."""

    def __init__(self, stream, core):
        self.stream, self.core = stream, core

    async def receive(self, kind):
        """The next message of this kind; others are skipped."""
        while True:
            while (message := self.core.next_message()) is not None:
                if type(message) is kind:
                    return message
            await self.flush()
            data = await self.stream.receive_some()
            if not data:
                raise trio.EndOfChannel
            self.core.receive_data(data)

    async def flush(self):
        for piece in self.core.data_to_send():
            await self.stream.send_all(piece)

    async def send(self, *messages):
        for message in messages:
            self.core.send(message)
        await self.flush()

    async def raw(self, number, body):
        await self.stream.send_all(pack_mini_header(number, len(body)) + body)

    async def is_closed_by_server(self):
        while True:
            try:
                if not await self.stream.receive_some():
                    return True
            except trio.BrokenResourceError:
                return True


async def shake_hands(stream, link, password=b""):
    await stream.send_all(link.data_to_send())
    while True:
        event = link.next_event()
        if isinstance(event, TicketNeeded):
            link.send_ticket(encrypt_ticket(event.public_key, password))
            await stream.send_all(link.data_to_send())
        elif event is not None:
            return event
        else:
            data = await stream.receive_some()
            if not data:
                raise trio.EndOfChannel
            link.receive_data(data)


@pytest.fixture
async def server():
    async with open_spice_server(**QUICK) as made:
        yield made


@pytest.fixture
def connect(nursery, server):
    """Link a channel on a stream in memory."""

    async def link(kind, connection_id=0, *, password=b"", mini_header=True, channel_id=0, target=None):
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon((target or server).serve_stream, theirs)
        caps = CLIENT_CAPS if mini_header else CLIENT_CAPS - {3}
        one = ClientLink(kind, channel_id, connection_id, common_caps=caps)
        linked = await shake_hands(ours, one, password)
        core = ChannelCore(Role.CLIENT, kind, mini_header=linked.mini_header, received=one.trailing_data)
        return Client(ours, core)

    return link


async def session_of(client):
    return (await client.receive(main.Init)).session_id


# --- the link stage


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", LinkInvalidMagic),
        (LinkHeader(size=18, major=3).pack(), LinkVersionMismatch),
        (LinkHeader(size=5000).pack(), LinkInvalidData),
        (LinkHeader(size=17).pack(), LinkInvalidData),
        (LinkHeader(size=18).pack() + struct.pack("<IBBIII", 0, 1, 0, 2**31, 2**31, 18), LinkInvalidData),
    ],
)
async def test_a_link_message_that_is_wrong_is_answered_with_its_error(autojump_clock, nursery, server, data, error):
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_stream, theirs)
    await ours.send_all(data)
    reader = ClientLink(ChannelType.MAIN)
    reader.data_to_send()
    while answer := await ours.receive_some():
        reader.receive_data(answer)
    with pytest.raises(error):
        reader.next_event()
    await server.wait_until(lambda: not server.connections)


async def test_the_refusals(autojump_clock, server, connect):
    server.set_password("right")
    with pytest.raises(AuthenticationFailed):
        await connect(ChannelType.MAIN, password=b"wrong")
    with pytest.raises(AuthenticationFailed):
        await connect(ChannelType.MAIN)
    with pytest.raises(AuthenticationFailed):
        await connect(ChannelType.INPUTS, 5, password=b"wrong")
    with pytest.raises(LinkBadConnectionId):
        await connect(ChannelType.INPUTS, 5, password=b"right")
    # As other servers do: not a word about a channel that is not there.
    with pytest.raises(trio.EndOfChannel):
        await connect(ChannelType.PLAYBACK, 5, password=b"right")
    with pytest.raises(trio.EndOfChannel):
        await connect(200, 5, password=b"right")
    await server.wait_until(lambda: not server.connections)
    assert not server.closed


async def test_need_secured(autojump_clock, connect):
    async with open_spice_server(**QUICK, secure_channels=[1]) as strict:
        with pytest.raises(LinkNeedSecured):
            await connect(ChannelType.MAIN, target=strict)


async def test_a_ticket_that_is_none(autojump_clock, nursery, server):
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_stream, theirs)
    link = ClientLink(ChannelType.MAIN)
    await ours.send_all(link.data_to_send())
    while link.next_event() is None:
        link.receive_data(await ours.receive_some())
    link.send_ticket(b"\xff" * 128)
    await ours.send_all(link.data_to_send())
    link.receive_data(await ours.receive_some())
    with pytest.raises(AuthenticationFailed):
        link.next_event()


@pytest.mark.parametrize("sent", [0, 3, 16, 20, 33])
async def test_a_client_that_stalls_is_let_go(autojump_clock, nursery, server, sent):
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_stream, theirs)
    await ours.send_all(pack_link(LinkMess(0, 1, 0))[:sent])
    started = trio.current_time()
    await server.wait_until(lambda: server.connections == 1)
    await server.wait_until(lambda: server.connections == 0)
    assert trio.current_time() - started == pytest.approx(LINK_SECONDS)


async def test_a_client_without_capabilities(autojump_clock, nursery, server):
    """An old one: the ticket at once, and full headers."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_stream, theirs)
    link = ClientLink(ChannelType.MAIN, common_caps=())
    # It does not know that a mechanism may be chosen, so it does not name one.
    await ours.send_all(link.data_to_send())
    while (event := link.next_event()) is None:
        link.receive_data(await ours.receive_some())
    await ours.send_all(encrypt_ticket(event.public_key, b""))
    result = await ours.receive_some()
    assert result[:4] == bytes(4)
    core = ChannelCore(Role.CLIENT, ChannelType.MAIN, mini_header=False, received=bytes(result[4:]))
    client = Client(ours, core)
    assert (await client.receive(main.Init)).session_id
    await client.send(main.AttachChannels())
    assert len((await client.receive(main.ChannelsList)).channels) == 3


async def test_more_connections_than_there_can_be(autojump_clock, nursery, server, monkeypatch):
    monkeypatch.setattr(server_module.server, "MAX_CONNECTIONS", 3)
    streams = []
    for _ in range(4):
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(ours)
        nursery.start_soon(server.serve_stream, theirs)
    await trio.testing.wait_all_tasks_blocked()
    assert server.connections == 3
    assert sum([await _has_ended(stream) for stream in streams]) == 1


async def _has_ended(stream):
    with trio.move_on_after(1):
        return await stream.receive_some() == b""
    return False


# --- the data stage


async def test_a_second_link_of_a_channel_is_closed(autojump_clock, server, connect):
    session = await session_of(await connect(ChannelType.MAIN))
    first = await connect(ChannelType.CURSOR, session)
    second = await connect(ChannelType.CURSOR, session)
    assert await second.is_closed_by_server()
    server.cursor.hide()
    assert server.open_channels == ((ChannelType.MAIN, 0), (ChannelType.CURSOR, 0))
    await first.send(base.Disconnecting(time_stamp=1, reason=0))


async def test_main_takes_the_others_with_it(autojump_clock, server, connect):
    old = await connect(ChannelType.MAIN)
    session = await session_of(old)
    keyboard = await connect(ChannelType.INPUTS, session)
    new = await connect(ChannelType.MAIN)
    assert await session_of(new) != session
    assert await old.is_closed_by_server()
    assert await keyboard.is_closed_by_server()
    with pytest.raises(LinkBadConnectionId):
        await connect(ChannelType.INPUTS, session)


BAD = {
    "unknown type": (999, b""),
    "too short": (101, b"\x01"),
    "over the limit": (104, bytes(2049)),
    "a server's message": (111, b""),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_message_that_is_wrong_ends_that_channel(autojump_clock, server, connect, name):
    first = await connect(ChannelType.MAIN)
    session = await session_of(first)
    keyboard = await connect(ChannelType.INPUTS, session)
    await keyboard.raw(*BAD[name])
    assert await keyboard.is_closed_by_server()
    (closed,) = server.closed
    assert closed.channel_type is ChannelType.INPUTS
    assert closed.error
    assert not closed.said_goodbye
    await first.send(main.AttachChannels())
    assert await first.receive(main.ChannelsList)


async def test_on_main_it_ends_the_client(autojump_clock, server, connect):
    first = await connect(ChannelType.MAIN)
    keyboard = await connect(ChannelType.INPUTS, await session_of(first))
    await first.raw(107, bytes(30_000))
    assert await first.is_closed_by_server()
    assert await keyboard.is_closed_by_server()
    assert {one.channel_type for one in server.closed} == {ChannelType.MAIN, ChannelType.INPUTS}


async def test_the_guest_agent_takes_no_more_than_its_tokens(autojump_clock, connect):
    async with open_spice_server(**QUICK, agent=True) as machine:
        client = await connect(ChannelType.MAIN, target=machine)
        init = await client.receive(main.Init)
        assert init.agent_connected
        await client.send(main.AgentStart())
        for number in range(5):
            await client.send(main.AgentData(data=bytes([number])))
        assert (await client.receive(main.AgentToken)).num_tokens == 5
        machine.set_agent_busy(True)
        for number in range(5, 15):
            await client.send(main.AgentData(data=bytes([number])))
        await machine.wait_until(lambda: len(machine.agent_data) == 15)
        machine.set_agent_busy(False)
        assert (await client.receive(main.AgentToken)).num_tokens == 10
        machine.set_agent_busy(True)
        for number in range(15, 26):
            await client.send(main.AgentData(data=bytes([number])))
        assert await client.is_closed_by_server()
        assert list(machine.agent_data) == [bytes([number]) for number in range(25)]
        assert "without a token" in machine.closed[0].error


async def test_an_agent_message_that_is_too_large(autojump_clock, server, connect):
    client = await connect(ChannelType.MAIN)
    await client.raw(107, bytes(2049))
    assert await client.is_closed_by_server()
    assert "2049 bytes" in server.closed[0].error


async def test_a_display_before_and_after_init(autojump_clock, server, connect):
    session = await session_of(await connect(ChannelType.MAIN))
    early = await connect(ChannelType.DISPLAY, session)
    await early.raw(103, b"\x01")
    assert await early.is_closed_by_server()
    await server.wait_until(lambda: (ChannelType.DISPLAY, 0) not in server.open_channels)
    client = await connect(ChannelType.DISPLAY, session)
    init = display.Init(pixmap_cache_id=1, pixmap_cache_size=1, glz_dictionary_id=1, glz_dictionary_window_size=1)
    await client.send(init)
    assert (await client.receive(display.SurfaceCreate)).width == 64
    assert (await client.receive(display.DrawCopy)).base.box.width == 64
    await client.receive(display.Mark)
    # No MONITORS_CONFIG: this client does not announce that it knows it.
    await client.raw(101, init.encode())
    assert await client.is_closed_by_server()
    assert "second" in server.closed[-1].error


async def test_a_client_that_does_not_acknowledge_stalls_its_display(autojump_clock, connect):
    async with open_spice_server(**QUICK, scene="rectangles", ack_window=5) as machine:
        session = await session_of(await connect(ChannelType.MAIN, target=machine))
        client = await connect(ChannelType.DISPLAY, session, target=machine)
        await client.send(display.Init(pixmap_cache_id=1, pixmap_cache_size=1, glz_dictionary_id=1, glz_dictionary_window_size=1))
        data = b""
        with trio.move_on_after(5):
            while True:
                data += await client.stream.receive_some()
        # SET_ACK is not counted: two windows, and one more.
        assert machine.machine.canvases[0].operations + 4 == 11
        await client.stream.aclose()


async def test_a_rate_is_kept(autojump_clock, connect):
    async with open_spice_server(**QUICK, scene="rectangles", rate=50) as machine:
        session = await session_of(await connect(ChannelType.MAIN, target=machine))
        client = await connect(ChannelType.DISPLAY, session, target=machine)
        await client.send(display.Init(pixmap_cache_id=1, pixmap_cache_size=1, glz_dictionary_id=1, glz_dictionary_window_size=1))
        await client.receive(display.Mark)
        with trio.move_on_after(10):
            await client.receive(display.Reset)
        assert 495 <= machine.machine.canvases[0].operations <= 505
        await client.stream.aclose()


async def test_echoes_of_a_client_that_does_not_read_are_bounded(autojump_clock, connect):
    async with open_spice_server(**QUICK, regions={"key": (0, 0, 4, 4)}, ack_window=2) as machine:
        session = await session_of(await connect(ChannelType.MAIN, target=machine))
        screen = await connect(ChannelType.DISPLAY, session, target=machine)
        await screen.send(display.Init(pixmap_cache_id=1, pixmap_cache_size=1, glz_dictionary_id=1, glz_dictionary_window_size=1))
        await machine.wait_until(lambda: machine.machine.canvases[0].viewer is not None)
        keyboard = await connect(ChannelType.INPUTS, session, target=machine)
        for _ in range(1000):
            keyboard.core.send(inputs.KeyDown(code=0x1E))
        await keyboard.flush()
        await machine.wait_until(lambda: machine.machine.echoes["key"] == 1000)
        assert machine.machine.canvases[0].operations <= 5
        # When it acknowledges it gets the newest.
        await screen.receive(display.Mark)
        while (await screen.receive(display.DrawFill)).brush.color != 1000:
            pass
        assert machine.surface()[0, 0] == 1000


async def test_what_goes_beyond_memory(autojump_clock, server, connect):
    session = await session_of(await connect(ChannelType.MAIN))
    keyboard = await connect(ChannelType.INPUTS, session)
    for _ in range(300):
        for _ in range(100):
            keyboard.core.send(inputs.MouseMotion(dx=1, dy=0))
        await keyboard.flush()
    await server.wait_until(lambda: server.machine.motions == 30_000)
    assert len(server.events) == 10_000
    acks = 0
    while acks < 7500:
        await keyboard.receive(inputs.MouseMotionAck)
        acks += 1
    # Positions in the wrong mode are acknowledged and dropped.
    before = server.machine.pointer
    await keyboard.send(*[inputs.MousePosition(x=1, y=1)] * 4)
    await keyboard.receive(inputs.MouseMotionAck)
    assert server.machine.pointer == before == (63, 0)


async def test_lock_keys(autojump_clock, server, connect):
    session = await session_of(await connect(ChannelType.MAIN))
    keyboard = await connect(ChannelType.INPUTS, session)
    assert (await keyboard.receive(inputs.Init)).modifiers == 0
    await keyboard.send(inputs.KeyScancode(data=b"\x45\xc5\x3a\xba\xe0"))
    assert (await keyboard.receive(inputs.KeyModifiers)).modifiers == 6
    # Held down, it repeats: that is no second press.
    await keyboard.send(inputs.KeyDown(code=0x3A), inputs.KeyDown(code=0x3A), inputs.KeyUp(code=0xBA))
    assert (await keyboard.receive(inputs.KeyModifiers)).modifiers == 2
    assert server.keys_down == ()


async def test_sending_what_cannot_be_sent(server):
    with pytest.raises(ConfigError, match="no client has display:0"):
        server.send(display.Mark(), ChannelType.DISPLAY)
    async with open_spice(server.uri):
        with pytest.raises(LocalProtocolError):
            server.send(display.Mark(), ChannelType.INPUTS)
        server.drop(ChannelType.RECORD)
    server.drop()


async def test_keys_are_made_anew_where_asked_for():
    async with open_spice_server(**QUICK, fresh_keys=True) as server, open_spice(server.uri, channels={ChannelType.INPUTS}):
        assert len(server.key_seconds) == 2
        assert all(one > 0 for one in server.key_seconds)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"colour": 1}, "no option 'colour'"),
        ({"size": (0, 10)}, "display of 0x10"),
        ({"size": (16384, 16384)}, "display of 16384x16384"),
        ({"size": 5}, "cannot be meant"),
        ({"scene": "fireworks"}, "no scene 'fireworks'"),
        ({"codec": "gif"}, "no codec 'gif'"),
        ({"rate": -1}, "a rate of -1"),
        ({"ack_window": -1}, "an ACK window of -1"),
        ({"password": "p" * 61}, "at most 60 bytes"),
        ({"port": None}, "needs a certificate"),
        ({"channels": [(1, 0)]}, "main channel is always there"),
        ({"regions": {"wheel": (0, 0, 1, 1)}}, "no region 'wheel'"),
        ({"regions": {"key": (0, 0, 2000, 1)}}, "does not lie on the display"),
        ({"regions": {"key": (0, 0, 0, 1)}}, "does not lie on the display"),
    ],
)
def test_options_that_cannot_be_meant(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ServerOptions.of(options)


async def test_addresses_where_it_cannot_listen(server, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1"):
        async with open_spice_server(**QUICK, port=server.port):
            pass
    with pytest.raises(ConfigError, match="cannot listen on"):
        async with open_spice_server(**QUICK, unix_path=tmp_path / "no" / "such" / "directory"):
            pass
    with pytest.raises(ConfigError, match="cannot load the certificate"):
        async with open_spice_server(**QUICK, cert_file=tmp_path / "absent.pem"):
            pass


async def test_the_password_does_not_show(server):
    options = ServerOptions.of({"password": "opensesame"})
    assert "opensesame" not in repr(options)
    async with open_spice_server(**QUICK, password="opensesame") as secret:
        assert "opensesame" not in repr(secret) + repr(vars(secret)["machine"]) + secret.uri


async def test_a_surface_is_a_copy(server):
    first = server.surface()
    assert first.shape == (48, 64)
    assert first.dtype == np.uint32
    first[:] = 0
    assert server.surface().any()
