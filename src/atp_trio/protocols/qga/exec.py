"""guest-exec as it is: a program of the guest, started by the agent and asked for until it has ended.

Source:
    QEMU Guest Agent Protocol Reference, guest-exec and guest-exec-status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio

from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.errand import Errands
from atp_trio.protocols.qga.message import member

__all__ = ["FIRST_DELAY", "SHELL", "longer_delay", "run_program", "run_shell", "start_program"]

SHELL: Final = "/bin/sh"
FIRST_DELAY: Final = 0.001
"""Seconds until it is asked for the first time whether a program has ended."""
_LAST_DELAY: Final = 0.25
_BACKOFF: Final = 1.5


def longer_delay(delay: float) -> float:
    """After this delay, the next one."""
    return min(_BACKOFF * delay, _LAST_DELAY)


async def start_program(agent: QgaAgent, path: str, arguments: list[str], options: Mapping[str, Any]) -> int:
    """Start a program; gives its number."""
    return member(await agent.ask("guest-exec", path=path, arg=arguments, **options), "pid", int)


async def run_program(agent: QgaAgent, path: str, arguments: list[str]) -> None:
    """Run a program to its end, however it ends."""
    pid = await start_program(agent, path, arguments, {})
    delay = FIRST_DELAY
    while not member(await agent.ask("guest-exec-status", pid=pid), "exited", bool):
        await trio.sleep(delay)
        delay = longer_delay(delay)


async def run_shell(agent: QgaAgent, errands: Errands, script: str, *words: str) -> None:
    """Run a script to its end, however it ends.

    Cancellation: it goes on to its end.
    """
    await errands.acquire(lambda: run_program(agent, SHELL, ["-c", script, *words]), _nothing)


async def _nothing(_: object) -> None:
    """What is done behind what needs nothing to be done."""
