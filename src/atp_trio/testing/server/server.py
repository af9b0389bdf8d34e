"""The embedded SPICE server: our own protocol cores in the server's role, over real sockets or any Trio stream.

It knows one machine, and one client of it at a time, as other servers do: a new main link ends the client before. Whatever a
client does, nothing is raised here, and what it can make the server hold is bounded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import trio

from atp_trio.errors import ConfigError, RemoteProtocolError
from atp_trio.keyboard import Key
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.inputs import MouseButtonMask
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.ticket import check_password
from atp_trio.spice.streams.base import AdaptedStream, ByteStream
from atp_trio.spice.streams.socket import SocketStream
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.spice.wire import Message
from atp_trio.testing.listening import Listening, serving
from atp_trio.testing.server.channel import GONE, ClosedChannel
from atp_trio.testing.server.channels import MainChannel
from atp_trio.testing.server.link import Door, Refused, link_channel, shared_key
from atp_trio.testing.server.machine import Machine, MachineCursor
from atp_trio.testing.server.options import ServerOptions
from atp_trio.testing.server.picture import Pixels
from atp_trio.testing.server.session import ClientSession

log = logging.getLogger("atp_trio.testing.server")

# Connections at once, those included that are not linked yet; what comes beyond is closed.
MAX_CONNECTIONS: Final = 256
# How many measurements and records are kept.
MAX_RECORDS: Final = 10_000


class SpiceServer:
    """An embedded SPICE server; `open_spice_server` makes it.

    Attributes:
        options: What it was made with.
        machine: The machine it serves.
        cursor: The machine's pointer: `set`, `move` and `hide` it.
        uri: Where clients connect, without the password.
        port: The plain port; None where there is none.
        tls_port: The TLS port; None where there is none.
        connections: Connections that are open now, linked or not.
        key_seconds: How long each RSA key took that was made for a link, if keys are made anew.
        pings: The round trips of the network tests, in seconds: three a client, the last with 256000 bytes.
        closed: The channels that have ended, in that order.
        agent_is_busy: Whether the guest agent takes nothing just now: clients get no tokens back. `set_agent_busy` sets it.
        agent_data: What came for the guest agent, piece by piece.
    """

    def __init__(self, options: ServerOptions, machine: Machine) -> None:
        self.options = options
        self.machine = machine
        self.cursor = MachineCursor()
        self.uri = ""
        self.port: int | None = None
        self.tls_port: int | None = None
        self.connections = 0
        self.key_seconds: deque[float] = deque(maxlen=MAX_RECORDS)
        self.pings: deque[float] = deque(maxlen=MAX_RECORDS)
        self.closed: deque[ClosedChannel] = deque(maxlen=MAX_RECORDS)
        self.agent_data: deque[bytes] = deque(maxlen=MAX_RECORDS)
        self.agent_is_busy = False
        self.ticket: bytes | None = None
        self._session: ClientSession | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self.set_password(options.password)

    def __repr__(self) -> str:
        return f"<SpiceServer {self.uri}>"

    # --- what a test looks at

    @property
    def keys_down(self) -> tuple[Key, ...]:
        """The keys that are down, in the order they went down."""
        return tuple(self.machine.keys_down)

    @property
    def buttons(self) -> frozenset[MouseButtonMask]:
        """The mouse buttons that are down."""
        return frozenset(button for button in MouseButtonMask if self.machine.buttons & button)

    @property
    def events(self) -> tuple[Message, ...]:
        """What keyboard and mouse were told, as the messages of `inputs`; the last ten thousand."""
        return tuple(self.machine.events)

    @property
    def regions(self) -> dict[str, Rect]:
        """The parts of display 0 that echo keys and clicks."""
        return dict(self.options.regions)

    @property
    def open_channels(self) -> tuple[tuple[ChannelType, int], ...]:
        """The channels of the present client, in the order they were linked."""
        return tuple(self._session.channels) if self._session else ()

    def surface(self, channel_id: int = 0) -> Pixels:
        """A copy of what a display shows, as everything sent so far leaves it.

        Returns:
            Shape (height, width), rows top-down, numbers `0x00RRGGBB`.
        """
        return self.machine.canvases[channel_id].copy()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until this is true; looked at whenever a channel opens, has handled what came, has drawn, or ends."""
        await trio.lowlevel.checkpoint()
        while not holds():
            await self._changed.park()

    # --- what a test does

    def set_password(self, password: str | None) -> None:
        """From the next link on the ticket is this; None takes any.

        Raises:
            ConfigError: It is too long, or holds a NUL.
        """
        self.ticket = None if password is None else check_password(password)

    def expire_password(self) -> None:
        """From the next link on no ticket is good."""
        self.ticket = b""

    def set_agent_busy(self, busy: bool) -> None:
        """Let clients run out of tokens for the guest agent, or give them back."""
        self.agent_is_busy = busy
        channel = self._session.channels.get((ChannelType.MAIN, 0)) if self._session else None
        if isinstance(channel, MainChannel):
            channel.return_tokens()
            channel.flush()

    def pause_scene(self) -> None:
        """Let the scenes stand still: what `surface` gives is then what a client gets to, once it has drawn it all."""
        self.machine.is_paused = True

    def resume_scene(self) -> None:
        """Let the scenes go on."""
        self.machine.is_paused = False
        for channel in self._session.channels.values() if self._session else ():
            channel.wake()

    def send(self, message: Message, channel_type: ChannelType, channel_id: int = 0) -> None:
        """Send a message to the client, beside what the server says by itself.

        Raises:
            ConfigError: The client has no such channel.
            LocalProtocolError: The message does not belong there.
        """
        channel = self._session.channels.get((channel_type, channel_id)) if self._session else None
        if channel is None:
            raise ConfigError(f"no client has {channel_type.name.lower()}:{channel_id}")
        channel.send(message)

    def drop(self, channel_type: ChannelType = ChannelType.MAIN, channel_id: int = 0) -> None:
        """Close a channel of the client without a word; main takes the others with it."""
        channel = self._session.channels.get((channel_type, channel_id)) if self._session else None
        if channel is not None:
            channel.scope.cancel()

    # --- for the channels

    def multi_media_time(self) -> int:
        """The multimedia clock now, in milliseconds."""
        return int(trio.current_time() * 1000) % 2**32

    def changed(self) -> None:
        """Something that a test may wait for has happened."""
        self._changed.unpark_all()

    def note_closed(self, closed: ClosedChannel) -> None:
        """A channel has ended."""
        self.closed.append(closed)

    def session_of(self, connection_id: int) -> ClientSession | None:
        """The present client, if this is its connection id."""
        return self._session if self._session and self._session.id == connection_id else None

    def new_session(self) -> ClientSession:
        """A client has linked main: the one before it ends."""
        if self._session is not None:
            self._session.end()
        self._session = ClientSession(secrets.randbelow(2**32 - 1) + 1)
        return self._session

    # --- serving

    async def serve_stream(self, stream: trio.abc.Stream, *, door: Door | None = None) -> None:
        """Serve one link on a stream, until either side ends it; the stream is closed then.

        Args:
            stream: Any stream of Trio's. Several may be served at once: one a channel.
            door: How the client came in; by default in plain and without the network test.

        Cancellation: the link ends.
        """
        wrapped = stream if isinstance(stream, ByteStream) else AdaptedStream(stream, address="client")
        self.connections += 1
        try:
            if self.connections <= MAX_CONNECTIONS:
                await self._serve(wrapped, door or Door(network_test=False))
        except Refused as reason:
            log.info("a link was refused: %s", reason)
        except RemoteProtocolError as error:
            log.info("a link was given up: %s", error)
        except GONE:
            pass
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(wrapped)
            self.changed()

    async def _serve(self, stream: ByteStream, door: Door) -> None:
        channel = await link_channel(self, stream, door)
        self.changed()
        try:
            await channel.run()
        finally:
            channels = channel.session.channels
            if channels.get(channel.key) is channel:
                del channels[channel.key]

    async def _serve_socket(self, stream: trio.SocketStream, *, door: Door) -> None:
        await self.serve_stream(SocketStream.adopt(stream, address="client"), door=door)

    async def _serve_tls(self, stream: trio.SocketStream, *, context: ssl.SSLContext) -> None:
        secured = trio.SSLStream(stream, context, server_side=True)
        await self.serve_stream(secured, door=Door(is_secure=True))


