"""A host's events: from libvirt's thread, through bounded queues, to those who asked for them.

Theory of operation. libvirt calls back in its event thread. There the event is read and put into the inbox, which is bounded;
Trio is woken once for many. A task of the host's connection registers what receivers asked for, on the connection's control
lane, and again on the next connection's; it registers for all domains, and each receiver takes what is its own. What a receiver
is too slow for is dropped, the oldest first, and an `EventsMissed` tells how much; after a reconnect another tells that nobody
knows.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import attrs
import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import AtpError, ConfigError, HypervisorError, NotConnected
from atp_trio.hypervisor.event import EVENT_IDS, READERS, DomainEvent, EventsMissed, HostEvent, QemuMonitorEvent
from atp_trio.hypervisor.lane import Lane

__all__ = ["EventHub", "EventReceiver"]

_log = logging.getLogger("atp_trio.hypervisor")

DEPTH: Final = 256
"""How many events wait for a receiver."""
INBOX: Final = 4096
"""How many wait for Trio: a loop that is held up for long."""


class EventReceiver(trio.abc.ReceiveChannel[HostEvent]):
    """Events, the oldest first; `HostConnection.events` gives it."""

    def __init__(self, types: frozenset[type[DomainEvent]], uuid: str | None, depth: int) -> None:
        self.types = types
        self.is_registered = False
        self._uuid = uuid
        self._depth = depth
        self._queue: deque[HostEvent] = deque()
        self._dropped = 0
        self._is_count_unknown = False
        self._receiving = ConflictDetector("another task is receiving")
        self._is_closed = False
        self._failure: AtpError | None = None
        self._arrived = trio.lowlevel.ParkingLot()

    def put(self, event: HostEvent) -> None:
        """Take an event for the reader, if it is one of his."""
        if isinstance(event, DomainEvent) and (type(event) not in self.types or self._uuid not in {None, event.uuid}):
            return
        if len(self._queue) >= self._depth:
            self._drop(self._queue.popleft())
        self._queue.append(event)
        self._arrived.unpark_all()

    def _drop(self, event: HostEvent) -> None:
        count = event.count if isinstance(event, EventsMissed) else 1
        self._is_count_unknown |= count is None
        self._dropped += count or 0

    def end(self, failure: AtpError) -> None:
        """There will be no more events."""
        self._failure = failure
        self._arrived.unpark_all()

    async def receive(self) -> HostEvent:
        """The next event.

        Raises:
            ConnectionLost: The host's connection was left or given up, and everything was received.
            trio.ClosedResourceError: This channel was closed.
            trio.BusyResourceError: Another task is receiving.

        Cancellation: nothing is lost.
        """
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            while not (self._queue or self._is_closed or self._failure):
                await self._arrived.park()
        event = self.receive_nowait()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return event

    def receive_nowait(self) -> HostEvent:
        """The next event, without waiting.

        Raises:
            trio.WouldBlock: There is none.
            ConnectionLost, trio.ClosedResourceError: As for `receive`.
        """
        if self._is_closed:
            raise trio.ClosedResourceError
        if self._dropped or self._is_count_unknown:
            missed = EventsMissed(count=None if self._is_count_unknown else self._dropped)
            self._dropped, self._is_count_unknown = 0, False
            return missed
        if self._queue:
            return self._queue.popleft()
        if self._failure is not None:
            raise self._failure
        raise trio.WouldBlock

    def close(self) -> None:
        """Receive no more."""
        self._is_closed = True
        self._queue.clear()
        self._arrived.unpark_all()

    async def aclose(self) -> None:
        """As `close`; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Inbox:
    """Where libvirt's thread leaves events for Trio."""

    take: Callable[[HostEvent], None]
    """Called in Trio with each."""
    _token: trio.lowlevel.TrioToken = attrs.field(init=False, factory=trio.lowlevel.current_trio_token)
    _events: deque[DomainEvent] = attrs.field(init=False, factory=deque)
    _dropped: int = attrs.field(init=False, default=0)

    def put(self, event: DomainEvent) -> None:
        """Take an event; called in libvirt's event thread."""
        if len(self._events) >= INBOX:
            self._dropped += 1
            return
        self._events.append(event)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._drain, idempotent=True)

    def _drain(self) -> None:
        while self._events:
            self.take(self._events.popleft())
        # Those dropped came after all that was there, as the newest were left out: Trio had not run for so many events.
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.take(EventsMissed(count=dropped))


