"""How much of a steady stream of messages to let come before looking at it again.

Being woken costs a program some 80 us of CPU time, in which tens of small messages are handled. A server that draws all the time
sends them one by one; so where many come, the kernel is asked to gather some of them (SO_RCVLOWAT) and wakes the reader once.

What may be gathered is bounded by three things: what the server sends at this rate in `GATHER`, as that is how late a picture
may become; what comes until an ACK is due, so that the server never waits for one; and the rates at which there is something to
gain. A wait that did not bring as much in `PATIENCE` ends the gathering, so the first message after a quiet time is never
waited on, and the last before one for no longer than that. And it ends it for a while, each time for longer: what seems steady
may be answers to somebody who types as soon as he sees something, and who would be held up each time.
"""

from __future__ import annotations

import math
from typing import Final

from atp_trio.spice.codec.following import Gathering

# Seconds. A picture of 60 a second is shown for 17 ms; and a wait is rarely cut short at half as much again.
GATHER: Final = 8e-3
PATIENCE: Final = 12e-3
# Seconds over which the rate is measured: a stream is steady when it has lasted so long.
MEASURE: Final = 20e-3
# Seconds after which a stream that has paused is a new one; less is a hiccup, of which a busy machine has many.
PAUSE: Final = 50e-3
# Seconds for which nothing is gathered after a wait in vain, and after many; each wait that was not in vain halves them.
DISTRUST: Final = 50e-3
DEEPEST_DISTRUST: Final = 3.2
# Fewer messages than these are not worth gathering.
FEWEST: Final = 2
# Messages a second. Beyond, a server sends what it can: bunches come by themselves, and it is us who are waited for.
FASTEST: Final = 10_000
# Bytes; the kernel makes room for twice as many.
MOST_BYTES: Final = 256 * 1024


class Pace:
    """The rate at which one channel receives."""

    def __init__(self) -> None:
        self._looked = -math.inf  # when the channel received before
        self._since = -math.inf  # when measuring began
        self._messages = 0  # how many there were by then
        self._bytes = 0
        self._rate = 0.0  # messages a second, as last measured
        self._size = 0.0  # bytes a message
        self._is_quiet = False
        self._gathers = False
        self._distrust = DISTRUST
        self._trusts_at = -math.inf

    def look(self, now: float, messages: int, size: int) -> None:
        """The channel has received: so many messages and bytes in all, what is new not counted."""
        self._is_quiet = False
        if self._gathers:
            self._distrust = max(self._distrust / 2, DISTRUST)
        then, self._looked = self._looked, now
        is_pause = now - then > PAUSE
        if is_pause or then - self._since >= MEASURE:
            # What is counted had come by then.
            new = messages - self._messages
            self._rate = 0.0 if is_pause else new / (then - self._since)
            self._size = (size - self._bytes) / max(new, 1)
            self._since, self._messages, self._bytes = (now if is_pause else then), messages, size

    def quiet(self) -> None:
        """Less came than was waited for: what comes next is not to wait."""
        self._is_quiet, self._gathers = True, False
        self._trusts_at = self._looked + PATIENCE + self._distrust
        self._distrust = min(2 * self._distrust, DEEPEST_DISTRUST)

    def followed(self, now: float, messages: int, size: int) -> None:
        """A thread has followed the channel until now: so many messages and bytes have come in all."""
        new, seconds = messages - self._messages, now - self._since
        self._rate = new / max(seconds, MEASURE)
        self._size = (size - self._bytes) / max(new, 1)
        self._looked = self._since = now
        self._messages, self._bytes = messages, size

    def gathering(self) -> Gathering:
        """What such a thread may gather: twice as much, as nobody sees how late it is, and a wait in vain holds up nobody.

        At the highest rates, too: a server that has to wake a sleeper for each message sends fewer.
        """
        messages = int(self._rate * 2 * GATHER)
        return Gathering(messages if messages >= FEWEST else 0, int(self._size), 2 * PATIENCE)

    def low_water(self, room: int | None) -> int:
        """How many bytes are to be there before the reader is woken; 1 for any.

        Args:
            room: How many messages may be let come without making the server wait for an ACK; None for any.
        """
        messages = self._rate * GATHER
        if room is not None and messages > room:
            messages = room
        distrusts = self._is_quiet or self._looked < self._trusts_at
        self._gathers = not (messages < FEWEST or self._rate > FASTEST or distrusts)
        return min(int(messages * self._size), MOST_BYTES) if self._gathers else 1
