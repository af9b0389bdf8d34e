"""The proxy: over memory under a mock clock where time matters, over real sockets where sockets do."""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

import atp_trio
from atp_trio.errors import ConfigError, ConnectFailed, ConnectionLost, RemoteProtocolError, TransportError
from atp_trio.spice.codec.link import LinkMess, LinkReply, pack_link
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.faults import Direction, open_fault_proxy, parse_link, run_fault_proxy_in_process
from atp_trio.testing.faults.process import main
from atp_trio.testing.faults.proxy import FaultProxy
from atp_trio.testing.server import open_spice_server

PATIENCE = 20


# --- over memory


class Through:
    """A client's and a server's stream with a proxy between."""

    def __init__(self, nursery, link="delay=0ms"):
        self.proxy = FaultProxy(parse_link(link), 0)
        self.nursery = nursery

    async def connect(self, channel=None):
        client, near = memory_stream_pair()
        far, server = memory_stream_pair()

        async def connect():
            await trio.lowlevel.checkpoint()
            return far

        self.nursery.start_soon(self.proxy.serve_stream, near, connect)
        await wait_all_tasks_blocked()
        if channel is not None:
            mess, reply = pack_link(LinkMess(1, channel, 0)), pack_link(LinkReply(0))
            await client.send_all(mess)
            assert await receive(server, len(mess)) == mess
            await server.send_all(reply)
            assert await receive(client, len(reply)) == reply
        return client, server


async def receive(stream, count):
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        assert more
        data += more
    return data


async def is_silent(stream):
    with trio.move_on_after(1000) as scope:
        await stream.receive_some()
    return scope.cancelled_caught


@pytest.fixture
async def through(nursery):
    return partial(Through, nursery)


async def test_both_ways_and_the_end(through, autojump_clock):
    client, server = await through().connect()
    await client.send_all(b"question")
    assert await receive(server, 8) == b"question"
    await client.send_eof()
    assert await server.receive_some() == b""
    await server.send_all(b"answer")
    assert await receive(client, 6) == b"answer"
    await server.aclose()
    assert await client.receive_some() == b""


async def test_delay_is_one_way(through, autojump_clock):
    client, server = await through("delay=40ms").connect()
    began = trio.current_time()
    await client.send_all(b"x")
    await receive(server, 1)
    assert trio.current_time() - began == pytest.approx(0.04)
    await server.send_all(b"y")
    await receive(client, 1)
    assert trio.current_time() - began == pytest.approx(0.08)
    await client.send_eof()
    await server.receive_some()
    assert trio.current_time() - began == pytest.approx(0.12)


async def test_a_delay_holds_nothing_up(through, autojump_clock):
    """A hundred pieces, one every ms, arrive 40 ms later each, not one after the other's arrival."""
    client, server = await through("delay=40ms").connect()
    arrived = []

    async def read():
        for _ in range(100):
            await receive(server, 1)
            arrived.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(100):
            await client.send_all(b"x")
            await trio.sleep(0.001)
    assert [at - began for at in arrived] == pytest.approx([0.04 + 0.001 * n for n in range(100)])


async def test_jitter_keeps_the_order(through, autojump_clock):
    client, server = await through("delay=10ms jitter=50ms").connect()
    began = trio.current_time()
    sent = bytes(range(200))
    for number in sent:
        await client.send_all(bytes([number]))
        await trio.sleep(0.001)
    assert await receive(server, 200) == sent
    assert 0.2 < trio.current_time() - began < 0.27


