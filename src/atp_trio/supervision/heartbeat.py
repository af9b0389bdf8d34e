"""Whether the peer still lives: a peer that goes silently, without FIN or RST, is found within two intervals.

Theory of operation. A peer that says something is alive. One that has been silent for an interval is probed: asked something that
it must answer. When neither an answer nor anything else came within the patience, which is not longer than an interval, it is
gone. `HeartbeatCore` decides, and takes the time as an argument; `Heartbeat` sleeps and probes for it.

The judgement needs our own loop to have run: one that was held up (by the debugger, a suspended machine) could not have heard the
answer that lies in the socket. So a deadline that is noticed far too late leads to another probe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import attrs
import trio

from atp_trio.errors import AtpError, ConfigError, ConnectionLost
from atp_trio.supervision.setting import number, optional

__all__ = ["Gone", "Heartbeat", "HeartbeatConfig", "HeartbeatCore", "Probe", "Wait"]

# A deadline that is noticed so many seconds late was noticed by a loop that had been held up.
HELD_UP: Final = 1.0


@attrs.frozen(kw_only=True)
class HeartbeatConfig:
    """How a peer is watched; times in seconds.

    Raises:
        ConfigError: A value that cannot be meant.
    """

    interval: float = attrs.field(default=30.0, validator=number(above=0))
    """How long a peer may be silent before it is probed; without traffic to go by, the time between probes."""
    patience: float | None = attrs.field(default=None, validator=optional(number(above=0)))
    """How long the answer to a probe may take; at most the interval. None: half of it."""

    def __attrs_post_init__(self) -> None:
        if self.patience is not None and self.patience > self.interval:
            raise ConfigError(f"patience ({self.patience:g} s) is above interval ({self.interval:g} s)")

    @property
    def answer_within(self) -> float:
        """How long the answer to a probe may take."""
        return self.interval / 2 if self.patience is None else self.patience


@attrs.frozen
class Wait:
    """Nothing to do yet."""

    until: float
    """When to decide again."""


@attrs.frozen
class Probe:
    """Ask the peer for a sign of life."""

    until: float
    """When to decide again, answered or not."""


@attrs.frozen
class Gone:
    """The peer is gone."""

    silence: float
    """For how long nothing was heard."""


@attrs.define(eq=False)
class HeartbeatCore:
    """What to do about one peer, from what was heard of it."""

    config: HeartbeatConfig
    """The rules."""
    _last_sign: float
    _probed_at: float | None = None

    def heard(self, at: float) -> None:
        """The peer gave a sign of life: an answer, or anything else; what is older than the last one changes nothing."""
        self._last_sign = max(self._last_sign, at)
        if self._probed_at is not None and self._last_sign >= self._probed_at:
            self._probed_at = None

    def decide(self, now: float) -> Wait | Probe | Gone:
        """What to do now. `Probe` says that a probe begins now: it is given once for each."""
        if self._probed_at is None:
            due = self._last_sign + self.config.interval
            return self._begin_probe(now) if now >= due else Wait(due)
        deadline = self._probed_at + self.config.answer_within
        if now < deadline:
            return Wait(deadline)
        if now - deadline > HELD_UP:
            return self._begin_probe(now)
        return Gone(now - self._last_sign)

    def _begin_probe(self, now: float) -> Probe:
        self._probed_at = now
        return Probe(now + self.config.answer_within)


class Heartbeat:
    """Watches one peer.

    Args:
        config: How.
        probe: Asks the peer something that it must answer, and returns when it has answered. When it is late it is cancelled.
            What it raises of our errors ends the watch, as the peer's end does.
        last_heard: When the peer was last heard, on Trio's clock (`trio.current_time()`); it may be asked at any time. None:
            nobody knows, so that the peer is probed at every interval.

    Attributes:
        probes: Probes so far.
        latency: How long the last answer took, in seconds; None before the first.
    """

    def __init__(
        self,
        config: HeartbeatConfig,
        probe: Callable[[], Awaitable[object]],
        last_heard: Callable[[], float] | None = None,
    ) -> None:
        self.config = config
        self.probes = 0
        self.latency: float | None = None
        self._probe = probe
        self._last_heard = last_heard

    async def run(self) -> NoReturn:
        """Watch until the peer is gone.

        Raises:
            ConnectionLost: It is gone; or the probe failed, which is the cause.
        """
        core = HeartbeatCore(self.config, trio.current_time())
        while True:
            if self._last_heard is not None:
                core.heard(self._last_heard())
            match core.decide(trio.current_time()):
                case Wait(until):
                    await trio.sleep_until(until)
                case Probe(until):
                    await self._ask(core, until)
                case Gone(silence):
                    raise ConnectionLost(f"the peer is gone: no sign of life for {silence:.3g} s")

    async def _ask(self, core: HeartbeatCore, until: float) -> None:
        self.probes += 1
        asked_at = trio.current_time()
        with trio.move_on_at(until):
            try:
                await self._probe()
            except AtpError as error:
                raise ConnectionLost(f"the peer did not take a probe: {error}") from error
            answered_at = trio.current_time()
            self.latency = answered_at - asked_at
            core.heard(answered_at)
            return
        # Late, or the loop was: `decide` knows which.
        await trio.lowlevel.checkpoint()
