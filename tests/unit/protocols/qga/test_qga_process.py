"""Programs in a guest."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from atp_trio.errors import (
    AgentLost,
    AgentUnresponsive,
    ConfigError,
    ConnectionLost,
    LocalProtocolError,
    MalformedMessage,
    QgaError,
)
from atp_trio.protocols.qga import Completed, ExitStatus, open_qga

from .fake_agent import ARGV, ends, silent, started


async def test_runs(autojump_clock, qga, agent):
    ends(agent, out=b"out" * 100_000, err=b"err", exitcode=3)
    done = await qga.run(ARGV, env={"A": "1"}, stdin=b"input")
    assert done == Completed(3, None, b"out" * 100_000, b"err")
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(1)
    assert not agent.files
    assert not agent.handles
    assert not agent.programs


async def test_a_signal(autojump_clock, qga, agent):
    ends(agent, signal=15)
    assert await qga.run(ARGV) == Completed(None, 15, b"", b"")


async def test_what_is_not_kept_is_told(autojump_clock, qga, agent):
    ends(agent, out=b"0123456789", err=b"01234", exitcode=0)
    assert await qga.run(ARGV, max_output=5) == Completed(0, None, b"01234", b"01234", True, False)


async def test_output_comes_while_it_runs(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process:
        program = started(agent)
        agent.write(program, b"one")
        assert await process.stdout.receive_some() == b"one"
        with trio.move_on_after(5) as scope:
            await process.stdout.receive_some()
        assert scope.cancelled_caught
        agent.write(program, b"two")
        agent.write(program, b"no", "err")
        assert await process.stdout.receive_some(2) == b"tw"
        assert process.status is None
        agent.write(program, b"three")
        agent.end(program, exitcode=7)
        assert [data async for data in process.stdout] == [b"o", b"three"]
        assert await process.stdout.receive_some() == b""
        assert await process.stderr.receive_some() == b"no"
        assert await process.wait() == process.status == ExitStatus(7, None)


async def test_asking_backs_off_and_becomes_quick_again(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process:
        with trio.move_on_after(10):
            await process.wait()
        before = agent.count("guest-exec-status")
        assert 40 <= before <= 55
        agent.write(started(agent), b"x")
        assert await process.stdout.receive_some() == b"x"
        with trio.move_on_after(0.1):
            await process.wait()
        assert 5 <= agent.count("guest-exec-status") - before <= 10


async def test_those_who_wait_ask_together(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process, trio.open_nursery() as nursery:
        for wait in (process.wait, process.stdout.receive_some, process.stderr.receive_some, process.wait):
            nursery.start_soon(wait)
        await trio.sleep(10)
        assert agent.count("guest-exec-status") <= 55
        agent.end(started(agent), exitcode=0)


async def test_the_end_is_not_lost_with_a_caller(autojump_clock, qga, agent, domain):
    async with qga.exec(ARGV) as process:
        agent.end(started(agent), exitcode=4)
        domain.gate = trio.Event()
        with trio.move_on_after(1) as scope:
            await process.wait()
        assert scope.cancelled_caught
        domain.gate.set()
        assert await process.wait() == ExitStatus(4, None)


async def test_output_is_not_lost_with_a_caller(autojump_clock, qga, agent, domain):
    async with qga.exec(ARGV) as process:
        program = started(agent)
        agent.write(program, b"one")
        assert await process.stdout.receive_some() == b"one"
        agent.write(program, b"two")
        domain.gate = trio.Event()
        with trio.move_on_after(1) as scope:
            await process.stdout.receive_some()
        assert scope.cancelled_caught
        domain.gate.set()
        agent.end(program, exitcode=0)
        assert [data async for data in process.stdout] == [b"two"]


@pytest.mark.parametrize("how", ["leave", "cancel", "error"])
async def test_leaving_kills(autojump_clock, qga, agent, how):
    signals = []

    async def use():
        with trio.move_on_after(1 if how == "cancel" else 100):
            async with qga.exec(ARGV) as process:
                signals.append(started(agent).signals)
                if how == "error":
                    raise KeyError("mine")
                if how == "cancel":
                    await process.wait()

    if how == "error":
        with pytest.raises(KeyError):
            await use()
    else:
        await use()
    assert signals == [["KILL"]]
    await trio.sleep(1)
    assert not agent.files
    assert not agent.programs


async def test_killing(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process:
        program = started(agent)
        await process.kill("TERM")
        assert program.signals == ["TERM"]
        agent.end(program, signal=15)
        await process.wait()
        await process.kill()
        assert program.signals == ["TERM"]
        assert repr(process) == f"<GuestProcess {process.pid} ExitStatus(returncode=None, signal=15)>"


async def test_detached_it_goes_on(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process:
        process.detach()
    await trio.sleep(1)
    assert not started(agent).signals
    assert not agent.files


async def test_leaving_takes_a_bounded_time(autojump_clock, qga, agent, domain):
    with trio.move_on_after(1):
        async with qga.exec(ARGV):
            domain.is_silent = True
            begun = trio.current_time()
            await trio.sleep_forever()
    assert trio.current_time() - begun == pytest.approx(6, abs=0.1)


async def test_without_a_shell_nothing_is_killed(autojump_clock, qga, agent):
    agent.has_shell = False
    async with qga.exec(["slow"]) as process:
        with pytest.raises(LocalProtocolError, match="no shell"):
            await process.kill()
        with trio.move_on_after(3) as scope:
            await process.stdout.receive_some()
        assert scope.cancelled_caught
    assert agent.running


async def test_a_guest_without_a_place_for_output(autojump_clock, qga, agent):
    agent.has_place = False
    with pytest.raises(QgaError, match="no place for the output"):
        await qga.run(ARGV)


async def test_an_agent_that_was_started_anew(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process:
        agent.programs.clear()
        for wait in (process.wait, process.stdout.receive_some):
            with pytest.raises(AgentLost, match="started anew"):
                await wait()


async def test_an_agent_that_is_silent_for_a_while(autojump_clock, qga, agent, domain):
    async with qga.exec(ARGV) as process:
        agent.end(started(agent), exitcode=0)
        domain.failure = silent()
        with pytest.raises(AgentUnresponsive):
            await process.wait()
        domain.failure = None
        assert await process.wait() == ExitStatus(0, None)


@pytest.mark.parametrize("status", [{}, {"exitcode": "0"}, {"exitcode": None}, {"exited": 1}])
async def test_an_end_that_cannot_be(autojump_clock, qga, agent, status):
    agent.on_exec = lambda program: agent.end(program, **status)
    with pytest.raises(MalformedMessage):
        await qga.run(ARGV)


async def test_misuse_of_an_output(autojump_clock, qga, agent):
    async with qga.exec(ARGV) as process:
        with pytest.raises(ConfigError):
            await process.stdout.receive_some(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.stdout.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await process.stdout.receive_some()
            nursery.cancel_scope.cancel()
        await process.stdout.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await process.stdout.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await process.stderr.receive_some()


async def test_disconnecting_ends_who_waits(autojump_clock, agent, domain, nursery):
    ended = []
    async with open_qga(domain) as qga:

        async def use():
            async with qga.exec(ARGV) as process:
                with pytest.raises(ConnectionLost, match="disconnected"):
                    await process.wait()
            ended.append(trio.current_time() - begun)

        nursery.start_soon(use)
        await trio.sleep(1)
        begun = trio.current_time()
    await trio.sleep(0.1)
    assert ended
    assert ended[0] <= 6
