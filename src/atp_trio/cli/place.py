"""Where the machine is that a SPICE command means: at a SPICE URI, or a host's domain.

`HOST_URI DOMAIN` are two words in place of one. They are joined before the command line is read, so that every command that takes
a SPICE URI takes them too, and `"HOST_URI DOMAIN"` as one word is the same.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

import atp_trio

if TYPE_CHECKING:
    from atp_trio.spice.streams.base import StreamOpener

# As no SPICE URI, option or file name begins.
_HOST_URI: Final = re.compile(r"(qemu|test)(\+\w+)?://\S*", re.ASCII)


def join_domain(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the first `HOST_URI DOMAIN` as one.

    Raises:
        ConfigError: There is no domain behind the host.
    """
    joined = list(words)
    for place, word in enumerate(joined):
        if word == "--":
            break
        if _HOST_URI.fullmatch(word):
            if place + 1 == len(joined) or joined[place + 1].startswith("-"):
                raise atp_trio.ConfigError("a host's URI is followed by the domain that is meant: HOST_URI DOMAIN")
            joined[place : place + 2] = [f"{word} {joined[place + 1]}"]
            break
    return joined


def printed(text: str) -> str:
    """The place as errors tell it: without the password that may stand in it.

    Raises:
        ConfigError: It cannot be meant.
    """
    return text if _is_domain(text) else str(_parse(text))


def _is_domain(text: str) -> bool:
    return _HOST_URI.fullmatch(text.partition(" ")[0]) is not None


@attrs.frozen
class Place:
    """Where a machine is."""

    where: atp_trio.SpiceUri | StreamOpener = attrs.field(repr=False)
    """As `open_spice` takes it."""
    password: str | None = attrs.field(default=None, repr=False)
    """Its ticket, where the domain's definition has one."""


@asynccontextmanager
async def find_place(text: str, host_password_file: Path | None, *, by_address: bool = False) -> AsyncIterator[Place]:
    """Find the machine; a domain's host stays connected for the time of the block.

    A domain of this machine is reached through libvirt, without a network; another host's, or any `by_address`, at the endpoint
    that its definition names.

    Raises:
        ConfigError: The text is neither a SPICE URI nor HOST_URI DOMAIN.
        AtpError: As `open_host` and `Domain.spice_endpoint`.
    """
    if not _is_domain(text):
        yield Place(_parse(text))
        return
    uri, _, name = text.partition(" ")
    from atp_trio.cli.host import open_host_with

    async with open_host_with(uri, host_password_file) as host:
        domain = await host.domain(int(name) if name.isascii() and name.isdecimal() else name)
        endpoint = await domain.spice_endpoint()
        if host.uri.is_local and not by_address:
            yield Place(lambda: domain.open_graphics(endpoint.index))
        elif endpoint.uri is None:
            raise atp_trio.ChannelNotAvailable("the domain's SPICE server listens nowhere: only its host's libvirt reaches it")
        else:
            yield Place(endpoint.uri, endpoint.password)


def _parse(text: str) -> atp_trio.SpiceUri:
    uri = atp_trio.SpiceUri.parse(text)
    if uri.password is not None:
        from atp_trio.cli.access import PASSWORD_VARIABLE

        raise atp_trio.ConfigError(
            f"everybody here can read a password in an argument: use --password-file or {PASSWORD_VARIABLE}"
        )
    return uri
