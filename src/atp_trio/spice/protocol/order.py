"""Which message must open a channel, and which may then not come again: one row a channel and sender.

The messages that all channels share are always allowed. The table does not know which role we play, so client and server obey
the same rules.

Source: SPICE protocol reference, 2.3, 4.3, 7.3, 8.2, 9.2 and 15.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from atp_trio.spice.messages import cursor, display, inputs, main, port
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, Role


@attrs.frozen
class Opening:
    """The rule of one sender on one channel.

    Attributes:
        first: The message that comes before all others, once.
        before: Messages that may come even before it.
        again_after: Messages after which it must come again.
    """

    first: type[Message]
    before: frozenset[type[Message]] = frozenset()
    again_after: frozenset[type[Message]] = frozenset()


OPENINGS: Mapping[tuple[int, Role], Opening] = {
    # The target of a seamless migration answers the question whether it can, and only then opens.
    (ChannelType.MAIN, Role.SERVER): Opening(
        main.Init, before=frozenset({main.MigrateDstSeamlessAck, main.MigrateDstSeamlessNack})
    ),
    (ChannelType.INPUTS, Role.SERVER): Opening(inputs.Init),
    # Forgetting does no harm to a client that knows nothing yet.
    (ChannelType.CURSOR, Role.SERVER): Opening(
        cursor.Init,
        before=frozenset({cursor.Reset, cursor.InvalOne, cursor.InvalAll}),
        again_after=frozenset({cursor.Reset}),
    ),
    (ChannelType.DISPLAY, Role.CLIENT): Opening(display.Init),
    (ChannelType.PORT, Role.SERVER): Opening(port.Init),
    (ChannelType.WEBDAV, Role.SERVER): Opening(port.Init),
}


@attrs.define(eq=False)
class Order:
    """Whether a message is allowed now, for one sender on one channel."""

    _opening: Opening | None
    _is_open: bool = False

    @classmethod
    def of(cls, channel_type: int, sender: Role) -> Order:
        """The rule of this channel, at its beginning."""
        return cls(OPENINGS.get((channel_type, sender)))

    def check(self, kind: type[Message]) -> str | None:
        """Take note of a message; gives what is wrong with it, if anything, and then it does not count."""
        opening = self._opening
        if opening is None or not kind.channel_types:
            return None
        if kind is opening.first:
            if self._is_open:
                return f"a second {kind.__name__}"
            self._is_open = True
            return None
        if not self._is_open and kind not in opening.before:
            return f"{kind.__name__} before {opening.first.__name__}"
        if kind in opening.again_after:
            self._is_open = False
        return None
