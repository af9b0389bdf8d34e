"""What the channels of one machine share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from atp_trio.errors import ConfigError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.messages.main import MouseMode

if TYPE_CHECKING:
    from atp_trio.spice.channels.base import SpiceChannel


def _at_least(low: int, high: int) -> Any:
    def validate(_: object, attribute: attrs.Attribute[int], value: int) -> None:
        if not low <= value <= high:
            raise ConfigError(f"{attribute.name} is from {low} to {high}, not {value}")

    return validate


@attrs.frozen(kw_only=True)
class SpiceLimits:
    """What a server may make us hold, for one machine. Beyond a limit its images and surfaces fail, or its channel ends."""

    message_bytes: int = attrs.field(default=256 * 2**20 + 4096, validator=_at_least(2**16, 2**32 - 1))
    """The largest message on a display channel; the default is an uncompressed picture of 64 Mi pixels. Other channels take
    2 MiB at most."""
    surface_pixels: int = attrs.field(default=2**27, validator=_at_least(1, 2**31 - 1))
    """All surfaces of a display channel together; a pixel is 4 bytes."""
    image_cache_pixels: int = attrs.field(default=20 * 2**20, validator=_at_least(0, 2**31 - 1))
    """The image cache that all display channels share, as it is announced to the server; by default 80 MiB, as spice-gtk's. One
    that sends more than twice as much is not believed."""
    glz_window_pixels: int = attrs.field(default=16 * 2**20, validator=_at_least(0, 2**25))
    """The dictionary of GLZ images that they share, likewise; by default 64 MiB, spice-gtk's largest."""


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
        limits: What the server may make us hold.
        cache_id: The number that the server knows both by.
    """

    connection_id: int = 0
    channels: dict[tuple[int, int], SpiceChannel] = attrs.field(factory=dict)
    mouse_mode: MouseMode = MouseMode.SERVER
    wanted_mouse_mode: MouseMode = MouseMode.CLIENT
    requested_mouse_mode: MouseMode | None = None
    limits: SpiceLimits = attrs.field(factory=SpiceLimits)
    images: ImageCache = attrs.field(init=False)
    glz: GlzWindow = attrs.field(init=False)
    cache_id: int = 0
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, repr=False)

    def __attrs_post_init__(self) -> None:
        self.images = ImageCache(self.limits.image_cache_pixels)
        self.glz = GlzWindow(self.limits.glz_window_pixels)

    def changed(self) -> None:
        """Something that another channel may wait for has happened."""
        if self._changed:  # mostly nobody waits
            self._changed.unpark_all()

    def begin_caches(self) -> None:
        """Begin with an empty cache and dictionary, as a server does when the last display that shared them has closed.

        The new number spares us knowing when it notices that. Numbers are bytes.
        """
        self.images.clear()
        self.glz.clear()
        self.cache_id = self.cache_id % 255 + 1

    def part_caches(self) -> None:
        """Let displays that open from now on share a cache and a dictionary of their own, beside those of the open ones.

        A display that was cut off may have lost images on the way: the server takes them for cached, also for the others.
        """
        self.images = ImageCache(self.limits.image_cache_pixels)
        self.glz = GlzWindow(self.limits.glz_window_pixels)
        self.cache_id = self.cache_id % 255 + 1

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until this is true; looked at whenever a channel has handled what it received, opened, ended or begins to wait."""
        if not holds():
            self.changed()  # what was handled up to here may be what the others wait for
        while not holds():
            for channel in self.channels.values():
                channel.recall()
            await self._changed.park()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody is in `wait_until`."""
        return bool(self._changed)

    def has_processed(self, channel_type: int, channel_id: int, serial: int) -> bool:
        """Whether that channel is past this serial; a channel that does not exist does not hold anybody up."""
        channel = self.channels.get((channel_type, channel_id))
        return channel is None or channel.last_serial >= serial
