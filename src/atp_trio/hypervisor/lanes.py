"""The lanes of a host: which connection a call takes, when another is opened, and when one is closed.

Theory of operation. A call takes a free lane; where there is none, another is opened, up to `LaneConfig.prompt` of them: libvirtd
serves so many requests at a time without queueing. A call that has been running for `patience` is slow, and perhaps hung (a
stopped QEMU, a silent agent): its lane is set aside, it does not count any more, and another may be opened in its place, up to
`maximum` in all. Calls to one machine's monitor or agent go one after another anyway, in libvirt and by a queue (see `calls`); so
a hung machine holds a lane or two, not more, however often it is asked, and the others go on at full speed.

`plan` decides, without a clock and without waiting; `Lanes` does what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

import attrs
import trio

from atp_trio.errors import NotConnected
from atp_trio.hypervisor.binding import Binding
from atp_trio.hypervisor.lane import Lane
from atp_trio.supervision.setting import number

__all__ = ["LaneConfig", "Lanes", "Plan", "plan"]

LEAVE_SECONDS: Final = 2.0
"""How long closing is waited for: a host that went silent does not answer to that either."""


@attrs.frozen(kw_only=True)
class LaneConfig:
    """How many libvirt connections a host may take.

    Raises:
        ConfigError: A value that cannot be meant.
    """

    prompt: int = attrs.field(default=4, validator=number(minimum=1, maximum=64, whole=True))
    """How many calls run at a time, not counting slow ones; also how many idle connections are kept."""
    maximum: int = attrs.field(default=16, validator=number(minimum=1, maximum=1024, whole=True))
    """How many connections calls may take, slow ones included. libvirtd has 20 workers for all of its clients unless told
    otherwise (`max_workers`): more calls than that hanging in it hang it for everybody."""
    patience: float = attrs.field(default=0.25, validator=number(above=0))
    """After how many seconds a call is slow. Long enough for nearly all that answer, short beside a second."""
    streams: int = attrs.field(default=64, validator=number(minimum=1, maximum=4096, whole=True))
    """How many connections streams may take beside these; each stream takes one."""


@attrs.frozen
class Plan:
    """What to do about a call that wants a lane."""

    action: Literal["take", "open", "wait"]
    """Take a free lane, open another, or wait until something changes."""
    until: float = math.inf
    """Until when to wait at most: then another call may have become slow."""


def plan(config: LaneConfig, *, free: int, since: list[float], opening: int, now: float) -> Plan:
    """Decide.

    Args:
        config: The limits.
        free: How many lanes are free.
        since: Since when each of the busy ones has been.
        opening: How many are being opened.
        now: The time.
    """
    if free:
        return Plan("take")
    prompt = [at for at in since if now - at < config.patience]
    if len(since) + opening >= config.maximum:
        return Plan("wait")
    if len(prompt) + opening < config.prompt:
        return Plan("open")
    return Plan("wait", min(prompt, default=math.inf) + config.patience)


@attrs.define(eq=False)
class Lanes:
    """The lanes of one connected host, until it is lost or left; the next connection has its own."""

    config: LaneConfig
    make_lane: Callable[[], Lane]
    """Gives a lane that is not connected yet."""
    load: Callable[[], Binding]
    nursery: trio.Nursery
    """Closes lanes; it outlives `is_open`."""
    is_open: bool = attrs.field(init=False, default=True)
    """Whether lanes are to be had."""
    free: list[Lane] = attrs.field(init=False, factory=list)
    """The one used last is taken first, so that the others can go."""
    busy: dict[Lane, float] = attrs.field(init=False, factory=dict)
    """Since when each has been."""
    kept: set[Lane] = attrs.field(init=False, factory=set)
    """Held for long: by streams, for events."""
    opening: dict[Lane, bool] = attrs.field(init=False, factory=dict)
    """Whether who asked for it still waits."""
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _first: trio.StrictFIFOLock = attrs.field(init=False, factory=trio.StrictFIFOLock)

    async def acquire(self) -> Lane:
        """A lane for one call; to be given back by `release`.

        Raises:
            NotConnected: The host's connection has ended.
            TransportError: Another lane was needed and could not be opened.

        Cancellation: no lane is taken; one that is being opened is closed by its thread.
        """
        self._check_open()
        if self.free and not self._first.locked():
            return self._take()
        async with self._first:
            self._check_open()
            while (decision := self._plan()).action == "wait":
                with trio.move_on_at(decision.until):
                    await self._changed.wait()
                self._check_open()
            if decision.action == "take":
                return self._take()
            lane = self._new()
        # Outside of the lock: while one is being opened, over ssh for half a second, another may become free.
        await self._open(lane)
        return lane

    async def acquire_kept(self) -> Lane:
        """A lane to be held for long, beside those of calls; otherwise as `acquire`.

        Always a new one: those of calls stay, and tell by their end that the host is lost.
        """
        self._check_open()
        lane = self._new()
        await self._open(lane)
        self.busy.pop(lane, None)
        self.kept.add(lane)
        self._notify()
        return lane

    def release(self, lane: Lane) -> None:
        """Give a lane back; it is closed if it has ended, or if there are enough. One of an earlier connection is already."""
        is_ours = lane in self.busy or lane in self.kept
        self.busy.pop(lane, None)
        self.kept.discard(lane)
        if not (self.is_open and is_ours):
            return  # `close` gave it away
        if lane.is_alive() and len(self.free) < self.config.prompt:
            self.free.append(lane)
        else:
            self.nursery.start_soon(close_lane, lane)
        self._notify()

    def has(self, lane: Lane) -> bool:
        """Whether the lane is one of those for calls, and they are still in use."""
        return self.is_open and (lane in self.busy or lane in self.opening or lane in self.free)

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return len(self.free) + len(self.busy) + len(self.kept) + len(self.opening)

    def slow(self, now: float) -> int:
        """How many calls have been running for longer than `patience`."""
        return sum(now - since >= self.config.patience for since in self.busy.values())

    def close(self) -> list[Lane]:
        """Let nobody in any more, and give all lanes, to be closed by `close_lane`. Whoever waits for one is told."""
        self.is_open = False
        lanes = [*self.free, *self.busy, *self.kept, *self.opening]
        self.free.clear()
        self._notify()
        return lanes

    def _plan(self) -> Plan:
        return plan(
            self.config,
            free=len(self.free),
            since=list(self.busy.values()),
            opening=len(self.opening),
            now=trio.current_time(),
        )

    def _new(self) -> Lane:
        lane = self.make_lane()
        self.opening[lane] = True
        return lane

    def _take(self) -> Lane:
        lane = self.free.pop()
        self.busy[lane] = trio.current_time()
        return lane

    async def _open(self, lane: Lane) -> None:
        end = ThreadEnd(lambda: self._opened(lane))
        try:
            await trio.to_thread.run_sync(
                lane.open,
                self.load,
                abandon_on_cancel=True,
                limiter=end,  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
            )
        except BaseException:
            if not end.is_begun:
                self._opened(lane)
            elif lane in self.opening:
                self.opening[lane] = False
            self.busy.pop(lane, None)
            if self.is_open:
                self.nursery.start_soon(close_lane, lane)
            raise

    def _opened(self, lane: Lane) -> None:
        is_wanted = self.opening.pop(lane)
        if is_wanted and lane.connection is not None:
            self.busy[lane] = trio.current_time()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _check_open(self) -> None:
        if not self.is_open:
            raise NotConnected("the host is not connected; nothing was sent")


@attrs.define(eq=False)
class ThreadEnd:
    """Told when a thread has really ended, abandoned or not. Trio takes it for a limiter."""

    ended: Callable[[], None]
    is_begun: bool = attrs.field(init=False, default=False)
    """Whether `ended` will be called."""

    async def acquire_on_behalf_of(self, borrower: object) -> None:  # noqa: ARG002
        """Nothing is limited."""
        self.is_begun = True
        await trio.lowlevel.cancel_shielded_checkpoint()

    def release_on_behalf_of(self, borrower: object) -> None:  # noqa: ARG002
        """The thread has ended."""
        self.ended()


@trio.lowlevel.enable_ki_protection
async def close_lane(lane: Lane) -> None:
    """Close a lane in a thread, which is left behind if the host does not answer."""
    with trio.move_on_after(LEAVE_SECONDS, shield=True):
        # Not under Trio's own limiter: threads that are left behind would hold it.
        await trio.to_thread.run_sync(
            lane.close,
            abandon_on_cancel=True,
            limiter=ThreadEnd(lambda: None),  # type: ignore[arg-type]
        )
