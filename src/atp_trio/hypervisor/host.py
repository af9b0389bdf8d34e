"""A host: its libvirt, connected for the time of a block, and connected again when that is lost."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs
import trio

from atp_trio.errors import AtpError, ConnectionLost, DomainNotFound
from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.lanes import LaneConfig, Lanes, Queue, close_lane
from atp_trio.hypervisor.library import Library, load_library
from atp_trio.hypervisor.uri import HostUri
from atp_trio.supervision.backoff import Backoff, GiveUp, ReconnectConfig
from atp_trio.supervision.state import ConnectionEvent, ConnectionState, Host, StateCore

__all__ = ["HostConnection", "HostInfo", "HostStatistics", "open_host"]

T = TypeVar("T")

_MAX_QUEUES: Final = 4096  # machines whose queues are remembered; an idle one that is forgotten is made anew


def _to_uri(uri: HostUri | str | None) -> HostUri | None:
    return HostUri.parse(uri) if isinstance(uri, str) else uri


@attrs.frozen
class HostInfo:
    """A host, and how it is reached.

    Raises:
        ConfigError: The URI cannot be meant.
    """

    id: str
    """What it is called here."""
    host: str
    """Its name or address."""
    uri: HostUri | None = attrs.field(default=None, converter=_to_uri)
    """Its libvirt URI, as an object or as text; `qemu+ssh://host/system` where there is none."""
    credentials: Credentials = attrs.field(factory=Credentials, kw_only=True)
    """What libvirt is told when it asks who we are."""

    def with_uri(self, uri: HostUri | str) -> HostInfo:
        """The same host, reached in another way."""
        return attrs.evolve(self, uri=uri)

    @property
    def connect_uri(self) -> HostUri:
        """The URI to connect to.

        Raises:
            ConfigError: There is none, and the host's name cannot be part of one.
        """
        return self.uri or HostUri(transport="ssh", host=self.host)


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
    last_error: AtpError | None
    """The last error of a call, or what the connection was lost by."""


class HostConnection:
    """A host's libvirt; `open_host` makes it.

    It looks like one connection. Beneath are as many libvirt connections as calls are in flight, see `lanes`.

    Attributes:
        info: Which host.
        uri: Where its libvirt is.
    """

    def __init__(
        self, info: HostInfo, lanes: LaneConfig, reconnect: ReconnectConfig, load: Callable[[], Library], nursery: trio.Nursery
    ) -> None:
        self.info = info
        self.uri = info.connect_uri
        self._lane_config = lanes
        self._reconnect = reconnect
        self._load = load
        self._nursery = nursery
        self._core = StateCore(Host(info.id))
        self._state_changed = trio.Event()
        self._is_lost = trio.Event()
        self._lanes = self._new_lanes()
        self._queues: dict[tuple[str, str], Queue] = {}
        self._calls = self._errors = self._abandoned = self._losses = 0
        self._last_error: AtpError | None = None

    def __repr__(self) -> str:
        return f"<HostConnection {self.uri} {self.state.value}>"

    # --- state

    @property
    def state(self) -> ConnectionState:
        """Whether it is connected now."""
        return self._core.state

    async def wait_connected(self) -> None:
        """Wait until calls can be made.

        Raises:
            ConnectionLost: It was given up.
        """
        await trio.lowlevel.checkpoint()
        while not self.state.is_usable:
            if self.state is ConnectionState.FAILED:
                raise ConnectionLost(f"the connection to {self.uri} was given up") from self._core.present.cause
            await self._state_changed.wait()

    def statistics(self) -> HostStatistics:
        """The counters."""
        return HostStatistics(
            calls=self._calls,
            errors=self._errors,
            in_flight=len(self._lanes.busy),
            slow=self._lanes.slow(trio.current_time()),
            abandoned=self._abandoned,
            connections=self._lanes.count,
            losses=self._losses,
            last_error=self._last_error,
        )

    # --- calls

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(connection, *args)` in a thread; `connection` is a `libvirt.virConnect`.

        ```python
        name = await host.call(libvirt.virConnect.getHostname)
        ```

        The connection is the call's own while it lasts: what is bound to it (streams, callbacks) does not outlive it.

        Raises:
            NotConnected: There is no connection now; nothing was sent.
            ConnectionLost: It ended in the middle of the call, whose outcome is unknown.
            DomainNotFound: There is no such domain.
            HypervisorError: libvirt's error.

        Cancellation: the caller goes on at once. The call goes on too: it may have been carried out, or still be.
        """
        return await self.run_on_lane(lambda lane: function(lane.connection, *args))

    async def run_on_lane(self, work: Callable[[Lane], T], queue: Queue | None = None) -> T:
        """Do `work` in a thread, on a lane of its own, after the calls before it in `queue`. As `call` otherwise."""
        turn = _Turn(self._lanes, queue)
        self._calls += 1
        try:
            return await trio.to_thread.run_sync(
                turn.run,
                work,
                abandon_on_cancel=True,
                limiter=turn,  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
            )
        except trio.Cancelled:
            if turn.lane is not None and not turn.is_over:
                self._abandoned += 1
                turn.on_end = self._returned
            raise
        except AtpError as error:
            self._errors += 1
            self._last_error = error
            raise

    def _returned(self) -> None:
        self._abandoned -= 1

    def queue(self, uuid: str, kind: str) -> Queue:
        """The calls to a machine's monitor, or its agent, that go one after another."""
        queue = self._queues.get((uuid, kind))
        if queue is None:
            if len(self._queues) >= _MAX_QUEUES:
                for key in [key for key, one in self._queues.items() if one.is_idle]:
                    del self._queues[key]
            queue = self._queues[uuid, kind] = Queue()
        return queue

    @asynccontextmanager
    async def keep_lane(self) -> AsyncIterator[Lane]:
        """A lane for a stream, for the time of the block. Use it by `lane.run` in threads, one at a time.

        Raises:
            NotConnected: There is no connection now.
        """
        lanes = self._lanes
        lane = await lanes.acquire()
        lanes.keep(lane)
        try:
            yield lane
        finally:
            lanes.release(lane)

    # --- domains

    async def domain(self, domain: str | UUID | int) -> Domain:
        """A domain, by its name, its UUID (as an object, or as text where no domain is called so) or its id.

        Raises:
            DomainNotFound: The host has none such.
            and what `call` raises.
        """
        name, uuid = await self.run_on_lane(lambda lane: _look_up(lane, domain))
        return Domain(self, name, uuid)

    async def domains(self) -> list[Domain]:
        """All domains that are defined or run, by name."""
        found = await self.run_on_lane(_list_domains)
        return [Domain(self, name, uuid) for name, uuid in sorted(found)]

    # --- the connection's life

    def _new_lanes(self) -> Lanes:
        return Lanes(self._lane_config, self._make_lane, self._load, self._nursery)

    def _make_lane(self) -> Lane:
        token = trio.lowlevel.current_trio_token()

        def lost(lane: Lane) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._lane_lost, lane)

        return Lane(self.uri, self.info.credentials, lost)

    def _lane_lost(self, lane: Lane) -> None:
        lanes = self._lanes
        if not lanes.is_open or lane not in (*lanes.free, *lanes.busy, *lanes.kept):
            return
        lanes.lost(lane)
        self._is_lost.set()

    def _apply(self, event: ConnectionEvent, *, cause: BaseException | None = None, retry_at: float | None = None) -> None:
        if self._core.apply(event, now=trio.current_time(), cause=cause, retry_at=retry_at):
            self._state_changed.set()
            self._state_changed = trio.Event()

    async def _connect(self) -> None:
        """Open the first lane."""
        self._is_lost = trio.Event()
        self._lanes = self._new_lanes()
        self._apply(ConnectionEvent.CONNECT)
        lane = await self._lanes.acquire()
        self._lanes.release(lane)
        self._apply(ConnectionEvent.ESTABLISHED)

    async def _supervise(self) -> None:
        """Connect again whenever the connection is lost, until it is given up."""
        backoff = Backoff(self._reconnect)
        while True:
            since = trio.current_time()
            await self._is_lost.wait()
            backoff = backoff.lost(trio.current_time(), held=trio.current_time() - since)
            self._losses += 1
            self._drop(ConnectionLost(f"the connection to {self.uri} was lost"))
            while not self.state.is_usable:
                match backoff.decide(random.random()):  # noqa: S311 - spreads attempts, no secret
                    case GiveUp():
                        self._apply(ConnectionEvent.GIVEN_UP, cause=self._last_error)
                        return
                    case retry:
                        await trio.sleep(retry.delay)
                backoff = backoff.retried()
                try:
                    await self._connect()
                except AtpError as error:
                    self._drop(error)

    def _drop(self, cause: AtpError) -> None:
        self._last_error = cause
        for lane in self._lanes.close():
            self._nursery.start_soon(close_lane, lane)
        self._apply(ConnectionEvent.LOST, cause=cause)

    async def _leave(self) -> None:
        lanes = self._lanes.close()
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for lane in lanes:
                    nursery.start_soon(close_lane, lane)
        self._apply(ConnectionEvent.CLOSED)


