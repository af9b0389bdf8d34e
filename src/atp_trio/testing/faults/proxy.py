"""A proxy that does to connections what networks do: slow, cut, half-open, silent. In this process, without privileges."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import trio

from atp_trio.errors import ConfigError
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.testing.faults.conditions import LinkConditions, Wire, parse_link
from atp_trio.testing.faults.connection import ProxiedConnection, Stream
from atp_trio.testing.faults.script import Action, Step, parse_script
from atp_trio.testing.faults.treatment import Direction, Flow, Selector, Treatments
from atp_trio.testing.listening import serving

__all__ = ["FaultProxy", "open_fault_proxy"]

Connect = Callable[[], Awaitable[Stream]]

# What the kernel keeps of a link with a rate, in bytes: its own choice would be seconds of traffic.
RATED_BUFFER: Final = 64 * 1024


class FaultProxy:
    """A running proxy; `open_fault_proxy` makes it.

    A `channel` is a SPICE channel's name (`display`, `display:0`) or type, and means its connections; None means all. What cannot
    be read (TLS, other protocols) is meant by None alone. `cut`, `hang_up`, `half_open` and `garbage` strike the connections
    there are; what the others say holds for later ones too, until `heal`.

    Attributes:
        uri: Where clients connect: as the target's, without a password.
    """

    def __init__(self, link: LinkConditions, seed: int) -> None:
        self.uri = ""
        self._treatments = Treatments(link)
        self._link = link
        self._wires: dict[tuple[LinkConditions, Direction], Wire] = {}
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._connections: list[ProxiedConnection] = []
        self._changed = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<FaultProxy {self.uri}>"

    @property
    def connections(self) -> tuple[ProxiedConnection, ...]:
        """The connections that have not ended, oldest first."""
        return tuple(self._connections)

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until this is true; looked at whenever a connection comes, says which channel it is, or ends."""
        await trio.lowlevel.checkpoint()
        while not holds():
            await self._changed.park()

    # --- once

    def cut(self, channel: ChannelType | str | None = None) -> int:
        """Reset connections (RST), both sides; gives how many."""
        return self._strike(channel, ProxiedConnection.reset)

    def hang_up(self, channel: ChannelType | str | None = None) -> int:
        """End connections in order (FIN), both sides; gives how many."""
        return self._strike(channel, ProxiedConnection.hang_up)

    def half_open(self, channel: ChannelType | str | None = None) -> int:
        """Reset the server's side and keep the client's, which hears nothing more; gives how many."""
        return self._strike(channel, ProxiedConnection.half_open)

    def garbage(
        self,
        channel: ChannelType | str | None = None,
        *,
        direction: Direction = Direction.TO_CLIENT,
        data: bytes | None = None,
        size: int = 64,
    ) -> int:
        """Deliver bytes that the peer never sent, between two pieces of what it did: `data`, or so many by chance."""
        data = self._random.randbytes(size) if data is None else data
        return self._strike(channel, lambda connection: connection.inject(data, direction))

    def _strike(self, channel: ChannelType | str | None, fault: Callable[[ProxiedConnection], None]) -> int:
        selector = Selector.parse(channel)
        struck = [connection for connection in self._connections if connection.is_chosen(selector)]
        for connection in struck:
            fault(connection)
        return len(struck)

    # --- until it heals

    def stall(self, channel: ChannelType | str | None = None, *, direction: Direction | None = None) -> None:
        """Stop forwarding: nothing is read or lost, and senders' buffers fill. A direction, or both."""
        self._change_flow(channel, Flow.STALL, direction)

    def blackhole(self, channel: ChannelType | str | None = None, *, direction: Direction | None = None) -> None:
        """Throw away what is sent, without a word: no FIN, no RST, and new connections are taken and not answered."""
        self._change_flow(channel, Flow.DISCARD, direction)

    def _change_flow(self, channel: ChannelType | str | None, flow: Flow, direction: Direction | None) -> None:
        names = [f"to_{one.value}" for one in Direction if direction in {None, one}]
        self._change(channel, **dict.fromkeys(names, flow))

    def refuse(self, channel: ChannelType | str | None = None) -> None:
        """Reset new connections as they come, or as they say which channel they are."""
        self._change(channel, refuses=True)

    def withhold_acks(self, channel: ChannelType | str | None = None) -> None:
        """Take the client's ACKs out, so that the server's window closes."""
        self._change(channel, withholds_acks=True)

    def set_link(self, link: LinkConditions | str, channel: ChannelType | str | None = None) -> None:
        """Other conditions from now on; as `parse_link` reads them."""
        self._change(channel, link=parse_link(link) if isinstance(link, str) else link)

    def heal(self, channel: ChannelType | str | None = None) -> None:
        """End what the five above do. Stalled connections go on; those of which bytes were thrown away are reset."""
        self._change(
            channel,
            link=self._link,
            to_server=Flow.FORWARD,
            to_client=Flow.FORWARD,
            withholds_acks=False,
            refuses=False,
        )
        self._strike(channel, ProxiedConnection.heal)

    def _change(self, channel: ChannelType | str | None, **changes: object) -> None:
        self._treatments.change(Selector.parse(channel), **changes)
        for connection in self._connections:
            connection.wake()

    # --- by the clock

    async def run_script(self, script: str | Iterable[Step]) -> None:
        """Do the steps of a script, as `parse_script` reads it; returns after the last one.

        Raises:
            ConfigError: The script cannot be meant; nothing was done.

        Cancellation: what was done stays; the rest is not.
        """
        steps = parse_script(script) if isinstance(script, str) else script
        began = trio.current_time()
        for step in steps:
            await trio.sleep_until(began + step.at)
            self._do(step)

    def _do(self, step: Step) -> None:
        match step.action:
            case Action.STALL:
                self.stall(step.channel, direction=step.direction)
            case Action.BLACKHOLE:
                self.blackhole(step.channel, direction=step.direction)
            case Action.GARBAGE:
                self.garbage(step.channel, direction=step.direction or Direction.TO_CLIENT, size=step.size)
            case Action.SET_LINK:
                self.set_link(step.link or self._link, step.channel)
            case action:
                getattr(self, action.value)(step.channel)

    # --- running

    def _wire(self, link: LinkConditions, direction: Direction) -> Wire:
        return self._wires.setdefault((link, direction), Wire(link))

    async def serve_stream(self, client: Stream, connect: Connect) -> None:
        """Pass a client's stream on to what `connect` gives, until it ends; the listeners' handler."""
        connection = ProxiedConnection(client, self._treatments.of, self._wire, self._random.random, self._tell)
        self._connections.append(connection)
        self._tell()
        try:
            await connection.run(connect)
        finally:
            self._connections.remove(connection)
            self._tell()

    def _tell(self) -> None:
        self._changed.unpark_all()

    async def serve_socket(self, client: trio.SocketStream, connect: Connect) -> None:
        """The same for a socket, whose buffers are made small where the link has a rate."""
        if self._link.rate is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RATED_BUFFER)
        await self.serve_stream(client, connect)


