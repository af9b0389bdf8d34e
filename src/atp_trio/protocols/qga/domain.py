"""An agent reached through libvirt, which talks to it for everybody.

Theory of operation. libvirt gives up on an answer after a number of seconds; only then does it let go of the agent, and the
answer that comes late is dropped by it. What it is given is the caller's own deadline, and a second: whoever is cancelled has
gone by then, and the agent is free for the next.

libvirt 9.0, and others around it, write a command to the agent's socket so that one that does not fit into the socket's buffer
(`net.core.wmem_default`, 212992 bytes) arrives mangled, and no command after it is understood for a while. So larger ones are not
sent at all (`MAX_COMMAND`).

Source:
    libvirt, virDomainQemuAgentCommand; virterror.h; the limit was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from atp_trio.errors import (
    AgentLost,
    AgentNotConfigured,
    AgentNotConnected,
    AgentUnavailable,
    AgentUnresponsive,
    AtpError,
    DomainNotRunning,
    HypervisorError,
    LocalProtocolError,
    QgaError,
)
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.event import AgentLifecycle, DomainLifecycle
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.message import decode_reply, encode_command, value_from_reply

__all__ = ["MAX_COMMAND", "open_domain_agent"]

MAX_COMMAND: Final = 192 * 1024

# virErrorNumber
_INTERNAL_ERROR: Final = 1
_OPERATION_INVALID: Final = 55
_ARGUMENT_UNSUPPORTED: Final = 74
_FROM_QEMU: Final = 10  # virErrorDomain

_BLOCK: Final = -2  # VIR_DOMAIN_QEMU_AGENT_COMMAND_BLOCK
_RETRY: Final = 1.0  # seconds; libvirt's events come first where there are any
_END: Final = "End of file from agent"  # QEMU has ended
_DESCRIPTION: Final = re.compile(r"unable to execute QEMU agent command '[^']*': (.*)", re.DOTALL)


class DomainAgent(QgaAgent):
    """The agent of a domain; made by `open_domain_agent`."""

    # 171 KiB in base64.
    max_data = 128 * 1024

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self._domain = domain

    async def transact(self, command: str, arguments: Mapping[str, Any], limit: float | None) -> Any:
        """As in the base class."""
        encoded = encode_command(command, arguments)
        if len(encoded) > MAX_COMMAND:
            raise LocalProtocolError(f"{command!r} with its arguments is {len(encoded)} bytes, libvirt passes on {MAX_COMMAND}")
        try:
            answer = await self._domain.agent(encoded.decode(), timeout=_libvirts_timeout(limit))
        except HypervisorError as error:
            raise await self._translate(error, command) from error
        return value_from_reply(decode_reply(answer), command)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """As in the base class."""
        async with self._domain.host.events(AgentLifecycle, DomainLifecycle, domain=self._domain) as events:

            async def wait() -> None:
                with trio.move_on_after(_RETRY):
                    await events.receive()

            yield wait

    async def _translate(self, error: HypervisorError, command: str) -> AtpError:
        text, code, domain = str(error), error.code, error.domain
        if code == _OPERATION_INVALID:
            state = await self._domain.state()
            sentence = f"the agent cannot answer: the machine is {state.name.lower()}"
            return DomainNotRunning(sentence, state=state, code=code, domain=domain)
        if code == _ARGUMENT_UNSUPPORTED:
            return AgentNotConfigured(text, code=code, domain=domain)
        if isinstance(error, AgentUnavailable):
            return _unavailable(text)(f"{command}: {text}", code=code, domain=domain)
        if code == _INTERNAL_ERROR and _END in text:
            return AgentLost(f"{command}: {text}", code=code, domain=domain)
        if isinstance(error, QgaError) or (code == _INTERNAL_ERROR and domain == _FROM_QEMU):
            match = _DESCRIPTION.search(text)
            description = match[1] if match else text
            return QgaError(f"{command}: {description}", description=description, code=code, domain=domain)
        return error


def _unavailable(text: str) -> type[AgentUnavailable]:
    """All of these have one number. Where libvirt speaks another language, an agent that is not there does not answer."""
    if "not connected" in text:
        return AgentNotConnected
    return AgentLost if "disappeared" in text else AgentUnresponsive


def _libvirts_timeout(limit: float | None) -> int:
    left = trio.current_effective_deadline() - trio.current_time() + 1
    seconds = min(left, math.inf if limit is None else limit)
    return _BLOCK if seconds == math.inf else max(1, math.ceil(seconds))


@asynccontextmanager
async def open_domain_agent(domain: Domain) -> AsyncIterator[DomainAgent]:
    """Use a domain's agent for the time of the block; nothing is asked of libvirt yet."""
    await trio.lowlevel.checkpoint()
    yield DomainAgent(domain)
