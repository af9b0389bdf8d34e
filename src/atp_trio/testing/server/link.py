"""The link stage of the embedded server: who may have which channel. Refusals are those of SPICE's server.

Source: SPICE protocol reference, 1.7 to 1.11.
"""

from __future__ import annotations

import functools
import hmac
import time
from typing import TYPE_CHECKING, Final

import attrs
import trio

from atp_trio.errors import MalformedMessage
from atp_trio.spice.codec.link import LinkMess
from atp_trio.spice.messages.link import ChannelType, LinkErrorCode
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.link import Linked as LinkResult
from atp_trio.spice.protocol.link import LinkRequested, ServerLink, TicketReceived
from atp_trio.spice.protocol.ticket import TicketKey
from atp_trio.spice.streams.base import ByteStream
from atp_trio.spice.wire import Role
from atp_trio.testing.server.channel import Linked, ServerChannel
from atp_trio.testing.server.channels import CHANNELS

if TYPE_CHECKING:
    from atp_trio.testing.server.server import SpiceServer
    from atp_trio.testing.server.session import ClientSession

# A client that links and then says nothing is let go after this, in seconds, so that it costs no more than that.
LINK_SECONDS: Final = 30.0


class Refused(Exception):
    """The link was refused, or the client left."""


@attrs.frozen
class Door:
    """How a client came in.

    Attributes:
        is_secure: Over TLS.
        network_test: Whether main measures this way.
    """

    is_secure: bool = False
    network_test: bool = True


@functools.cache
def shared_key() -> TicketKey:
    """One key for all links of this process, where they need not be made anew."""
    return TicketKey.generate()


async def link_channel(server: SpiceServer, stream: ByteStream, door: Door) -> ServerChannel:
    """Link one channel.

    Raises:
        Refused: The client was refused, or took too long.
        MalformedMessage: It does not speak SPICE.
        trio.BrokenResourceError: It is gone.
    """
    link = ServerLink()
    with trio.move_on_after(LINK_SECONDS):
        try:
            return await _shake_hands(server, stream, link, door)
        except MalformedMessage:
            await stream.send_all(link.data_to_send())
            raise
    raise Refused("the client took too long")


async def _shake_hands(server: SpiceServer, stream: ByteStream, link: ServerLink, door: Door) -> ServerChannel:
    requested = await _next_event(stream, link)
    assert isinstance(requested, LinkRequested)
    mess = requested.mess
    kind = ChannelType(mess.channel_type)
    if kind in server.options.secure_channels and not door.is_secure:
        link.refuse(LinkErrorCode.NEED_SECURED)
        await stream.send_all(link.data_to_send())
        raise Refused("NEED_SECURED")
    if kind is not ChannelType.MAIN and (kind, mess.channel_id) not in server.options.channels:
        # Not a word is what SPICE's server says too.
        raise Refused("no such channel")
    key = await _ticket_key(server)
    link.accept(key.public_key, channel_caps=CHANNELS.get(kind, ServerChannel).caps)
    received = await _next_event(stream, link)
    assert isinstance(received, TicketReceived)
    session = server.session_of(mess.connection_id)
    code = _verdict(server, key.decrypt(received.ticket), mess, session)
    result = link.finish(code)
    await stream.send_all(link.data_to_send())
    if result is None:
        raise Refused(code.name)
    return _open_channel(server, stream, link, door, mess, result)


def _verdict(server: SpiceServer, password: bytes | None, mess: LinkMess, session: ClientSession | None) -> LinkErrorCode:
    if password is None or not _is_right(server.ticket, password):
        return LinkErrorCode.PERMISSION_DENIED
    if mess.channel_type != ChannelType.MAIN and session is None:
        return LinkErrorCode.BAD_CONNECTION_ID
    return LinkErrorCode.OK


def _is_right(ticket: bytes | None, password: bytes) -> bool:
    return ticket is None or (bool(ticket) and hmac.compare_digest(ticket, password))


def _open_channel(
    server: SpiceServer, stream: ByteStream, link: ServerLink, door: Door, mess: LinkMess, result: LinkResult
) -> ServerChannel:
    """The channel of a link that is complete: as its main says, a client's first or a further one."""
    kind = ChannelType(mess.channel_type)
    # Looked up again: while the result was sent, the client's main may have ended.
    session = server.new_session() if kind is ChannelType.MAIN else server.session_of(mess.connection_id)
    if session is None or (kind, mess.channel_id) in session.channels:
        raise Refused("the client has left, or has this channel already")
    # As from SPICE's server, a TLS record holds bytes of one message only: spice-gtk 0.42 takes one message whenever its socket
    # has something for it, and what else that record held would wait inside OpenSSL for the record that comes after it.
    joins = not door.is_secure
    core = ChannelCore(Role.SERVER, kind, mini_header=result.mini_header, received=link.trailing_data, joins=joins)
    linked = Linked(stream, core, kind, mess.channel_id, result.channel_caps, door.network_test)
    channel = CHANNELS.get(kind, ServerChannel)(server, session, linked)
    session.channels[kind, mess.channel_id] = channel
    return channel


async def _ticket_key(server: SpiceServer) -> TicketKey:
    if not server.options.fresh_keys:
        return shared_key()
    started = time.perf_counter()
    key = await trio.to_thread.run_sync(TicketKey.generate)
    server.key_seconds.append(time.perf_counter() - started)
    return key


async def _next_event(stream: ByteStream, link: ServerLink) -> LinkRequested | TicketReceived:
    await stream.send_all(link.data_to_send())
    while True:
        event = link.next_event()
        if event is not None:
            return event
        data = await stream.receive_some(65536)
        if not data:
            raise Refused("the client left")
        link.receive_data(data)