@attrs.define(eq=False)
class _Turn:
    """One call's way through its queue and onto a lane, and back, which may be long after its caller has gone.

    Trio takes it for a limiter: it asks before it starts the thread, and tells when the thread has really ended.
    """

    lanes: Lanes
    queue: Queue | None
    lane: Lane | None = None
    is_over: bool = False
    on_end: Callable[[], None] | None = None

    def run(self, work: Callable[[Lane], T]) -> T:
        """What the thread does."""
        assert self.lane is not None
        return self.lane.run(work)

    async def acquire_on_behalf_of(self, borrower: object) -> None:  # noqa: ARG002 - a limiter is told
        """Wait for the queue, then for a lane."""
        if self.queue is not None:
            await self.queue.enter()
        try:
            self.lane = await self.lanes.acquire()
        except BaseException:
            if self.queue is not None:
                self.queue.leave()
            raise

    def release_on_behalf_of(self, borrower: object) -> None:  # noqa: ARG002
        """The thread has ended."""
        assert self.lane is not None
        self.is_over = True
        self.lanes.release(self.lane)
        if self.queue is not None:
            self.queue.leave()
        if self.on_end is not None:
            self.on_end()


def _look_up(lane: Lane, key: str | UUID | int) -> tuple[str, str]:
    connection, library = lane.connection, lane.library
    assert connection is not None
    assert library is not None
    if isinstance(key, int):
        found = connection.lookupByID(key)
    elif isinstance(key, UUID):
        found = connection.lookupByUUIDString(str(key))
    else:
        try:
            found = connection.lookupByName(key)
        except library.error as error:
            uuid = _as_uuid(key)
            if uuid is None:
                raise DomainNotFound(f"the host has no domain called {key!r}") from error
            found = connection.lookupByUUIDString(uuid)
    return found.name(), found.UUIDString()


