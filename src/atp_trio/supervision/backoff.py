"""When to connect again, and when to give up: pure, the time and the chance are arguments.

The delay grows by a factor from attempt to attempt, from `initial` to `maximum`, and is spread by chance, so that a thousand
machines whose host comes back do not all arrive in one moment. The spread never leaves the two bounds.

A connection that is lost soon after it was made does not begin the backoff anew: a server that accepts and hangs up would
otherwise be called on at the shortest delay for ever. Restart intensity (OTP's word for it) is a bound on that: so many
losses of an established connection within a window, and it is given up.
"""

from __future__ import annotations

import math
from typing import Self

import attrs

from atp_trio.errors import ConfigError
from atp_trio.supervision.setting import number, optional, share

__all__ = ["Backoff", "GiveUp", "ReconnectConfig", "Retry", "delay_bounds"]


@attrs.frozen(kw_only=True)
class ReconnectConfig:
    """How a lost connection is made again; times in seconds.

    Raises:
        ConfigError: A value that cannot be meant.
    """

    initial: float = attrs.field(default=1.0, validator=number(above=0))
    """The delay before the first attempt, and the shortest there is."""
    maximum: float = attrs.field(default=60.0, validator=number(above=0))
    """The longest delay."""
    factor: float = attrs.field(default=2.0, validator=number(minimum=1, maximum=1000))
    """By what the delay grows from one attempt to the next."""
    jitter: float = attrs.field(default=0.25, validator=share())
    """What share of the delay, up and down, is left to chance."""
    attempts: int | None = attrs.field(default=None, validator=optional(number(minimum=0, whole=True)))
    """How often in a row it is tried again before it is given up; None: for ever, 0: not at all."""
    steady: float = attrs.field(default=10.0, validator=number(minimum=0))
    """How long a connection must have held for its loss to begin the backoff, and the count of attempts, anew."""
    restarts: int | None = attrs.field(default=None, validator=optional(number(minimum=1, maximum=10_000, whole=True)))
    """Restart intensity: how many losses of an established connection within `window` are put up with; None: any number."""
    window: float = attrs.field(default=300.0, validator=number(above=0))
    """The time in which `restarts` are counted."""

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            raise ConfigError(f"maximum ({self.maximum:g} s) is below initial ({self.initial:g} s)")


@attrs.frozen
class Retry:
    """Try again."""

    delay: float
    """After so many seconds."""


@attrs.frozen
class GiveUp:
    """Do not try again."""

    reason: str
    """Why, in a clause: "gave up after 5 further attempts"."""


def delay_bounds(config: ReconnectConfig, retries: int) -> tuple[float, float]:
    """The shortest and the longest delay, in seconds, when so many attempts were made again before it."""
    # Compared by logarithms, as the power itself leaves the numbers after about a thousand attempts.
    if retries * math.log(config.factor) >= math.log(config.maximum) - math.log(config.initial):
        middle = config.maximum
    else:
        middle = config.initial * config.factor**retries
    longest = min(config.maximum, middle * (1 + config.jitter))
    shortest = max(config.initial, middle * (1 - config.jitter))
    return min(shortest, longest), longest


@attrs.frozen
class Backoff:
    """What is remembered of the attempts so far; each event gives a new one.

    ```python
    backoff = Backoff(ReconnectConfig())
    match backoff.decide(random.random()):  # the first attempt failed
        case Retry(delay):
            await trio.sleep(delay)
            backoff = backoff.retried()
    ```
    """

    config: ReconnectConfig
    """The rules."""
    retries: int = 0
    """Attempts made again since a connection last held; the first attempt of all is not one of them."""
    losses: tuple[float, ...] = ()
    """When established connections were lost, within the window, oldest first; never more than `restarts` and one."""

    def retried(self) -> Self:
        """An attempt is made again."""
        return attrs.evolve(self, retries=self.retries + 1)

    def lost(self, now: float, *, held: float) -> Self:
        """A connection that was established `held` seconds ago was lost now."""
        retries = 0 if held >= self.config.steady else self.retries
        if self.config.restarts is None:
            return attrs.evolve(self, retries=retries)
        recent = [at for at in self.losses if now - at < self.config.window]
        return attrs.evolve(self, retries=retries, losses=tuple([*recent, now][-self.config.restarts - 1 :]))

    def decide(self, chance: float) -> Retry | GiveUp:
        """When the next attempt begins, if any; `chance` is a random number from 0 to 1."""
        config = self.config
        if config.attempts is not None and self.retries >= config.attempts:
            return GiveUp(f"gave up after {self.retries} further attempts" if self.retries else "no further attempt is wanted")
        if config.restarts is not None and len(self.losses) > config.restarts:
            return GiveUp(f"lost {len(self.losses)} times within {config.window:g} s")
        shortest, longest = delay_bounds(config, self.retries)
        return Retry(shortest + (longest - shortest) * chance)