class EventHub:
    """The events of one host."""

    def __init__(self) -> None:
        self._receivers: set[EventReceiver] = set()
        self._wanted: dict[type[DomainEvent], None] = {}
        self._registered: set[type[DomainEvent]] = set()
        self._refused: dict[type[DomainEvent], HypervisorError] = {}
        self._is_connected = False
        self._changed = trio.Event()
        self._inbox = Inbox(self._tell)

    @asynccontextmanager
    async def receive(self, types: frozenset[type[DomainEvent]], uuid: str | None, depth: int) -> AsyncIterator[EventReceiver]:
        """A receiver for the time of the block; what happens from its beginning on is received."""
        if unknown := [one.__name__ for one in types if one not in READERS]:
            raise ConfigError(f"{', '.join(unknown)}: not events that can be received")
        receiver = EventReceiver(types, uuid, depth)
        self._receivers.add(receiver)
        try:
            await self._register(types)
            receiver.is_registered = True
            yield receiver
        finally:
            self._receivers.discard(receiver)
            receiver.close()

    def connected(self) -> None:
        """There is a connection, of which nothing is asked yet; `serve` will."""
        self._is_connected = True

    @trio.lowlevel.enable_ki_protection
    async def serve(self, run: Callable[[Callable[[Lane], None]], Any]) -> NoReturn:
        """Register what is wanted, and what will be, as long as the connection lasts.

        Args:
            run: Does work on the control lane.
        """
        self._refused.clear()
        before = {receiver for receiver in self._receivers if receiver.is_registered}
        try:
            while True:
                changed = self._changed
                for one in [one for one in self._wanted if one not in self._registered | self._refused.keys()]:
                    await self._register_one(one, run)
                for receiver in before & self._receivers:
                    receiver.put(EventsMissed(count=None))
                before.clear()
                await changed.wait()
        finally:
            self._is_connected = False
            self._registered.clear()
            self._notify()

    def end(self, failure: AtpError) -> None:
        """There will be no connection any more."""
        for receiver in self._receivers:
            receiver.end(failure)

    async def _register(self, types: frozenset[type[DomainEvent]]) -> None:
        await trio.lowlevel.checkpoint()
        if not types <= self._wanted.keys():
            self._wanted |= dict.fromkeys(types)
            self._notify()
        while not types <= self._registered:
            if not self._is_connected:
                raise NotConnected("the host is not connected; no events were asked for")
            for one in types & self._refused.keys():
                raise self._refused[one]
            await self._changed.wait()

    async def _register_one(self, one: type[DomainEvent], run: Callable[[Callable[[Lane], None]], Any]) -> None:
        def work(lane: Lane) -> None:
            _register_on(lane, one, self._inbox.put)

        try:
            await run(work)
        except HypervisorError as error:
            self._refused[one] = error
            del self._wanted[one]
        else:
            self._registered.add(one)
        self._notify()

    def _tell(self, event: HostEvent) -> None:
        for receiver in self._receivers:
            receiver.put(event)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _register_on(lane: Lane, one: type[DomainEvent], put: Callable[[DomainEvent], None]) -> None:
    """Have libvirt call back for all domains; called in a thread."""
    connection, binding = lane.connection, lane.binding
    assert connection is not None
    assert binding is not None
    read = READERS[one]

    def happened(_connection: Any, domain: Any, *args: Any) -> None:
        # Nothing may be raised into libvirt, which would write it to the terminal.
        try:
            put(one(name=domain.name(), uuid=domain.UUIDString(), **read(*args[:-1])))
        except Exception:  # noqa: BLE001
            _log.exception("an event of libvirt's could not be read: %s", one.__name__)

    if one is QemuMonitorEvent:
        number = binding.qemu.qemuMonitorEventRegister(connection, None, None, happened, None)
        lane.before_closing(lambda: binding.qemu.qemuMonitorEventDeregister(connection, number))
    else:
        number = connection.domainEventRegisterAny(None, EVENT_IDS[one], happened, None)
        lane.before_closing(lambda: connection.domainEventDeregisterAny(number))
