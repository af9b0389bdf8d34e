"""File systems are thawed again."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import AgentNotConnected, AgentUnresponsive, QgaError

from .fake_agent import Refused, not_connected


async def test_frozen(autojump_clock, qga, agent):
    agent.values["guest-fsfreeze-status"] = lambda _: "frozen" if agent.frozen else "thawed"
    async with qga.frozen() as count:
        assert count == agent.frozen == 2
        assert await qga.fsfreeze_status() == "frozen"
    assert await qga.fsfreeze_status() == "thawed"


async def test_frozen_in_part(autojump_clock, qga, agent):
    agent.values["guest-fsfreeze-freeze-list"] = lambda arguments: len(arguments["mountpoints"])
    async with qga.frozen(["/mnt"]) as count:
        assert count == 1
    assert agent.count("guest-fsfreeze-thaw") == 1


@pytest.mark.parametrize("how", ["error", "cancel", "cancel freezing", "refuse"])
async def test_thawed_however_it_is_left(autojump_clock, qga, agent, domain, how):
    async def use():
        with trio.move_on_after(1):
            async with qga.frozen():
                if how == "error":
                    raise KeyError("mine")
                await trio.sleep_forever()

    await qga.ping()
    if how == "cancel freezing":
        domain.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await trio.sleep(2)
            domain.gate.set()
    elif how == "refuse":
        agent.values["guest-fsfreeze-freeze"] = Refused("one of them cannot")
        with pytest.raises(QgaError, match="cannot"):
            await use()
    elif how == "error":
        with pytest.raises(KeyError):
            await use()
    else:
        await use()
    assert not agent.frozen
    assert agent.count("guest-fsfreeze-thaw") == 1


async def test_thawing_has_a_deadline(autojump_clock, qga, domain):
    await qga.ping()

    async def use():
        async with qga.frozen():
            domain.gate = trio.Event()

    begun = trio.current_time()
    with pytest.raises(AgentUnresponsive, match="thawed"):
        await use()
    assert trio.current_time() - begun == pytest.approx(30)


async def test_what_was_never_frozen_is_not_thawed(autojump_clock, qga, agent, domain):
    domain.failure = not_connected()
    with pytest.raises(AgentNotConnected):
        async with qga.frozen():
            pytest.fail("nothing was frozen")
    assert not agent.commands
