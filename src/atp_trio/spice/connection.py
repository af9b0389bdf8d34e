"""One machine over SPICE: its channels, linked, kept and left in order.

Theory of operation. Every channel runs in a background task of the connection's nursery, each under a shielded scope of its own
(see `channels.base`). The caller's block may end in any way: returning, raising, being cancelled at any checkpoint, or by
SIGINT. Then, under a shield with a short deadline, keys and buttons are released, the channels close, a display only after its
first message was read, and main closes last. Background tasks never raise for what can be expected, so the block's own exception
leaves `open_spice` as it is, and an exception group means a bug of ours.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import trio

from atp_trio.errors import AtpError, ChannelNotAvailable, ConfigError, ConnectionLost, LinkNeedSecured, LocalProtocolError
from atp_trio.spice.channels import (
    CHANNELS,
    ChannelStatistics,
    CursorChannel,
    DisplayChannel,
    InputsChannel,
    MainChannel,
    MessageChannel,
    SpiceChannel,
)
from atp_trio.spice.channels.base import LEAVE_SECONDS
from atp_trio.spice.channels.session import Session, SpiceLimits
from atp_trio.spice.channels.state import Link, LinkTimings
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.link import ClientLink, Linked, TicketNeeded
from atp_trio.spice.protocol.ticket import check_password, encrypt_ticket, is_prepared, prepare
from atp_trio.spice.streams.base import ByteStream, StreamOpener, as_byte_stream
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.tls import SpiceTlsConfig, open_tls_stream
from atp_trio.spice.streams.unix import open_unix_stream
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.spice.wire import Role

Password = str | bytes | Path | Callable[[], str | bytes | Awaitable[str | bytes]] | None

DEFAULT_CHANNELS: Final = (ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR)


class SpiceVmConnection:
    """A machine's SPICE connection; `open_spice` makes it.

    Attributes:
        uri: Where the server is; None where a function gives the streams.
    """

    def __init__(
        self,
        where: SpiceUri | StreamOpener,
        password: Password,
        tls: SpiceTlsConfig,
        session: Session,
        nursery: trio.Nursery,
    ) -> None:
        self.uri = where if isinstance(where, SpiceUri) else None
        self._where = where
        self._password = password
        self._tls = tls
        self._nursery = nursery
        self._session = session
        self._secured: set[ChannelType] = set()
        self._main: MainChannel | None = None

    def __repr__(self) -> str:
        names = ", ".join(channel.name for channel in self.channels)
        return f"<SpiceVmConnection {self.uri or 'over given streams'} {names or 'closed'}>"

    # --- the channels

    @property
    def channels(self) -> tuple[SpiceChannel, ...]:
        """The channels that are open, main first."""
        return tuple(channel for channel in self._session.channels.values() if channel.is_open)

    def get_channel(self, channel_type: ChannelType, channel_id: int = 0) -> SpiceChannel:
        """An open channel.

        Raises:
            ChannelNotAvailable: It is not open.
            ConnectionLost: It was, but the connection has ended.
        """
        channel = self._session.channels.get((channel_type, channel_id))
        if channel is not None and channel.is_open:
            return channel
        if self._main is not None and self._main.closed_by is not None:
            raise ConnectionLost(f"the connection has ended: {self._main.closed_by}") from self._main.closed_by
        raise ChannelNotAvailable(f"{channel_type.name.lower()}:{channel_id} is not open")

    @property
    def main(self) -> MainChannel:
        """The main channel; once it has ended, the ended one, which tells by `closed_by` why."""
        assert self._main is not None
        return self._main

    @property
    def display(self) -> DisplayChannel:
        """The first screen."""
        return self.get_display(0)

    def get_display(self, channel_id: int) -> DisplayChannel:
        """The screen of that number."""
        channel = self.get_channel(ChannelType.DISPLAY, channel_id)
        assert isinstance(channel, DisplayChannel)
        return channel

    @property
    def inputs(self) -> InputsChannel:
        """Keyboard and mouse."""
        channel = self.get_channel(ChannelType.INPUTS)
        assert isinstance(channel, InputsChannel)
        return channel

    @property
    def cursor(self) -> CursorChannel:
        """The first screen's pointer."""
        channel = self.get_channel(ChannelType.CURSOR)
        assert isinstance(channel, CursorChannel)
        return channel

    async def open_channel(self, channel_type: ChannelType, channel_id: int = 0) -> SpiceChannel:
        """Open a channel and wait until it is linked; an open one is given as it is.

        Raises:
            ChannelNotAvailable: The machine does not offer it.
            TransportError: It could not be linked; the class says why.

        Cancellation: the channel is closed again, or never comes to be.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        old = self._session.channels.get((channel_type, channel_id))
        if old is not None and old.is_closing:
            await old.wait_closed()
        is_ours = (channel_type, channel_id) not in self._session.channels
        channel = self._start(channel_type, channel_id)
        try:
            await channel.wait_open()
        except trio.Cancelled:
            if is_ours:
                channel.close_soon()
            raise
        return channel

    def _check_offered(self, channel_type: ChannelType, channel_id: int) -> None:
        if channel_type is ChannelType.MAIN and self._main is None:
            return
        # A server closes a link for a channel that it does not have without a word; so we look first.
        if not self.main.is_open:
            raise ConnectionLost("the connection has ended") from self.main.closed_by
        if not any((one.type, one.id) == (channel_type, channel_id) for one in self.main.offered):
            raise ChannelNotAvailable(f"the machine offers no channel {channel_type.name.lower()}:{channel_id}")

    async def close_channel(self, channel_type: ChannelType, channel_id: int = 0) -> None:
        """Close a channel, if it is open, in the order that servers survive. It can be opened again.

        Raises:
            LocalProtocolError: It is main, which closes with the connection.

        Cancellation: it closes all the same.
        """
        if channel_type is ChannelType.MAIN:
            raise LocalProtocolError("the main channel closes with the connection")
        channel = self._session.channels.get((channel_type, channel_id))
        if channel is None:
            await trio.lowlevel.checkpoint()
        else:
            await channel.aclose()

    async def disconnect_all(self) -> None:
        """Close every channel, main last. Leaving the block of `open_spice` does this.

        Cancellation: they close all the same, but main perhaps not last.
        """
        channels = list(self._session.channels.values())
        for channel in channels:
            if channel is not self._main:
                channel.close_soon()
        for channel in channels:
            if channel is not self._main:
                await channel.wait_closed()
        if self._main is not None:
            await self._main.aclose()

    # --- the machine

    @property
    def name(self) -> str | None:
        """The machine's name, where the server tells it."""
        return self.main.machine_name

    @property
    def uuid(self) -> UUID | None:
        """The machine's UUID, where the server tells it."""
        return self.main.machine_uuid

    @property
    def mouse_mode(self) -> MouseMode:
        """CLIENT: positions are sent; SERVER: motions are."""
        return self._session.mouse_mode

    def statistics(self) -> Mapping[str, ChannelStatistics]:
        """The counters of the channels that are open, by name (`display:0`)."""
        return {channel.name: channel.statistics() for channel in self.channels}

    # --- linking

    async def _open(self, channels: Collection[ChannelType]) -> None:
        """Link main, and then the wanted channels, all at once."""
        main = await self.open_channel(ChannelType.MAIN)
        assert isinstance(main, MainChannel)
        wanted = [one for one in await main.wait_offered() if one.type in channels and one.type is not ChannelType.MAIN]
        opening = [self._start(one.type, one.id) for one in wanted]
        for channel in opening:
            await channel.wait_open()

    @trio.lowlevel.enable_ki_protection
    async def _leave(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * LEAVE_SECONDS):
            await self.disconnect_all()
        for channel in list(self._session.channels.values()):
            # A channel whose worker thread is still drawing has not ended; main must all the same.
            channel.close_soon()

    def _start(self, channel_type: ChannelType, channel_id: int) -> SpiceChannel:
        """Begin to link a channel; one that is there already is given as it is."""
        key = (channel_type, channel_id)
        channel = self._session.channels.get(key)
        if channel is None:
            self._check_offered(channel_type, channel_id)
            channel = CHANNELS.get(channel_type, MessageChannel)(self._session, channel_type, channel_id)
            self._session.channels[key] = channel
            if isinstance(channel, MainChannel):
                self._main = channel
            self._nursery.start_soon(self._run, channel)
        return channel

    @trio.lowlevel.enable_ki_protection
    async def _run(self, channel: SpiceChannel) -> None:
        await channel.run(self._connect)
        if channel is self._main:
            # The server has ended, or ends, the others too.
            for other in list(self._session.channels.values()):
                other.close_soon(channel.closed_by)

    async def _connect(self, channel: SpiceChannel) -> Link:
        """Link a channel, over TLS if the URI says so or the server wants it."""
        uri = self.uri
        secure = uri is not None and uri.unix_path is None and (uri.port is None or channel.channel_type in self._secured)
        try:
            return await self._link(channel, secure=secure)
        except LinkNeedSecured:
            if secure or uri is None or uri.tls_port is None:
                raise
            self._secured.add(channel.channel_type)
            return await self._link(channel, secure=True)

    async def _link(self, channel: SpiceChannel, *, secure: bool) -> Link:
        started = time.perf_counter()
        stream = await self._open_stream(secure=secure)
        try:
            return await self._shake_hands(stream, channel, started)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def _open_stream(self, *, secure: bool) -> ByteStream:
        uri = self._where
        if not isinstance(uri, SpiceUri):
            return as_byte_stream(await uri(), address="the given stream")
        if uri.unix_path is not None:
            return await open_unix_stream(uri.unix_path)
        assert uri.host is not None
        if secure:
            assert uri.tls_port is not None
            return await open_tls_stream(uri.host, uri.tls_port, self._tls)
        assert uri.port is not None
        return await open_tcp_stream(uri.host, uri.port)

    async def _shake_hands(self, stream: ByteStream, channel: SpiceChannel, started: float) -> Link:
        connected = time.perf_counter()
        link = ClientLink(channel.channel_type, channel.channel_id, self._session.connection_id, channel_caps=channel.caps)
        needed = await _next_event(stream, link)
        assert isinstance(needed, TicketNeeded)
        replied = time.perf_counter()
        ticket = encrypt_ticket(needed.public_key, await self._get_password())
        encrypted = time.perf_counter()
        channel.sending_ticket()
        link.send_ticket(ticket)
        linked = await _next_event(stream, link)
        assert isinstance(linked, Linked)
        is_display = channel.channel_type is ChannelType.DISPLAY
        core = ChannelCore(
            Role.CLIENT,
            channel.channel_type,
            mini_header=linked.mini_header,
            max_body=self._session.limits.message_bytes if is_display else None,
            received=link.trailing_data,
        )
        timings = LinkTimings(connected - started, replied - connected, encrypted - replied, time.perf_counter() - encrypted)
        return Link(stream, core, linked.channel_caps, timings)

    async def _get_password(self) -> bytes:
        """The password, asked for anew for every link: a ticket may have been changed meanwhile."""
        password = self._password
        if password is None:
            return check_password((self.uri.password if self.uri else None) or "")
        if isinstance(password, Path):
            return await _read_password(password)
        if callable(password):
            try:
                answer = password()
                return check_password(await answer if inspect.isawaitable(answer) else answer)
            except AtpError:
                raise
            except Exception as error:
                raise ConfigError(f"the function that gives the password failed: {type(error).__name__}") from error
        return check_password(password)


