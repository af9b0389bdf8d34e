"""Removes what programs have left in a guest."""

from __future__ import annotations

from typing import Final

from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.errand import Errands
from atp_trio.protocols.qga.exec import run_program

__all__ = ["Broom"]

_DELAY: Final = 0.5  # seconds for more to come
_MOST: Final = 500  # at once: some 25 KiB of a command that may have 192


class Broom:
    """Removes files, a little later and all together: to start a program for it takes the guest longer than most else."""

    def __init__(self, agent: QgaAgent, errands: Errands) -> None:
        self._agent = agent
        self._errands = errands
        self._paths: dict[str, None] = {}
        self._is_sweeping = False

    def sweep(self, *paths: str) -> None:
        """Remove these; and those that could not be removed before, as there was no agent."""
        self._paths |= dict.fromkeys(paths)
        if self._paths and not self._is_sweeping:
            self._is_sweeping = True
            self._errands.start(self._sweep_soon)

    async def _sweep_soon(self) -> None:
        try:
            await self._errands.wait_finishing(_DELAY)
            while self._paths:
                paths = list(self._paths)[:_MOST]
                await run_program(self._agent, "rm", ["-f", *paths])
                for path in paths:
                    del self._paths[path]
        finally:
            self._is_sweeping = False
