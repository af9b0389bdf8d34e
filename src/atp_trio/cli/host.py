"""The options of every command that takes a host's libvirt URI, and connecting with them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Group, Parameter

from atp_trio.cli.access import HOST_PASSWORD_VARIABLE, HostPasswordFile, Positive, within

if TYPE_CHECKING:
    from atp_trio.hypervisor.host import HostConnection

GROUP: Final = Group("Host", sort_key=10)

HostUriArgument = Annotated[
    str,
    Parameter(name="HOST_URI", help="The host's libvirt: qemu+ssh://USER@HOST/system, qemu+tls://HOST/system, qemu:///system."),
]
DomainArgument = Annotated[str, Parameter(name="DOMAIN", help="The domain's name, UUID or id.")]


@Parameter(name="*", group=GROUP)
@attrs.frozen(kw_only=True)
class HostAccess:
    """How to get at a host. A password comes from a file or the environment: arguments can be read by everybody here."""

    host_password_file: HostPasswordFile = None
    timeout: Annotated[
        float, Parameter(help="Seconds to wait for the connection, and then for what the command waits for."), Positive
    ] = 30.0


@asynccontextmanager
async def connect_host(uri: str, access: HostAccess) -> AsyncIterator[HostConnection]:
    """`open_host` with the command line's options.

    Raises:
        CommandFailed: There was no connection in time.
        AtpError: As `open_host`.
    """
    with within(access.timeout, "no connection to the host") as scope:
        async with open_host_with(uri, access.host_password_file) as host:
            scope.deadline = float("inf")
            yield host


@asynccontextmanager
async def open_host_with(uri: str, password_file: Path | None) -> AsyncIterator[HostConnection]:
    """`open_host`, with the password of the file or the environment."""
    from atp_trio.hypervisor.credentials import Credentials
    from atp_trio.hypervisor.host import open_host
    from atp_trio.hypervisor.info import HostInfo

    info = HostInfo.from_uri(uri)
    password = password_file or os.environ.get(HOST_PASSWORD_VARIABLE)
    async with open_host(attrs.evolve(info, credentials=Credentials(password=password))) as host:
        yield host
