"""Where a connection stands, in one table: every event in every state; for hosts, machines and channels alike.

Theory of operation. `TRANSITIONS` has a row for each state and, in it, an entry for each event: the state that follows, or None
where the event cannot be meant. What the world reports (LOST) may come late or twice, as more than one watcher may notice the
same end: it is allowed wherever nothing is connected, and changes nothing there. What we do ourselves (CONNECT, ESTABLISHED) is
not forgiven: a second attempt beside the first would be a second connection.

No clock and no Trio: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

import attrs

from atp_trio.errors import LocalProtocolError

__all__ = [
    "TRANSITIONS",
    "Channel",
    "ConnectionEvent",
    "ConnectionState",
    "Host",
    "Machine",
    "StateChange",
    "StateCore",
    "Subject",
]


class ConnectionState(Enum):
    """Where a connection stands."""

    DISCONNECTED = "disconnected"
    """There is no connection: not yet, not now (the next attempt is waited for), or no more."""
    CONNECTING = "connecting"
    """It is being made."""
    CONNECTED = "connected"
    """All of it works."""
    DEGRADED = "degraded"
    """It can be used, but a part of it is missing or does not answer in time."""
    FAILED = "failed"
    """There is no connection, and nobody tries to make one."""

    @property
    def is_usable(self) -> bool:
        """Whether something can be sent: CONNECTED or DEGRADED."""
        return self in {ConnectionState.CONNECTED, ConnectionState.DEGRADED}


class ConnectionEvent(Enum):
    """What happens to a connection."""

    CONNECT = auto()
    """We begin to make it."""
    ESTABLISHED = auto()
    """All of it works, for the first time or again."""
    IMPAIRED = auto()
    """It can be used, but a part of it is missing, has gone or is late."""
    LOST = auto()
    """It ended by itself, or the attempt to make it failed; another attempt may follow."""
    GIVEN_UP = auto()
    """No further attempt will be made."""
    CLOSED = auto()
    """We ended it."""


_S, _E = ConnectionState, ConnectionEvent

TRANSITIONS: Final[Mapping[ConnectionState, Mapping[ConnectionEvent, ConnectionState | None]]] = {
    _S.DISCONNECTED: {
        _E.CONNECT: _S.CONNECTING,
        _E.ESTABLISHED: None,
        _E.IMPAIRED: None,
        _E.LOST: _S.DISCONNECTED,
        _E.GIVEN_UP: _S.FAILED,
        _E.CLOSED: _S.DISCONNECTED,
    },
    _S.CONNECTING: {
        _E.CONNECT: None,
        _E.ESTABLISHED: _S.CONNECTED,
        _E.IMPAIRED: _S.DEGRADED,
        _E.LOST: _S.DISCONNECTED,
        _E.GIVEN_UP: _S.FAILED,
        _E.CLOSED: _S.DISCONNECTED,
    },
    _S.CONNECTED: {
        _E.CONNECT: None,
        _E.ESTABLISHED: _S.CONNECTED,
        _E.IMPAIRED: _S.DEGRADED,
        _E.LOST: _S.DISCONNECTED,
        _E.GIVEN_UP: None,  # what works is lost before it is given up
        _E.CLOSED: _S.DISCONNECTED,
    },
    _S.DEGRADED: {
        _E.CONNECT: None,
        _E.ESTABLISHED: _S.CONNECTED,
        _E.IMPAIRED: _S.DEGRADED,
        _E.LOST: _S.DISCONNECTED,
        _E.GIVEN_UP: None,
        _E.CLOSED: _S.DISCONNECTED,
    },
    _S.FAILED: {
        _E.CONNECT: _S.CONNECTING,  # somebody asked for it
        _E.ESTABLISHED: None,
        _E.IMPAIRED: None,
        _E.LOST: _S.FAILED,
        _E.GIVEN_UP: _S.FAILED,
        _E.CLOSED: _S.DISCONNECTED,
    },
}
"""What follows each state at each event; None where the event cannot be meant."""


@attrs.frozen
class Host:
    """A host, connected through libvirt."""

    id: str
    """The id it was added with."""

    def __str__(self) -> str:
        return f"host {self.id}"


@attrs.frozen
class Machine:
    """A virtual machine, connected through SPICE."""

    id: str
    """The id it was added with."""

    def __str__(self) -> str:
        return f"machine {self.id}"


@attrs.frozen
class Channel:
    """One SPICE channel of a machine."""

    machine: str
    """The machine's id."""
    name: str
    """Type and id as people write them: `display:0`."""

    def __str__(self) -> str:
        return f"channel {self.name} of machine {self.machine}"


