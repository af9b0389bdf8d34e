"""What a channel receives, and the one task that waits for it.

The reader receives into the core's buffer and hands every message to the channel before it receives again; there is no checkpoint
between receiving and feeding. A message whose handling has to wait (for a thread that draws, for another channel) holds up those
behind it, and nothing else. A caller that waits for an answer may look for it itself (`look`) while the reader sleeps: being
woken by the kernel and by Trio's loop, one task after the other, takes longer than a server nearby does to answer. And where
nobody waits for anything, a thread may receive in the reader's place (`follow`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

import trio

from atp_trio.errors import ConnectionLost, UnexpectedMessage, UnknownMessage
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.channels.pace import MOST_BYTES, PATIENCE, Pace
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Message

log = logging.getLogger("atp_trio.spice")

# Seconds after which other tasks get their turn although there are messages left.
SLICE: Final = 2e-3
# Bytes of a message that has begun to come, for which it is worth asking the kernel to gather them.
LARGE: Final = 16 * 1024


class _Turn:
    """To be awaited: other tasks get their turn."""

    def __await__(self) -> Generator[Any, Any, None]:
        return trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 - by whoever awaits the turn


TURN: Final = _Turn()


def _is_clock_going() -> bool:
    """Whether Trio's clock goes by itself: one that a test moves lets no patience end."""
    return trio.lowlevel.current_clock().deadline_to_sleep_time(trio.current_time() + PATIENCE) <= 2 * PATIENCE


class Inbox:
    """The input of one channel.

    Args:
        core: The channel's core.
        outbox: Where the core's answers go; its stream is received from.
        handle: Handles a message; gives what to wait for before the next, if anything.
        handled: Called when all that was there has been handled.
        handle_found: Handles messages as they lie in the receive buffer, as many as it can of those that come next; gives
            whether there were any.
        pace: Where messages that come one by one may be gathered, what decides how many.
        follow: Lets somebody else receive and handle for a while, where that is worth it now; gives what to wait for then.

    Attributes:
        received_at: When (`time.perf_counter`) the messages that are being handled were received.
        handling_seconds: Time spent on messages after they were received.
    """

    def __init__(
        self,
        core: ChannelCore,
        outbox: Outbox,
        handle: Callable[[Message], Awaitable[None] | None],
        handled: Callable[[], None],
        handle_found: Callable[[ChannelCore], bool] = lambda _: False,
        pace: Pace | None = None,
        follow: Callable[[Pace], Awaitable[None] | None] = lambda _: None,
    ) -> None:
        self.received_at = 0.0
        self.handling_seconds = 0.0
        self._core = core
        self._outbox = outbox
        self._handle = handle
        self._handled = handled
        self._handle_found = handle_found
        self._pace = pace
        self._follow = follow
        self._sleeps = False  # the reader waits for the kernel and holds no view of the buffer
        self._slice_ends = 0.0
        self._gathers = False

    async def run(self) -> None:
        """Receive and handle, until cancelled.

        Raises:
            ConnectionLost: The connection broke, or the peer closed it.
            MalformedMessage: The peer sent nonsense.
        """
        if not _is_clock_going():
            self._pace = None
        while True:
            waiting = None
            with trio.CancelScope() as patience:
                waiting = await self._serve(patience)
            # Out of reach of the patience, which may have ended in the moment in which something came.
            if waiting is not None:
                started = time.perf_counter()
                await waiting
                self.handling_seconds += time.perf_counter() - started
            elif not self._outbox.has_room:
                # A peer that only asks and never reads is not listened to.
                await self._outbox.wait_room()
            elif self._pace is not None:
                self._pace.quiet()

    async def _serve(self, patience: trio.CancelScope) -> Awaitable[None] | None:
        """Receive and handle, until something has to be waited for, or the patience has ended, or the outbox has no room."""
        started = time.perf_counter()
        self._slice_ends = started + SLICE
        while True:
            waiting = self._take()
            self.flush()
            self.handling_seconds += time.perf_counter() - started
            if waiting is not None:
                return waiting
            self._handled()
            if not self._outbox.has_room:
                return None
            if self._pace is not None and (following := self._follow(self._pace)) is not None:
                patience.deadline = math.inf
                await following
                started = self.received_at = time.perf_counter()
                self._slice_ends = started + SLICE
                continue
            self._came(await self._receive(patience))
            started = self.received_at

    def look(self) -> None:
        """From a caller's task: take what has come, unless the reader is at work. Only where no handler has to wait.

        Raises:
            ConnectionLost: The connection broke.
            MalformedMessage: The peer sent nonsense.
        """
        stream = self._outbox.stream
        if not self._sleeps or not stream.can_receive_nowait:
            return
        count = stream.receive_nowait(self._core.free_space())
        if count:  # the end of the stream is the reader's to find
            self._came(count)
            while (waiting := self._take()) is not None:
                assert waiting is TURN
            self.flush()
            self._handled()

    def flush(self) -> None:
        """Send what the core has to say."""
        if self._core.has_data_to_send:
            self._outbox.put(self._core.data_to_send())

    async def _receive(self, patience: trio.CancelScope) -> int:
        stream = self._outbox.stream
        if not stream.can_receive_nowait:
            return await stream.receive_into(self._core.free_space())
        while True:
            if self._pace is not None:
                self._gather(self._pace, patience)
            self._sleeps = True
            try:
                await stream.wait_receivable()
            finally:
                self._sleeps = False
            # The room is asked for only now: a caller may have looked meanwhile.
            count = stream.receive_nowait(self._core.free_space())
            if count is not None:
                return count

    def _gather(self, pace: Pace, patience: trio.CancelScope) -> None:
        """Let the kernel gather what is not worth being woken for: some messages, or as much as it can of a large one."""
        low_water, missing = pace.low_water(self._core.ack.room), self._core.missing
        if missing > LARGE:
            # There is nothing to be done before it is there.
            low_water, deadline = min(missing, MOST_BYTES), math.inf
        else:
            deadline = trio.current_time() + PATIENCE if low_water > 1 else math.inf
        can_gather = self._outbox.stream.set_receive_low_water(low_water)
        self._gathers = can_gather and deadline < math.inf
        if not can_gather:
            deadline = math.inf
        if deadline != patience.deadline:
            patience.deadline = deadline

    def _came(self, count: int) -> None:
        if not count:
            raise ConnectionLost("the server closed the connection")
        self.received_at = now = time.perf_counter()
        self._slice_ends = now + SLICE
        self._outbox.heard()
        if self._pace is not None:
            traffic = self._core.traffic
            self._pace.look(now, traffic.messages_received, traffic.bytes_received)
        self._core.received(count)
        if self._pace is not None and not self._gathers:
            self._core.acknowledge_early()
            self.flush()

    def _take(self) -> Awaitable[None] | None:
        """Handle messages until none is left, which gives None, or until something has to be waited for."""
        core = self._core
        while True:
            if self._handle_found(core):
                if core.is_drained:
                    return None
                if self._is_slice_over():
                    return TURN
                continue
            try:
                message = core.next_message()
            except (UnknownMessage, UnexpectedMessage) as error:
                log.debug("a message was passed over: %s", error)
                continue
            if message is None:
                return None
            waiting = self._handle(message)
            if waiting is not None:
                return waiting
            if self._is_slice_over():
                return TURN

    def _is_slice_over(self) -> bool:
        """Between two messages: whether other tasks should get their turn."""
        if self._core.has_data_to_send:
            # An ACK is due: the server goes on while we handle the rest.
            self.flush()
        return time.perf_counter() > self._slice_ends
