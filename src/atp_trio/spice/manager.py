"""Many machines over SPICE, each kept connected."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConfigError, ConnectFailed, ConnectionLost, DomainNotFound, NotConnected
from atp_trio.spice.channels import ChannelStatistics
from atp_trio.spice.channels.session import SpiceLimits
from atp_trio.spice.connection import Linking, SpiceVmConnection, open_connection
from atp_trio.spice.keeper import Keeping
from atp_trio.spice.linking import Password
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.streams.base import StreamOpener
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.degradation import ChannelsConfig, Verdict
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.state import Channel, ConnectionState, Machine
from atp_trio.supervision.supervisor import Life, Supervisor
from atp_trio.supervision.watch import StateBoard, StateSource

__all__ = ["MachineStatistics", "SpiceConnectionManager", "open_spice_manager"]

Where = str | SpiceUri | StreamOpener


@attrs.frozen(kw_only=True)
class MachineStatistics:
    """What became of a machine's connection."""

    state: ConnectionState
    """Where it stands."""
    connections: int
    """How often the whole machine was connected."""
    relinks: Mapping[str, int]
    """How often single channels were linked again on the present connection."""
    latencies: Mapping[str, float]
    """How long channels took to give a sign of life when they were last asked, in seconds; of those that were asked."""
    channels: Mapping[str, ChannelStatistics]
    """The counters of the channels that are open."""