def _as_uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


def _list_domains(lane: Lane) -> list[tuple[str, str]]:
    assert lane.connection is not None
    return [(domain.name(), domain.UUIDString()) for domain in lane.connection.listAllDomains()]


@asynccontextmanager
async def open_host(
    info: HostInfo | HostUri | str,
    *,
    lanes: LaneConfig | None = None,
    reconnect: ReconnectConfig | None = None,
    load: Callable[[], Library] = load_library,
) -> AsyncIterator[HostConnection]:
    """Connect to a host's libvirt for the time of the block.

    A connection that is lost is made again, with a growing delay; meanwhile calls raise `NotConnected`.

    Args:
        info: The host, or its URI: `qemu+ssh://host/system`, `qemu:///system`, `test:///default`.
        lanes: How many libvirt connections it may take.
        reconnect: When to connect again.
        load: What gives libvirt-python, for tests.

    Raises:
        ConfigError: The URI cannot be meant, libvirt-python is not installed, or the password cannot be had.
        ConnectFailed: There is no such host, or no libvirt; TlsError where it could not be trusted.
        AuthenticationFailed: It refused the user, the password or the key.

    Cancellation: nothing stays open. A host that does not answer may hold a thread for as long as the system tries to reach it.
    """
    if not isinstance(info, HostInfo):
        uri = HostUri.parse(info) if isinstance(info, str) else info
        info = HostInfo(uri.host or "localhost", uri.host or "localhost", uri)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        host = HostConnection(info, lanes or LaneConfig(), reconnect or ReconnectConfig(), load, nursery)
        try:
            await host._connect()  # noqa: SLF001 - this is its constructor
            nursery.start_soon(host._supervise)  # noqa: SLF001
            yield host
        except BaseException as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
            failure = error
        finally:
            await host._leave()  # noqa: SLF001
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
