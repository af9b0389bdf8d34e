"""Hosts and machines of one configuration, by id."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import attrs
import trio

from atp_trio.config import HostConfig, SpiceVmConfig, TransportConfig, load_config
from atp_trio.errors import (
    AtpError,
    ChannelNotAvailable,
    ConfigError,
    DomainNotFound,
    HostNotFound,
    LocalProtocolError,
    NotConnected,
)
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.host import HostConnection, open_host
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.pool import ConnectionPool, PoolStatistics, open_pool
from atp_trio.manager.endpoint import DomainEndpoint
from atp_trio.manager.input import InputReport, InputWay, NothingSent, send_by_agent, send_by_qmp
from atp_trio.manager.outcome import Outcome, gather
from atp_trio.protocols.spice import MachineInput, send_to_inputs
from atp_trio.spice.connection import SpiceVmConnection
from atp_trio.spice.manager import MachineStatistics, SpiceConnectionManager, open_spice_manager
from atp_trio.supervision.watch import StateBoard

__all__ = ["ManagedMachine", "ManagerStatistics", "TransportManager", "open_manager"]

T = TypeVar("T")
OpenHost = Callable[..., AbstractAsyncContextManager[HostConnection]]

# How many are worked on at a time, where nothing else is said.
LIMIT: Final = 32


@attrs.frozen
class ManagedMachine:
    """A machine by its one name, with all that is known of it."""

    name: str
    """Its `vm_id`."""
    config: SpiceVmConfig = attrs.field(repr=False)
    """Where it is."""
    _manager: TransportManager = attrs.field(repr=False)

    @property
    def spice(self) -> SpiceVmConnection:
        """Its present SPICE connection.

        Raises:
            NotConnected: It is not connected now.
            DomainNotFound: It was removed.
        """
        return self._manager.get_spice_connection(self.name)

    async def wait_spice(self) -> SpiceVmConnection:
        """The same, waiting while it is being connected; raises as `SpiceConnectionManager.wait_vm_connection`."""
        return await self._manager.spice.wait_vm_connection(self.name)

    @asynccontextmanager
    async def domain(self) -> AsyncIterator[Domain]:
        """The machine as its host's libvirt knows it, for the time of the block.

        Raises:
            ConfigError: It is not said which host runs it.
            HostNotFound: The host was removed.
            DomainNotFound: The host has no such domain.
            AtpError: What `open_host` raises.
        """
        if self.config.host is None:
            raise ConfigError(f"machine {self.name}: it is not said which host runs it")
        async with self._manager.get_libvirt_connection(self.config.host) as host:
            yield await host.domain(self.config.domain or self.name)

    async def send(self, value: MachineInput, *, agent_program: Sequence[str] = ()) -> InputReport:
        """Send input by the first way that takes it: SPICE, QEMU's monitor, a program in the guest.

        The next way is tried only where it is known that nothing was sent.

        Args:
            value: The input.
            agent_program: What takes input in the guest: see `atp_trio.manager.input.send_by_agent`. Empty for none.

        Returns:
            Which way took it, and why those before did not.

        Raises:
            AtpError: It failed in the middle; or no way took it: then this is SPICE's reason, and the others are its notes.
        """
        refused: list[tuple[InputWay, AtpError]] = []
        ways: dict[InputWay, Callable[[], Awaitable[None]]] = {
            InputWay.SPICE: partial(self._send_by_spice, value),
            InputWay.QMP: partial(self._send_by_domain, lambda domain: send_by_qmp(domain, value)),
            InputWay.AGENT: partial(self._send_by_domain, lambda domain: send_by_agent(domain, value, agent_program)),
        }
        for way, send in ways.items():
            try:
                await send()
            except NothingSent as reason:
                refused.append((way, reason.error))
            else:
                return InputReport(way, tuple(refused))
        (_, first), *others = refused
        for way, error in others:
            first.add_note(f"by {way.value}: {error}")
        raise first

    async def _send_by_spice(self, value: MachineInput) -> None:
        try:
            inputs = self.spice.inputs
        except (NotConnected, ChannelNotAvailable, DomainNotFound) as error:
            raise NothingSent(error) from error
        try:
            await send_to_inputs(inputs, value)
        except LocalProtocolError as error:
            raise NothingSent(error) from error

    async def _send_by_domain(self, send: Callable[[Domain], Awaitable[None]]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            try:
                domain = await stack.enter_async_context(self.domain())
            except AtpError as error:
                raise NothingSent(error) from error
            await send(domain)


@attrs.frozen(kw_only=True)
class ManagerStatistics:
    """What a manager holds."""

    pool: PoolStatistics
    """The connections to hosts."""
    machines: Mapping[str, MachineStatistics]
    """The machines, by id."""


class TransportManager:
    """Hosts and machines by id; `open_manager` makes it.

    Attributes:
        config: What it was made with; hosts and machines that were added since are not in it.
        states: The states of hosts, machines and channels, to be watched: `states.watch()`.
        pool: The connections to hosts.
        spice: The machines' SPICE connections.
    """

    def __init__(self, config: TransportConfig, states: StateBoard, pool: ConnectionPool, spice: SpiceConnectionManager) -> None:
        self.config = config
        self.states = states
        self.pool = pool
        self.spice = spice
        self._machines: dict[str, ManagedMachine] = {}

    def __repr__(self) -> str:
        return f"<TransportManager of {len(self.hosts)} hosts and {len(self._machines)} machines>"

    # --- hosts

    @property
    def hosts(self) -> tuple[str, ...]:
        """The ids of the hosts."""
        return tuple(info.id for info in self.pool.hosts)

    def add_host(self, host: HostConfig | HostInfo) -> None:
        """Make a host known; it is connected when it is wanted, and kept connected.

        Raises:
            ConfigError: Another host has this id.
        """
        self.pool.add_host(host.info if isinstance(host, HostConfig) else host)

    def remove_host(self, host_id: str) -> None:
        """Forget a host. Who uses it goes on until leaving; then it is disconnected.

        Raises:
            HostNotFound: There is none of that id.
        """
        self.pool.remove_host(host_id)

    def get_libvirt_connection(self, host_id: str) -> AbstractAsyncContextManager[HostConnection]:
        """Use a host's connection for the time of a block: `async with manager.get_libvirt_connection("host1") as host`.

        Raises:
            HostNotFound: No host of that id is known.
            AtpError: What `open_host` raises.
        """
        return self.pool.get_connection(host_id)

    # --- machines

    @property
    def machines(self) -> tuple[str, ...]:
        """The ids of the machines."""
        return tuple(self._machines)

    def add_spice_vm(self, vm: SpiceVmConfig) -> ManagedMachine:
        """Make a machine known, and begin to connect it. One that only a host knows is looked for there at every link.

        Raises:
            ConfigError: Another machine has this id, or its settings contradict each other.
            HostNotFound: Its host is not known.
        """
        if vm.host is not None and vm.host not in self.hosts:
            raise HostNotFound(f"machine {vm.vm_id}: no host {vm.host!r} is known")
        machine = ManagedMachine(vm.vm_id, vm, self)
        tls = self.config.tls_of(vm)
        endpoint = DomainEndpoint(machine.domain, tls)
        password = endpoint.password if vm.password is None and vm.spice_uri is None else None
        self.spice.add_vm(
            vm.vm_id,
            vm.spice_uri or endpoint.open,
            password=password if vm.password is None else vm.password.async_source(),
            tls=tls,
            channels=self.config.channels_of(vm),
            limits=self.config.spice.limits,
        )
        self._machines[vm.vm_id] = machine
        return machine

    async def remove_vm(self, vm_id: str) -> None:
        """Disconnect a machine in order, and forget it.

        Raises:
            DomainNotFound: There is none of that id.

        Cancellation: it is disconnected all the same, but not waited for.
        """
        self.machine(vm_id)
        del self._machines[vm_id]
        await self.spice.remove_vm(vm_id)

    def get_spice_connection(self, vm_id: str) -> SpiceVmConnection:
        """The present SPICE connection of a machine.

        Raises:
            DomainNotFound: There is no machine of that id.
            NotConnected: It is not connected now; the reason is the cause.
        """
        return self.spice.get_vm_connection(vm_id)

    def machine(self, name: str) -> ManagedMachine:
        """A machine by its name: its SPICE connection, its domain, and input by whichever takes it.

        Raises:
            DomainNotFound: There is no machine of that id.
        """
        try:
            return self._machines[name]
        except KeyError:
            raise DomainNotFound(f"no machine {name!r} is known") from None

    # --- many

    async def map_machines(
        self, work: Callable[[ManagedMachine], Awaitable[T]], *, names: Iterable[str] | None = None, limit: int = LIMIT
    ) -> dict[str, Outcome[T]]:
        """Do something with every machine, at most `limit` at a time; give what became of each.

        Args:
            work: What to do; how long it may take is its own business (`trio.fail_after`).
            names: With which machines; by default with all. One that is not known has DomainNotFound as its outcome.
            limit: How many at a time.

        Raises:
            ConfigError: The limit is below 1.

        Cancellation: all are cancelled.
        """

        async def one(name: str) -> T:
            return await work(self.machine(name))

        return await gather(self.machines if names is None else names, one, limit=limit)

    async def map_hosts(
        self, work: Callable[[HostConnection], Awaitable[T]], *, names: Iterable[str] | None = None, limit: int = LIMIT
    ) -> dict[str, Outcome[T]]:
        """The same with hosts, each connected for it."""

        async def one(name: str) -> T:
            async with self.get_libvirt_connection(name) as host:
                return await work(host)

        return await gather(self.hosts if names is None else names, one, limit=limit)

    async def broadcast(
        self, value: MachineInput, *, names: Iterable[str] | None = None, limit: int = LIMIT, agent_program: Sequence[str] = ()
    ) -> dict[str, Outcome[InputReport]]:
        """Send one input to many machines, each by the first way that takes it; as `ManagedMachine.send` and `map_machines`."""
        return await self.map_machines(lambda machine: machine.send(value, agent_program=agent_program), names=names, limit=limit)

    def statistics(self) -> ManagerStatistics:
        """The counters."""
        return ManagerStatistics(pool=self.pool.statistics(), machines=self.spice.statistics())


@asynccontextmanager
async def open_manager(
    config: TransportConfig | str | os.PathLike[str] | None = None, *, open_one: OpenHost = open_host
) -> AsyncIterator[TransportManager]:
    """Keep hosts and machines for the time of the block.

    ```python
    async with open_manager("atp.yaml") as manager:
        print(await manager.broadcast(KeyPress("ctrl+alt+f1")))
    ```

    Args:
        config: The settings, or the file that holds them; without either, there are no hosts and no machines at first.
        open_one: Connects a host; `open_host` with another libvirt, for example.

    Raises:
        ConfigError: ConfigMistakes where the file is wrong; all that is, with its place.

    Cancellation: hosts are disconnected, and machines left in order.
    """
    if config is None:
        config = TransportConfig()
    elif not isinstance(config, TransportConfig):
        config = await trio.to_thread.run_sync(load_config, config)
    board = StateBoard()
    connect = partial(open_one, reconnect=config.reconnect, heartbeat=config.heartbeat, board=board)
    spice = open_spice_manager(
        reconnect=config.reconnect, heartbeat=config.heartbeat, channels=config.spice.channels, board=board
    )
    try:
        async with open_pool(config.pool, open_one=connect) as pool, spice as machines:
            manager = TransportManager(config, board, pool, machines)
            for host in config.hosts:
                manager.add_host(host)
            for vm in config.spice.vms:
                manager.add_spice_vm(vm)
            yield manager
    finally:
        board.close()
