"""A host: its libvirt, connected for the time of a block, and connected again when that is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConnectionLost, DomainNotFound
from atp_trio.hypervisor.binding import Binding, load_binding
from atp_trio.hypervisor.calls import Calls, HostStatistics, Queue
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.event import DomainEvent
from atp_trio.hypervisor.events import DEPTH, EventHub, EventReceiver
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.lanes import LaneConfig, Lanes, ThreadEnd, close_lane
from atp_trio.hypervisor.uri import HostUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import Heartbeat, HeartbeatConfig
from atp_trio.supervision.state import ConnectionState, Host
from atp_trio.supervision.supervisor import Life, Supervisor
from atp_trio.supervision.watch import StateBoard, StateSource

__all__ = ["HostConnection", "open_host"]

T = TypeVar("T")


class HostConnection:
    """A host's libvirt; `open_host` makes it.

    It looks like one connection. Beneath are as many libvirt connections as calls are in flight: see `lanes`.

    Attributes:
        info: Which host.
        uri: Where its libvirt is.
        states: The connection's state, to be watched: `states.watch()`, `states.wait_state(...)`.
    """

    def __init__(
        self,
        info: HostInfo,
        states: StateSource,
        *,
        lanes: LaneConfig,
        heartbeat: HeartbeatConfig,
        load: Callable[[], Binding],
        nursery: trio.Nursery,
    ) -> None:
        self.info = info
        self.uri = info.connect_uri
        self.states = states
        self._lane_config = lanes
        self._heartbeat = heartbeat
        self._load = load
        self._nursery = nursery
        self._lanes = Lanes(lanes, self._make_lane, load, nursery)
        self._streams = trio.Semaphore(lanes.streams)
        self._control: Lane | None = None
        self._control_turn = trio.Lock()
        self._calls = Calls()
        self._hub = EventHub()
        self._lost = trio.Event()
        self._first = trio.Event()
        self._first_failure: AtpError | None = None
        self._losses = 0
        # A block that is cancelled leaves in order: what it undoes in parting, shielded, needs the connection.
        self._scope = trio.CancelScope(shield=True)

    def __repr__(self) -> str:
        return f"<HostConnection {self.uri} {self.state.value}>"

    # --- state

    @property
    def state(self) -> ConnectionState:
        """Whether it is connected now."""
        return self.states.state

    async def wait_connected(self) -> None:
        """Wait until calls can be made.

        Raises:
            ConnectionLost: It was given up.
        """
        change = await self.states.wait_state(ConnectionState.CONNECTED, ConnectionState.FAILED)
        if change.state is ConnectionState.FAILED:
            raise ConnectionLost(f"the connection to {self.uri} was given up") from change.cause

    def statistics(self) -> HostStatistics:
        """The counters."""
        calls = self._calls
        return HostStatistics(
            calls=calls.calls,
            errors=calls.errors,
            in_flight=len(self._lanes.busy),
            slow=self._lanes.slow(trio.current_time()),
            abandoned=calls.abandoned,
            connections=self._lanes.count,
            losses=self._losses,
            latency=calls.latency,
            last_error=calls.last_error,
        )

    # --- calls

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(connection, *args)` in a thread; `connection` is a `libvirt.virConnect`.

        ```python
        name = await host.call(libvirt.virConnect.getHostname)
        ```

        The libvirt connection is this call's own while it lasts: what is bound to it (streams, callbacks) does not outlive it.

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
        return await self._calls.run(self._lanes, work, queue)

    def queue(self, uuid: str, kind: str) -> Queue:
        """The calls to a machine's monitor, or its agent, that go one after another."""
        return self._calls.queue(uuid, kind)

    async def take_lane(self) -> Lane:
        """A lane for a stream, until `give_lane_back`. Use it by `lane.run`, in threads, one at a time.

        Raises:
            NotConnected: There is no connection now.
            TransportError: Another libvirt connection was needed and could not be made.

        Cancellation: none is taken.
        """
        await self._streams.acquire()
        try:
            return await self._lanes.acquire_kept()
        except BaseException:
            self._streams.release()
            raise

    def give_lane_back(self, lane: Lane) -> None:
        """The stream has ended; a call of its that is still in a thread must have returned."""
        self._lanes.release(lane)
        self._streams.release()

    @asynccontextmanager
    async def keep_lane(self) -> AsyncIterator[Lane]:
        """`take_lane` and `give_lane_back` for the time of a block."""
        lane = await self.take_lane()
        try:
            yield lane
        finally:
            self.give_lane_back(lane)

    # --- domains and events

    async def domain(self, domain: str | UUID | int) -> Domain:
        """A domain, by its name, its UUID (as an object, or as text where no domain is called so) or its id.

        Raises:
            DomainNotFound: The host has none such.
            AtpError: What `call` raises.
        """
        try:
            name, uuid = await self.run_on_lane(lambda lane: _look_up(lane, domain))
        except DomainNotFound as error:
            # libvirt does not always say which.
            raise DomainNotFound(f"{self.uri} has no domain {str(domain)!r}") from error.__cause__
        return Domain(self, name, uuid)

    async def domains(self) -> list[Domain]:
        """All domains that are defined or run, by name."""
        found = await self.run_on_lane(_list_domains)
        return [Domain(self, name, uuid) for name, uuid in sorted(found)]

    def events(
        self, *types: type[DomainEvent], domain: Domain | None = None, depth: int = DEPTH
    ) -> AbstractAsyncContextManager[EventReceiver]:
        """Receive events for the time of the block.

        ```python
        async with host.events(DomainLifecycle, DomainReboot) as events:
            async for event in events:
                ...
        ```

        `EventsMissed` comes among them where some are missing: after a reconnect, or as the reader was too slow.

        Args:
            types: Of which types; each is registered with libvirt when the block begins.
            domain: Of which domain alone.
            depth: How many wait for a slow reader; then the oldest are dropped.

        Raises:
            ConfigError: One of the types is none.
            NotConnected: There is no connection now, so that nothing could be registered.
            HypervisorError: libvirt, or its driver, does not have such events.
        """
        return self._hub.receive(frozenset(types), None if domain is None else domain.uuid, depth)

    # --- the connection's life

    @trio.lowlevel.enable_ki_protection
    async def keep(self, reconnect: ReconnectConfig) -> None:
        """Keep the connection, for ever. SIGINT is for the block, not for this."""
        with self._scope:
            await Supervisor(self.states, self.run_session, reconnect).run()

    async def run_session(self, life: Life) -> None:
        """Connect, and serve the connection until it is lost. A first attempt that fails is the last: its error is kept."""
        try:
            await self._connect()
        except AtpError as error:
            self._lanes.close()
            if self._first.is_set():
                raise
            self._first_failure = error
            self._first.set()
            return
        try:
            self._hub.connected()
            life.established()
            self._first.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hub.serve, self._run_on_control)
                nursery.start_soon(self._beat)
                nursery.start_soon(self._wait_lost)
        finally:
            self._disconnect()

    async def wait_first(self) -> None:
        """Wait for the first attempt to connect; it raises what that did."""
        await self._first.wait()
        if self._first_failure is not None:
            raise self._first_failure

    @trio.lowlevel.enable_ki_protection
    async def watch_given_up(self) -> None:
        """Tell those who wait for events when nobody tries any more to connect."""
        change = await self.states.wait_state(ConnectionState.FAILED)
        failure = ConnectionLost(f"the connection to {self.uri} was given up")
        failure.__cause__ = change.cause
        self._hub.end(failure)

    def end(self) -> None:
        """The connection is left."""
        self._hub.end(ConnectionLost(f"the connection to {self.uri} was left"))
        self.states.close()

    async def _connect(self) -> None:
        self._lost = trio.Event()
        self._control, self._control_turn = None, trio.Lock()
        self._lanes = Lanes(self._lane_config, self._make_lane, self._load, self._nursery)
        try:
            self._lanes.release(await self._lanes.acquire())
        except trio.Cancelled:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        for lane in self._lanes.close():
            self._nursery.start_soon(close_lane, lane)

    @trio.lowlevel.enable_ki_protection
    async def _beat(self) -> None:
        await Heartbeat(self._heartbeat, self._probe, lambda: self._calls.last_answer).run()

    @trio.lowlevel.enable_ki_protection
    async def _wait_lost(self) -> None:
        await self._lost.wait()
        self._losses += 1
        raise ConnectionLost(f"the connection to {self.uri} was lost")

    async def _probe(self) -> None:
        await self._run_on_control(lambda lane: lane.ping())

    async def _run_on_control(self, work: Callable[[Lane], None]) -> None:
        """Do `work` on a lane beside those of calls: however many of these hang, events and heartbeat do not."""
        async with self._control_turn:
            if self._control is None:
                self._control = await self._lanes.acquire_kept()
            await trio.to_thread.run_sync(
                self._control.run,
                work,
                abandon_on_cancel=True,
                limiter=ThreadEnd(lambda: None),  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
            )

    def _make_lane(self) -> Lane:
        token = trio.lowlevel.current_trio_token()

        def lost(lane: Lane) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._lane_lost, lane)

        return Lane(self.uri, self.info.credentials, lost)

    def _lane_lost(self, lane: Lane) -> None:
        # libvirtd that ends, or a network that breaks, takes all of them: so one is a sign for all. But a stream's may end for
        # reasons of its own: libvirtd gives one up whose guest does not read.
        if lane is self._control or self._lanes.has(lane):
            self._lost.set()