@asynccontextmanager
async def open_fault_proxy(target: str, *, link: LinkConditions | str | None = None, seed: int = 0) -> AsyncIterator[FaultProxy]:
    """Run a proxy before a server, for the time of the block; it listens on this machine alone, where `proxy.uri` says.

    ```python
    async with open_fault_proxy("spice://127.0.0.1:5900", link="delay=40ms") as proxy, open_spice(proxy.uri) as vm:
        proxy.cut("display")
    ```

    Args:
        target: The server: a SPICE URI, or `tcp://host:port` or `unix:///path` for anything else. A UNIX socket's proxy is a UNIX
            socket.
        link: What the link is like from the beginning; text as for `parse_link`.
        seed: Of all that is left to chance.

    Raises:
        ConfigError: The target or the link cannot be meant.

    Cancellation: all connections are closed.
    """
    conditions = parse_link(link) if isinstance(link, str) else link or LinkConditions()
    proxy = FaultProxy(conditions, seed)
    with contextlib.ExitStack() as stack:
        listening = await _listen(proxy, target, stack)
        async with serving([(one, partial(proxy.serve_socket, connect=connect)) for one, connect in listening]):
            yield proxy


async def _listen(proxy: FaultProxy, target: str, stack: contextlib.ExitStack) -> list[tuple[trio.SocketListener, Connect]]:
    scheme = target.partition("://")[0].lower()
    if scheme not in {"tcp", "unix"}:
        return await _listen_spice(proxy, SpiceUri.parse(target), stack)
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"fault proxy: {target!r} is no URI") from error
    if scheme == "unix" and not parts.netloc and parts.path:
        path, listening = await _listen_unix(parts.path, stack)
        proxy.uri = f"unix://{path}"
        return [listening]
    if scheme == "tcp" and host and port:
        port, one = await _listen_tcp(host, port, stack, rate=proxy._link.rate)  # noqa: SLF001 - its own module
        proxy.uri = f"tcp://127.0.0.1:{port}"
        return [one]
    raise ConfigError("fault proxy: the target is a SPICE URI, tcp://host:port or unix:///path")


async def _listen_spice(
    proxy: FaultProxy, uri: SpiceUri, stack: contextlib.ExitStack
) -> list[tuple[trio.SocketListener, Connect]]:
    if uri.unix_path is not None:
        path, listening = await _listen_unix(uri.unix_path, stack)
        proxy.uri = str(SpiceUri(unix_path=str(path)))
        return [listening]
    assert uri.host is not None
    listening_all: list[tuple[trio.SocketListener, Connect]] = []
    ports: dict[str, Any] = {}
    for name in ("port", "tls_port"):
        port = getattr(uri, name)
        if port is not None:
            ports[name], one = await _listen_tcp(uri.host, port, stack, rate=proxy._link.rate)  # noqa: SLF001 - its own module
            listening_all.append(one)
    proxy.uri = str(attrs.evolve(uri, host="127.0.0.1", password=None, **ports))
    return listening_all


async def _listen_tcp(
    host: str, port: int, stack: contextlib.ExitStack, *, rate: float | None
) -> tuple[int, tuple[trio.SocketListener, Connect]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stack.callback(listener.socket.close)

    async def connect() -> Stream:
        stream = await trio.open_tcp_stream(host, port)
        if rate is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RATED_BUFFER)
        return stream

    return listener.socket.getsockname()[1], (listener, connect)


async def _listen_unix(target: str, stack: contextlib.ExitStack) -> tuple[Path, tuple[trio.SocketListener, Connect]]:
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="atp-faults-"))
    path = Path(directory) / "proxy.sock"
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    stack.callback(sock.close)
    await sock.bind(os.fspath(path))
    sock.listen(128)
    address = "\0" + target[1:] if target.startswith("@") else target
    return path, (trio.SocketListener(sock), partial(trio.open_unix_socket, address))