@contextlib.asynccontextmanager
async def open_spice_server(**options: Any) -> AsyncIterator[SpiceServer]:
    """Run a server for the time of the block.

    Args:
        options: The fields of `ServerOptions`, by name.

    Returns:
        The server, listening: `server.uri` is where.

    Raises:
        ConfigError: An option that cannot be meant, or an address where it cannot listen.

    Cancellation: every connection is closed.
    """
    chosen = ServerOptions.of(options)
    # Rendering and encoding what the scene shows takes a while; so does making a key.
    machine = await trio.to_thread.run_sync(Machine, chosen)
    await trio.to_thread.run_sync(shared_key)
    server = SpiceServer(chosen, machine)
    with contextlib.ExitStack() as sockets:
        async with serving(await _listen(server, sockets)):
            yield server


async def _listen(server: SpiceServer, sockets: contextlib.ExitStack) -> list[Listening]:
    """Listen where the options say, and note where that is; `sockets` closes what was opened."""
    options = server.options
    if options.unix_path is not None:
        server.uri = str(SpiceUri(unix_path=os.fspath(options.unix_path.absolute())))
        listener = await _listen_unix(options.unix_path)
        sockets.callback(options.unix_path.unlink, missing_ok=True)
        sockets.callback(listener.socket.close)
        return [(listener, partial(server._serve_socket, door=Door(network_test=False)))]  # noqa: SLF001 - its own module
    listening: list[Listening] = []
    if options.port is not None:
        server.port, listener = await _listen_tcp(options.host, options.port)
        sockets.callback(listener.socket.close)
        listening.append((listener, partial(server._serve_socket, door=Door())))  # noqa: SLF001
    if options.has_tls:
        context = options.make_tls_context()
        server.tls_port, listener = await _listen_tcp(options.host, options.tls_port)
        sockets.callback(listener.socket.close)
        listening.append((listener, partial(server._serve_tls, context=context)))  # noqa: SLF001
    server.uri = str(SpiceUri(host=options.host, port=server.port, tls_port=server.tls_port))
    return listening


async def _listen_tcp(host: str, port: int) -> tuple[int, trio.SocketListener]:
    try:
        listener, *others = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    for other in others:  # a name with several addresses: one will do
        other.socket.close()
    return listener.socket.getsockname()[1], listener


async def _listen_unix(path: os.PathLike[str]) -> trio.SocketListener:
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await sock.bind(os.fspath(path))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {os.fspath(path)}: {error.strerror or error}") from error
    return trio.SocketListener(sock)
