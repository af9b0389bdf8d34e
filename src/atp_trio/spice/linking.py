"""Linking a machine's channels: where its server is, what opens its door, and asking whether anybody is at home."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from atp_trio.errors import AtpError, ConfigError, ConnectionLost, LinkNeedSecured
from atp_trio.spice.channels import SpiceChannel
from atp_trio.spice.channels.session import Session
from atp_trio.spice.channels.state import Link, LinkTimings
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.link import ClientLink, Linked, TicketNeeded
from atp_trio.spice.protocol.ticket import check_password, encrypt_ticket
from atp_trio.spice.streams.base import ByteStream, StreamOpener, as_byte_stream
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.tls import SpiceTlsConfig, open_tls_stream
from atp_trio.spice.streams.unix import open_unix_stream
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.spice.wire import Role

__all__ = ["Linker", "Password"]

Password = str | bytes | Path | Callable[[], str | bytes | Awaitable[str | bytes]] | None


@attrs.define(eq=False)
class Linker:
    """Links the channels of one session."""

    where: SpiceUri | StreamOpener
    """Where the server is, or what gives a new stream to it."""
    session: Session
    """Whose channels."""
    _password: Password = attrs.field(repr=False)
    _tls: SpiceTlsConfig
    _secured: set[ChannelType] = attrs.field(factory=set)

    @property
    def uri(self) -> SpiceUri | None:
        """Where the server is; None where a function gives the streams."""
        return self.where if isinstance(self.where, SpiceUri) else None

    async def connect(self, channel: SpiceChannel) -> Link:
        """Link a channel, over TLS if the URI says so or the server wants it.

        Raises:
            TransportError: It could not be linked; the class says why.
            ConfigError: The password cannot be had.

        Cancellation: no stream stays open.
        """
        uri = self.uri
        secure = self._is_secure(channel)
        try:
            return await self._link(channel, secure=secure)
        except LinkNeedSecured:
            if secure or uri is None or uri.tls_port is None:
                raise
            self._secured.add(channel.channel_type)
            return await self._link(channel, secure=True)

    async def knock(self, channel: SpiceChannel) -> None:
        """Ask the server for this channel once more, without a ticket, and hang up as soon as it answers.

        For channels on which a server answers nothing. To the server it is a client that thought better of it: it never gets to
        know the channel it asks for. Any answer is a sign of life, a refusal too.

        Cancellation: no stream stays open.
        """
        with contextlib.suppress(AtpError):
            stream = await self._open_stream(secure=self._is_secure(channel))
            try:
                await _next_event(stream, self._offer(channel))
            finally:
                await trio.aclose_forcefully(stream)

    def _is_secure(self, channel: SpiceChannel) -> bool:
        uri = self.uri
        return uri is not None and uri.unix_path is None and (uri.port is None or channel.channel_type in self._secured)

    def _offer(self, channel: SpiceChannel) -> ClientLink:
        return ClientLink(channel.channel_type, channel.channel_id, self.session.connection_id, channel_caps=channel.caps)

    async def _link(self, channel: SpiceChannel, *, secure: bool) -> Link:
        started = time.perf_counter()
        stream = await self._open_stream(secure=secure)
        try:
            return await self._shake_hands(stream, channel, started)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def _open_stream(self, *, secure: bool) -> ByteStream:
        uri = self.where
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
        link = self._offer(channel)
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
            max_body=self.session.limits.message_bytes if is_display else None,
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
