"""The settings of a program that keeps hosts and machines: composed of what each part of the library owns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from atp_trio.config.secret import Secret
from atp_trio.errors import ConfigError
from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.pool_core import PoolConfig
from atp_trio.hypervisor.uri import HostUri
from atp_trio.spice.channels.session import SpiceLimits
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.degradation import ChannelsConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.setting import number, optional

__all__ = ["HostConfig", "SpiceConfig", "SpiceVmConfig", "TransportConfig"]

port_number = number(minimum=1, maximum=65535, whole=True)


def _no_password(_: Any, attribute: attrs.Attribute[SpiceUri | None], value: SpiceUri | None) -> None:
    if value is not None and value.password is not None:
        raise ConfigError(f"{attribute.name}: a password in a URI shows wherever the URI does; it belongs into `password`")


def _not_empty(_: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not value:
        raise ConfigError(f"{attribute.name} is empty")


@attrs.frozen(kw_only=True)
class HostConfig:
    """A host, reached through libvirt."""

    id: str = attrs.field(validator=_not_empty)
    """What it is called here."""
    host: str = attrs.field(validator=_not_empty)
    """Its name or address."""
    uri: HostUri | None = None
    """Its libvirt URI; without one qemu+ssh://host/system."""
    username: str | None = None
    """The user, for SASL and ssh; by default the one in the URI."""
    password: Secret | None = attrs.field(default=None, repr=False)
    """The password, for SASL and ssh."""

    @property
    def info(self) -> HostInfo:
        """The host as `open_host` and the pool take it."""
        password = None if self.password is None else self.password.source()
        return HostInfo(self.id, self.host, self.uri, Credentials(username=self.username, password=password))


@attrs.frozen(kw_only=True)
class SpiceVmConfig:
    """A machine, reached through SPICE: at `uri`, at `server_addr` and its ports, or where `host` says that `domain` is.

    Raises:
        ConfigError: It is said in two ways where it is, or in none.
    """

    vm_id: str = attrs.field(validator=_not_empty)
    """What it is called here."""
    uri: SpiceUri | None = attrs.field(default=None, validator=_no_password)
    """Where its SPICE server is: spice://host:port, spice+tls://host:port, spice+unix:///path."""
    server_addr: str | None = None
    """The server's name or address, in place of a URI."""
    port: int | None = attrs.field(default=None, validator=optional(port_number))
    """Its port: the TLS port where `tls` is true."""
    tls_port: int | None = attrs.field(default=None, validator=optional(port_number))
    """The TLS port beside a plain one."""
    tls: bool = False
    """Whether every channel goes over TLS."""
    tls_verify: bool = True
    """Whether the server's certificate is verified."""
    ca_file: Path | None = None
    """PEM certificates to trust; by default those of `spice.tls`."""
    host_subject: str | None = None
    """The subject that the server's certificate must have, in place of its host name."""
    password: Secret | None = attrs.field(default=None, repr=False)
    """The ticket."""
    host: str | None = None
    """The id of the host that runs it, where libvirt knows it too."""
    domain: str | None = None
    """Its name or UUID there; by default `vm_id`."""
    channels: ChannelsConfig | None = None
    """Its channels, where they are others than `spice.channels` says."""

    def __attrs_post_init__(self) -> None:
        placed = [name for name in ("server_addr", "port", "tls_port") if getattr(self, name) is not None]
        if self.uri is not None and (placed or self.tls):
            raise ConfigError(f"the URI says where the server is: {', '.join(placed or ['tls'])} cannot stand beside it")
        if self.uri is None and self.server_addr is None and (placed or self.host is None):
            raise ConfigError("where is it? There is neither a uri, nor a server_addr and port, nor the host that knows it")
        if self.server_addr is not None and self.port is None and self.tls_port is None:
            raise ConfigError("the port is missing")
        if self.tls and self.port is not None and self.tls_port is not None:
            raise ConfigError("with tls every channel goes over TLS: there is one port, port or tls_port")
        if self.domain is not None and self.host is None:
            raise ConfigError("domain needs the host that knows it")
        if self.host_subject is not None and not self.tls_verify:
            raise ConfigError("host_subject has no meaning when the certificate is not verified")
        _ = self.spice_uri

    @property
    def spice_uri(self) -> SpiceUri | None:
        """Where the server is; None where the host is to be asked."""
        if self.uri is not None or self.server_addr is None:
            return self.uri
        if self.tls:
            return SpiceUri(host=self.server_addr, tls_port=self.tls_port or self.port)
        return SpiceUri(host=self.server_addr, port=self.port, tls_port=self.tls_port)


@attrs.frozen(kw_only=True)
class SpiceConfig:
    """SPICE mode."""

    vms: tuple[SpiceVmConfig, ...] = ()
    """The machines."""
    tls: SpiceTlsConfig = attrs.field(factory=SpiceTlsConfig)
    """How TLS is verified, where the machine does not say otherwise."""
    channels: ChannelsConfig = attrs.field(factory=ChannelsConfig)
    """Which channels are opened, and what they are worth."""
    limits: SpiceLimits = attrs.field(factory=SpiceLimits)
    """What a server may make us hold, for each machine."""


@attrs.frozen(kw_only=True)
class TransportConfig:
    """All of it; `load_config` reads it from a file, and the default has no hosts and no machines."""

    hosts: tuple[HostConfig, ...] = ()
    """The hosts, reached through libvirt."""
    spice: SpiceConfig = attrs.field(factory=SpiceConfig)
    """The machines, reached through SPICE."""
    pool: PoolConfig = attrs.field(factory=PoolConfig)
    """How many hosts are connected at a time."""
    heartbeat: HeartbeatConfig = attrs.field(factory=HeartbeatConfig)
    """How hosts and machines are watched."""
    reconnect: ReconnectConfig = attrs.field(factory=ReconnectConfig)
    """How what was lost is connected again."""

    def tls_of(self, vm: SpiceVmConfig) -> SpiceTlsConfig:
        """How TLS is verified for a machine.

        Raises:
            ConfigError: The machine's settings and those of all contradict each other.
        """
        tls = self.spice.tls
        if not vm.tls_verify:
            return attrs.evolve(tls, verify=False, host_subject=None)
        return attrs.evolve(tls, ca_file=vm.ca_file or tls.ca_file, host_subject=vm.host_subject or tls.host_subject)

    def channels_of(self, vm: SpiceVmConfig) -> ChannelsConfig:
        """The channels of a machine."""
        return vm.channels or self.spice.channels