class _KeptMachine:
    """A machine, connected again and again."""

    def __init__(self, linking: Linking, keeping: Keeping, source: StateSource) -> None:
        self.id = keeping.machine
        self.linking = linking
        self.source = source
        self.scope = trio.CancelScope()
        self.left = trio.Event()  # the present connection
        self.ended = trio.Event()
        self.vm: SpiceVmConnection | None = None
        self.connections = 0
        self._life: Life | None = None
        self._keeping = attrs.evolve(keeping, tell=self._tell)
        self.verdict = Verdict(ConnectionState.DISCONNECTED)
        self.supervisor = Supervisor(source, self._serve, keeping.reconnect)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep it until the scope is cancelled, or somebody has closed its connection on purpose."""
        try:
            with self.scope:
                await self.supervisor.run()
        finally:
            self.ended.set()

    async def _serve(self, life: Life) -> None:
        self._life, self.left = life, trio.Event()
        try:
            await self._connect()
        except AtpError as error:
            raise error.with_traceback(None) from error.__cause__  # it would hold the lost connection with its pictures
        finally:
            self.vm, self.verdict = None, Verdict(ConnectionState.DISCONNECTED)
            self.left.set()

    @property
    def _present_life(self) -> Life:
        assert self._life is not None
        return self._life

    async def _connect(self) -> None:
        seconds = self._keeping.heartbeat.interval
        with trio.move_on_after(seconds) as linking:
            async with open_connection(self.linking, (), self._keeping) as vm:
                linking.deadline = math.inf
                self.connections += 1
                await vm.main.wait_closed()
                if vm.main.closed_by is not None:
                    self._present_life.impaired(vm.main.closed_by)  # leaving takes a moment: nobody is to take it for whole
                    raise vm.main.closed_by
        if linking.cancelled_caught:
            raise ConnectFailed(f"it could not be connected within {seconds:g} s")

    def _tell(self, vm: SpiceVmConnection, verdict: Verdict, cause: AtpError | None) -> None:
        """The required channels have been tried: from now on it can be used, with all of them or without some."""
        self.vm, self.verdict = vm, verdict
        if cause is None:
            self._present_life.established()
        else:
            self._present_life.impaired(cause)

    def connection(self) -> SpiceVmConnection:
        """The present connection."""
        vm, present = self.vm, self.source.present
        if vm is None:
            raise NotConnected(str(present)) from present.cause
        if not vm.main.is_open:  # it is being left
            raise NotConnected(f"machine {self.id} was lost: {vm.main.closed_by}") from vm.main.closed_by
        return vm


class SpiceConnectionManager:
    """Machines by id, each kept connected; `open_spice_manager` makes it.

    A machine that is lost is connected again, after a delay that grows from attempt to attempt; a channel that is lost is linked
    again alone. Both make new objects: ask for the connection, and its channels, when you use them.

    Attributes:
        states: The states of machines and channels, to be watched: `states.watch()`.
    """

    def __init__(
        self,
        reconnect: ReconnectConfig,
        heartbeat: HeartbeatConfig,
        channels: ChannelsConfig,
        board: StateBoard,
        nursery: trio.Nursery,
    ) -> None:
        self.states = board
        self._reconnect = reconnect
        self._heartbeat = heartbeat
        self._channels = channels
        self._nursery = nursery
        self._machines: dict[str, _KeptMachine] = {}

    def __repr__(self) -> str:
        return f"<SpiceConnectionManager of {len(self._machines)} machines>"

    @property
    def vm_ids(self) -> tuple[str, ...]:
        """The machines that are known."""
        return tuple(self._machines)

    def add_vm(
        self,
        vm_id: str,
        uri: Where,
        *,
        password: Password = None,
        tls: SpiceTlsConfig | None = None,
        channels: ChannelsConfig | None = None,
        mouse_mode: MouseMode = MouseMode.CLIENT,
        limits: SpiceLimits | None = None,
    ) -> None:
        """Make a machine known, and begin to connect it; `wait_vm_connection` waits for that.

        Args:
            vm_id: What it is called here.
            uri: Where it is; this and what follows as for `open_spice`.
            password: The ticket; a file is read, and a function called, for every channel that is linked.
            tls: How to verify the server.
            channels: Its channels, where they are others than the manager's.
            mouse_mode: What to ask the server for.
            limits: What the server may make us hold.

        Raises:
            ConfigError: The URI cannot be meant, or another machine has this id.
        """
        if vm_id in self._machines:
            raise ConfigError(f"there is a machine {vm_id!r} already")
        where = SpiceUri.parse(uri) if isinstance(uri, str) else uri
        keeping = Keeping(
            machine=vm_id,
            channels=channels or self._channels,
            reconnect=self._reconnect,
            heartbeat=self._heartbeat,
            board=self.states,
        )
        linking = Linking(where, password, tls or SpiceTlsConfig(), mouse_mode, limits or SpiceLimits())
        machine = self._machines[vm_id] = _KeptMachine(linking, keeping, self.states.add(Machine(vm_id)))
        self._nursery.start_soon(machine.run)

    async def remove_vm(self, vm_id: str) -> None:
        """Disconnect a machine in order, and forget it.

        Raises:
            DomainNotFound: There is none of that id.

        Cancellation: it is disconnected all the same, but not waited for.
        """
        await self._remove([self._machine(vm_id)])

    async def disconnect_all(self) -> None:
        """Disconnect all machines, and forget them. Leaving the block of `open_spice_manager` disconnects them too.

        Cancellation: as for `remove_vm`.
        """
        await self._remove(list(self._machines.values()))

    async def _remove(self, machines: Collection[_KeptMachine]) -> None:
        for machine in machines:
            del self._machines[machine.id]
            machine.scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            for machine in machines:
                await machine.ended.wait()
        finally:
            for machine in machines:
                machine.source.close()
            ids = {machine.id for machine in machines}
            for one in self.states.present:
                source = self.states.get(one.subject)
                if source is not None and isinstance(one.subject, Channel) and one.subject.machine in ids:
                    source.close()

    def get_vm_connection(self, vm_id: str) -> SpiceVmConnection:
        """The present connection of a machine. It may lack a channel: that raises why when it is asked for.

        Raises:
            DomainNotFound: There is no machine of that id.
            NotConnected: It is not connected now; the reason is the cause.
        """
        return self._machine(vm_id).connection()

    async def wait_vm_connection(self, vm_id: str) -> SpiceVmConnection:
        """The same, waiting while the machine is being connected.

        Raises:
            DomainNotFound: There is no machine of that id.
            ConnectionLost: It was given up, or removed meanwhile; the reason is the cause.

        Cancellation: it goes on being connected.
        """
        machine = self._machine(vm_id)
        wanted = (ConnectionState.CONNECTED, ConnectionState.DEGRADED, ConnectionState.FAILED)
        while True:
            change = await machine.source.wait_state(*wanted)
            if change.state is ConnectionState.FAILED:
                raise ConnectionLost(f"{change.subject} was given up: {change.cause}") from change.cause
            if machine.vm is not None and machine.vm.main.is_open:
                return machine.vm
            await machine.left.wait()  # it was lost since

    def connect_now(self, vm_id: str) -> None:
        """Begin the next attempt at once, be it waited for or given up; without effect on what is connected.

        Raises:
            DomainNotFound: There is no machine of that id.
        """
        self._machine(vm_id).supervisor.connect_now()

    def get_state(self, vm_id: str) -> StateSource:
        """The state of a machine, to be waited for and watched.

        Raises:
            DomainNotFound: There is no machine of that id.
        """
        return self._machine(vm_id).source

    def get_verdict(self, vm_id: str) -> Verdict:
        """What a machine is worth: which channels are down, and which of these it cannot do without.

        Raises:
            DomainNotFound: There is no machine of that id.
        """
        return self._machine(vm_id).verdict

    def statistics(self) -> Mapping[str, MachineStatistics]:
        """The counters, by machine."""
        return {vm_id: _statistics(machine) for vm_id, machine in self._machines.items()}

    def _machine(self, vm_id: str) -> _KeptMachine:
        try:
            return self._machines[vm_id]
        except KeyError:
            raise DomainNotFound(f"no machine {vm_id!r} is known") from None


def _statistics(machine: _KeptMachine) -> MachineStatistics:
    vm = machine.vm
    return MachineStatistics(
        state=machine.source.state,
        connections=machine.connections,
        relinks=vm.relinks() if vm is not None else {},
        latencies=vm.latencies() if vm is not None else {},
        channels=vm.statistics() if vm is not None else {},
    )


@asynccontextmanager
async def open_spice_manager(
    *,
    reconnect: ReconnectConfig | None = None,
    heartbeat: HeartbeatConfig | None = None,
    channels: ChannelsConfig | None = None,
    board: StateBoard | None = None,
) -> AsyncIterator[SpiceConnectionManager]:
    """Keep machines connected for the time of the block.

    ```python
    async with open_spice_manager() as manager:
        manager.add_vm("build", "spice://127.0.0.1:5900", password=Path("ticket"))
        vm = await manager.wait_vm_connection("build")
    ```

    Args:
        reconnect: When what was lost is connected again, machines and channels.
        heartbeat: When a silent channel is asked for a sign of life; linking takes no longer than its interval.
        channels: Which channels are opened, and what they are worth.
        board: Where states are shown together with others'.

    Cancellation: however the block ends, every machine is left in order, as `open_spice` does it.
    """
    async with open_background() as nursery:
        manager = SpiceConnectionManager(
            reconnect or ReconnectConfig(),
            heartbeat or HeartbeatConfig(),
            channels or ChannelsConfig(),
            StateBoard() if board is None else board,
            nursery,
        )
        try:
            yield manager
        finally:
            with trio.CancelScope(shield=True):
                await manager.disconnect_all()
