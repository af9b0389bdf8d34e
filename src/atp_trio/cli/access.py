"""The options of every command that takes a URI, and connecting with them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Final

import attrs
import trio
from cyclopts import Group, Parameter

import atp_trio
from atp_trio.cli.execute import CommandFailed
from atp_trio.cli.place import find_place, printed

PASSWORD_VARIABLE: Final = "ATP_SPICE_PASSWORD"  # noqa: S105 - the variable's name
HOST_PASSWORD_VARIABLE: Final = "ATP_HOST_PASSWORD"  # noqa: S105
GROUP: Final = Group("Connection", sort_key=10)


def _check_positive(_: type, value: float | None) -> None:
    if value is not None and not value > 0:  # NaN is neither
        raise ValueError("It must be greater than 0.")


def _check_finite(_: type, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError("It must be 0 or more.")


Uri = Annotated[
    str,
    Parameter(
        help="Where the server is: spice://HOST:PORT, spice+tls://HOST:PORT or spice+unix:///PATH; or, in two words, a host's "
        "libvirt and a domain: qemu+ssh://HOST/system DOMAIN."
    ),
]
HostPasswordFile = Annotated[
    Path | None,
    Parameter(help=f"A file that holds the password for the host's libvirt. Without it: the variable {HOST_PASSWORD_VARIABLE}."),
]
Positive = Parameter(validator=_check_positive)
NotNegative = Parameter(validator=_check_finite)


@Parameter(name="*", group=GROUP)
@attrs.frozen(kw_only=True)
class Access:
    """How to get in. A password comes from a file or the environment: arguments can be read by everybody on the machine."""

    password_file: Annotated[
        Path | None, Parameter(help=f"A file that holds the password. Without it: the variable {PASSWORD_VARIABLE}.")
    ] = None
    ca_file: Annotated[Path | None, Parameter(help="Trust these certificates (PEM) instead of the system's.")] = None
    host_subject: Annotated[
        str | None, Parameter(help="The subject that the server's certificate must have, in place of its host name.")
    ] = None
    insecure: Annotated[bool, Parameter(help="Accept any certificate.")] = False
    cert_file: Annotated[Path | None, Parameter(help="The client's own certificate (PEM).")] = None
    key_file: Annotated[Path | None, Parameter(help="Its key, where the certificate's file does not hold it.")] = None
    legacy_ciphers: Annotated[bool, Parameter(help="Accept the weak keys and ciphers of old servers.")] = False
    host_password_file: HostPasswordFile = None
    timeout: Annotated[
        float, Parameter(help="Seconds to wait for the connection, and then for what the command waits for."), Positive
    ] = 30.0

    @property
    def password(self) -> Path | str | None:
        """The password, as `open_spice` takes it."""
        return self.password_file or os.environ.get(PASSWORD_VARIABLE)

    @property
    def tls(self) -> atp_trio.SpiceTlsConfig:
        """The TLS settings.

        Raises:
            ConfigError: The options contradict each other.
        """
        return atp_trio.SpiceTlsConfig(
            ca_file=self.ca_file,
            host_subject=self.host_subject,
            verify=not self.insecure,
            cert_file=self.cert_file,
            key_file=self.key_file,
            legacy_ciphers=self.legacy_ciphers,
        )


@contextmanager
def within(seconds: float, otherwise: str) -> Iterator[trio.CancelScope]:
    """Limit the time of the block, or of what of it comes before the scope's deadline is moved.

    Raises:
        CommandFailed: It took longer: `otherwise`, "within so many seconds".
    """
    with trio.move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise CommandFailed(f"{otherwise} within {seconds:g} s")


@asynccontextmanager
async def connect(uri: str, access: Access, *channels: atp_trio.ChannelType) -> AsyncIterator[atp_trio.SpiceVmConnection]:
    """`open_spice` with the command line's options.

    Raises:
        CommandFailed: There was no connection in time.
        AtpError: As `open_spice`.
    """
    with within(access.timeout, f"no connection to {printed(uri)}") as scope:
        async with (
            find_place(uri, access.host_password_file) as place,
            atp_trio.open_spice(place.where, password=access.password or place.password, tls=access.tls, channels=channels) as vm,
        ):
            scope.deadline = float("inf")
            yield vm
