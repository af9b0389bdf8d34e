"""Connections to many hosts, made when they are wanted and shared by all who want them.

Theory of operation. Each host is connected by a task of the pool's nursery, which holds its `open_host` block until it is told to
leave. `PoolCore` decides; here it is waited and done. A host whose connection was lost stays in the pool: it connects again by
itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConfigError, ConnectionLost, HostNotFound
from atp_trio.hypervisor.host import HostConnection, open_host
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.pool_core import Decision, PoolConfig, PoolCore

__all__ = ["ConnectionPool", "PoolConfig", "PoolStatistics", "open_pool"]

OpenHost = Callable[[HostInfo], AbstractAsyncContextManager[HostConnection]]


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """What a pool holds, and what became of it."""

    active: int
    """Hosts in use."""
    total: int
    """Hosts held, those being connected or disconnected included."""
    waiting: int
    """Who waits for a place."""
    opened: int
    """Connections made."""
    errors: int
    """Attempts to connect that failed."""
    last_error: AtpError | None
    """The error of the last of these."""
    latency: float | None
    """How long the last connection took to make, in seconds."""


@attrs.define(eq=False)
class _Holding:
    """A host in the pool."""

    ready: trio.Event = attrs.field(factory=trio.Event)
    """It is connected, or failed to."""
    host: HostConnection | None = None
    failure: AtpError | None = None
    is_unwanted: trio.Event = attrs.field(factory=trio.Event)


class ConnectionPool:
    """Hosts by their ids; `open_pool` makes it."""

    def __init__(self, config: PoolConfig, open_one: OpenHost, nursery: trio.Nursery) -> None:
        self._core = PoolCore(config)
        self._open = open_one
        self._nursery = nursery
        self._infos: dict[str, HostInfo] = {}
        self._holdings: dict[str, _Holding] = {}
        self._changed = trio.Event()
        self._waiting = self._opened = self._errors = 0
        self._last_error: AtpError | None = None
        self._latency: float | None = None

    # --- the hosts

    def add_host(self, info: HostInfo) -> None:
        """Make a host known; it is connected when it is wanted.

        Raises:
            ConfigError: Another host has this id.
        """
        if self._infos.get(info.id, info) != info:
            raise ConfigError(f"there is another host {info.id!r} already")
        self._infos[info.id] = info

    def remove_host(self, host_id: str) -> None:
        """Forget a host. Who uses it goes on until leaving; then it is disconnected.

        Raises:
            HostNotFound: There is none of that id.
        """
        self._info(host_id)
        del self._infos[host_id]
        self._close_forgotten(host_id)
        self._notify()

    @property
    def hosts(self) -> tuple[HostInfo, ...]:
        """The hosts that are known."""
        return tuple(self._infos.values())

    def _info(self, host_id: str) -> HostInfo:
        try:
            return self._infos[host_id]
        except KeyError:
            raise HostNotFound(f"no host {host_id!r} is known") from None

    # --- connections

    @asynccontextmanager
    async def get_connection(self, host_id: str) -> AsyncIterator[HostConnection]:
        """Use a host's connection for the time of the block; it is made where there is none, and shared with all who use it.

        Raises:
            HostNotFound: No host of that id is known.
            AtpError: What `open_host` raises.

        Cancellation: a connection that is being made stays in the pool.
        """
        await self._wait_place(host_id)
        holding = self._holdings[host_id]
        self._core.used(host_id)
        try:
            await holding.ready.wait()
            if holding.failure is not None:
                raise holding.failure
            assert holding.host is not None
            yield holding.host
        finally:
            if self._holdings.get(host_id) is holding:
                self._core.left(host_id, trio.current_time())
                self._close_forgotten(host_id)
                self._notify()

    def statistics(self) -> PoolStatistics:
        """The counters."""
        return PoolStatistics(
            active=self._core.active,
            total=self._core.total,
            waiting=self._waiting,
            opened=self._opened,
            errors=self._errors,
            last_error=self._last_error,
            latency=self._latency,
        )

    async def _wait_place(self, host_id: str) -> None:
        """Wait until the host is held."""
        await trio.lowlevel.checkpoint()
        while True:
            info = self._info(host_id)
            match self._core.want(host_id):
                case Decision.USE:
                    return
                case Decision.OPEN:
                    self._begin(info)
                    return
                case Decision.EVICT:
                    victim = self._core.victim()
                    assert victim is not None
                    self._begin_closing(victim)
                case Decision.WAIT:
                    pass
            self._waiting += 1
            try:
                await self._changed.wait()
            finally:
                self._waiting -= 1

    def _begin(self, info: HostInfo) -> None:
        self._core.opening(info.id)
        holding = self._holdings[info.id] = _Holding()
        self._nursery.start_soon(self._hold, info, holding)

    @trio.lowlevel.enable_ki_protection
    async def _hold(self, info: HostInfo, holding: _Holding) -> None:
        started = trio.current_time()
        try:
            async with self._open(info) as host:
                holding.host = host
                self._opened += 1
                self._latency = trio.current_time() - started
                holding.ready.set()
                await holding.is_unwanted.wait()
        except AtpError as error:
            self._errors += 1
            self._last_error = holding.failure = error
        finally:
            # Who waits for it is told why; when the whole pool is left, that.
            if holding.host is None and holding.failure is None:
                holding.failure = ConnectionLost("the pool was left")
            holding.ready.set()
            self._core.closed(info.id)
            del self._holdings[info.id]
            self._notify()

    def _begin_closing(self, host_id: str) -> None:
        self._core.closing(host_id)
        self._holdings[host_id].is_unwanted.set()

    def _close_forgotten(self, host_id: str) -> None:
        if host_id not in self._infos and self._core.is_idle(host_id):
            self._begin_closing(host_id)

    @trio.lowlevel.enable_ki_protection
    async def close_idle(self) -> None:
        """Disconnect hosts that nobody has used for long; for ever."""
        while True:
            for host_id in self._core.expired(trio.current_time()):
                self._begin_closing(host_id)
            with trio.move_on_at(self._core.next_look()):
                await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def open_pool(config: PoolConfig | None = None, *, open_one: OpenHost = open_host) -> AsyncIterator[ConnectionPool]:
    """Keep connections to hosts for the time of the block.

    Args:
        config: How many, and for how long.
        open_one: Connects one; `open_host` with other settings, for example.

    Cancellation: all hosts are disconnected.
    """
    async with open_background() as nursery:
        pool = ConnectionPool(config or PoolConfig(), open_one, nursery)
        nursery.start_soon(pool.close_idle)
        yield pool
