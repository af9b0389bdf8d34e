"""SPICE URIs: `spice://host:port`, `spice+tls://host:port`, `spice+unix:///path`.

No error here repeats any part of the text: a password may stand anywhere in a URI that is written wrong.

Source:
    Protocol reference, 1.12 (URI forms).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Self
from urllib.parse import quote, unquote_to_bytes

import attrs

from atp_trio.errors import ConfigError

__all__ = ["SpiceUri"]

_KNOWN: Final = "known are spice://host:port, spice+tls://host:port and spice+unix:///path"
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST: Final = re.compile(r"[^\s\x00-\x20\x7f:/?#\[\]@\\]+")


def _check_port(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and not 1 <= value <= 65535:
        raise ConfigError(f"SPICE URI: the {attribute.name.replace('_', '-')} is not from 1 to 65535")


@attrs.frozen(kw_only=True)
class SpiceUri:
    """Where a SPICE server listens: a host with a port, a TLS port or both, or a UNIX socket.

    `str()` gives the URI without the password.
    """

    host: str | None = None
    """A name or an address; IPv6 without brackets."""
    port: int | None = attrs.field(default=None, validator=_check_port)
    """The plain port; None when every channel goes over TLS."""
    tls_port: int | None = attrs.field(default=None, validator=_check_port)
    """The TLS port; None when no channel does."""
    unix_path: str | None = None
    """The socket's path; with `@` as its first character, an abstract address."""
    password: str | None = attrs.field(default=None, repr=False)
    """The ticket."""

    def __attrs_post_init__(self) -> None:
        if (self.host is None) == (self.unix_path is None):
            raise ConfigError("SPICE URI: there is either a host or a socket's path")
        ports = (self.port, self.tls_port)
        if self.host is not None:
            _check_host(self.host)
            if ports == (None, None):
                raise ConfigError("SPICE URI: the port is missing (host:port, or ?port= or ?tls-port=)")
        elif ports != (None, None):
            raise ConfigError("SPICE URI: a UNIX socket has no ports")
        if self.unix_path is not None and not self.unix_path.startswith(("/", "@")):
            raise ConfigError("SPICE URI: a socket's path begins with / (three slashes: spice+unix:///path), or @ if abstract")
        if any("\0" in (text or "") for text in (self.unix_path, self.password)):
            raise ConfigError("SPICE URI: there is a NUL in the path or the password")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI.

        The query may hold `port`, `tls-port` and `password`, each once, names in any case, values percent-encoded. A port in the
        query stands in place of the one after the host, not beside it.

        Raises:
            ConfigError: What is wrong and in which part.
        """
        scheme, separator, rest = text.partition("://")
        scheme = scheme.lower()
        if scheme in {"ws", "wss"} and separator:
            raise ConfigError("SPICE URI: WebSocket (ws://, wss://) is not supported yet")
        if scheme not in {"spice", "spice+tls", "spice+unix"} or not separator:
            raise ConfigError(f"SPICE URI: unknown scheme; {_KNOWN}")
        if "#" in rest:
            raise ConfigError("SPICE URI: there is no fragment; write # as %23")
        place, _, query = rest.partition("?")
        fields = _parse_query(query)
        if scheme == "spice+unix":
            fields["unix_path"] = _decode(place, "path")
        else:
            fields["host"], port = _parse_authority(place)
            _add_port(fields, port, tls=scheme == "spice+tls")
        return cls(**fields)  # type: ignore[arg-type] # the fields' types are those of the functions that read them

    def __str__(self) -> str:
        if self.unix_path is not None:
            return "spice+unix://" + quote(self.unix_path, safe="/@:+,=", errors="surrogatepass")
        host = quote(self.host or "", safe=":", errors="surrogatepass")
        authority = f"[{host}]" if ":" in host else host
        if self.port is None:
            return f"spice+tls://{authority}:{self.tls_port}"
        return f"spice://{authority}:{self.port}" + (f"?tls-port={self.tls_port}" if self.tls_port is not None else "")


def _decode(text: str, part: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise ConfigError(f"SPICE URI: a % in the {part} is not followed by two hexadecimal digits; write % as %25")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        # Not chained: the codec's error holds the bytes.
        raise ConfigError(f"SPICE URI: the {part} is not UTF-8") from None


def _parse_port(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        raise ConfigError(f"SPICE URI: the {name} is not a number from 1 to 65535")
    return int(text)


def _parse_query(query: str) -> dict[str, str | int | None]:
    fields: dict[str, str | int | None] = {}
    for number, parameter in enumerate(query.split("&") if query else (), start=1):
        name, equals, value = parameter.partition("=")
        key = name.lower().replace("-", "_")
        if key not in {"port", "tls_port", "password"} or "_" in name or not equals:
            raise ConfigError(f"SPICE URI: parameter {number} of the query is none of port=, tls-port=, password=")
        if key in fields:
            raise ConfigError(f"SPICE URI: parameter {number} of the query is there twice")
        decoded = _decode(value, "value of parameter " + str(number))
        fields[key] = decoded if key == "password" else _parse_port(decoded, name.lower())
    return fields


def _parse_authority(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise ConfigError("SPICE URI: there is no user before the host; a password goes into ?password=")
    text = text.removesuffix("/")
    if "/" in text:
        raise ConfigError("SPICE URI: nothing but a query may follow the port")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed.groups()
    else:
        host, colon, after = text.partition(":")
        port = after if colon else None
        if ":" in after:
            raise ConfigError("SPICE URI: an IPv6 address stands in brackets, [::1]:5900")
    host = _decode(host, "host")
    if bracketed and ":" not in host:
        raise ConfigError("SPICE URI: only an IPv6 address stands in brackets")
    return host, None if port is None else _parse_port(port, "port")


def _add_port(fields: dict[str, str | int | None], port: int | None, *, tls: bool) -> None:
    key = "tls_port" if tls else "port"
    if tls and "port" in fields:
        raise ConfigError("SPICE URI: spice+tls has no plain port; write spice://host:port?tls-port=")
    if port is not None and key in fields:
        raise ConfigError("SPICE URI: the port stands after the host and in the query")
    if port is not None:
        fields[key] = port


def _check_host(host: str) -> None:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError("SPICE URI: the host is not an IPv6 address") from None
    elif not _HOST.fullmatch(host):
        raise ConfigError("SPICE URI: the host is missing, or has characters that no host name has")