Subject = Host | Machine | Channel
"""Whose state it is."""


@attrs.frozen(kw_only=True)
class StateChange:
    """A state that was entered, and why."""

    subject: Subject
    """Whose."""
    state: ConnectionState
    """The state now."""
    previous: ConnectionState | None = None
    """The state before; the same one where only the cause is new; None where this tells the present state, not a change."""
    event: ConnectionEvent | None = None
    """What happened; None before anything did."""
    cause: BaseException | None = None
    """What went wrong, where something did."""
    at: float = 0.0
    """When, on the caller's clock (`trio.current_time()` from supervision)."""
    retry_at: float | None = None
    """When the next attempt begins, on the same clock; None where none is planned."""
    missed: int = 0
    """How many changes before this one the reader was too slow for; they were dropped."""

    def __str__(self) -> str:
        because = f": {self.cause}" if self.cause is not None else ""
        return f"{self.subject} is {self.state.value}{because}"


@attrs.define(eq=False)
class StateCore:
    """The state of one connection; events in, changes out."""

    subject: Subject = attrs.field(on_setattr=attrs.setters.frozen)
    """Whose state it is."""
    _last: StateChange = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = StateChange(subject=self.subject, state=ConnectionState.DISCONNECTED)

    @property
    def state(self) -> ConnectionState:
        """The present state."""
        return self._last.state

    @property
    def present(self) -> StateChange:
        """The present state and its cause, as who begins to watch is told: `previous` is None."""
        return attrs.evolve(self._last, previous=None)

    def allows(self, event: ConnectionEvent) -> bool:
        """Whether the event can be meant now."""
        return TRANSITIONS[self.state][event] is not None

    def apply(
        self,
        event: ConnectionEvent,
        *,
        now: float,
        cause: BaseException | None = None,
        retry_at: float | None = None,
    ) -> StateChange | None:
        """Something happened.

        Args:
            event: What.
            now: When.
            cause: What went wrong, where something did.
            retry_at: When the next attempt begins.

        Returns:
            The change; None where the event changes nothing. IMPAIRED is a change whenever its cause is a new one; in
            DISCONNECTED, so are LOST with a new `retry_at` and CLOSED where an attempt was planned.

        Raises:
            LocalProtocolError: The event cannot be meant in this state; nothing changed.
        """
        before = self._last
        after = TRANSITIONS[before.state][event]
        if after is None:
            raise LocalProtocolError(f"{self.subject} is {before.state.value}: {event.name} cannot be meant")
        if after is before.state and not self._is_news(event, cause, retry_at):
            return None
        self._last = StateChange(
            subject=self.subject,
            state=after,
            previous=before.state,
            event=event,
            cause=cause,
            at=now,
            retry_at=retry_at,
        )
        return self._last

    def _is_news(self, event: ConnectionEvent, cause: BaseException | None, retry_at: float | None) -> bool:
        if event is ConnectionEvent.IMPAIRED:
            return cause is not self._last.cause
        if self.state is not ConnectionState.DISCONNECTED:
            return False
        if event is ConnectionEvent.CLOSED:
            return self._last.retry_at is not None
        return retry_at is not None and retry_at != self._last.retry_at
