"""What an agent tells about itself and its guest."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

import attrs

from atp_trio.errors import MalformedMessage
from atp_trio.protocols.qga.message import member

__all__ = ["AgentCommand", "AgentInfo", "GuestUser", "NetworkInterface", "OsInfo"]


@attrs.frozen
class AgentCommand:
    """A command that an agent knows."""

    name: str
    enabled: bool
    """Whether it may be executed: the guest's administrator can forbid it."""
    success_response: bool
    """Whether it is answered where it succeeds."""


@attrs.frozen
class AgentInfo:
    """An agent."""

    version: str
    commands: tuple[AgentCommand, ...] = attrs.field(repr=False)

    def can(self, command: str) -> bool:
        """Whether it knows this command, and may execute it."""
        return any(one.enabled for one in self.commands if one.name == command)


@attrs.frozen(kw_only=True)
class OsInfo:
    """A guest's operating system, in its own words; None where it says nothing."""

    id: str | None = None
    """`debian`, `mswindows`, ..."""
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None
    variant: str | None = None
    variant_id: str | None = None
    machine: str | None = None
    """`x86_64`, ..."""
    kernel_release: str | None = None
    kernel_version: str | None = None


@attrs.frozen
class NetworkInterface:
    """A network interface of a guest."""

    name: str
    hardware_address: str | None
    """`52:54:00:...`; None if it has none."""
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    """Its addresses, each with its network."""
    statistics: dict[str, int] | None = attrs.field(repr=False)
    """By the agent's names: `rx-bytes`, `rx-packets`, `rx-errs`, `rx-dropped`, and the same of `tx`."""


@attrs.frozen
class GuestUser:
    """A user who is logged in."""

    name: str
    domain: str | None
    """Windows has these."""
    login_time: float
    """In seconds since 1970, by the guest's clock. Of several logins the first."""


def read_info(value: Any) -> AgentInfo:
    """The answer to `guest-info`."""
    commands = (
        AgentCommand(member(one, "name", str), member(one, "enabled", bool), one.get("success-response") is not False)
        for one in member(value, "supported_commands", list)
    )
    return AgentInfo(member(value, "version", str), tuple(commands))


def read_osinfo(value: Any) -> OsInfo:
    """The answer to `guest-get-osinfo`."""
    if not isinstance(value, dict):
        raise MalformedMessage("the guest agent's answer about the operating system is no object")
    told = {field.name: value.get(field.name.replace("_", "-")) for field in attrs.fields(OsInfo)}
    return OsInfo(**{name: text for name, text in told.items() if isinstance(text, str)})


def read_interfaces(value: Any) -> tuple[NetworkInterface, ...]:
    """The answer to `guest-network-get-interfaces`."""
    return tuple(_read_interface(one) for one in _list(value))


def _read_interface(one: Any) -> NetworkInterface:
    name = member(one, "name", str)
    addresses = tuple(_read_address(address) for address in _list(one.get("ip-addresses", [])))
    hardware = one.get("hardware-address")
    counters = one.get("statistics")
    statistics = (
        {str(key): count for key, count in counters.items() if type(count) is int} if isinstance(counters, dict) else None
    )
    return NetworkInterface(name, hardware if isinstance(hardware, str) else None, addresses, statistics)


def _read_address(value: Any) -> IPv4Interface | IPv6Interface:
    text, prefix = member(value, "ip-address", str), member(value, "prefix", int)
    try:
        return ip_interface(f"{text}/{prefix}")
    except ValueError:
        raise MalformedMessage("the guest agent tells an address that is none") from None


def read_users(value: Any) -> tuple[GuestUser, ...]:
    """The answer to `guest-get-users`."""
    return tuple(_read_user(one) for one in _list(value))


def _read_user(one: Any) -> GuestUser:
    name, domain, time = member(one, "user", str), one.get("domain"), one.get("login-time")
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise MalformedMessage("the guest agent does not tell when a user logged in")
    return GuestUser(name, domain if isinstance(domain, str) else None, float(time))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedMessage("the guest agent's answer is no list")
    return value
