"""How programs in a guest are started."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import ConfigError, QgaError
from atp_trio.protocols.qga import Completed

from .fake_agent import ARGV, ends


async def test_arguments_environment_and_input(autojump_clock, qga, agent):
    seen = []
    agent.on_exec = lambda program: (seen.append(program), agent.end(program, exitcode=0))
    await qga.run(ARGV)
    await qga.run(ARGV, env={"A": "1", "B": "x=y"}, stdin=b"in\0put")
    await qga.run(ARGV, env={}, stdin=b"long" * 100_000)
    assert [one.argv for one in seen] == [ARGV] * 3
    assert [one.env for one in seen] == [None, ["A=1", "B=x=y"], []]
    assert [one.stdin for one in seen] == [b"", b"in\0put", b"long" * 100_000]
    await trio.sleep(1)
    assert not agent.files


async def test_cancelled_while_it_is_started(autojump_clock, qga, agent, domain):
    programs = []
    agent.on_exec = programs.append
    domain.gate = trio.Event()
    with trio.move_on_after(1) as scope:
        async with qga.exec(ARGV):
            pytest.fail("it was not started in time")
    assert scope.cancelled_caught
    assert not programs[0].signals
    domain.gate.set()
    await trio.sleep(1)
    assert programs[0].signals == ["KILL"]
    assert not agent.files


async def test_a_guest_without_a_shell(autojump_clock, qga, agent):
    agent.has_shell = False
    ends(agent, exitcode=2, **{"out-data": "YWJj", "err-data": "eHk=", "err-truncated": True})
    assert await qga.run(ARGV, stdin=b"in") == Completed(2, None, b"abc", b"xy", False, True)
    assert await qga.run(["other"], stdin=b"long" * 30_000) == Completed(2, None, b"abc", b"xy", False, True)
    paths = [one["arguments"]["path"] for one in agent.commands if one["execute"] == "guest-exec"]
    assert paths == ["/bin/sh", "prog", "other"]
    async with qga.exec(["slow"]) as process:
        assert [data async for data in process.stdout] == [b"abc"]


async def test_no_shell_and_long_input_first(autojump_clock, qga, agent):
    agent.has_shell = False
    programs = []
    agent.on_exec = lambda program: (programs.append(program), agent.end(program, exitcode=0))
    await qga.run(ARGV, stdin=b"x" * 100_000)
    assert [one.stdin for one in programs] == [b"x" * 100_000]


async def test_a_program_that_cannot_be_started(autojump_clock, qga, agent):
    agent.has_shell = False
    with pytest.raises(QgaError, match="No such file"):
        await qga.run(["nope"])


@pytest.mark.parametrize("argv", [[], "ls -l", ["a\0b"], ["a", "b\0"]])
async def test_arguments_that_cannot_be(autojump_clock, qga, argv):
    with pytest.raises(ConfigError):
        await qga.run(argv)
