"""What programs leave in a guest is removed."""

from __future__ import annotations

import trio

from atp_trio.protocols.qga import open_qga

from .fake_agent import ARGV, ends, silent


async def test_what_cannot_be_removed_now_is_removed_later(autojump_clock, agent, domain):
    ends(agent, exitcode=0)
    async with open_qga(domain) as qga:
        await qga.run(ARGV)
        domain.failure = silent()
        await trio.sleep(2)
        domain.failure = None
        await trio.sleep(2)
        assert agent.files
    assert not agent.files


async def test_what_is_left_by_many_is_removed_by_one(autojump_clock, qga, agent):
    ends(agent, exitcode=0)
    for _ in range(3):
        await qga.run(ARGV)
    assert len(agent.files) == 6
    agent.commands.clear()
    await trio.sleep(1)
    assert not agent.files
    (command,) = [one for one in agent.commands if one["execute"] == "guest-exec"]
    assert command["arguments"]["path"] == "rm"
