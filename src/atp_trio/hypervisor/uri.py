"""libvirt's URIs of a host: `qemu+ssh://user@host:22/system`, `qemu:///system`, `test:///default`.

No error here repeats any part of the text but the names that are known: a password may stand anywhere in a URI that is written
wrong.

Source:
    libvirt, "Connection URIs" and "Remote support" (transports, extra parameters).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Self
from urllib.parse import quote, unquote_to_bytes

import attrs

from atp_trio.errors import ConfigError

__all__ = ["HostUri"]

_KNOWN: Final = (
    "known are qemu+ssh://host/system, +libssh, +libssh2, +tcp, +tls, qemu:///system, qemu:///session, test:///default"
)
_REMOTE: Final = frozenset({"ssh", "libssh", "libssh2", "tcp", "tls"})
_SSH: Final = frozenset({"ssh", "libssh", "libssh2"})
_LIBSSH: Final = frozenset({"libssh", "libssh2"})
_EVERY: Final = _REMOTE | {"unix"}

# What libvirt reads of the query, and over which transports; elsewhere it would ignore it without a word.
_PARAMETERS: Final = {
    "name": _EVERY,
    "mode": _SSH | {"unix"},
    "authfile": _EVERY,
    "socket": _SSH | {"unix"},
    "command": frozenset({"ssh"}),
    "netcat": _SSH,
    "proxy": _SSH,
    "keyfile": _SSH,
    "no_verify": frozenset({"ssh", "tls"}),
    "no_tty": frozenset({"ssh"}),
    "known_hosts": _LIBSSH,
    "known_hosts_verify": _LIBSSH,
    "sshauth": _LIBSSH,
    "pkipath": frozenset({"tls"}),
    "tls_priority": frozenset({"tls"}),
    "no_sanity": frozenset({"tls"}),
}
_NAMES: Final = ", ".join(sorted(_PARAMETERS))

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Neither begins with a dash: ssh would take it for an option.
_HOST: Final = re.compile(r"[^\s\x00-\x20\x7f:/?#\[\]@\\-][^\s\x00-\x20\x7f:/?#\[\]@\\]*")
_USER: Final = re.compile(r"[^\s\x00-\x20\x7f:/?#@-][^\s\x00-\x20\x7f:/?#]*")


@attrs.frozen(kw_only=True)
class HostUri:
    """Where a host's libvirt is, and how it is reached.

    `str()` gives the canonical form, which libvirt understands. There is never a password in it.

    Raises:
        ConfigError: The parts do not fit each other.
    """

    driver: str = "qemu"
    """qemu or test."""
    transport: str | None = None
    """ssh, libssh, libssh2, tcp, tls or unix; None for this machine's own libvirt."""
    user: str | None = None
    """Who logs in."""
    host: str | None = None
    """A name or an address; IPv6 without brackets."""
    port: int | None = None
    """None for the transport's own: 22, 16509 (tcp), 16514 (tls)."""
    path: str = "/system"
    """/system or /session; for the test driver /default or a file."""
    parameters: tuple[tuple[str, str], ...] = ()
    """libvirt's query parameters, names and values as they are meant (not encoded), in the order given."""

    def __attrs_post_init__(self) -> None:
        if self.driver not in {"qemu", "test"} or self.transport not in {None, *_EVERY}:
            raise ConfigError(f"host URI: unknown scheme; {_KNOWN}")
        if (self.transport in _REMOTE) != (self.host is not None):
            raise ConfigError("host URI: the host is missing" if self.host is None else "host URI: a local URI has no host")
        if self.host is None and (self.user is not None or self.port is not None):
            raise ConfigError("host URI: a local URI has neither user nor port")
        if self.host is not None:
            _check_host(self.host)
        if self.user is not None and not _USER.fullmatch(self.user):
            raise ConfigError("host URI: the user is empty, or has characters that no user's name has")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ConfigError("host URI: the port is not from 1 to 65535")
        _check_path(self.driver, self.path)
        _check_parameters(self.transport, self.parameters)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI. A host without a transport means TLS, as in libvirt.

        Raises:
            ConfigError: What is wrong and in which part.
        """
        scheme, separator, rest = text.partition("://")
        driver, plus, transport = scheme.lower().partition("+")
        if not separator or (plus and not transport):
            raise ConfigError(f"host URI: unknown scheme; {_KNOWN}")
        if "#" in rest:
            raise ConfigError("host URI: there is no fragment; write # as %23")
        place, _, query = rest.partition("?")
        authority, slash, path = place.partition("/")
        user, host, port = _parse_authority(authority)
        return cls(
            driver=driver,
            transport=transport or ("tls" if host is not None else None),
            user=user,
            host=host,
            port=port,
            path=_decode(slash + path, "path"),
            parameters=_parse_query(query),
        )

    @property
    def is_local(self) -> bool:
        """Whether libvirt runs on this machine, reached without a network."""
        return self.host is None

    def get(self, name: str) -> str | None:
        """A query parameter's value; None if it is not there."""
        return dict(self.parameters).get(name)

    def for_libvirt(self) -> str:
        """The URI as libvirt is given it: ssh is told never to ask on the terminal, where nobody would answer."""
        if self.transport == "ssh" and self.get("no_tty") is None:
            return str(attrs.evolve(self, parameters=(*self.parameters, ("no_tty", "1"))))
        return str(self)

    def __str__(self) -> str:
        scheme = self.driver if self.transport is None else f"{self.driver}+{self.transport}"
        user = "" if self.user is None else quote(self.user, safe="") + "@"
        host = quote(self.host or "", safe=":")
        authority = user + (f"[{host}]" if ":" in host else host) + ("" if self.port is None else f":{self.port}")
        query = "&".join(f"{name}={quote(value, safe='/:,@')}" for name, value in self.parameters)
        return f"{scheme}://{authority}{quote(self.path)}" + (f"?{query}" if query else "")


