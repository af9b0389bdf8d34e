"""Which hosts are connected: every decision of the pool, without Trio and without a clock."""

from __future__ import annotations

import math
from enum import Enum, auto

import attrs

from atp_trio.errors import ConfigError
from atp_trio.supervision.setting import number

__all__ = ["Decision", "PoolConfig", "PoolCore"]


@attrs.frozen(kw_only=True)
class PoolConfig:
    """How many hosts are connected at a time.

    Raises:
        ConfigError: A value that cannot be meant.
    """

    minimum: int = attrs.field(default=0, validator=number(minimum=0, maximum=100_000, whole=True))
    """So many stay connected, however long nobody uses them."""
    maximum: int = attrs.field(default=64, validator=number(minimum=1, maximum=100_000, whole=True))
    """More are not connected at a time; who wants another waits until one is not used."""
    idle_seconds: float = attrs.field(default=300.0, validator=number(minimum=0))
    """After so long without use a host is disconnected."""

    def __attrs_post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ConfigError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")


class Decision(Enum):
    """What to do about somebody who wants a host."""

    USE = auto()
    """It is connected, or being connected: use it."""
    OPEN = auto()
    """Connect it."""
    EVICT = auto()
    """First disconnect the host that `PoolCore.victim` names."""
    WAIT = auto()
    """All that may be connected are, and in use."""


@attrs.define
class _Entry:
    users: int = 0
    idle_since: float = 0.0
    """Since when it has had no users."""
    is_closing: bool = False


@attrs.define(eq=False)
class PoolCore:
    """The hosts that are connected, being connected or being disconnected, and who uses them."""

    config: PoolConfig
    _entries: dict[str, _Entry] = attrs.field(init=False, factory=dict)

    @property
    def total(self) -> int:
        """How many hosts are held."""
        return len(self._entries)

    @property
    def active(self) -> int:
        """How many of them are in use."""
        return sum(entry.users > 0 for entry in self._entries.values())

    def want(self, host_id: str) -> Decision:
        """Somebody wants a host; nothing changes by this."""
        entry = self._entries.get(host_id)
        if entry is not None:
            return Decision.WAIT if entry.is_closing else Decision.USE
        if self.total < self.config.maximum:
            return Decision.OPEN
        if any(entry.is_closing for entry in self._entries.values()) or self.victim() is None:
            return Decision.WAIT
        return Decision.EVICT

    def victim(self) -> str | None:
        """The host that has been without users the longest."""
        idle = [(entry.idle_since, host_id) for host_id, entry in self._idle()]
        return min(idle)[1] if idle else None

    def is_idle(self, host_id: str) -> bool:
        """Whether the host is held, has no users, and is not being disconnected."""
        return any(host_id == one for one, _ in self._idle())

    def opening(self, host_id: str) -> None:
        """The host is being connected."""
        self._entries[host_id] = _Entry()

    def used(self, host_id: str) -> None:
        """One user more."""
        self._entries[host_id].users += 1

    def left(self, host_id: str, now: float) -> None:
        """One user less; of no effect where the host is gone."""
        entry = self._entries.get(host_id)
        if entry is not None:
            entry.users -= 1
            entry.idle_since = now

    def closing(self, host_id: str) -> None:
        """The host is being disconnected: it is not given any more, and still counts."""
        self._entries[host_id].is_closing = True

    def closed(self, host_id: str) -> None:
        """The host is not held any more."""
        self._entries.pop(host_id, None)

    def expired(self, now: float) -> list[str]:
        """The hosts to disconnect now: without users for too long, the longest first, as far as `minimum` allows."""
        due = sorted(
            (entry.idle_since, host_id) for host_id, entry in self._idle() if now - entry.idle_since >= self.config.idle_seconds
        )
        open_now = sum(not entry.is_closing for entry in self._entries.values())
        return [host_id for _, host_id in due[: max(open_now - self.config.minimum, 0)]]

    def next_look(self) -> float:
        """When to ask `expired` again, if nothing changes before."""
        open_now = sum(not entry.is_closing for entry in self._entries.values())
        if open_now <= self.config.minimum:
            return math.inf
        return min((entry.idle_since + self.config.idle_seconds for _, entry in self._idle()), default=math.inf)

    def _idle(self) -> list[tuple[str, _Entry]]:
        return [(host_id, entry) for host_id, entry in self._entries.items() if not entry.users and not entry.is_closing]