async def _read_password(path: Path) -> bytes:
    try:
        data = await trio.Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"the password file {path} cannot be read: {error.strerror}") from error
    return check_password(data.rstrip(b"\r\n"))


async def _next_event(stream: ByteStream, link: ClientLink) -> TicketNeeded | Linked:
    await stream.send_all(link.data_to_send())
    while True:
        event = link.next_event()
        if event is not None:
            return event
        data = await stream.receive_some(65536)
        if not data:
            raise ConnectionLost("the server closed the connection while it was being linked")
        link.receive_data(data)


@asynccontextmanager
async def open_spice(
    uri: str | SpiceUri | StreamOpener,
    *,
    password: Password = None,
    tls: SpiceTlsConfig | None = None,
    channels: Collection[ChannelType] = DEFAULT_CHANNELS,
    mouse_mode: MouseMode = MouseMode.CLIENT,
    limits: SpiceLimits | None = None,
) -> AsyncIterator[SpiceVmConnection]:
    """Connect to a machine's SPICE server for the time of the block.

    Args:
        uri: Such as `spice://127.0.0.1:5900`, `spice+tls://host:5901`, `spice://host:5900?tls-port=5901` or
            `spice+unix:///run/vm.sock`. Or an async function that gives a new stream to the server for every channel, such as
            the `open_graphics` of a libvirt domain.
        password: The ticket: a value, a file that holds it, or a function (async or not) that gives it. A file is read, and a
            function called, for every channel that is linked. By default the password in the URI, if any.
        tls: How to verify the server, where TLS is used; by default against the system's certificates and the host's name.
        channels: The types of channels to open, as far as the machine offers them; main is always open.
        mouse_mode: What to ask the server for: CLIENT to send the pointer's position, SERVER to send its motion.
        limits: What the server may make us hold, where the defaults do not fit.

    Returns:
        The connection, every channel linked.

    Raises:
        ConfigError: The URI or the password cannot be meant.
        ConnectFailed: There is no such server; TlsError where it could not be trusted.
        LinkError: The server refused; AuthenticationFailed where the password was wrong or has expired.
        ConnectionLost: The connection ended while it was being made, or main broke the protocol.
        MalformedMessage: The peer does not speak SPICE.

    Cancellation: however the block ends, the machine is left in the order that servers survive: keys and buttons released,
        displays read before they close, main last. This takes a round trip, and never more than a few seconds.
    """
    parsed = SpiceUri.parse(uri) if isinstance(uri, str) else uri
    if not is_prepared():
        await trio.to_thread.run_sync(prepare)
    session = Session(wanted_mouse_mode=mouse_mode, limits=limits or SpiceLimits())
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        vm = SpiceVmConnection(parsed, password, tls or SpiceTlsConfig(), session, nursery)
        try:
            await vm._open(channels)  # noqa: SLF001 - this is its constructor
            yield vm
        except BaseException as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
            failure = error
        finally:
            await vm._leave()  # noqa: SLF001
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
