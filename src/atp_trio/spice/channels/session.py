"""What the channels of one machine share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import trio

from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.messages.main import MouseMode

if TYPE_CHECKING:
    from atp_trio.spice.channels.base import SpiceChannel

# What spice-gtk announces: a cache of 80 MiB, in pixels; and a GLZ window of 16 Mi pixels, its largest.
PIXMAP_CACHE_PIXELS = 20 * 2**20
GLZ_WINDOW_PIXELS = 16 * 2**20


@attrs.define(eq=False)
class Session:
    """One SPICE connection: all channels that share a connection id.

    Attributes:
        connection_id: The server's number for it, given with main's first message; 0 before.
        channels: The channels that are being linked or are open, by type and id.
        mouse_mode: Whether the pointer's motion (SERVER) or its position (CLIENT) is sent.
        wanted_mouse_mode: The mode we ask the server for, whenever it supports it.
        requested_mouse_mode: The mode that was asked for and not answered yet.
        images: The image cache that all display channels share.
        glz: The dictionary of GLZ images that they share.
        cache_id: The number that the server knows both by.
    """

    connection_id: int = 0
    channels: dict[tuple[int, int], SpiceChannel] = attrs.field(factory=dict)
    mouse_mode: MouseMode = MouseMode.SERVER
    wanted_mouse_mode: MouseMode = MouseMode.CLIENT
    requested_mouse_mode: MouseMode | None = None
    images: ImageCache = attrs.field(factory=lambda: ImageCache(PIXMAP_CACHE_PIXELS))
    glz: GlzWindow = attrs.field(factory=lambda: GlzWindow(GLZ_WINDOW_PIXELS))
    cache_id: int = 0
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, repr=False)

    def changed(self) -> None:
        """Something that another channel may wait for has happened."""
        self._changed.unpark_all()

    def begin_caches(self) -> None:
        """Begin with an empty cache and dictionary, as a server does when the last display that shared them has closed.

        The new number spares us knowing when it notices that. Numbers are bytes.
        """
        self.images.clear()
        self.glz.clear()
        self.cache_id = self.cache_id % 255 + 1

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until this is true; looked at whenever a channel has handled what it received, opened or ended."""
        while not holds():
            await self._changed.park()

    def has_processed(self, channel_type: int, channel_id: int, serial: int) -> bool:
        """Whether that channel is past this serial; a channel that does not exist does not hold anybody up."""
        channel = self.channels.get((channel_type, channel_id))
        return channel is None or channel.last_serial >= serial
