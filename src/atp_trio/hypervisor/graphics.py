"""Where a domain's SPICE server is, by its definition.

Source:
    libvirt, "Domain XML format", graphical framebuffers: `<graphics type='spice'>`, its `port`, `tlsPort`, `autoport`, `passwd`
    and `<listen>` (address, network, socket, none).
"""

from __future__ import annotations

import ipaddress
from typing import Final
from xml.etree import ElementTree as ET

import attrs

from atp_trio.errors import HypervisorError
from atp_trio.spice.streams.uri import SpiceUri

__all__ = ["SpiceEndpoint", "parse_spice_endpoint"]

_LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


@attrs.frozen(kw_only=True)
class SpiceEndpoint:
    """Where a running domain offers SPICE."""

    index: int
    """Which of the domain's graphics it is, counted from 0: what `openGraphicsFD` wants."""
    uri: SpiceUri | None
    """Where `open_spice` connects to; None where it listens nowhere, and only `open_graphics` gets there."""
    password: str | None = attrs.field(default=None, repr=False)
    """The ticket in the definition; None where there is none, or it was not asked for. QMP may have set another since."""


def parse_spice_endpoint(xml: str, host: str | None) -> SpiceEndpoint:
    """Find it in the definition of a running domain.

    Args:
        xml: The definition, as `virDomainGetXMLDesc` gives it.
        host: The host's name or address, for servers that listen everywhere; None for this machine.

    Raises:
        HypervisorError: There is no SPICE, the domain is not running, or the server cannot be reached from here.
    """
    devices = _parse(xml).find("devices")
    graphics = [] if devices is None else devices.findall("graphics")
    for index, one in enumerate(graphics):
        if one.get("type") == "spice":
            # A server that runs without a ticket has no attribute, and an empty one lets nobody in.
            return SpiceEndpoint(index=index, uri=_uri(one, host), password=one.get("passwd"))
    raise HypervisorError("the domain has no SPICE graphics")


def _parse(xml: str) -> ET.Element:
    try:
        return ET.fromstring(xml)  # noqa: S314 - libvirt's own; expat bounds what entities may become
    except ET.ParseError as error:
        raise HypervisorError(f"the domain's definition is no XML: {error}") from error


def _uri(graphics: ET.Element, host: str | None) -> SpiceUri | None:
    listen = graphics.find("listen")
    kind = "address" if listen is None else listen.get("type", "address")
    if kind == "none":
        return None
    if kind == "socket":
        path = None if listen is None else listen.get("socket")
        if not path:
            raise HypervisorError("the domain's SPICE socket has no path: the domain is not running")
        if host is not None and not _is_loopback(host):
            raise HypervisorError("the domain's SPICE server listens on a UNIX socket of its host, which is another machine")
        return SpiceUri(unix_path=path)
    port, tls_port = _port(graphics.get("port")), _port(graphics.get("tlsPort"))
    if port is None and tls_port is None:
        raise HypervisorError("the domain's SPICE server has no port: the domain is not running")
    address = (None if listen is None else listen.get("address")) or graphics.get("listen") or "127.0.0.1"
    return SpiceUri(host=_reachable(address, host), port=port, tls_port=tls_port)


def _port(text: str | None) -> int | None:
    # -1 stands for one that is chosen when the domain starts.
    return int(text) if text is not None and text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535 else None


def _reachable(address: str, host: str | None) -> str:
    """The listening address as it is reached from here."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.is_unspecified:
        return host or ("::1" if parsed.version == 6 else "127.0.0.1")
    if parsed.is_loopback and host is not None and not _is_loopback(host):
        raise HypervisorError("the domain's SPICE server listens on its host's loopback only: it needs a tunnel")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK_NAMES
