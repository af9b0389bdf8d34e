"""`atp qmp`: one QMP command, through a host's libvirt or on a monitor's own socket."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import trio
from cyclopts import Parameter

from atp_trio.cli.access import within
from atp_trio.cli.host import HostAccess, connect_host
from atp_trio.cli.output import print_json
from atp_trio.errors import ConfigError

if TYPE_CHECKING:
    from atp_trio.protocols.qmp import QmpProtocol

_SOCKETS: Final = ("unix:", "tcp:")


async def qmp(
    where: Annotated[
        str,
        Parameter(
            help="A host's libvirt, such as qemu+ssh://HOST/system; or a monitor's own socket: unix:PATH or tcp:HOST:PORT."
        ),
    ],
    /,
    *words: Annotated[str, Parameter(help="DOMAIN COMMAND [JSON_ARGUMENTS]; on a monitor's own socket without DOMAIN.")],
    stdin: Annotated[
        bool,
        Parameter(help="Read the arguments from standard input: everybody here can read a password on a command line."),
    ] = False,
    access: HostAccess = HostAccess(),  # noqa: B008 - frozen
) -> None:
    """Execute a QMP command and print what it returns as JSON."""
    is_socket = where.startswith(_SOCKETS)
    domain, command, text = _split(words, has_domain=not is_socket, has_text=not stdin)
    arguments = _parse(await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True) if stdin else text)
    with within(access.timeout, f"no answer from {where}") as scope:
        async with _connect(where, domain, access) as monitor:
            scope.deadline = trio.current_time() + access.timeout
            value = await monitor.execute(command, **arguments)
    print_json(value)


def _split(words: tuple[str, ...], *, has_domain: bool, has_text: bool) -> tuple[str | None, str, str]:
    """The domain, the command, and the text of its arguments."""
    domain, rest = (words[0], words[1:]) if has_domain and words else (None, words)
    match rest:
        case [command]:
            return domain, command, "{}"
        case [command, text] if has_text:
            return domain, command, text
    wanted = f"{'DOMAIN ' if has_domain else ''}COMMAND"
    raise ConfigError(f"give {wanted}, and perhaps JSON_ARGUMENTS in one word" if has_text else f"give {wanted} and no more")


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise ConfigError('the arguments are no JSON object, such as {"command-line": "info status"}')
    return arguments


@asynccontextmanager
async def _connect(where: str, domain: str | None, access: HostAccess) -> AsyncIterator[QmpProtocol]:
    from atp_trio.protocols.qmp import open_qmp

    if domain is None:
        async with open_qmp(where) as monitor:
            yield monitor
        return
    async with connect_host(where, access) as host, open_qmp(await host.domain(domain)) as monitor:
        yield monitor
