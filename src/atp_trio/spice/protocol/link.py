"""The link stage, for either role: from the first byte to the data stage, or to the link error that says why not.

Theory of operation. Both cores are fed what was received and asked for the next event; the answer None means: receive more. The
client's core sends its link message at once, stops at `TicketNeeded` until it is given the encrypted ticket (a password may have
to be asked for, and encrypting is the driver's choice of time), and ends with `Linked`. The server's core stops at
`LinkRequested` until it is told to accept or refuse, at `TicketReceived` until it is told whether the ticket is good. What was
received beyond the link stage is `trailing_data`: the first bytes of the data stage.

Source: SPICE protocol reference, 1.1 to 1.11.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

import attrs

from atp_trio.errors import (
    AuthenticationFailed,
    LinkBadConnectionId,
    LinkChannelNotAvailable,
    LinkError,
    LinkInvalidData,
    LinkInvalidMagic,
    LinkNeedSecured,
    LinkNeedUnsecured,
    LinkVersionMismatch,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
)
from atp_trio.spice.codec.link import (
    LinkErrorCode,
    LinkHeader,
    LinkMess,
    LinkReply,
    MalformedLink,
    pack_link,
    parse_link_header,
    parse_link_mess,
    parse_link_reply,
)
from atp_trio.spice.messages.link import CommonCap
from atp_trio.spice.protocol.ticket import TICKET_BYTES

CLIENT_CAPS: Final = frozenset({CommonCap.PROTOCOL_AUTH_SELECTION, CommonCap.AUTH_SPICE, CommonCap.MINI_HEADER})
SERVER_CAPS: Final = CLIENT_CAPS

_SENTENCES: Final[dict[int, tuple[type[LinkError], str]]] = {
    LinkErrorCode.ERROR: (LinkError, "the server refused the link"),
    LinkErrorCode.INVALID_MAGIC: (LinkInvalidMagic, "the server did not take our link message for SPICE"),
    LinkErrorCode.INVALID_DATA: (LinkInvalidData, "the server found our link message invalid"),
    LinkErrorCode.VERSION_MISMATCH: (LinkVersionMismatch, "the server speaks another version of SPICE, or requires SASL"),
    LinkErrorCode.NEED_SECURED: (LinkNeedSecured, "the server wants this channel over TLS"),
    LinkErrorCode.NEED_UNSECURED: (LinkNeedUnsecured, "the server wants this channel without TLS"),
    LinkErrorCode.PERMISSION_DENIED: (AuthenticationFailed, "the server did not accept the password"),
    LinkErrorCode.BAD_CONNECTION_ID: (LinkBadConnectionId, "the server does not know the connection of this channel"),
    LinkErrorCode.CHANNEL_NOT_AVAILABLE: (LinkChannelNotAvailable, "the channel is not available"),
}


def link_error(code: int) -> LinkError:
    """The exception for SPICE's link error `code`."""
    kind, sentence = _SENTENCES.get(code, (LinkError, f"the server refused the link with error {code}"))
    return kind(sentence, code=code)


@attrs.frozen
class TicketNeeded:
    """The server wants a ticket.

    Attributes:
        public_key: The key to encrypt it with, DER.
    """

    public_key: bytes = attrs.field(repr=False)


@attrs.frozen
class Linked:
    """The data stage begins.

    Attributes:
        mini_header: Whether both sides announced mini headers.
        common_caps: The peer's common capabilities.
        channel_caps: The peer's capabilities for this type of channel.
    """

    mini_header: bool
    common_caps: frozenset[int]
    channel_caps: frozenset[int]


@attrs.frozen
class LinkRequested:
    """A client asks for a channel: answer with `accept` or `refuse`."""

    mess: LinkMess


@attrs.frozen
class TicketReceived:
    """The client's ticket, encrypted: answer with `finish`."""

    ticket: bytes = attrs.field(repr=False)


class _State(Enum):
    HEADER = auto()
    BODY = auto()
    DRIVER = auto()  # an event was given; the driver's answer is due
    MECHANISM = auto()
    TICKET = auto()
    RESULT = auto()
    DONE = auto()
    FAILED = auto()


