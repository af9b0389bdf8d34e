"""Calls to libvirt: in threads, on lanes, some of them one after another; each can be left by its caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import attrs
import trio

from atp_trio.errors import AtpError, ConnectionLost, NotConnected, TransportError
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.lanes import Lanes

__all__ = ["Calls", "HostStatistics", "Queue"]

T = TypeVar("T")

_MAX_QUEUES: Final = 4096  # machines whose queues are remembered; an idle one that is forgotten is made anew


@attrs.frozen(kw_only=True)
class HostStatistics:
    """What a host's connection did, and does."""

    calls: int
    """Calls begun."""
    errors: int
    """Calls that ended with an error."""
    in_flight: int
    """Calls in libvirt now, abandoned ones included."""
    slow: int
    """Of these, how many for longer than `LaneConfig.patience`."""
    abandoned: int
    """Of these, how many whose caller was cancelled and went on."""
    connections: int
    """libvirt connections now."""
    losses: int
    """How often the connection was lost."""
    latency: float | None
    """How long the last call took that was answered, in seconds, waiting for a lane and a thread included."""
    last_error: AtpError | None
    """The last error of a call."""


@attrs.define(eq=False)
class Queue:
    """Calls that go one after another: those to one machine's monitor, or to its agent."""

    _turn: trio.Semaphore = attrs.field(init=False, factory=lambda: trio.Semaphore(1, max_value=1))

    @property
    def is_idle(self) -> bool:
        """Whether nobody has the turn."""
        return self._turn.value == 1

    async def enter(self) -> None:
        """Wait for the turn. It is given back by `leave`, from wherever: a call may outlive its caller.

        No checkpoint where the turn is free: the thread that follows is one, and each takes a pass of Trio's loop.
        """
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()

    def leave(self) -> None:
        """Give the turn to the next."""
        self._turn.release()


@attrs.define(eq=False)
class Turn:
    """One call's way through its queue onto a lane, and back, which may be long after its caller has gone.

    Trio takes it for a limiter: it asks before it starts the thread, and tells when the thread has really ended.
    """

    lanes: Lanes
    queue: Queue | None
    lane: Lane | None = None
    """Where it runs; None before and after."""
    on_end: Callable[[], None] | None = None

    async def acquire_on_behalf_of(self, borrower: object) -> None:  # noqa: ARG002 - a limiter is told
        """Wait for the queue, then for a lane."""
        if self.queue is not None:
            await self.queue.enter()
        try:
            self.lane = await self._acquire()
        except BaseException:
            if self.queue is not None:
                self.queue.leave()
            raise

    async def _acquire(self) -> Lane:
        try:
            return await self.lanes.acquire()
        except ConnectionLost:
            raise
        except TransportError as error:
            # The host goes away, or takes no more connections; to a caller both are that nothing was sent.
            raise NotConnected(f"{error}; nothing was sent") from error

    def release_on_behalf_of(self, borrower: object) -> None:  # noqa: ARG002
        """The thread has ended."""
        assert self.lane is not None
        self.lanes.release(self.lane)
        self.lane = None
        if self.queue is not None:
            self.queue.leave()
        if self.on_end is not None:
            self.on_end()

    def run(self, work: Callable[[Lane], T]) -> T:
        """What the thread does."""
        assert self.lane is not None
        return self.lane.run(work)


@attrs.define(eq=False)
class Calls:
    """The calls of one host: their queues, and their counters."""

    calls: int = attrs.field(init=False, default=0)
    errors: int = attrs.field(init=False, default=0)
    abandoned: int = attrs.field(init=False, default=0)
    latency: float | None = attrs.field(init=False, default=None)
    last_error: AtpError | None = attrs.field(init=False, default=None)
    last_answer: float = attrs.field(init=False, factory=trio.current_time)
    """When libvirt last answered, with an error or without."""
    _queues: dict[tuple[str, str], Queue] = attrs.field(init=False, factory=dict)

    async def run(self, lanes: Lanes, work: Callable[[Lane], T], queue: Queue | None = None) -> T:
        """Do `work` in a thread, on a lane, after the calls before it in `queue`; see `HostConnection.call`."""
        turn = Turn(lanes, queue)
        self.calls += 1
        started = trio.current_time()
        try:
            result = await trio.to_thread.run_sync(
                turn.run,
                work,
                abandon_on_cancel=True,
                limiter=turn,  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
            )
        except trio.Cancelled:
            if turn.lane is not None:
                self.abandoned += 1
                turn.on_end = self._returned
            raise
        except AtpError as error:
            self.errors += 1
            self.last_error = error
            raise
        self.last_answer = trio.current_time()
        self.latency = self.last_answer - started
        return result

    def queue(self, uuid: str, kind: str) -> Queue:
        """The queue of a machine's monitor, or of its agent."""
        queue = self._queues.get((uuid, kind))
        if queue is None:
            if len(self._queues) >= _MAX_QUEUES:
                self._queues = {key: one for key, one in self._queues.items() if not one.is_idle}
            queue = self._queues[uuid, kind] = Queue()
        return queue

    def _returned(self) -> None:
        self.abandoned -= 1