async def test_rate_is_shared(through, autojump_clock):
    links = through("rate=80kbit")  # 10 000 bytes a second
    (client, server), (other, other_server) = await links.connect(), await links.connect()
    began = trio.current_time()

    async def send(stream):
        await stream.send_all(bytes(20_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, client)
        nursery.start_soon(send, other)
        nursery.start_soon(receive, server, 20_000)
        nursery.start_soon(receive, other_server, 20_000)
    assert trio.current_time() - began == pytest.approx(4, rel=0.01)


async def test_single_bytes(through, autojump_clock):
    client, server = await through("chunk=1 gap=1ms").connect()
    await client.send_all(b"abc")
    began = trio.current_time()
    assert [await server.receive_some() for _ in range(3)] == [b"a", b"b", b"c"]
    assert trio.current_time() - began == pytest.approx(0.002)


async def test_stall_loses_nothing(through, autojump_clock):
    links = through()
    client, server = await links.connect()
    links.proxy.stall()
    await client.send_all(b"late")
    assert await is_silent(server)
    links.proxy.heal()
    assert await receive(server, 4) == b"late"


async def test_stall_of_one_direction(through, autojump_clock):
    links = through()
    client, server = await links.connect()
    links.proxy.stall(direction=Direction.TO_CLIENT)
    await client.send_all(b"x")
    assert await receive(server, 1) == b"x"
    await server.send_all(b"y")
    assert await is_silent(client)


async def test_stall_keeps_what_is_under_way(through, autojump_clock):
    links = through("delay=1s")
    client, server = await links.connect()
    await client.send_all(b"x")
    await trio.sleep(0.5)
    links.proxy.stall()
    assert await is_silent(server)
    links.proxy.heal()
    assert await receive(server, 1) == b"x"


async def test_blackhole(through, autojump_clock):
    links = through()
    client, server = await links.connect()
    links.proxy.blackhole()
    await client.send_all(bytes(100_000))
    await client.send_eof()
    assert await is_silent(server)
    # Who connects now is taken, and never answered.
    other, other_server = await links.connect()
    await other.send_all(b"hello?")
    assert await is_silent(other)
    assert await is_silent(other_server)
    links.proxy.heal()
    await wait_all_tasks_blocked()
    assert links.proxy.connections == ()


async def test_a_blackhole_that_nobody_noticed_is_healed(through, autojump_clock):
    links = through()
    client, server = await links.connect()
    links.proxy.blackhole()
    links.proxy.heal()
    await client.send_all(b"x")
    assert await receive(server, 1) == b"x"


async def test_by_channel(through, autojump_clock):
    links = through()
    client, server = await links.connect(ChannelType.DISPLAY)
    other, other_server = await links.connect(ChannelType.INPUTS)
    assert [one.channel for one in links.proxy.connections] == ["display:0", "inputs:0"]
    links.proxy.stall("display")
    await client.send_all(b"x")
    await other.send_all(b"y")
    assert await receive(other_server, 1) == b"y"
    assert await is_silent(server)
    assert links.proxy.cut("inputs:0") == 1
    assert links.proxy.cut("inputs:1") == 0
    await wait_all_tasks_blocked()
    assert [repr(one) for one in links.proxy.connections] == ["<ProxiedConnection display:0>"]
    assert await other_server.receive_some() == b""


async def test_a_channel_can_be_stalled_before_it_comes(through, autojump_clock):
    links = through()
    links.proxy.stall("display", direction=Direction.TO_CLIENT)
    client, near = memory_stream_pair()
    far, server = memory_stream_pair()
    links.nursery.start_soon(links.proxy.serve_stream, near, partial(_give, far))
    mess = pack_link(LinkMess(1, ChannelType.DISPLAY, 0))
    await client.send_all(mess)
    await receive(server, len(mess))
    await server.send_all(b"x")
    assert await is_silent(client)


async def _give(stream):
    await trio.lowlevel.checkpoint()
    return stream


async def test_refuse_one_channel(through, autojump_clock):
    links = through()
    links.proxy.refuse("display")
    await links.connect(ChannelType.INPUTS)
    client, near = memory_stream_pair()
    far, _ = memory_stream_pair()
    links.nursery.start_soon(links.proxy.serve_stream, near, partial(_give, far))
    await client.send_all(pack_link(LinkMess(1, ChannelType.DISPLAY, 0)))
    assert await client.receive_some() == b""
    await wait_all_tasks_blocked()
    assert [one.channel for one in links.proxy.connections] == ["inputs:0"]


async def test_garbage(through, autojump_clock):
    links = through("delay=1s")
    client, server = await links.connect()
    await server.send_all(b"late")
    await wait_all_tasks_blocked()
    assert links.proxy.garbage(data=b"\xff\xff") == 1
    assert await receive(client, 6) == b"\xff\xfflate"
    links.proxy.garbage(direction=Direction.TO_SERVER, size=10)
    assert len(await receive(server, 10)) == 10


async def test_half_open(through, autojump_clock):
    links = through()
    client, server = await links.connect()
    assert links.proxy.half_open() == 1
    await client.send_all(b"are you there?")
    await server.send_all(b"x")
    assert await is_silent(client)
    await client.aclose()
    await wait_all_tasks_blocked()
    assert links.proxy.connections == ()


async def test_a_receiver_that_does_not_read_stops_the_sender(through, autojump_clock, monkeypatch):
    """The line holds so much, and two reads beyond."""
    monkeypatch.setattr("atp_trio.testing.faults.connection.MAX_LINE", 1000)
    links = through("delay=1000000s")
    client, _ = await links.connect()
    taken = [0]
    near = links.proxy.connections[0]._client

    async def count(max_bytes=None):
        data = await original(max_bytes)
        taken[0] += len(data)
        return data

    original = near.receive_some
    near.receive_some = count
    for _ in range(10):
        await client.send_all(bytes(500))
        await wait_all_tasks_blocked()
    assert 1000 <= taken[0] <= 2000


async def test_a_script(through, autojump_clock):
    links = through()
    client, server = await links.connect(ChannelType.DISPLAY)
    began = trio.current_time()
    links.nursery.start_soon(links.proxy.run_script, "1s stall display; 3s heal; 4s set_link delay=7s; 20s cut; 21s refuse")
    await trio.sleep(2)
    await client.send_all(b"x")
    await receive(server, 1)
    assert trio.current_time() - began == 3
    await trio.sleep_until(began + 5)
    await client.send_all(b"x")
    await receive(server, 1)
    assert trio.current_time() - began == 12
    assert await server.receive_some() == b""
    assert trio.current_time() - began == 20
    with pytest.raises(ConfigError):
        await links.proxy.run_script("1s explode")


# --- over sockets


@contextlib.asynccontextmanager
async def echo(link=None, unix_path=None):
    """A server that sends back what it gets, behind a proxy; gives the proxy, a way to connect and what the server met."""
    met = []

    async def serve(stream):
        try:
            async for data in stream:
                await stream.send_all(data)
            met.append("end")
        except trio.BrokenResourceError as error:
            met.append(error.__cause__.errno)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            if unix_path is None:
                listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
                target = f"tcp://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            else:
                sock = trio.socket.socket(trio.socket.AF_UNIX)
                await sock.bind(unix_path)
                sock.listen()
                nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(sock)])
                target = f"unix://{unix_path}"
            async with open_fault_proxy(target, link=link) as proxy, contextlib.AsyncExitStack() as clients:

                async def connect():
                    scheme, _, place = proxy.uri.partition("://")
                    host, _, port = place.partition(":")
                    if scheme == "unix":
                        return await clients.enter_async_context(await trio.open_unix_socket(place))
                    return await clients.enter_async_context(await trio.open_tcp_stream(host, int(port)))

                yield proxy, connect, met
            nursery.cancel_scope.cancel()


