"""What `QmpProtocol` needs of a way to a monitor."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from atp_trio.protocols.qmp.listening import EventFilter, Listeners, QmpEvents
from atp_trio.protocols.qmp.message import Greeting

__all__ = ["QmpMonitor"]


class QmpMonitor(abc.ABC):
    """A way to one machine's monitor: its own socket, or libvirt.

    Attributes:
        greeting: What QEMU said first, if it said so to us.
        listeners: Who listens for events.
    """

    def __init__(self) -> None:
        self.greeting: Greeting | None = None
        self.listeners = Listeners()

    @abc.abstractmethod
    async def execute(self, command: str, arguments: Mapping[str, Any], *, oob: bool = False) -> Any:
        """As `QmpProtocol.execute`."""

    @abc.abstractmethod
    def listen(self, accepts: EventFilter, capacity: int) -> AbstractAsyncContextManager[QmpEvents]:
        """Listen for events for the time of the block."""
