"""Ports, consoles and serial ports of a domain as one of the protocols of a machine.

Source:
    libvirt, "Domain XML format": consoles, serial, channels; virDomainOpenChannel, virDomainOpenConsole.
    QEMU's QMP Reference Manual: VSERPORT_CHANGE.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from xml.etree import ElementTree as ET

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ChannelNotAvailable, ConnectionLost, HypervisorError
from atp_trio.hypervisor.channel import MAX_WAITING, LibvirtStream
from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.event import EventsMissed, HostEvent, QemuMonitorEvent
from atp_trio.protocols.base import Protocol
from atp_trio.protocols.framed import FramedChannel
from atp_trio.protocols.framing import Framing

__all__ = ["CONSOLE", "SerialPort", "VirtioSerialProtocol", "find_serial_port", "list_serial_ports"]

T = TypeVar("T")

CONSOLE: Final = "console"
"""The port that stands for the first console of a domain."""
TAIL_SECONDS: Final = 0.25
"""How long what a guest wrote may take longer to come than the news that it closed the port: they come on different ways."""


@attrs.frozen(kw_only=True)
class SerialPort:
    """A port of a domain."""

    name: str
    """What `VirtioSerialProtocol.connect` takes: a virtio-serial port's own name, otherwise libvirt's alias, like `serial0`."""
    alias: str | None
    """libvirt's alias; None while the domain does not run."""
    is_console: bool
    """Whether it is a console or a serial port, which `Domain.open_console` opens; `Domain.open_channel` opens the others."""
    is_open_in_guest: bool | None = None
    """Whether a program in the guest has it open; None where nobody knows, as with consoles."""


def list_serial_ports(xml: str) -> list[SerialPort]:
    """The virtio-serial ports and the consoles of a domain, by its definition (`Domain.xml`). Those without a name are left out.

    Raises:
        HypervisorError: It is no XML.
    """
    try:
        root = ET.fromstring(xml)  # noqa: S314 - libvirt's own; expat bounds what entities may become
    except ET.ParseError as error:
        raise HypervisorError(f"the domain's definition is no XML: {error}") from error
    found: dict[str, SerialPort] = {}
    for device in root.iterfind("devices/*"):
        target, alias = device.find("target"), _attribute(device.find("alias"), "name")
        name = _attribute(target, "name")
        if device.tag == "channel" and name is not None:
            state = _attribute(target, "state")
            is_open = None if state is None else state == "connected"
            found.setdefault(name, SerialPort(name=name, alias=alias, is_console=False, is_open_in_guest=is_open))
        elif device.tag in {"console", "serial", "parallel"} and alias is not None:
            found.setdefault(alias, SerialPort(name=alias, alias=alias, is_console=True))
    return list(found.values())


def _attribute(element: ET.Element | None, name: str) -> str | None:
    return None if element is None else element.get(name)