def _look_up(lane: Lane, key: str | UUID | int) -> tuple[str, str]:
    connection, binding = lane.connection, lane.binding
    assert connection is not None
    assert binding is not None
    if isinstance(key, int):
        found = connection.lookupByID(key)
    elif isinstance(key, UUID):
        found = connection.lookupByUUIDString(str(key))
    else:
        try:
            found = connection.lookupByName(key)
        except binding.error as error:
            uuid = _as_uuid(key)
            if uuid is None:
                raise lane.failure(error) from error
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
    heartbeat: HeartbeatConfig | None = None,
    board: StateBoard | None = None,
    load: Callable[[], Binding] = load_binding,
) -> AsyncIterator[HostConnection]:
    """Connect to a host's libvirt for the time of the block.

    A connection that is lost is made again, with a growing delay; meanwhile calls raise `NotConnected`.

    Args:
        info: The host, or its URI: `qemu+ssh://host/system`, `qemu:///system`, `test:///default`.
        lanes: How many libvirt connections it may take.
        reconnect: When to connect again.
        heartbeat: When a host that is silent is asked for a sign of life.
        board: Where its state is shown together with others'.
        load: What gives libvirt-python; tests give another.

    Raises:
        ConfigError: The URI cannot be meant, libvirt-python is not installed, or the password cannot be had.
        ConnectFailed: There is no such host, or no libvirt; TlsError where it could not be trusted.
        AuthenticationFailed: It refused the user, the password or the key.

    Cancellation: nothing stays open. A host that does not answer may hold a thread for as long as the system tries to reach it.
    """
    if not isinstance(info, HostInfo):
        info = HostInfo.from_uri(info)
    subject = Host(info.id)
    states = StateSource(subject) if board is None else board.add(subject)
    with contextlib.ExitStack() as afterwards:
        async with open_background() as nursery:
            host = HostConnection(
                info, states, lanes=lanes or LaneConfig(), heartbeat=heartbeat or HeartbeatConfig(), load=load, nursery=nursery
            )
            afterwards.callback(host.end)
            nursery.start_soon(host.keep, reconnect or ReconnectConfig())
            try:
                await host.wait_first()
                nursery.start_soon(host.watch_given_up)
                yield host
            finally:
                host._scope.cancel()  # noqa: SLF001 - this is its constructor
