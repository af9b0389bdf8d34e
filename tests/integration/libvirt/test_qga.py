"""QGA with a real agent: through libvirt, and on the socket of its port."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from atp_trio.errors import (
    AgentLost,
    AgentNotConfigured,
    AgentNotConnected,
    AgentUnavailable,
    AgentUnresponsive,
    DomainNotRunning,
    LocalProtocolError,
    QgaError,
)
from atp_trio.hypervisor.domain import DomainState
from atp_trio.hypervisor.host import open_host
from atp_trio.protocols.qga import Completed, open_qga

WITHIN = 90  # seconds; a busy host
MIB = 1 << 20
SIZE = 100 * MIB if os.environ.get("ATP_SLOW") else 16 * MIB


@asynccontextmanager
async def opened(libvirtd, name):
    """A connection to the agent of that domain, with a limit of time."""
    with trio.fail_after(10 * WITHIN if SIZE > 16 * MIB else WITHIN):
        async with open_host(libvirtd.uri) as host, open_qga(await host.domain(name)) as qga:
            yield qga


async def shell(qga, script) -> str:
    """What a script of the guest's shell writes."""
    done = await qga.run(["sh", "-c", script])
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


async def is_cleaned_up(qga) -> bool:
    """Whether nothing of ours is left in the guest, but for the program that looks."""
    for _ in range(10):
        await trio.sleep(1)  # files are removed a little later
        if len((await shell(qga, "ls -d /tmp/atp-*")).split()) == 2:
            return True
    return False


# --- programs