class VirtioSerialProtocol(Protocol[Domain, T, T]):
    """A port of one machine, and messages on it.

    ```python
    async with VirtioSerialProtocol(JsonFraming()) as port:
        await port.connect(domain, port="org.example.control.0")
        await port.send({"execute": "ping"})
        print(await port.receive())
    ```

    Args:
        framing: How messages lie in the bytes; `RawFraming` for none.
    """

    def __init__(self, framing: Framing[T]) -> None:
        super().__init__()
        self._framing = framing
        self._asked: tuple[str, bool, int] = (CONSOLE, False, MAX_WAITING)
        self._stream: LibvirtStream
        self._channel: FramedChannel[T]
        self._is_open_in_guest: bool | None = None

    async def connect(self, domain: Domain, port: str = CONSOLE, *, force: bool = False, max_waiting: int = MAX_WAITING) -> None:
        """Connect to a port.

        The guest need not have it open yet. Once it has, and closes it, the connection is lost.

        Args:
            domain: Whose port; it runs.
            port: A virtio-serial port's name; or the alias of a console or serial port, such as `serial0`; or `console` for the
                first of these.
            force: Whether to take it from who has it.
            max_waiting: How many bytes may wait for a slow reader; more end the connection.

        Raises:
            LocalProtocolError: It is connected already, or this is outside of `async with`.
            ChannelNotAvailable: There is no such port, or somebody else has it.
            HypervisorError: The machine does not run.
            TransportError: There is no connection; the class says why.

        Cancellation: it is not connected, nothing stays open.
        """
        self._asked = (port, force, max_waiting)
        await super().connect(domain)

    @property
    def stream(self) -> LibvirtStream:
        """The bytes, for who wants them without messages; what `receive` has begun to decode is not among them."""
        self._check_connected()
        return self._stream

    @property
    def is_open_in_guest(self) -> bool | None:
        """Whether a program in the guest has the port open, as last heard; None where nobody tells, as with consoles."""
        self._check_connected()
        return self._is_open_in_guest

    async def send(self, value: T) -> None:
        """Send a message; as `FramedChannel.send`."""
        self._check_connected()
        await self._channel.send(value)

    async def receive(self) -> T:
        """The next message; as `FramedChannel.receive`."""
        self._check_connected()
        return await self._channel.receive()

    @asynccontextmanager
    async def _open(self, domain: Domain) -> AsyncIterator[None]:
        name, force, max_waiting = self._asked
        port = find_serial_port(await domain.xml(), name)
        self._is_open_in_guest = port.is_open_in_guest
        opening = domain.open_console if port.is_console else domain.open_channel
        self._stream = await opening(port.name, force=force, max_waiting=max_waiting)
        self._channel = FramedChannel(self._stream, self._framing)
        try:
            async with open_background() as nursery:
                if not port.is_console:
                    await nursery.start(self._watch, domain, port.name)
                yield
        finally:
            with trio.CancelScope(shield=True):  # takes 2 seconds at most, and nearly always nothing
                await self._stream.aclose()

    @trio.lowlevel.enable_ki_protection
    async def _watch(self, domain: Domain, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        """End the stream when the guest closes the port."""
        is_started = False
        try:
            async with domain.host.events(QemuMonitorEvent, domain=domain) as events:
                # What it is now, asked when no change can be missed any more.
                port = find_serial_port(await domain.xml(), name)
                self._is_open_in_guest = port.is_open_in_guest
                is_started = True
                task_status.started()
                await self._follow(events, domain, port)
        except AtpError:
            # Nobody tells, as this is not QEMU; or the host is lost, and so is the stream.
            if not is_started:
                task_status.started()

    async def _follow(self, events: trio.abc.ReceiveChannel[HostEvent], domain: Domain, port: SerialPort) -> None:
        deadline = math.inf
        while True:
            with trio.move_on_at(deadline) as scope:
                event = await events.receive()
            if scope.cancelled_caught:
                self._stream.end(ConnectionLost(f"the guest closed port {port.name}"))
                return
            if isinstance(event, EventsMissed):
                change = find_serial_port(await domain.xml(), port.name).is_open_in_guest
            else:
                change = _read_change(event, port)
            if change is not None:
                self._is_open_in_guest = change
                deadline = math.inf if change else trio.current_time() + TAIL_SECONDS


def _read_change(event: HostEvent, port: SerialPort) -> bool | None:
    """Whether the guest has opened or closed the port; None where the event is about something else."""
    match event:
        case QemuMonitorEvent(event="VSERPORT_CHANGE", data={"id": port.alias, "open": bool(is_open)}):
            return is_open
    return None


def find_serial_port(xml: str, name: str) -> SerialPort:
    """A port of a running domain.

    Raises:
        ChannelNotAvailable: It has none of that name.
        HypervisorError: The definition is no XML.
    """
    ports = list_serial_ports(xml)
    for port in ports:
        if port.name == name:
            return port
    if name == CONSOLE:
        for port in ports:
            if port.is_console:
                return port
    names = ", ".join(port.name for port in ports) or "none that is known"
    raise ChannelNotAvailable(f"the domain has no port {name}; it has {names}")