def _decode(text: str, part: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise ConfigError(f"host URI: a % in the {part} is not followed by two hexadecimal digits; write % as %25")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeError:
        # Not chained: the codec's error holds the bytes.
        raise ConfigError(f"host URI: the {part} is not UTF-8") from None
    if "\0" in decoded:
        raise ConfigError(f"host URI: there is a NUL in the {part}")
    return decoded


def _parse_authority(text: str) -> tuple[str | None, str | None, int | None]:
    user, at, place = text.rpartition("@")
    if ":" in user:
        raise ConfigError("host URI: a password does not stand in the URI; it is given as credentials")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", place)
    if bracketed:
        host, port = bracketed.groups()
        if ":" not in host:
            raise ConfigError("host URI: only an IPv6 address stands in brackets")
    else:
        host, colon, after = place.partition(":")
        port = after if colon else None
        if ":" in after:
            raise ConfigError("host URI: an IPv6 address stands in brackets, [::1]:22")
    return (
        _decode(user, "user") if at else None,
        _decode(host, "host") if place else None,
        None if port is None else _parse_port(port),
    )


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        raise ConfigError("host URI: the port is not a number from 1 to 65535")
    return int(text)


def _parse_query(query: str) -> tuple[tuple[str, str], ...]:
    parameters = []
    for number, parameter in enumerate(query.split("&") if query else (), start=1):
        name, equals, value = parameter.partition("=")
        if name not in _PARAMETERS or not equals:
            raise ConfigError(
                f"host URI: parameter {number} of the query is none of {', '.join(sorted(_PARAMETERS))} with a value"
            )
        parameters.append((name, _decode(value, f"value of {name}")))
    return tuple(parameters)


def _check_host(host: str) -> None:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError("host URI: the host is not an IPv6 address") from None
    elif not _HOST.fullmatch(host):
        raise ConfigError("host URI: the host is missing, or has characters that no host name has")


def _check_path(driver: str, path: str) -> None:
    if driver == "qemu" and path not in {"/system", "/session"}:
        raise ConfigError(
            "host URI: the path after the host is /system or /session (three slashes without a host: qemu:///system)"
        )
    if driver == "test" and (not path.startswith("/") or path == "/"):
        raise ConfigError("host URI: the path is /default, or a file of the test driver (test:///default)")


def _check_parameters(transport: str | None, parameters: tuple[tuple[str, str], ...]) -> None:
    seen: set[str] = set()
    for name, value in parameters:
        if name not in _PARAMETERS:
            raise ConfigError(f"host URI: a parameter of the query is none of {_NAMES}")
        if name in seen:
            raise ConfigError(f"host URI: the parameter {name} is there twice")
        if (transport or "unix") not in _PARAMETERS[name]:
            allowed = ", ".join(sorted(_PARAMETERS[name]))
            raise ConfigError(f"host URI: libvirt reads {name} only over {allowed}, not over {transport or 'a local socket'}")
        if name in {"no_verify", "no_tty", "no_sanity"} and value not in {"0", "1"}:
            raise ConfigError(f"host URI: {name} is 0 or 1")
        seen.add(name)
