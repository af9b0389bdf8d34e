"""`send` and `receive` over an agent: commands out, answers in, in the same order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.message import QgaCommand, QgaReply, encode_command

__all__ = ["Conversation", "open_conversation"]

MAX_OUTSTANDING: Final = 64  # commands, and as many answers


class Conversation:
    """One user's `send` and `receive`; made by `open_conversation`."""

    def __init__(self, agent: QgaAgent) -> None:
        self._agent = agent
        self._send_command, self._commands = trio.open_memory_channel[QgaCommand](MAX_OUTSTANDING)
        self._send_reply, self._replies = trio.open_memory_channel[QgaReply](MAX_OUTSTANDING)

    async def send(self, command: QgaCommand) -> None:
        """As `QgaProtocol.send`."""
        encode_command(command.name, command.arguments)  # what cannot be said is the sender's to know
        await self._send_command.send(command)

    async def receive(self) -> QgaReply:
        """As `QgaProtocol.receive`."""
        return await self._replies.receive()

    async def run(self) -> None:
        """The body of the task that executes."""
        async for command in self._commands:
            try:
                reply = QgaReply(command, await self._agent.execute(command.name, command.arguments))
            except AtpError as error:
                reply = QgaReply(command, error=error)
            await self._send_reply.send(reply)

    def close(self) -> None:
        """Who waits meets the end."""
        self._send_command.close()
        self._replies.close()


@asynccontextmanager
async def open_conversation(agent: QgaAgent) -> AsyncIterator[Conversation]:
    """Be able to `send` and `receive` for the time of the block."""
    conversation = Conversation(agent)
    async with open_background() as nursery:
        nursery.start_soon(conversation.run)
        try:
            yield conversation
        finally:
            conversation.close()