class _Link:
    """What both roles share: the bytes that came, the bytes to send, and failing once for all."""

    _expected: type[LinkMess | LinkReply]

    def __init__(self) -> None:
        self._state = _State.HEADER
        self._in = bytearray()
        self._out = bytearray()
        self._size = 0
        self._error: Exception | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes came from the peer."""
        self._in += data

    def data_to_send(self) -> bytes:
        """What is to be sent now; it is handed out once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def trailing_data(self) -> bytes:
        """After the last event: what came beyond the link stage."""
        if self._state is not _State.DONE:
            raise LocalProtocolError("the link is not complete")
        return bytes(self._in)

    def _take(self, size: int) -> bytes | None:
        if len(self._in) < size:
            return None
        data = bytes(self._in[:size])
        del self._in[:size]
        return data

    def _read_header(self) -> bool:
        header = parse_link_header(self._in, self._expected)
        if header is None:
            return False
        del self._in[: LinkHeader.SIZE]
        self._size = header.size
        self._state = _State.BODY
        return True

    def _fail(self, error: Exception) -> Exception:
        self._state, self._error = _State.FAILED, error
        return error

    def _expect_driver(self) -> None:
        if self._state is not _State.DRIVER:
            raise LocalProtocolError("nothing to answer: take the next event first")