async def say(stream, data=b"hello"):
    await stream.send_all(data)
    assert await receive(stream, len(data)) == data


async def meets_reset(stream):
    with pytest.raises(trio.BrokenResourceError) as caught:
        await stream.receive_some()
    return caught.value.__cause__.errno == errno.ECONNRESET


async def test_cut_is_a_reset_on_both_sides():
    async with echo() as (proxy, connect, met):
        stream = await connect()
        await say(stream)
        proxy.cut()
        assert await meets_reset(stream)
        await proxy.wait_until(lambda: not proxy.connections)
        await wait_for(lambda: met == [errno.ECONNRESET])


async def wait_for(holds):
    while not holds():  # noqa: ASYNC110 - what is waited for happens in the kernel
        await trio.sleep(0.001)


async def test_hang_up_is_an_end_on_both_sides():
    async with echo() as (proxy, connect, met):
        stream = await connect()
        await say(stream)
        proxy.hang_up()
        assert await stream.receive_some() == b""
        await wait_for(lambda: met == ["end"])


async def test_a_clients_reset_reaches_the_server():
    async with echo() as (proxy, connect, met):
        stream = await connect()
        await say(stream)
        from atp_trio.testing.faults.connection import _reset

        _reset(stream)
        await wait_for(lambda: met == [errno.ECONNRESET])
        await proxy.wait_until(lambda: not proxy.connections)


async def test_half_open_resets_the_server_and_leaves_the_client_in_the_dark():
    async with echo() as (proxy, connect, met):
        stream = await connect()
        await say(stream)
        proxy.half_open()
        await wait_for(lambda: met == [errno.ECONNRESET])
        await stream.send_all(b"still there?")
        with trio.move_on_after(0.05) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        proxy.heal()
        assert await meets_reset(stream)


async def test_refused():
    async with echo() as (proxy, connect, met):
        proxy.refuse()
        stream = await connect()
        assert await meets_reset(stream)
        proxy.heal()
        await say(await connect())
        assert met == []


async def test_a_server_that_is_not_there():
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))
        async with (
            open_fault_proxy(f"tcp://127.0.0.1:{bound.getsockname()[1]}") as proxy,
            await trio.open_tcp_stream("127.0.0.1", int(proxy.uri.rpartition(":")[2])) as stream,
        ):
            assert await meets_reset(stream)


@pytest.mark.parametrize("link", [None, "chunk=1000", "rate=1gbit", "delay=1ms jitter=1ms"])
async def test_a_megabyte_goes_through_unchanged(link):
    data = os.urandom(1 << 20) if link != "chunk=1000" else os.urandom(50_000)
    async with echo(link) as (_, connect, _met):
        stream = await connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            assert await receive(stream, len(data)) == data


async def test_unix_sockets(tmp_path):
    async with echo(unix_path=str(tmp_path / "echo")) as (proxy, connect, met):
        path = trio.Path(proxy.uri.removeprefix("unix://"))
        assert await path.exists()
        stream = await connect()
        await say(stream)
        await stream.send_eof()
        assert await stream.receive_some() == b""
        assert met == ["end"]
    assert not await path.parent.exists()


