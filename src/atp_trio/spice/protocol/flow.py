"""What flows through a channel: the windows of messages that may go unacknowledged, ours and the peer's, and the counters.

Source: SPICE protocol reference, 2.3.
"""

from __future__ import annotations

from collections import Counter

import attrs

from atp_trio.spice.messages import base


@attrs.define(eq=False)
class AckWindow:
    """Acknowledgement by the receiver: an ACK for every `window` messages; 0 is none.

    Attributes:
        window: Messages an ACK stands for.
        generation: The number of the SET_ACK that is in force.
        left: Messages until the next ACK.
        acks: ACKs sent so far.
    """

    window: int = 0
    generation: int = 0
    left: int = 0
    acks: int = 0

    @property
    def room(self) -> int | None:
        """How many messages may be let come before they are received, so that the sender never waits for our ACK; None for any.

        It waits after two windows (as in `SendWindow`) without an ACK. Half a window of these is kept, for what it sends until we
        have noticed.
        """
        return self.left + self.window // 2 if self.window else None

    def set(self, generation: int, window: int) -> None:
        """A SET_ACK came."""
        self.generation, self.window, self.left = generation, window, window

    def count(self, messages: int = 1) -> int:
        """So many messages came; how many ACKs are due."""
        if not self.left:
            return 0
        if messages < self.left:
            self.left -= messages
            return 0
        more, beyond = divmod(messages - self.left, self.window)
        self.left = self.window - beyond
        self.acks += 1 + more
        return 1 + more


@attrs.define(eq=False)
class SendWindow:
    """The same from the sender's side: how much it may send before it must wait.

    Attributes:
        window: What SET_ACK announced; 0 is no limit.
        generation: The number of our SET_ACK.
        unacknowledged: Messages sent since, less those acknowledged.
    """

    window: int = 0
    generation: int = 0
    unacknowledged: int = 0
    _synced: bool = False

    @property
    def is_open(self) -> bool:
        """Whether more may be sent: not once more than two windows are unacknowledged."""
        return not self.window or self.unacknowledged <= 2 * self.window

    def set_ack(self, window: int) -> base.SetAck:
        """The message that announces a window; `announced` is to follow."""
        return base.SetAck(generation=(self.generation + 1) % 2**32, window=window)

    def announced(self, message: base.SetAck) -> None:
        """The message was put into the output: counting begins."""
        self.generation, self.window, self.unacknowledged, self._synced = message.generation, message.window, 0, False

    def sync(self, generation: int) -> None:
        """ACK_SYNC came: ACKs count from here on, if it answers our last SET_ACK."""
        self._synced = generation == self.generation

    def acknowledge(self) -> None:
        """ACK came."""
        if self._synced:
            self.unacknowledged = max(0, self.unacknowledged - self.window)


@attrs.define(eq=False)
class Traffic:
    """What went through a channel so far."""

    bytes_received: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    pings_answered: int = 0
    skipped: Counter[str] = attrs.field(factory=Counter)