class ClientLink(_Link):
    """The client's side of one link.

    Args:
        channel_type: The channel asked for.
        channel_id: Its instance.
        connection_id: 0 for a new main channel, otherwise the session id of `main.Init`.
        channel_caps: What we can do on this type of channel.
        common_caps: What we can do at all.
    """

    _expected = LinkReply

    def __init__(
        self,
        channel_type: int,
        channel_id: int = 0,
        connection_id: int = 0,
        *,
        channel_caps: Iterable[int] = (),
        common_caps: Iterable[int] = CLIENT_CAPS,
    ) -> None:
        super().__init__()
        self._mess = LinkMess(connection_id, channel_type, channel_id, frozenset(common_caps), frozenset(channel_caps))
        self._reply: LinkReply | None = None
        self._out += pack_link(self._mess)

    def next_event(self) -> TicketNeeded | Linked | None:
        """What happened; None: receive more.

        Raises:
            LinkError: The server refused; the class and `code` say why.
            MalformedMessage: The server does not speak SPICE, or not correctly.
            LocalProtocolError: A ticket is due.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except (LinkError, RemoteProtocolError) as error:
            raise self._fail(error) from error.__cause__

    def _next(self) -> TicketNeeded | Linked | None:
        if self._state is _State.HEADER and not self._read_header():
            return None
        if self._state is _State.BODY:
            return self._read_reply()
        if self._state is _State.RESULT:
            return self._read_result()
        raise LocalProtocolError("no event is due: send the ticket, or the link is complete")

    def _read_reply(self) -> TicketNeeded | None:
        body = self._take(self._size)
        if body is None:
            return None
        reply = parse_link_reply(body)
        if reply.error != LinkErrorCode.OK:
            raise link_error(reply.error)
        selection = CommonCap.PROTOCOL_AUTH_SELECTION in reply.common_caps
        if selection and CommonCap.AUTH_SPICE not in reply.common_caps:
            raise LinkError("the server wants SASL authentication, which atp-trio does not speak yet", code=LinkErrorCode.ERROR)
        self._reply, self._state = reply, _State.DRIVER
        return TicketNeeded(reply.pub_key)

    def send_ticket(self, ticket: bytes) -> None:
        """Answer `TicketNeeded` with the encrypted password."""
        self._expect_driver()
        if len(ticket) != TICKET_BYTES:
            raise LocalProtocolError(f"a ticket has {TICKET_BYTES} bytes, not {len(ticket)}")
        assert self._reply is not None
        if CommonCap.PROTOCOL_AUTH_SELECTION in self._reply.common_caps:
            self._out += struct.pack("<I", CommonCap.AUTH_SPICE)
        self._out += ticket
        self._state = _State.RESULT

    def _read_result(self) -> Linked | None:
        # A server that does not like the mechanism answers with a whole link reply in place of the number.
        if bytes(self._in[:4]) == b"REDQ":
            self._state = _State.HEADER
            if self._next() is not None:
                raise MalformedMessage("the server answered the ticket with a second offer")
            return None
        data = self._take(4)
        if data is None:
            return None
        (code,) = struct.unpack("<I", data)
        if code != LinkErrorCode.OK:
            raise link_error(code)
        assert self._reply is not None
        self._state = _State.DONE
        both = self._mess.common_caps & self._reply.common_caps
        return Linked(CommonCap.MINI_HEADER in both, self._reply.common_caps, self._reply.channel_caps)


class ServerLink(_Link):
    """The server's side of one link."""

    _expected = LinkMess

    def __init__(self) -> None:
        super().__init__()
        self._mess: LinkMess | None = None
        self._reply: LinkReply | None = None

    def next_event(self) -> LinkRequested | TicketReceived | None:
        """What happened; None: receive more.

        Raises:
            MalformedMessage: The client does not speak SPICE, or not correctly; the refusal is in `data_to_send`.
            LocalProtocolError: An answer of ours is due.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except MalformedLink as error:
            self._out += pack_link(LinkReply.refuse(error.code))
            raise self._fail(error) from None

    def _next(self) -> LinkRequested | TicketReceived | None:
        if self._state is _State.HEADER and not self._read_header():
            return None
        if self._state is _State.BODY:
            body = self._take(self._size)
            if body is None:
                return None
            self._mess, self._state = parse_link_mess(body), _State.DRIVER
            return LinkRequested(self._mess)
        if self._state is _State.MECHANISM and not self._read_mechanism():
            return None
        if self._state is _State.TICKET:
            ticket = self._take(TICKET_BYTES)
            if ticket is None:
                return None
            self._state = _State.DRIVER
            return TicketReceived(ticket)
        raise LocalProtocolError("no event is due: answer the last one, or the link is complete")

    def _read_mechanism(self) -> bool:
        data = self._take(4)
        if data is None:
            return False
        (mechanism,) = struct.unpack("<I", data)
        if mechanism != CommonCap.AUTH_SPICE:
            raise MalformedLink(f"the client chose authentication mechanism {mechanism}", LinkErrorCode.INVALID_DATA)
        self._state = _State.TICKET
        return True

    def accept(self, public_key: bytes, *, channel_caps: Iterable[int] = (), common_caps: Iterable[int] = SERVER_CAPS) -> None:
        """Answer `LinkRequested`: the channel exists, here is the key for the ticket."""
        self._expect_driver()
        assert self._mess is not None
        self._reply = LinkReply(LinkErrorCode.OK, public_key, frozenset(common_caps), frozenset(channel_caps))
        self._out += pack_link(self._reply)
        # A client that cannot choose a mechanism sends its ticket at once.
        selects = CommonCap.PROTOCOL_AUTH_SELECTION in self._mess.common_caps
        self._state = _State.MECHANISM if selects else _State.TICKET

    def refuse(self, code: int) -> None:
        """Answer `LinkRequested` with a link error; the link is over."""
        self._expect_driver()
        self._out += pack_link(LinkReply.refuse(code))
        self._fail(LocalProtocolError("the link was refused"))

    def finish(self, code: int = LinkErrorCode.OK) -> Linked | None:
        """Answer `TicketReceived`: OK and the data stage begins, anything else and the link is over."""
        self._expect_driver()
        if self._reply is None or self._mess is None:
            raise LocalProtocolError("no ticket was received yet")
        self._out += struct.pack("<I", code)
        if code != LinkErrorCode.OK:
            self._fail(LocalProtocolError("the link was refused"))
            return None
        self._state = _State.DONE
        both = self._mess.common_caps & self._reply.common_caps
        return Linked(CommonCap.MINI_HEADER in both, self._mess.common_caps, self._mess.channel_caps)
