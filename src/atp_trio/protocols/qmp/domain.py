"""A monitor reached through libvirt, which talks to QEMU for everybody.

Source:
    libvirt, virDomainQemuMonitorCommand, virConnectDomainQemuMonitorEventRegister.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, LocalProtocolError, MalformedMessage
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.event import EventsMissed, HostEvent, QemuMonitorEvent
from atp_trio.protocols.qmp.listening import EventFilter, QmpEvents
from atp_trio.protocols.qmp.message import QmpEvent, decode_object, encode_command, value_from_message
from atp_trio.protocols.qmp.monitor import QmpMonitor

__all__ = ["DomainMonitor", "open_domain_monitor"]


class DomainMonitor(QmpMonitor):
    """The monitor of a domain; made by `open_domain_monitor`."""

    def __init__(self, domain: Domain, *, max_reply: int) -> None:
        super().__init__()
        self._domain = domain
        self._max_reply = max_reply

    async def execute(self, command: str, arguments: Mapping[str, Any], *, oob: bool = False) -> Any:
        """As `QmpProtocol.execute`."""
        if oob:
            # libvirt's own connection to the monitor does not enable it.
            raise LocalProtocolError("libvirt passes nothing on out of band")
        answer = await self._domain.monitor(encode_command(command, arguments).decode())
        if len(answer) > self._max_reply:
            raise MalformedMessage(f"the answer to {command!r} is longer than {self._max_reply}")
        return value_from_message(decode_object(answer), command)

    @asynccontextmanager
    async def listen(self, accepts: EventFilter, capacity: int) -> AsyncIterator[QmpEvents]:
        """Listen for events for the time of the block."""
        async with open_background() as nursery:
            with self.listeners.add(accepts, capacity) as events:
                await nursery.start(self._forward, events)
                yield events

    @trio.lowlevel.enable_ki_protection
    async def _forward(self, events: QmpEvents, *, task_status: trio.TaskStatus[None]) -> None:
        """All events of the domain to one listener: what it does not want must not push out what it wants."""
        async with self._domain.host.events(QemuMonitorEvent, domain=self._domain) as received:
            task_status.started()
            try:
                while True:
                    _pass_on(await received.receive(), events)
            except AtpError as error:
                events.end(error)


def _pass_on(event: HostEvent, events: QmpEvents) -> None:
    match event:
        case QemuMonitorEvent(event=name, data=data, seconds=seconds, microseconds=microseconds):
            timestamp = seconds + microseconds / 1e6 if seconds >= 0 else None
            events.put(QmpEvent(name, data or {}, timestamp))
        case EventsMissed():
            # Of how many of them the listener would have wanted, nothing is known.
            events.put_missed()


@asynccontextmanager
async def open_domain_monitor(domain: Domain, *, max_reply: int) -> AsyncIterator[DomainMonitor]:
    """Use a domain's monitor for the time of the block; nothing is asked of libvirt yet."""
    await trio.lowlevel.checkpoint()
    monitor = DomainMonitor(domain, max_reply=max_reply)
    try:
        yield monitor
    finally:
        monitor.listeners.end(None)
