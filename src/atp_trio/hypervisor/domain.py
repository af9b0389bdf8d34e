"""A domain: a guest that a host's libvirt knows."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

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
        """Ask the guest to shut down, as by its power button; returns when it was asked."""
        await self.call(lambda domain: domain.shutdownFlags(_ACPI), lane="monitor")

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

    async def _extension(self, function: str, *args: Any, lane: Literal["monitor", "agent"]) -> str:
        """Call a function of `libvirt_qemu`."""

        def work(on: Lane) -> str:
            assert on.library is not None
            return str(getattr(on.library.qemu, function)(on.domain(self.uuid), *args))

        return await self.host.run_on_lane(work, self.host.queue(self.uuid, lane))


_ACPI = 1  # VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
