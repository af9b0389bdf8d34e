"""Ports and consoles of a real machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from atp_trio.errors import ChannelNotAvailable, ConnectionLost, HypervisorError
from atp_trio.hypervisor.host import open_host
from atp_trio.protocols.framing import JsonFraming, LineFraming, RawFraming
from atp_trio.protocols.virtio_serial import VirtioSerialProtocol
from atp_trio.supervision.state import ConnectionState
from atp_trio.testing.guest import DRAW_PORT, ECHO_PORT, EVENTS_PORT

WITHIN = 60  # seconds; a busy host
SILENT = {"agent": False, "console": True, "spice": None, "display": "", "tablet": False, "memory_mib": 32}
PORT = "org.test.0"


@pytest.fixture
async def host(libvirtd):
    async with open_host(libvirtd.uri) as host:
        yield host


@pytest.fixture
async def vm(host, domain):
    return await host.domain(domain)


async def say_hello(stream):
    """The guest hears of the one before leaving, and may drop what comes until then."""
    while True:
        await stream.send_all(b"hello\n")
        received = b""
        with trio.move_on_after(1):
            while not received.endswith(b"hello\n"):
                received += await stream.receive_some()
        if received.endswith(b"hello\n"):
            return


async def drain(receive):
    """Receive until the end."""
    while await receive():
        pass


async def echo(stream, size, seed=1):
    """Send so many bytes, and compare what comes back."""
    data = random.Random(seed).randbytes(1 << 20)
    sent, received, left = hashlib.sha256(), hashlib.sha256(), size

    async def send():
        for at in range(0, size, len(data)):
            piece = data[: min(len(data), size - at)]
            sent.update(piece)
            await stream.send_all(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while left:
            got = await stream.receive_some()
            assert got
            received.update(got)
            left -= len(got)
    assert left == 0
    assert received.digest() == sent.digest()


async def test_100_mib(vm):
    with trio.fail_after(2 * WITHIN):
        async with await vm.open_channel(ECHO_PORT) as stream:
            await say_hello(stream)
            await echo(stream, 100 << 20)


@pytest.mark.parametrize("way", ["tcp_uri", "tls_uri", "ssh_uri"])
async def test_over_a_network(libvirtd, domain, way):
    with trio.fail_after(WITHIN):
        async with (
            open_host(getattr(libvirtd, way)) as host,
            await (await host.domain(domain)).open_channel(ECHO_PORT) as stream,
        ):
            await say_hello(stream)
            await echo(stream, 4 << 20)


async def test_a_port_that_is_in_use_and_taken(vm):
    with trio.fail_after(WITHIN):
        async with await vm.open_channel(ECHO_PORT) as first:
            with pytest.raises(ChannelNotAvailable, match="force") as caught:
                await vm.open_channel(ECHO_PORT)
            assert caught.value.__cause__.code == 9
            async with await vm.open_channel(ECHO_PORT, force=True) as second:
                with pytest.raises(ConnectionLost, match=ECHO_PORT):
                    await drain(first.receive_some)
                await say_hello(second)
        with pytest.raises(ChannelNotAvailable, match="nosuch"):
            await vm.open_channel("nosuch")
        with pytest.raises(ChannelNotAvailable, match="nosuch"):
            await vm.open_console("nosuch")


async def test_sent_before_it_was_closed_arrives(vm):
    with trio.fail_after(WITHIN):
        async with VirtioSerialProtocol(JsonFraming()) as draw:
            await draw.connect(vm, DRAW_PORT)
            await draw.stream.send_all(b"sync\n")
            before = (await draw.receive())["drawn"]
            await draw.disconnect()
            async with await vm.open_channel(DRAW_PORT) as stream:
                await stream.send_all(b"fill 0 0 1 1 000000\n" * 100)
            await draw.connect(vm, DRAW_PORT)
            drawn = before
            while drawn < before + 100:
                await draw.stream.send_all(b"sync\n")
                drawn = (await draw.receive())["drawn"]
            assert drawn == before + 100


async def test_three_streams_beside_qmp(host, vm):
    """None of them holds up another: QMP calls back to back, which is what stalls a connection that is shared."""
    slowest, calls = 0.0, 0

    async def call():
        nonlocal slowest, calls
        while True:
            started = trio.current_time()
            await vm.monitor('{"execute": "query-status"}')
            slowest, calls = max(slowest, trio.current_time() - started), calls + 1

    async def ask(port, word):
        async with VirtioSerialProtocol(JsonFraming()) as protocol:
            await protocol.connect(vm, port)
            for _ in range(50):
                await protocol.stream.send_all(word)
                assert "clock" in await protocol.receive()

    with trio.fail_after(WITHIN):
        async with await vm.open_channel(ECHO_PORT) as stream, trio.open_nursery() as background:
            await say_hello(stream)
            background.start_soon(call)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(echo, stream, 16 << 20)
                nursery.start_soon(ask, EVENTS_PORT, b"ping\n")
                nursery.start_soon(ask, DRAW_PORT, b"sync\n")
            background.cancel_scope.cancel()
    assert calls > 20
    assert slowest < 2


async def test_a_shell_on_a_console(vm):
    with trio.fail_after(WITHIN):
        async with VirtioSerialProtocol(LineFraming(errors="replace", end="\r")) as shell:
            await shell.connect(vm, "console1")
            assert shell.is_open_in_guest is None
            await shell.send("")
            await shell.send("echo $((6*7))-times")
            while not (await shell.receive()).endswith("42-times"):
                pass


async def test_the_guest_closes_the_port(vm):
    """The echo program is ended through the shell on the console; it is not started again while its port is not there."""
    with trio.fail_after(WITHIN):
        async with VirtioSerialProtocol(RawFraming()) as port, await vm.open_console("console1") as shell:
            await port.connect(vm, ECHO_PORT)
            await say_hello(port.stream)
            assert port.is_open_in_guest
            await shell.send_all(f"\rcd /dev/virtio-ports; mv {ECHO_PORT} gone; killall port-echo\r".encode())
            try:
                with pytest.raises(ConnectionLost, match=f"the guest closed port {ECHO_PORT}"):
                    await drain(port.receive)
                with pytest.raises(ConnectionLost, match="the guest closed"):
                    await port.send(b"x")
            finally:
                await shell.send_all(f"\rmv gone {ECHO_PORT}; killall sleep\r".encode())
            await port.disconnect()
            await port.connect(vm, ECHO_PORT)
            await say_hello(port.stream)
            while not port.is_open_in_guest:  # noqa: ASYNC110 - news come on another way than the bytes, and may be later
                await trio.sleep(0.01)


@pytest.mark.parametrize("end", ["SIGKILL", "destroy"])
async def test_the_machine_ends(libvirtd, host, make_domain, end):
    name = make_domain(ports=(PORT,), **SILENT)
    with trio.fail_after(WITHIN):
        domain = await host.domain(name)
        async with await domain.open_channel(PORT) as port, await domain.open_console() as console:
            if end == "destroy":
                await domain.destroy()
            else:
                os.kill(libvirtd.qemu_pid(name), signal.SIGKILL)
            for stream in (port, console):
                # An end or a loss, as libvirt sees it: it depends on what was on its way.
                with contextlib.suppress(ConnectionLost):
                    await drain(stream.receive_some)
                with pytest.raises(ConnectionLost, match=name):
                    await stream.send_all(b"x")
        with pytest.raises(HypervisorError, match="not running"):
            await domain.open_channel(PORT)
        assert host.state is ConnectionState.CONNECTED


async def test_libvirtd_ends(new_libvirtd):
    with new_libvirtd() as daemon, trio.fail_after(2 * WITHIN):
        daemon.run("vm", ports=(PORT,), **SILENT)
        async with open_host(daemon.uri) as host:
            domain = await host.domain("vm")
            async with await domain.open_channel(PORT) as stream:
                await trio.to_thread.run_sync(lambda: daemon.restart(hard=True))
                with pytest.raises(ConnectionLost, match=f"port {PORT} of vm was lost"):
                    await stream.receive_some()
                with pytest.raises(ConnectionLost):
                    await stream.send_all(b"x")
            await host.wait_connected()
            # What libvirtd forgot it opens anew.
            async with await domain.open_channel(PORT):
                pass


async def test_a_guest_that_does_not_read(host, make_domain):
    """Sending waits, as a caller may; leaving does not, and what else the host does is not held up."""
    name = make_domain(ports=(PORT,), **SILENT)
    with trio.fail_after(WITHIN):
        domain = await host.domain(name)
        stream = await domain.open_channel(PORT)
        with trio.move_on_after(1) as scope:
            while True:
                await stream.send_all(bytes(1 << 18))
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await stream.aclose()
        assert "running" in await domain.monitor('{"execute": "query-status"}')
        async with await domain.open_channel(PORT, force=True):
            pass


def serial(libvirtd, domain, *words, data):
    command = [sys.executable, "-m", "atp_trio", "serial", libvirtd.uri, domain, *words]
    return subprocess.run(command, input=data, capture_output=True, timeout=WITHIN, check=False)


def test_the_command_line(libvirtd, domain):
    data = random.Random(2).randbytes(1 << 20)
    done = serial(libvirtd, domain, ECHO_PORT, data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data
    done = serial(libvirtd, domain, EVENTS_PORT, "--linger", "0.5", data=b"ping\n")
    assert json.loads(done.stdout)["clock"] > 0
    assert b"42" in serial(libvirtd, domain, "console1", data=b"\recho $((6*7))\r").stdout
    done = serial(libvirtd, domain, "nosuch", data=b"")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no port nosuch; it has" in done.stderr


def count_sockets():
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            targets.append(str(descriptor.readlink()))
    return sum(target.startswith("socket:") for target in targets)


async def test_a_stream_leaves_no_connection_behind(host, vm):
    async def use_and_close(how):
        stream = await vm.open_channel(ECHO_PORT)
        await say_hello(stream)
        await how(stream)

    await use_and_close(lambda stream: stream.aclose())
    before = count_sockets()
    for how in (lambda stream: stream.aclose(), trio.aclose_forcefully) * 2:
        await use_and_close(how)  # the port is free again
    with trio.fail_after(WITHIN):
        while count_sockets() > before:  # noqa: ASYNC110 - threads close them
            await trio.sleep(0.02)
