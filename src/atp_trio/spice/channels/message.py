"""The channel of a type that has no class of its own."""

from __future__ import annotations

from collections.abc import Awaitable

import trio

from atp_trio.spice.channels.base import Connect, SpiceChannel
from atp_trio.spice.channels.session import Session
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message


class MessageChannel(SpiceChannel):
    """A channel type that this version has no class for: its messages come as they are.

    Messages wait in a queue of 64; a program that does not take them stops the reader, and the server's window does the rest.
    """

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self._put_message, self._messages = trio.open_memory_channel[Message](64)

    async def receive(self) -> Message:
        """The next message of the server; its bytes are copies.

        Raises:
            trio.EndOfChannel: The channel has ended and everything was received.
        """
        return await self._messages.receive()

    def _handle(self, message: Message) -> Awaitable[None] | None:
        if not message.channel_types:
            return super()._handle(message)
        return self._put_message.send(type(message).decode(message.encode()))

    async def run(self, connect: Connect) -> None:
        """As for every channel; `receive` ends with it."""
        with self._put_message:
            await super().run(connect)
