"""Why there is no answer from a guest's agent.

```
HypervisorError
├── DomainNotRunning          the machine is off, or paused; `state` is libvirt's
└── QgaError                  the agent refused a command, or failed at it
    └── AgentUnavailable
        ├── AgentNotConfigured    the machine has no port for an agent
        ├── AgentNotConnected     nobody in the guest has opened the port: not installed, not started yet, ended
        ├── AgentLost             the agent ended in the middle of the command, whose outcome is unknown
        └── AgentUnresponsive     it has opened the port and says nothing: stopped, starved, or busy with what it was told before
```
"""

from __future__ import annotations

from atp_trio.errors import AgentUnavailable, HypervisorError
from atp_trio.hypervisor.domain import DomainState

__all__ = ["AgentLost", "AgentNotConfigured", "AgentNotConnected", "AgentUnresponsive", "DomainNotRunning"]


class AgentNotConfigured(AgentUnavailable):
    """The machine has no port for an agent: its definition has no channel `org.qemu.guest_agent.0`."""


class AgentNotConnected(AgentUnavailable):
    """Nobody in the guest has opened the agent's port. Nothing was sent; `QgaProtocol.wait_agent` waits for one."""


class AgentLost(AgentUnavailable):
    """The agent ended, or was started anew, in the middle: what became of the command is unknown."""


class AgentUnresponsive(AgentUnavailable):
    """The agent did not answer in time; the command may be carried out yet. Its late answer is nobody else's."""


class DomainNotRunning(HypervisorError):
    """The machine is off or paused, so that its agent cannot answer; nothing was sent.

    Attributes:
        state: What the machine does instead.
    """

    def __init__(self, message: str, *, state: DomainState, code: int | None = None, domain: int | None = None) -> None:
        super().__init__(message, code=code, domain=domain)
        self.state = state
