"""A domain: a guest that a host's libvirt knows."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from atp_trio.errors import ConfigError
from atp_trio.hypervisor.channel import MAX_WAITING, LibvirtStream, open_libvirt_stream
from atp_trio.hypervisor.graphics import SpiceEndpoint, parse_spice_endpoint
from atp_trio.hypervisor.handover import Handover
from atp_trio.hypervisor.screenshot import receive_screenshot
from atp_trio.spice.imaging.screenshot import Screenshot
from atp_trio.spice.streams.socket import SocketStream

if TYPE_CHECKING:
    from atp_trio.hypervisor.host import HostConnection
    from atp_trio.hypervisor.lane import Lane

__all__ = ["Domain", "DomainState"]

T = TypeVar("T")

_HMP = 1  # VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP


class DomainState(IntEnum):
    """`virDomainState`."""

    NOSTATE = 0
    RUNNING = 1
    BLOCKED = 2
    PAUSED = 3
    SHUTDOWN = 4
    SHUTOFF = 5
    CRASHED = 6
    PMSUSPENDED = 7


@attrs.frozen(eq=False)
class Domain:
    """A guest of a host; `HostConnection.domain` gives it. It stays usable when the host was connected again.

    Every call raises what `HostConnection.call` does, and is cancelled as it is.
    """

    host: HostConnection = attrs.field(repr=False)
    name: str
    uuid: str
    """As libvirt writes it."""

    async def call(self, function: Callable[..., T], *args: Any, lane: Literal["monitor", "agent"] | None = None) -> T:
        """Call `function(domain, *args)` in a thread; `domain` is a `libvirt.virDomain`.

        ```python
        state, *_ = await domain.call(libvirt.virDomain.info)
        ```

        Args:
            function: What to call.
            args: Its further arguments.
            lane: What of the machine it must wait for. libvirt does one thing at a time with a machine's monitor and one with
                its agent; with the name of one of these, the call waits its turn here, not in the host's libvirtd.
        """

        def work(on: Lane) -> T:
            return function(on.domain(self.uuid), *args)

        return await self.host.run_on_lane(work, None if lane is None else self.host.queue(self.uuid, lane))

    async def state(self) -> DomainState:
        """What it does. Answered at once, also for a machine that hangs."""
        state, _ = await self.call(lambda domain: domain.state())
        return DomainState(state)

    async def xml(self, *, secure: bool = False) -> str:
        """Its definition: of the running machine, or of the next one if it does not run. `secure` adds passwords."""
        return str(await self.call(lambda domain: domain.XMLDesc(1 if secure else 0)))

    async def start(self) -> None:
        """Start the machine."""
        await self.call(lambda domain: domain.create(), lane="monitor")

    async def shutdown(self) -> None:
        """Ask the guest to shut down, by its agent or its power button, as libvirt chooses; returns when it was asked."""
        await self.call(lambda domain: domain.shutdown(), lane="monitor")

    async def destroy(self) -> None:
        """Pull the plug. Works on a machine that hangs."""
        await self.call(lambda domain: domain.destroy())

    async def reset(self) -> None:
        """Press the reset button."""
        await self.call(lambda domain: domain.reset(), lane="monitor")

    async def suspend(self) -> None:
        """Stop the machine's processors."""
        await self.call(lambda domain: domain.suspend(), lane="monitor")

    async def resume(self) -> None:
        """Let them go on."""
        await self.call(lambda domain: domain.resume(), lane="monitor")

    async def monitor(self, command: str, *, human: bool = False) -> str:
        """Send QEMU a monitor command, and give its whole answer.

        Args:
            command: A QMP command as a JSON object; a line of the human monitor if `human`.
            human: Which of the two.

        Returns:
            QMP's answer, as JSON, also where it is an error; the human monitor's text.
        """
        return await self._extension("qemuMonitorCommand", command, _HMP if human else 0, lane="monitor")

    async def agent(self, command: str, *, timeout: int = -1) -> str:  # noqa: ASYNC109 - libvirt's own, told to the host
        """Send the guest agent a command, and give its whole answer.

        Args:
            command: A JSON object.
            timeout: libvirt's own, in whole seconds: after that it takes the agent for dead. -2 waits for ever, -1 as long as
                libvirt means, 0 does not wait for the answer.

        Raises:
            AgentUnavailable: The agent is not connected, or did not answer.
        """
        return await self._extension("qemuAgentCommand", command, timeout, 0, lane="agent")

    async def screenshot(self, screen: int = 0) -> Screenshot:
        """What a screen shows.

        Raises:
            ImageError: The picture cannot be read.
            AtpError: What `call` raises; HypervisorError where the machine has no such screen.
        """
        return await self.host.run_on_lane(
            lambda lane: receive_screenshot(lane, self.uuid, screen), self.host.queue(self.uuid, "monitor")
        )

    async def spice_endpoint(self) -> SpiceEndpoint:
        """Where the running machine offers SPICE, as it is reached from here, with the ticket of its definition.

        Raises:
            HypervisorError: It has no SPICE, does not run, or its server cannot be reached from here.
            AtpError: What `call` raises.
        """
        return parse_spice_endpoint(await self.xml(secure=True), self.host.uri.host)

    async def open_graphics(self, index: int = 0, *, skip_auth: bool = True) -> SocketStream:
        """Connect to the machine's SPICE server through libvirt, without a network: one connection, for one channel.

        `open_spice(domain.open_graphics)` makes all channels so.

        Args:
            index: Which of the domain's graphics.
            skip_auth: Whether the server is to let us in without the ticket: who may do this may set another anyway.

        Raises:
            ConfigError: The host is another machine: a connection cannot be passed to this one.
            HypervisorError: The machine does not run, or has no such graphics.
            AtpError: What `call` raises.

        Cancellation: no connection stays open.
        """
        if not self.host.uri.is_local:
            # Over a network libvirt would end its own connection instead of telling.
            raise ConfigError("open_graphics: libvirt passes a connection on its own machine only, not to this one")
        handover = Handover()
        flags = 1 if skip_auth else 0  # VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH
        try:
            await self.call(lambda domain: handover.put(domain.openGraphicsFD(index, flags)), lane="monitor")
        except BaseException:
            handover.drop()
            raise
        return SocketStream(handover.take(), address=f"{self.name} by libvirt")

    async def open_channel(self, name: str, *, force: bool = False, max_waiting: int = MAX_WAITING) -> LibvirtStream:
        """Open a virtio-serial port of the running machine; whoever sends need not wait until the guest has opened it.

        Args:
            name: The port's name, such as `org.qemu.guest_agent.0`.
            force: Whether to take the port from who has it; that one's stream is lost.
            max_waiting: How many bytes may wait for a slow reader; see `LibvirtStream`.

        Raises:
            ChannelNotAvailable: There is no such port, or somebody else has it.
            HypervisorError: The machine does not run.
            AtpError: What `call` raises.

        Cancellation: no stream stays open.
        """
        return await self._open_stream("openChannel", name, f"port {name} of {self.name}", force, max_waiting)

    async def open_console(
        self, alias: str | None = None, *, force: bool = False, max_waiting: int = MAX_WAITING
    ) -> LibvirtStream:
        """Open a console, serial or parallel port of the running machine.

        Args:
            alias: libvirt's name of the device, such as `serial0` or `console1`; None for the first console.
            force: As for `open_channel`.
            max_waiting: As for `open_channel`.

        Raises:
            AtpError: As `open_channel`.

        Cancellation: no stream stays open.
        """
        what = f"console of {self.name}" if alias is None else f"console {alias} of {self.name}"
        return await self._open_stream("openConsole", alias, what, force, max_waiting)

    async def _open_stream(self, function: str, name: str | None, what: str, force: bool, max_waiting: int) -> LibvirtStream:
        def opening(lane: Lane, stream: Any) -> None:
            # FORCE is 1 for both.
            getattr(lane.domain(self.uuid), function)(name, stream, 1 if force else 0)

        return await open_libvirt_stream(self.host, what, opening, max_waiting=max_waiting)

    async def _extension(self, function: str, *args: Any, lane: Literal["monitor", "agent"]) -> str:
        """Call a function of `libvirt_qemu`."""

        def work(on: Lane) -> str:
            assert on.binding is not None
            return str(getattr(on.binding.qemu, function)(on.domain(self.uuid), *args))

        return await self.host.run_on_lane(work, self.host.queue(self.uuid, lane))
