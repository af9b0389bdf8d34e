"""The cursor channel: the pointer's shape and place.

Source: SPICE protocol reference, section 8.
"""

from __future__ import annotations

from atp_trio.errors import ImageError
from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.inbox import log
from atp_trio.spice.channels.session import Session
from atp_trio.spice.imaging.cursor import CursorCache, CursorShape
from atp_trio.spice.messages import cursor
from atp_trio.spice.messages.geometry import Point16
from atp_trio.spice.messages.link import ChannelType


class CursorChannel(SpiceChannel):
    """The pointer of one display.

    Attributes:
        shape: Its look, or None where the guest shows none.
        is_visible: Whether it is to be shown.
        position: Where its hot spot is (x, y); of meaning in mouse mode SERVER.
        trail: Length and frequency of the trail behind it (Windows guests).
        changes: How often anything of this has changed.
        failed: How many shapes could not be made sense of.
    """

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self.shape: CursorShape | None = None
        self.is_visible = False
        self.position = (0, 0)
        self.trail = (0, 0)
        self.changes = 0
        self.failed = 0
        self._cache = CursorCache()
        self._handlers |= {
            cursor.Init: self._init,
            cursor.Reset: self._reset,
            cursor.Set: self._set,
            cursor.Move: self._move,
            cursor.Hide: self._hide,
            cursor.Trail: self._trail,
            cursor.InvalOne: lambda message: self._cache.discard(message.id),
            cursor.InvalAll: lambda _: self._cache.clear(),
        }

    async def wait_change(self, *, after: int | None = None) -> None:
        """Wait until the pointer's look or place changes.

        Args:
            after: The value of `changes` that counts as old; by default what it is now.

        Cancellation: nothing is lost, `changes` tells.
        """
        seen = self.changes if after is None else after
        await self._wait_until(lambda: self.changes > seen)

    def _told(self) -> None:
        self.changes += 1
        self._changed.unpark_all()

    def _init(self, message: cursor.Init) -> None:
        self._cache.clear()
        self.trail = (message.trail_length, message.trail_frequency)
        self._take(message.cursor)
        self.is_visible = bool(message.visible) and self.shape is not None
        self._place(message.position)

    def _reset(self, _: cursor.Reset) -> None:
        self._cache.clear()
        self.shape, self.is_visible = None, False
        self._told()

    def _set(self, message: cursor.Set) -> None:
        self._take(message.cursor)
        # Of a SET, spice-gtk shows whatever has a shape, and guests rely on it.
        self.is_visible = self.shape is not None
        self._place(message.position)

    def _take(self, message: cursor.Cursor) -> None:
        try:
            self.shape = self._cache.shape(message)
        except ImageError as error:
            self.failed += 1
            self.shape = None
            log.info("%s: a shape was passed over: %s", self.name, error)

    def _move(self, message: cursor.Move) -> None:
        self.is_visible = self.shape is not None
        self._place(message.position)

    def _place(self, position: Point16) -> None:
        self.position = (position.x, position.y)
        self._told()

    def _hide(self, _: cursor.Hide) -> None:
        self.is_visible = False
        self._told()

    def _trail(self, message: cursor.Trail) -> None:
        self.trail = (message.length, message.frequency)
        self._told()
