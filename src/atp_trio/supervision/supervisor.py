"""Keeps one connection: makes it, and when it is lost waits by the backoff and makes it again; for hosts, machines and channels.

Theory of operation. What is kept is a *session*: an async function that makes the connection, says so (`Life.established`),
serves it, and raises when it is lost. The supervisor runs one session at a time, in its own task, so that there are never two
connections; it publishes states and causes, and decides by `Backoff` when to begin the next. After it has given up it stays
there, FAILED, until somebody asks for another attempt.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from atp_trio.errors import AtpError, ConfigError, LocalProtocolError
from atp_trio.supervision.backoff import Backoff, GiveUp, ReconnectConfig, Retry
from atp_trio.supervision.state import ConnectionEvent, ConnectionState
from atp_trio.supervision.watch import StateSource

__all__ = ["Life", "Session", "Supervisor"]

# What no later attempt can heal.
HOPELESS: Final = (ConfigError, LocalProtocolError)


class Life:
    """What a session tells its supervisor. After the session has ended nothing of it counts."""

    def __init__(self, source: StateSource) -> None:
        self._source = source
        self._has_ended = False
        self.established_at: float | None = None
        """When it could first be used, on Trio's clock; None before."""

    def established(self) -> None:
        """The connection works, all of it: first, or again after a part was missing."""
        self._tell(ConnectionEvent.ESTABLISHED, None)

    def impaired(self, cause: BaseException) -> None:
        """The connection can be used, but a part of it is missing; `cause` says which and why."""
        self._tell(ConnectionEvent.IMPAIRED, cause)

    def _tell(self, event: ConnectionEvent, cause: BaseException | None) -> None:
        if self._has_ended:
            return
        if self.established_at is None:
            self.established_at = trio.current_time()
        self._source.apply(event, cause=cause)

    def end(self) -> None:
        """The session has ended."""
        self._has_ended = True


Session = Callable[[Life], Awaitable[None]]
"""Makes a connection, tells its `Life`, serves it. It returns when the connection was ended on purpose, and raises an `AtpError`
when it is lost or could not be made."""


@attrs.define(eq=False)
class Supervisor:
    """Keeps one connection.

    Args:
        source: Where states and causes are published.
        session: What is kept.
        config: When to try again.
        chance: Gives random numbers from 0 to 1.
    """

    source: StateSource = attrs.field(on_setattr=attrs.setters.frozen)
    """Where states and causes are published."""
    _session: Session
    _config: ReconnectConfig = attrs.field(factory=ReconnectConfig)
    _chance: Callable[[], float] = random.random
    _is_running: bool = attrs.field(default=False, init=False)
    _asked: trio.Event = attrs.field(factory=trio.Event, init=False)

    def connect_now(self) -> None:
        """Begin the next attempt at once, with a fresh backoff, be it waited for or given up; no effect on what is connected."""
        self._asked.set()

    async def run(self) -> None:
        """Keep the connection until the session returns.

        Raises:
            trio.BusyResourceError: It runs already.
            Exception: What the session raises and is none of our errors: a bug.

        Cancellation: the session is cancelled and the state is DISCONNECTED.
        """
        if self._is_running:
            raise trio.BusyResourceError(f"{self.source.subject} is kept already")
        self._is_running = True
        try:
            await self._keep()
        except BaseException as error:
            cause = None if isinstance(error, trio.Cancelled) else error
            self.source.apply(ConnectionEvent.CLOSED, cause=cause)
            raise
        else:
            self.source.apply(ConnectionEvent.CLOSED)
        finally:
            self._is_running = False

    async def _keep(self) -> None:
        backoff = Backoff(self._config)
        while True:
            self.source.apply(ConnectionEvent.CONNECT)
            life = Life(self.source)
            error = await self._run_session(life)
            if error is None:
                return
            now = trio.current_time()
            if life.established_at is not None:
                backoff = backoff.lost(now, held=now - life.established_at)
            hopeless = isinstance(error, HOPELESS)
            decision = GiveUp("no further attempt can help") if hopeless else backoff.decide(self._chance())
            backoff = await self._pause(decision, error, backoff)
            del error, life  # its traceback holds all that the session held, for as long as the next one lasts

    async def _run_session(self, life: Life) -> AtpError | None:
        """What ended the session; None: it returned."""
        try:
            await self._session(life)
        except AtpError as error:
            return error
        except ExceptionGroup as group:
            # A session of several tasks: they raise for one reason, or for one and its consequences.
            expected, bugs = group.split(AtpError)
            if bugs is not None or expected is None:
                raise
            return _first(expected)
        finally:
            life.end()
        return None

    async def _pause(self, decision: Retry | GiveUp, error: AtpError, backoff: Backoff) -> Backoff:
        """Wait for the next attempt, which begins when this returns."""
        self._asked = trio.Event()  # what was asked for while it was connected is done
        match decision:
            case Retry(delay):
                retry_at = trio.current_time() + delay
                self.source.apply(ConnectionEvent.LOST, cause=error, retry_at=retry_at)
                with trio.move_on_at(retry_at):
                    await self._asked.wait()
                    return Backoff(self._config)
                return backoff.retried()
            case GiveUp(reason):
                if self.source.state is not ConnectionState.CONNECTING:
                    self.source.apply(ConnectionEvent.LOST, cause=error)
                error.add_note(reason)
                self.source.apply(ConnectionEvent.GIVEN_UP, cause=error)
                await self._asked.wait()
                return Backoff(self._config)


def _first(group: ExceptionGroup[AtpError]) -> AtpError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner
