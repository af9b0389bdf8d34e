"""Whether a host or a machine can be reached, found out without disturbing anybody.

Theory of operation. A SPICE server that lets a second client's main channel in throws the first client out. So we ask for another
channel, of a connection that does not exist: whether to let us in is decided first, and then BAD_CONNECTION_ID says that we
were. A host is connected to, and asked for its version.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

import atp_trio
from atp_trio.cli.access import HOST_PASSWORD_VARIABLE, Access, within
from atp_trio.cli.execute import CommandFailed
from atp_trio.cli.place import printed
from atp_trio.cli.serve import read_password
from atp_trio.errors import (
    AtpError,
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    DomainNotFound,
    HypervisorError,
    LinkBadConnectionId,
    LinkNeedSecured,
    LinkVersionMismatch,
    RemoteProtocolError,
    TlsError,
)

if TYPE_CHECKING:
    from atp_trio.config import SpiceVmConfig, TransportConfig
    from atp_trio.hypervisor.domain import Domain
    from atp_trio.hypervisor.info import HostInfo
    from atp_trio.spice.protocol.link import ClientLink, Linked, TicketNeeded
    from atp_trio.spice.streams.base import StreamOpener

__all__ = ["Place", "Reached", "find_places", "reach_all"]

Password = Callable[[], str | None]
"""Reads the password, blocking."""

_AT_ONCE: Final = 8

# The first that fits. Others, such as ConfigError, say themselves what to do.
_REMEDIES: Final[tuple[tuple[type[AtpError], str], ...]] = (
    (TlsError, "name the authority that signed its certificate (--ca-file, pkipath= of a host), and the name in it"),
    (AuthenticationFailed, "give the right password or key; `atp doctor --help` tells where it is taken from"),
    (LinkNeedSecured, "use its TLS port: spice+tls://HOST:PORT, or spice://HOST:PORT?tls-port=PORT"),
    (LinkVersionMismatch, "turn SASL off in the server: only tickets are spoken here"),
    (RemoteProtocolError, "look which program listens there: it does not speak SPICE"),
    (ConnectionLost, "look which program listens there, and into its log"),
    (ConnectFailed, "start what is to listen there, and let it through the firewall"),
    (CommandFailed, "look whether it stands still, and whether a firewall swallows what is sent there"),
    (DomainNotFound, "look which there are: atp domains HOST_URI"),
    (HypervisorError, "look whether the domain runs, and into the log of the host's libvirtd"),
)


@attrs.frozen
class Place:
    """Something that shall be reached."""

    name: str
    """As it is told; without passwords."""
    try_it: Callable[[], Awaitable[str]] = attrs.field(repr=False)
    """Reaches it and gives what there is to tell; raises `AtpError` or `OSError` where it cannot."""


@attrs.frozen
class Reached:
    """What became of it."""

    name: str
    is_reached: bool
    detail: str
    """What is there, or what went wrong."""
    remedy: str | None = None


async def reach_all(places: list[Place], seconds: float) -> list[Reached]:
    """Try each for so many seconds, several at once; in the order of `places`."""
    found: dict[int, Reached] = {}
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def reach(number: int, place: Place) -> None:
        async with limit:
            found[number] = await _reach(place, seconds)

    async with trio.open_nursery() as nursery:
        for number, place in enumerate(places):
            nursery.start_soon(reach, number, place)
    return [found[number] for number in range(len(places))]


async def _reach(place: Place, seconds: float) -> Reached:
    try:
        with within(seconds, "no answer"):
            return Reached(place.name, is_reached=True, detail=await place.try_it())
    except (AtpError, OSError) as error:
        return Reached(place.name, is_reached=False, detail=str(error), remedy=_remedy(error))


def _remedy(error: AtpError | OSError) -> str | None:
    return next((remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), None)


# --- what is meant


def find_places(text: str, access: Access) -> list[Place]:
    """The places that an argument means: a SPICE URI, a host's, or all in a configuration. Blocks: it may be a file.

    Raises:
        ConfigError: It cannot be meant.
    """
    from atp_trio.hypervisor.credentials import Credentials
    from atp_trio.hypervisor.info import HostInfo

    if "://" not in text:
        return _configured(Path(text))
    if text.lower().startswith("spice"):
        name, uri = printed(text), atp_trio.SpiceUri.parse(text)
        return [Place(name, partial(_try_spice, uri, partial(read_password, access.password_file), access.tls))]
    credentials = Credentials(password=access.host_password_file or os.environ.get(HOST_PASSWORD_VARIABLE))
    return [_host(attrs.evolve(HostInfo.from_uri(text), credentials=credentials))]


def _configured(file: Path) -> list[Place]:
    from atp_trio.config import load_config

    config = load_config(file)
    infos = {one.id: one.info for one in config.hosts}
    hosts = [attrs.evolve(_host(info), name=f"host {info.id} ({info.connect_uri})") for info in infos.values()]
    return hosts + [_machine(config, vm, infos) for vm in config.spice.vms]


def _host(info: HostInfo) -> Place:
    return Place(str(info.connect_uri), partial(_try_host, info))


def _machine(config: TransportConfig, vm: SpiceVmConfig, infos: dict[str, HostInfo]) -> Place:
    password: Password = vm.password.read if vm.password else lambda: None
    tls = config.tls_of(vm)
    if vm.spice_uri is not None:
        return Place(f"machine {vm.vm_id} ({vm.spice_uri})", partial(_try_spice, vm.spice_uri, password, tls))
    assert vm.host is not None
    name = vm.domain or vm.vm_id
    return Place(f"machine {vm.vm_id} ({name} of host {vm.host})", partial(_try_domain, infos[vm.host], name, password, tls))


# --- trying


async def _try_host(info: HostInfo) -> str:
    from atp_trio.hypervisor.host import open_host

    async with open_host(info) as host:
        # Not which version of QEMU: a libvirtd that was not asked for a while starts some to find out, which takes seconds.
        driver, number = await host.call(lambda on: (on.getType(), on.getLibVersion()))
        domains = len(await host.domains())
    version = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
    return f"libvirt {version}, {driver}, {domains} domains"


async def _try_domain(info: HostInfo, name: str, password: Password, tls: atp_trio.SpiceTlsConfig) -> str:
    from atp_trio.hypervisor.host import open_host

    async with open_host(info) as host:
        domain = await host.domain(name)
        endpoint = await domain.spice_endpoint()
        if endpoint.uri is None or host.uri.is_local:
            return await _try_passed(domain, endpoint.index)
        return f"{endpoint.uri}: " + await _try_spice(endpoint.uri, lambda: password() or endpoint.password, tls)


async def _try_passed(domain: Domain, index: int) -> str:
    await _link(partial(domain.open_graphics, index), lambda: None)
    return "its SPICE server lets us in, through libvirt"


async def _try_spice(uri: atp_trio.SpiceUri, password: Password, tls: atp_trio.SpiceTlsConfig) -> str:
    openers = _openers(uri, tls)
    try:
        await _link(openers[0], password)
    except LinkNeedSecured:
        if len(openers) == 1:
            raise
        await _link(openers[1], password)
    return "its SPICE server lets us in"


def _openers(uri: atp_trio.SpiceUri, tls: atp_trio.SpiceTlsConfig) -> list[StreamOpener]:
    """The ways to the server: its socket, or its plain port and then its TLS port."""
    from atp_trio.spice.streams.tcp import open_tcp_stream
    from atp_trio.spice.streams.tls import open_tls_stream
    from atp_trio.spice.streams.unix import open_unix_stream

    if uri.unix_path is not None:
        return [partial(open_unix_stream, uri.unix_path)]
    assert uri.host is not None
    plain = [] if uri.port is None else [partial(open_tcp_stream, uri.host, uri.port)]
    secure = [] if uri.tls_port is None else [partial(open_tls_stream, uri.host, uri.tls_port, tls)]
    return [*plain, *secure]


async def _link(connect: StreamOpener, password: Password) -> None:
    """Link until the server has said whether it lets us in."""
    from atp_trio.spice.protocol.link import ClientLink, TicketNeeded
    from atp_trio.spice.protocol.ticket import check_password, encrypt_ticket

    link = ClientLink(atp_trio.ChannelType.INPUTS, connection_id=1 + secrets.randbelow(2**32 - 1))
    async with await connect() as stream:
        await stream.send_all(link.data_to_send())
        needed = await _next_event(stream, link)
        assert isinstance(needed, TicketNeeded)
        given = await trio.to_thread.run_sync(password)
        link.send_ticket(encrypt_ticket(needed.public_key, check_password(given or "")))
        with contextlib.suppress(LinkBadConnectionId):
            await _next_event(stream, link)


async def _next_event(stream: trio.abc.Stream, link: ClientLink) -> TicketNeeded | Linked:
    await stream.send_all(link.data_to_send())
    while (event := link.next_event()) is None:
        data = await stream.receive_some(65536)
        if not data:
            raise ConnectionLost("the server closed the connection while it was being linked")
        link.receive_data(data)
    return event
