"""`atp qga`: programs and files of a guest, through its agent."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import attrs
import trio
from cyclopts import Parameter

from atp_trio.background import open_background
from atp_trio.cli.access import within
from atp_trio.cli.host import HostAccess, connect_host
from atp_trio.cli.output import print_fields, print_json, print_line
from atp_trio.errors import AtpError, ConfigError

if TYPE_CHECKING:
    from atp_trio.protocols.qga import GuestProcess, Progress, QgaProtocol

_SOCKET: Final = "unix:"
_USAGE: Final = "ping, info, exec -- ARGV..., put LOCAL REMOTE or get REMOTE LOCAL"


@attrs.frozen
class _Options:
    stdin: bool
    json: bool
    timeout: float


async def qga(
    where: Annotated[
        str,
        Parameter(help="A host's libvirt, such as qemu+ssh://HOST/system; or the socket of the agent's port: unix:PATH."),
    ],
    /,
    *words: Annotated[str, Parameter(help=f"DOMAIN, and what to do: {_USAGE}. On the agent's own socket without DOMAIN.")],
    stdin: Annotated[bool, Parameter(help="exec: give the program our standard input, all of it, before it starts.")] = False,
    json: Annotated[bool, Parameter(help="info: print one JSON document.")] = False,
    access: HostAccess = HostAccess(),  # noqa: B008 - frozen
) -> int | None:
    """Run programs in a guest, and copy files, through its agent.

    `exec` prints what the program writes as it comes, and exits as it does: 128 + number after a signal. Where it is cancelled,
    the program is killed.
    """
    domain, action, rest = _split(words, has_domain=not where.startswith(_SOCKET))
    do = _ACTIONS[action]
    arguments = _check(action, rest)
    options = _Options(stdin, json, access.timeout)
    with within(access.timeout, f"no answer from the guest agent at {where}") as scope:
        async with _connect(where, domain, access) as agent:
            started = trio.current_time()
            await agent.ping()
            scope.deadline = float("inf")
            return await do(agent, arguments, options, trio.current_time() - started)


def _split(words: tuple[str, ...], *, has_domain: bool) -> tuple[str | None, str, list[str]]:
    """The domain, what to do, and with what."""
    domain, rest = (words[0], words[1:]) if has_domain and words else (None, words)
    if not rest or rest[0] not in _ACTIONS:
        raise ConfigError(f"give {'DOMAIN and then ' if has_domain else ''}{_USAGE}")
    return domain, rest[0], list(rest[1:])


def _check(action: str, arguments: list[str]) -> list[str]:
    count = {"put": 2, "get": 2, "ping": 0, "info": 0}.get(action, len(arguments) or 1)
    if len(arguments) != count:
        raise ConfigError(f"{action} with {len(arguments)} words after it cannot be meant: give {_USAGE}")
    return arguments


@asynccontextmanager
async def _connect(where: str, domain: str | None, access: HostAccess) -> AsyncIterator[QgaProtocol]:
    from atp_trio.protocols.qga import open_qga

    if domain is None:
        async with open_qga(where) as agent:
            yield agent
        return
    key = int(domain) if domain.isascii() and domain.isdecimal() else domain
    async with connect_host(where, access) as host, open_qga(await host.domain(key)) as agent:
        yield agent


# --- what can be done


async def _ping(_agent: QgaProtocol, _arguments: list[str], _options: _Options, seconds: float) -> None:
    print_line(f"the guest agent answered within {seconds * 1e3:.1f} ms")


async def _info(agent: QgaProtocol, _arguments: list[str], options: _Options, _seconds: float) -> None:
    with within(options.timeout, "the guest agent did not tell about itself"):
        told = await agent.info()
        os_info = await _unless_refused(agent.osinfo)
        name = await _unless_refused(agent.host_name)
        interfaces = await _unless_refused(agent.network_interfaces) or ()
    system = attrs.asdict(os_info) if os_info is not None else {}
    addresses = {one.name: [str(address) for address in one.addresses] for one in interfaces}
    commands = [one.name for one in told.commands if one.enabled]
    if options.json:
        print_json({"version": told.version, "host_name": name, "os": system, "addresses": addresses, "commands": commands})
        return
    fields: list[tuple[str, object]] = [("agent", told.version), ("commands", f"{len(commands)} of {len(told.commands)}")]
    fields += [("host name", name or "-"), ("system", system.get("pretty_name") or "-")]
    fields += [("kernel", system.get("kernel_release") or "-"), ("machine", system.get("machine") or "-")]
    print_fields([*fields, *((name, " ".join(texts) or "-") for name, texts in addresses.items())])


async def _unless_refused(ask: Callable[[], Awaitable[Any]]) -> Any:
    from atp_trio.errors import AgentUnavailable, QgaError

    try:
        return await ask()
    except AgentUnavailable:
        raise
    except QgaError:
        return None  # not every agent may tell everything


async def _exec(agent: QgaProtocol, arguments: list[str], options: _Options, _seconds: float) -> int:
    data = await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True) if options.stdin else b""
    async with agent.exec(arguments, stdin=data) as process:
        await _print_output(process)
        status = await process.wait()
    if status.signal is not None:
        return 128 + (status.signal & 0x7F)
    return (status.returncode or 0) & 0xFF


async def _print_output(process: GuestProcess) -> None:
    failures: list[BaseException] = []
    async with trio.open_nursery() as nursery:

        async def copy(source: trio.abc.ReceiveStream, target: BinaryIO) -> None:
            try:
                async for data in source:
                    target.write(data)
                    target.flush()
            except (AtpError, OSError) as error:
                failures.append(error)  # raised again below, outside of the nursery's group
                nursery.cancel_scope.cancel()

        nursery.start_soon(copy, process.stdout, sys.stdout.buffer)
        nursery.start_soon(copy, process.stderr, sys.stderr.buffer)
    if failures:
        raise failures[0]


async def _put(agent: QgaProtocol, arguments: list[str], _options: _Options, _seconds: float) -> None:
    local, remote = arguments
    if not Path(local).is_file():  # noqa: ASYNC240 - before anything is under way
        raise ConfigError(f"{local}: not a file")
    async with _progress_bar(Path(local).name) as progress:
        await agent.put(local, remote, progress=progress)


async def _get(agent: QgaProtocol, arguments: list[str], _options: _Options, _seconds: float) -> None:
    remote, local = arguments
    async with _progress_bar(os.path.basename(remote)) as progress:  # noqa: PTH119 - the guest's path
        await agent.get(remote, local, progress=progress)


_ACTIONS: Final[dict[str, Callable[[Any, list[str], _Options, float], Awaitable[int | None]]]] = {
    "ping": _ping,
    "info": _info,
    "exec": _exec,
    "put": _put,
    "get": _get,
}


# --- the bar


@asynccontextmanager
async def _progress_bar(name: str) -> AsyncIterator[trio.MemorySendChannel[Progress] | None]:
    """Where to tell how far a transfer has come: a bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    send, receive = trio.open_memory_channel["Progress"](16)
    async with open_background() as nursery:
        with _bar(name) as show:
            nursery.start_soon(_show, receive, show)
            try:
                yield send
            finally:
                await trio.lowlevel.checkpoint()  # the last of it


async def _show(receive: trio.MemoryReceiveChannel[Progress], show: Callable[[Progress], None]) -> None:
    async for progress in receive:
        show(progress)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=5) as bar:
        task = bar.add_task(Text(name).markup, total=None)
        yield lambda progress: bar.update(task, completed=progress.done, total=progress.total)
