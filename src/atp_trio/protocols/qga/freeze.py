"""File systems of a guest that are frozen, and surely thawed.

Theory of operation. A guest that stays frozen is a machine that stands still, and nobody but us knows why. So whatever may have
frozen something is followed by a thaw: also where freezing failed in part, or was given up before its answer came. The thaw is
shielded, with a deadline.

Source:
    QEMU Guest Agent Protocol Reference, guest-fsfreeze-freeze and what follows it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from atp_trio.errors import AgentNotConfigured, AgentNotConnected, AgentUnresponsive, DomainNotRunning, LocalProtocolError
from atp_trio.protocols.qga.message import number

__all__ = ["freeze", "open_frozen", "thaw"]

Execute = Callable[..., Awaitable[Any]]
"""`QgaProtocol.execute`."""

_THAW_SECONDS: Final = 30.0


async def freeze(execute: Execute, mountpoints: Sequence[str] | None) -> int:
    """As `QgaProtocol.fsfreeze_freeze`."""
    if mountpoints is None:
        return number(await execute("guest-fsfreeze-freeze"))
    return number(await execute("guest-fsfreeze-freeze-list", mountpoints=list(mountpoints)))


async def thaw(execute: Execute) -> int:
    """As `QgaProtocol.fsfreeze_thaw`."""
    return number(await execute("guest-fsfreeze-thaw"))


@asynccontextmanager
async def open_frozen(execute: Execute, mountpoints: Sequence[str] | None) -> AsyncIterator[int]:
    """As `QgaProtocol.frozen`."""
    try:
        count = await freeze(execute, mountpoints)
    except (AgentNotConfigured, AgentNotConnected, DomainNotRunning, LocalProtocolError):
        raise  # nothing was sent
    except BaseException:
        await _thaw_surely(execute)
        raise
    try:
        yield count
    finally:
        await _thaw_surely(execute)


async def _thaw_surely(execute: Execute) -> None:
    with trio.move_on_after(_THAW_SECONDS, shield=True) as scope:
        await thaw(execute)
    if scope.cancelled_caught:
        raise AgentUnresponsive(f"the guest's file systems could not be thawed within {_THAW_SECONDS:g} s")
