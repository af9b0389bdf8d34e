"""A client of the embedded server: the channels that share a connection id."""

from __future__ import annotations

import attrs

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.testing.server.channel import ServerChannel


@attrs.define(eq=False)
class ClientSession:
    """A client.

    Attributes:
        id: The connection id of its channels.
        mouse_mode: The mode it has asked for; SERVER before.
        channels: Its channels, by type and id.
    """

    id: int
    mouse_mode: MouseMode = MouseMode.SERVER
    channels: dict[tuple[ChannelType, int], ServerChannel] = attrs.field(factory=dict)

    def end(self) -> None:
        """Close all channels: the client has left main, or another client has come."""
        for channel in self.channels.values():
            channel.scope.cancel()
