"""A display is followed in a thread while nobody waits for what it shows.

Being woken costs Trio's loop some 80 us of CPU time, and Python's part in handling what came as much again, as all of it has left
the processor's caches by then; a thread in C that sleeps in the kernel needs a tenth of that. So where messages come steadily,
and no task waits for any of them, the channel's reader lends its socket, its buffer and its pixels to such a thread, and takes
them back when something comes that only the reader can handle; when somebody looks, waits, or has something to send (`recall`);
and four times a second, so that what others see of the channel stays true.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.channels.pace import Pace
from atp_trio.spice.codec.following import Files, Followed, FollowStatus, Received, is_available
from atp_trio.spice.imaging.fast import Ahead, Drawn, FastPath
from atp_trio.spice.protocol.channel import ChannelCore

T = TypeVar("T")

# Nanoseconds until a thread that follows comes back by itself.
LONGEST_NS: Final = 250_000_000
# A channel is steady when it was woken so often in so many seconds.
WAKES: Final = 8
STEADY: Final = 0.3
# Seconds for which a channel is not followed after it was in vain, at first and after many times; and what is not in vain.
DISTRUST: Final = 50e-3
DEEPEST_DISTRUST: Final = 3.2
WORTH: Final = 50e-3
# Threads at work at the same time, of all channels.
MOST: Final = 32
_at_work: Final = trio.lowlevel.RunVar("atp_trio.followers", 0)


class Steadiness:
    """Whether a channel is worth following: decided by when it was woken, and by what came of it before."""

    def __init__(self) -> None:
        self._wakes: deque[float] = deque(maxlen=WAKES)
        self._distrust = DISTRUST
        self._trusts_at = -math.inf
        self._goes_on = False

    def woken(self, now: float) -> None:
        """The reader has received something."""
        self._wakes.append(now)

    def holds(self, now: float) -> bool:
        """Whether the channel is steady, and has not been followed in vain lately."""
        is_steady = self._goes_on or (len(self._wakes) == WAKES and now - self._wakes[0] <= STEADY)
        return is_steady and now >= self._trusts_at

    def followed(self, now: float, seconds: float, status: FollowStatus, receives: int) -> None:
        """It was followed for so long, with so many receives, until this happened."""
        self._wakes.clear()
        self._goes_on = status is FollowStatus.OVER and receives >= WAKES
        if status is FollowStatus.ASKED:
            # Somebody who looks again and again is not to wait for a thread each time.
            self._trusts_at = now + DISTRUST
        elif seconds >= WORTH:
            self._distrust = DISTRUST
        else:
            self._trusts_at = now + self._distrust
            self._distrust = min(2 * self._distrust, DEEPEST_DISTRUST)


class Following:
    """The thread of one channel, while there is one.

    Args:
        fast: What draws in it.
        clock: Gives seconds.
    """

    def __init__(self, fast: FastPath, clock: Callable[[], float]) -> None:
        self.steadiness = Steadiness()
        self._fast = fast
        self._clock = clock
        self._is_going = False
        self._wake = -1  # an eventfd, from the first time on

    def is_worth(self, outbox: Outbox) -> bool:
        """Whether the channel can be followed now, and that is worth it; to be asked after each receive."""
        now = self._clock()
        self.steadiness.woken(now)
        return self.steadiness.holds(now) and is_available() and outbox.stream.descriptor is not None and _at_work.get() < MOST

    def recall(self) -> None:
        """Let the thread come back soon, if there is one."""
        if self._is_going:
            os.eventfd_write(self._wake, 1)

    @property
    def ahead(self) -> Ahead:
        """What the thread has done up to now, and not told yet."""
        return self._fast.ahead if self._is_going else Ahead()

    def begin(self, core: ChannelCore, outbox: Outbox, pace: Pace) -> Awaitable[tuple[Followed, Drawn]] | None:
        """Lend the channel to a thread.

        Returns:
            What to await at once, until the thread comes back; None where the channel cannot be lent now.

        Cancellation: the thread is called back, and waited for; then this returns as always, and the next checkpoint raises.
        """
        received = core.lend()
        if received is None or not outbox.lend(self.recall):
            return None
        outbox.stream.set_receive_low_water(1)
        self._fast.follower.begin()
        self._clear_wake()
        self._is_going = True
        return self._follow(core, outbox, pace, received)

    async def _follow(self, core: ChannelCore, outbox: Outbox, pace: Pace, received: Received) -> tuple[Followed, Drawn]:
        socket, started, gathering = outbox.stream.descriptor, self._clock(), pace.gathering()
        assert socket is not None
        files = Files(socket, self._wake, time.monotonic_ns() + LONGEST_NS)
        _at_work.set(_at_work.get() + 1)
        try:
            status, followed = await _in_thread(lambda: self._fast.follow(files, received, gathering), self.recall)
        finally:
            _at_work.set(_at_work.get() - 1)
            self._is_going = False
        core.take_back(followed)
        outbox.take_back(followed.unsent)
        now = self._clock()
        pace.followed(now, core.traffic.messages_received, core.traffic.bytes_received)
        self.steadiness.followed(now, now - started, status, len(followed.batches))
        return followed, self._fast.take()

    def _clear_wake(self) -> None:
        if self._wake < 0:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def close(self) -> None:
        """Give back what a thread needs; there is none any more."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


async def _in_thread(work: Callable[[], T], recall: Callable[[], None]) -> T:
    """Do the work in a thread; when cancelled, call it back, and wait for it all the same."""
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

    def called_back(_: object) -> trio.lowlevel.Abort:
        recall()
        return trio.lowlevel.Abort.FAILED

    trio.lowlevel.start_thread_soon(
        work, lambda outcome: token.run_sync_soon(trio.lowlevel.reschedule, task, outcome), name="atp_trio display"
    )
    result: T = await trio.lowlevel.wait_task_rescheduled(called_back)
    return result