@pytest.mark.parametrize(
    "target", ["", "http://x", "tcp://host", "tcp://:1", "tcp://h:99999", "unix://relative/path", "spice://h"]
)
async def test_targets_that_cannot_be_meant(target):
    with pytest.raises(ConfigError):
        async with open_fault_proxy(target):
            pass


async def test_the_blocks_own_exception_leaves_it():
    with pytest.raises(ZeroDivisionError):
        async with open_fault_proxy("tcp://127.0.0.1:1"):
            raise ZeroDivisionError


# --- with SPICE


@contextlib.asynccontextmanager
async def spice(link=None, **options):
    with trio.fail_after(PATIENCE):
        async with (
            open_spice_server(**{"size": (64, 48), "network_test": False} | options) as server,
            open_fault_proxy(server.uri, link=link) as proxy,
        ):
            yield server, proxy


async def test_a_machine_through_the_proxy():
    async with spice("chunk=100") as (server, proxy):
        async with atp_trio.open_spice(proxy.uri) as vm:
            await vm.display.wait_ready()
            assert {one.channel for one in proxy.connections} == {"main:0", "display:0", "inputs:0", "cursor:0"}
            assert vm.display.screenshot_nowait().pixels.shape if hasattr(vm.display, "screenshot_nowait") else True
        await server.wait_until(lambda: not server.connections)


async def test_one_channel_is_cut_and_the_others_work_on():
    async with spice() as (server, proxy), atp_trio.open_spice(proxy.uri) as vm:
        display = vm.display
        assert proxy.cut("display") == 1
        await display.wait_closed()
        assert isinstance(display.closed_by, ConnectionLost)
        await vm.inputs.type_text("a")
        await server.wait_until(lambda: len(server.events) >= 2)
        again = await vm.open_channel(atp_trio.ChannelType.DISPLAY)
        await again.wait_ready()


async def test_acks_withheld_stop_the_server():
    async with spice(scene="rectangles", rate=0) as (_, proxy):
        proxy.withhold_acks("display")
        async with atp_trio.open_spice(proxy.uri) as vm:
            (display,) = [one for one in proxy.connections if one.channel == "display:0"]
            await vm.display.wait_ready()
            seen = -1
            while vm.display.display_statistics().updates != seen:
                seen = vm.display.display_statistics().updates
                await trio.sleep(0.1)
            assert display.acks_withheld >= 1
            assert vm.display.statistics().messages_received < 500
            # Other channels are not concerned.
            await vm.inputs.type_text("a")


async def test_garbage_ends_a_channel_with_its_cause():
    async with spice() as (_, proxy), atp_trio.open_spice(proxy.uri) as vm:
        cursor = vm.cursor
        proxy.garbage("cursor", data=b"\xff" * 64)
        await cursor.wait_closed()
        assert isinstance(cursor.closed_by, RemoteProtocolError | ConnectionLost)
        assert vm.main.is_open


async def test_a_refused_machine():
    async with spice() as (_, proxy):
        proxy.refuse()
        with pytest.raises(TransportError):
            async with atp_trio.open_spice(proxy.uri):
                pass


async def test_tls_and_plain_ports(tmp_path):
    uri = "spice://127.0.0.1:1?tls-port=2&password=secret"
    async with open_fault_proxy(uri) as proxy:
        parsed = atp_trio.SpiceUri.parse(proxy.uri)
        assert (parsed.host, parsed.password) == ("127.0.0.1", None)
        assert len({parsed.port, parsed.tls_port} - {1, 2, None}) == 2
    async with open_fault_proxy(f"spice+unix://{tmp_path}/none") as proxy:
        with pytest.raises(ConnectionLost):
            async with atp_trio.open_spice(proxy.uri):
                pass
    with pytest.raises(ConnectFailed):
        async with atp_trio.open_spice(proxy.uri):
            pass


# --- as a process


async def test_in_a_process_of_its_own():
    with trio.fail_after(PATIENCE):
        async with open_spice_server(size=(64, 48), network_test=False) as server:
            process = run_fault_proxy_in_process(server.uri, "delay=5ms")
            uri = await trio.to_thread.run_sync(process.__enter__)
            try:
                assert uri != server.uri
                async with atp_trio.open_spice(uri) as vm:
                    await vm.display.wait_ready()
                    assert all(channel.link_timings.total > 0.02 for channel in vm.channels)
            finally:
                await trio.to_thread.run_sync(process.__exit__, None, None, None)


def test_a_process_that_cannot_mean_its_target():
    with pytest.raises(ConfigError, match="unknown scheme"), run_fault_proxy_in_process("nonsense"):
        pass


def test_its_command_line(capsys):
    assert main(["spice://127.0.0.1:1", "--script", "1s explode"]) == 2
    assert '"error": "fault script, step 1' in capsys.readouterr().out
