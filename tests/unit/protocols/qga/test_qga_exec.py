"""Programs of which only the end matters."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import MalformedMessage
from atp_trio.protocols.qga.domain import open_domain_agent
from atp_trio.protocols.qga.errand import open_errands
from atp_trio.protocols.qga.exec import FIRST_DELAY, longer_delay, run_program, run_shell, start_program

from .fake_agent import started


@pytest.fixture
async def way(domain):
    """The way to the agent."""
    async with open_domain_agent(domain) as way:
        yield way


def test_delays_grow_to_a_quarter_of_a_second():
    delays = [FIRST_DELAY]
    for _ in range(20):
        delays.append(longer_delay(delays[-1]))
    assert delays == sorted(delays)
    assert delays[1] > delays[0]
    assert delays[-1] == delays[-2] == 0.25


async def test_a_program_is_run_to_its_end(autojump_clock, way, agent, nursery):
    done = trio.Event()

    async def run():
        await run_program(way, "prog", ["-x"])
        done.set()

    nursery.start_soon(run)
    await trio.sleep(10)
    assert not done.is_set()
    assert agent.count("guest-exec-status") <= 55
    agent.end(started(agent), exitcode=3)
    await done.wait()
    assert not agent.programs


async def test_a_script_goes_on_without_its_caller(autojump_clock, way, agent, domain):
    async with open_errands() as errands:
        domain.gate = trio.Event()
        with trio.move_on_after(1) as scope:
            await run_shell(way, errands, 'kill -s "$1" "$0"', "1", "TERM")
        assert scope.cancelled_caught
        domain.gate.set()
    assert agent.count("guest-exec-status") == 1
    assert not agent.programs


async def test_a_number_that_is_none(autojump_clock, way, agent):
    agent.values["guest-exec"] = {"pid": "1"}
    with pytest.raises(MalformedMessage):
        await start_program(way, "prog", [], {})