async def test_programs(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        assert await qga.run(["sh", "-c", "echo $((6*7)); echo no >&2; exit 3"]) == Completed(3, None, b"42\n", b"no\n")
        assert await qga.run(["sh", "-c", "kill -9 $$"]) == Completed(None, 9, b"", b"")
        assert await qga.run(["cat"], stdin=b"a\0\xff") == Completed(0, None, b"a\0\xff", b"")
        words = ["", " ", "$HOME", "'\"", "ä€", "-n"]
        assert (await qga.run(["printf", "%s|", *words])).stdout.decode() == "|".join([*words, ""])
        done = await qga.run(["env"], env={"A": "b c", "B": "x=y"})
        assert {b"A=b c", b"B=x=y"} <= set(done.stdout.splitlines())
        assert not done.stdout.count(b"SECRET")
        missing = await qga.run(["no-such-program"])
        assert missing.returncode == 127
        assert b"no-such-program" in missing.stderr
        assert await is_cleaned_up(qga)


async def test_more_than_fits_into_a_command(libvirtd, domain):
    data = os.urandom(600_000)
    async with opened(libvirtd, domain) as qga:
        assert (await qga.run(["cat"], stdin=data)).stdout == data
        with pytest.raises(LocalProtocolError, match="libvirt passes on"):
            await qga.execute("guest-file-write", handle=1, **{"buf-b64": "A" * 200_000})
        await qga.ping()


async def test_output_comes_while_the_program_runs(libvirtd, domain):
    script = "echo one; while [ ! -e /tmp/go ]; do usleep 10000; done; rm /tmp/go; echo two; exit 7"
    async with opened(libvirtd, domain) as qga, qga.exec(["sh", "-c", script]) as process:
        assert await process.stdout.receive_some() == b"one\n"
        assert process.status is None
        await qga.write_file("/tmp/go", b"")
        assert [data async for data in process.stdout] == [b"two\n"]
        assert (await process.wait()).returncode == 7


async def test_much_output(libvirtd, domain):
    digest, size = hashlib.sha256(), 0
    async with (
        opened(libvirtd, domain) as qga,
        qga.exec(["sh", "-c", "head -c 4000000 /dev/urandom | tee /tmp/much; rm /tmp/much.no"]) as process,
    ):
        async for data in process.stdout:
            digest.update(data)
            size += len(data)
        assert size == 4_000_000
        assert await process.stderr.receive_some()
        assert digest.hexdigest() == (await shell(qga, "sha256sum /tmp/much; rm /tmp/much")).split()[0]


async def test_who_leaves_kills(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        with trio.move_on_after(0.5) as scope:
            await qga.run(["sleep", "54321"])
        assert scope.cancelled_caught
        assert "sleep 54321" not in (await shell(qga, "ps | grep '[s]leep'"))
        async with qga.exec(["sleep", "12345"]) as process:
            await process.kill("TERM")
            assert (await process.wait()).signal == 15
        async with qga.exec(["sh", "-c", "sleep 1; echo done >/tmp/detached"]) as process:
            process.detach()
        while True:
            try:
                content = await qga.read_file("/tmp/detached")
            except QgaError:
                content = b""
            if content:
                break
            await trio.sleep(0.05)
        assert content == b"done\n"
        await shell(qga, "rm /tmp/detached")
        assert await is_cleaned_up(qga)


# --- files


async def test_files_of_any_size(libvirtd, domain, tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(SIZE // MIB):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    async with opened(libvirtd, domain) as qga:
        await qga.put(source, "/tmp/large")
        assert (await shell(qga, "sha256sum /tmp/large")).split()[0] == digest.hexdigest()
        await qga.get("/tmp/large", target)
        await shell(qga, "rm /tmp/large")
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()


async def test_small_files(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        await qga.write_file("/tmp/small", b"a\0\xff")
        assert await qga.read_file("/tmp/small") == b"a\0\xff"
        async with qga.open_file("/tmp/small", "a+") as file:
            await file.write(b"more")
            assert await file.size() == 7
            await file.seek(1)
            assert await file.read() == (b"\0\xffmore", True)
        await shell(qga, "rm /tmp/small")
        assert b"processor" in await qga.read_file("/proc/cpuinfo")
        with pytest.raises(QgaError, match="No such file"):
            await qga.read_file("/nothing")


# --- the guest


async def test_what_the_guest_is(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        info = await qga.info()
        assert info.can("guest-exec")
        assert not info.can("guest-fly")
        assert next(one for one in info.commands if one.name == "guest-shutdown").success_response is False
        assert (await qga.osinfo()).machine == "x86_64"
        loopback = next(one for one in await qga.network_interfaces() if one.name == "lo")
        assert "127.0.0.1/8" in map(str, loopback.addresses)
        assert loopback.statistics["rx-bytes"] >= 0
        assert await qga.users() == ()
        assert await qga.host_name()
        with pytest.raises(QgaError, match="has not been found") as caught:
            await qga.execute("guest-fly")
        assert not isinstance(caught.value, AgentUnavailable)


async def test_the_clock(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        before = await qga.get_time()
        try:
            await qga.set_time(1_700_000_000 * 10**9)
            assert 0 <= await qga.get_time() - 1_700_000_000 * 10**9 < WITHIN * 10**9
        finally:
            await qga.set_time(before)


async def test_frozen_file_systems(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        await shell(qga, "grep -q ' /mnt ' /proc/mounts || disk")

        async def use():
            with trio.move_on_after(1):
                async with qga.frozen() as count:
                    assert count == 1
                    assert await qga.fsfreeze_status() == "frozen"
                    with pytest.raises(QgaError):
                        await qga.write_file("/mnt/a", b"")
                    await trio.sleep_forever()

        await use()
        assert await qga.fsfreeze_status() == "thawed"
        await qga.write_file("/mnt/a", b"")


# --- an agent that comes and goes


async def test_no_agent(libvirtd, idle_domains):
    async with opened(libvirtd, idle_domains[0]) as qga:
        for ask in (qga.ping, qga.wait_agent):
            with pytest.raises(AgentNotConfigured):
                await ask()


async def test_an_agent_that_is_stopped_and_started(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        async with qga.exec(["sh", "-c", "usleep 200000; agent stop; sleep 3; agent start"]) as process:
            with pytest.raises(AgentUnavailable):
                await process.wait()
            while True:
                try:
                    await qga.ping()
                except AgentNotConnected:
                    break
                except AgentUnavailable:
                    pass
            await qga.wait_agent()
            with pytest.raises(AgentLost, match="started anew"):
                await process.wait()
        await qga.ping()
        assert await is_cleaned_up(qga)


async def test_an_agent_that_ends_in_the_middle(libvirtd, domain):
    script = "usleep 300000; killall -STOP qemu-ga; sleep 2; killall -KILL qemu-ga"
    async with opened(libvirtd, domain) as qga, qga.exec(["sh", "-c", script]):
        await trio.sleep(1)
        with pytest.raises(AgentLost):
            await qga.get_time()
        await qga.wait_agent()


async def test_a_late_answer_is_nobody_elses(libvirtd, domain):
    async with opened(libvirtd, domain) as qga:
        script = "usleep 300000; killall -STOP qemu-ga; sleep 14; killall -CONT qemu-ga"
        async with qga.exec(["sh", "-c", script]) as process:
            process.detach()
        await trio.sleep(1)
        # Given up by us, and given up by libvirt.
        with trio.move_on_after(1) as scope:
            await qga.get_time()
        assert scope.cancelled_caught
        with pytest.raises(AgentUnresponsive):
            await qga.execute("guest-get-osinfo")
        await qga.wait_agent()
        for _ in range(5):
            assert isinstance(await qga.get_time(), int)
            assert (await qga.osinfo()).machine == "x86_64"
            assert (await qga.info()).version


async def test_a_machine_that_stands_still_and_ends(libvirtd, make_domain, guest):
    name = make_domain(guest, spice=None, display="", tablet=False, memory_mib=192)
    async with opened(libvirtd, name) as qga, open_host(libvirtd.uri) as host:
        machine = await host.domain(name)
        await machine.suspend()
        with pytest.raises(DomainNotRunning) as caught:
            await qga.ping()
        assert caught.value.state is DomainState.PAUSED
        async with trio.open_nursery() as nursery:
            nursery.start_soon(qga.wait_agent)
            await trio.sleep(0.1)
            await machine.resume()
        await qga.shutdown()
        while await machine.state() is not DomainState.SHUTOFF:  # noqa: ASYNC110 - libvirt's event may have come before
            await trio.sleep(0.05)
        for ask in (qga.ping, qga.wait_agent):
            with pytest.raises(DomainNotRunning) as caught:
                await ask()
            assert caught.value.state is DomainState.SHUTOFF


# --- without libvirt


async def test_on_the_agents_own_socket(qemu, guest, tmp_path: Path):
    data = os.urandom(2 * MIB)
    with qemu(guest=guest, display="", agent=True, memory_mib=256) as machine:
        await trio.to_thread.run_sync(machine.wait_ready)
        with trio.fail_after(WITHIN):
            async with open_qga(machine.agent_path) as qga:
                await qga.wait_agent()
                assert await qga.run(["sh", "-c", "cat; exit 3"], stdin=b"in") == Completed(3, None, b"in", b"")
                await qga.write_file("/tmp/a", data)
                assert await qga.read_file("/tmp/a") == data
                async with qga.exec(
                    ["sh", "-c", "usleep 300000; killall -STOP qemu-ga; sleep 2; killall -CONT qemu-ga"]
                ) as process:
                    process.detach()
                await trio.sleep(0.6)
                with trio.move_on_after(0.5) as scope:
                    await qga.get_time()
                assert scope.cancelled_caught
                assert (await qga.osinfo()).machine == "x86_64"


# --- the command line


def atp(*words, **options):
    command = [sys.executable, "-m", "atp_trio", "qga", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, timeout=WITHIN, **options)


def test_the_command_line(libvirtd, domain, tmp_path: Path):
    assert atp(libvirtd.uri, domain, "ping").stdout.startswith(b"the guest agent answered")
    assert json.loads(atp(libvirtd.uri, domain, "info", "--json").stdout)["os"]["machine"] == "x86_64"
    done = atp(libvirtd.uri, domain, "exec", "--stdin", "--", "sh", "-c", "cat; echo no >&2; exit 3", input=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\n", b"no\n")
    (tmp_path / "a").write_bytes(os.urandom(300_000))
    assert atp(libvirtd.uri, domain, "put", tmp_path / "a", "/tmp/cli").returncode == 0
    assert atp(libvirtd.uri, domain, "get", "/tmp/cli", tmp_path / "b").returncode == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    refused = atp(libvirtd.uri, domain, "get", "/tmp/nothing", tmp_path / "c")
    assert (refused.returncode, refused.stderr.count(b"\n")) == (1, 1)


async def test_a_cancelled_block_is_left_in_order_with_its_host(libvirtd, domain):
    with trio.CancelScope() as scope:
        async with (
            open_host(libvirtd.uri) as host,
            open_qga(await host.domain(domain)) as qga,
            qga.exec(["sleep", "4711"]),
        ):
            assert "sleep 4711" in await shell(qga, "ps")
            async with qga.frozen():
                scope.cancel()
                await trio.sleep_forever()
    assert scope.cancelled_caught
    async with opened(libvirtd, domain) as qga:
        assert await qga.fsfreeze_status() == "thawed"
        assert "sleep 4711" not in await shell(qga, "ps")
        assert await is_cleaned_up(qga)
