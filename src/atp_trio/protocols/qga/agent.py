"""What `QgaProtocol` needs of a way to an agent."""

from __future__ import annotations

import abc
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import trio

from atp_trio.errors import AgentLost, AgentUnresponsive, QgaError
from atp_trio.protocols.qga.message import SILENT

__all__ = ["PROMPT", "QgaAgent"]

PROMPT: Final = 15.0
"""Seconds for a command that an agent carries out at once. A starved guest takes some; one that takes more is no use."""
_ALIVE: Final = 1.0
"""Seconds for which an agent that has answered is taken to be there."""
_PATIENCE: Final = 5.0
"""Seconds in which an agent that does nothing else answers; libvirt's own."""
_SILENT: Final = 5.0
"""Seconds in which a command that is answered only where it fails has failed."""


class QgaAgent(abc.ABC):
    """A way to one guest's agent: its own socket, or libvirt.

    Attributes:
        max_data: How many bytes of a file one command may carry.
    """

    max_data: int

    def __init__(self) -> None:
        self._answered = -math.inf

    async def ask(self, command: str, /, limit: float | None = PROMPT, **arguments: Any) -> Any:
        """Execute a command that is carried out at once.

        Raises:
            AgentUnresponsive: There was no answer within `limit` seconds.
            AtpError: As `QgaProtocol.execute`.
        """
        try:
            value = await self.transact(command, arguments, limit)
        except QgaError as error:
            if error.description is not None:
                self._answered = trio.current_time()
            raise
        self._answered = trio.current_time()
        return value

    async def execute(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """As `QgaProtocol.execute`."""
        if trio.current_time() - self._answered > _ALIVE:
            # Nobody knows how long a command takes; but whether there is an agent, that is known at once.
            await self.ask("guest-ping", limit=_PATIENCE)
        if command not in SILENT:
            return await self.ask(command, limit=None, **arguments)
        try:
            return await self.ask(command, limit=_SILENT, **arguments)
        except (AgentLost, AgentUnresponsive):
            return None

    @abc.abstractmethod
    async def transact(self, command: str, arguments: Mapping[str, Any], limit: float | None) -> Any:
        """One command and its answer; without an answer within so many seconds, `AgentUnresponsive`."""

    @abc.abstractmethod
    def watch(self) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """Gives what waits until there may be an agent, for a while."""
