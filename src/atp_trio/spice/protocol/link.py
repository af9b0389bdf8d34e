"""The link stage, for either role: from the first byte to the data stage, or to the link error that says why not.

Theory of operation. Both cores are fed what was received and asked for the next event; the answer None means: receive more. The
client's core sends its link message at once, stops at `TicketNeeded` until it is given the encrypted ticket (a password may have
to be asked for, and encrypting is the driver's choice of time), and ends with `Linked`. The server's core stops at
`LinkRequested` until it is told to accept or refuse, at `TicketReceived` until it is told whether the ticket is good. What was
received beyond the link stage is `trailing_data`: the first bytes of the data stage.

Source: SPICE protocol reference, 1.1 to 1.11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Any, ClassVar, Final

import attrs

from atp_trio.errors import LinkError, LocalProtocolError, MalformedMessage, RemoteProtocolError
from atp_trio.spice.codec.link import (
    LinkHeader,
    LinkMess,
    LinkReply,
    MalformedLink,
    pack_link,
    parse_link_header,
    parse_link_mess,
    parse_link_reply,
)
from atp_trio.spice.messages.link import MAGIC, TICKET_SIZE, CommonCap, LinkAuthMechanism, LinkErrorCode, LinkResult
from atp_trio.spice.protocol.refusal import link_error

CLIENT_CAPS: Final = frozenset({CommonCap.PROTOCOL_AUTH_SELECTION, CommonCap.AUTH_SPICE, CommonCap.MINI_HEADER})
SERVER_CAPS: Final = CLIENT_CAPS

# Bytes of a mechanism and of a result.
_WORD: Final = 4


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
    TICKET_NEEDED = auto()  # the driver owes `send_ticket`
    REQUESTED = auto()  # the driver owes `accept` or `refuse`
    MECHANISM = auto()
    TICKET = auto()
    TICKET_RECEIVED = auto()  # the driver owes `finish`
    RESULT = auto()
    DONE = auto()
    FAILED = auto()


_Steps = Mapping[_State, Callable[[Any], Any]]
_OWED: Final = {
    _State.TICKET_NEEDED: "the ticket is due",
    _State.REQUESTED: "an answer to the client's request is due",
    _State.TICKET_RECEIVED: "an answer to the client's ticket is due",
    _State.DONE: "the link is complete",
    _State.FAILED: "the link has failed",
}


class _Link:
    """What both roles share: the bytes that came, the bytes to send, the states, and failing once for all.

    A role says what to do with bytes in `_steps`: a step that has its bytes takes them and changes the state, and may give an
    event; a step that lacks bytes leaves the state as it is. A state without a step waits for the driver.
    """

    _expected: ClassVar[type[LinkMess | LinkReply]]
    _steps: ClassVar[_Steps]

    def __init__(self) -> None:
        self._state = _State.HEADER
        self._in = bytearray()
        self._out = bytearray()
        self._size = 0
        self._error: Exception | None = None
        self._mess: LinkMess | None = None
        self._reply: LinkReply | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes came from the peer; after a failure they are dropped."""
        if self._error is None:
            self._in += data

    def data_to_send(self) -> bytes:
        """What is to be sent now; it is handed out once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def trailing_data(self) -> bytes:
        """After the last event: what came beyond the link stage.

        Raises:
            LocalProtocolError: The link is not complete.
        """
        self._expect(_State.DONE, "the link is not complete")
        return bytes(self._in)

    def _advance(self) -> Any:
        if self._error is not None:
            raise self._error
        while True:
            state = self._state
            step = self._steps.get(state)
            if step is None:
                raise LocalProtocolError(f"no event is due: {_OWED[state]}")
            event = step(self)
            if event is not None or self._state is state:
                return event

    def _expect(self, state: _State, otherwise: str) -> None:
        if self._state is not state:
            raise LocalProtocolError(otherwise)

    def _fail(self, error: Exception) -> None:
        self._state, self._error = _State.FAILED, error
        self._in.clear()

    def _take(self, size: int) -> bytes | None:
        if len(self._in) < size:
            return None
        data = bytes(self._in[:size])
        del self._in[:size]
        return data

    def _read_header(self) -> None:
        # A copy: the traceback of an error would keep the buffer from being resized.
        header = parse_link_header(bytes(self._in[: LinkHeader.SIZE]), self._expected)
        if header is not None:
            del self._in[: LinkHeader.SIZE]
            self._size, self._state = header.size, _State.BODY

    def _both(self, cap: CommonCap) -> bool:
        """Whether client and server announced the capability."""
        assert self._mess is not None
        assert self._reply is not None
        return cap in self._mess.common_caps and cap in self._reply.common_caps

    def _linked(self, peer: LinkMess | LinkReply) -> Linked:
        self._state = _State.DONE
        return Linked(self._both(CommonCap.MINI_HEADER), peer.common_caps, peer.channel_caps)


class ClientLink(_Link):
    """The client's side of one link.

    Args:
        channel_type: The channel asked for.
        channel_id: Its instance.
        connection_id: 0 for a new main channel, otherwise the session id of `main.Init`.
        channel_caps: What we can do on this type of channel.
        common_caps: What we can do at all.

    Raises:
        ConfigError: A number that does not fit the link message.
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
        self._out += pack_link(self._mess)

    def next_event(self) -> TicketNeeded | Linked | None:
        """What happened; None: receive more.

        Raises:
            LinkError: The server refused; the class and `code` say why.
            MalformedMessage: The server does not speak SPICE, or not correctly.
            LocalProtocolError: No event is due: the ticket is, or the link is complete.
        """
        try:
            event: TicketNeeded | Linked | None = self._advance()
        except (LinkError, RemoteProtocolError) as error:
            self._fail(error)
            raise
        return event

    def _read_reply(self) -> TicketNeeded | None:
        body = self._take(self._size)
        if body is None:
            return None
        reply = parse_link_reply(body)
        if reply.error != LinkErrorCode.OK:
            raise link_error(reply.error)
        if self._reply is not None:
            raise MalformedMessage("the server answered the ticket with a second offer")
        self._reply = reply
        if self._both(CommonCap.PROTOCOL_AUTH_SELECTION) and CommonCap.AUTH_SPICE not in reply.common_caps:
            raise LinkError("the server wants SASL authentication, which atp-trio does not speak yet")
        self._state = _State.TICKET_NEEDED
        return TicketNeeded(reply.pub_key)

    def send_ticket(self, ticket: bytes) -> None:
        """Answer `TicketNeeded` with the encrypted password.

        Raises:
            LocalProtocolError: No ticket is due, or it has not 128 bytes.
        """
        self._expect(_State.TICKET_NEEDED, "no ticket is due")
        if len(ticket) != TICKET_SIZE:
            raise LocalProtocolError(f"a ticket has {TICKET_SIZE} bytes, not {len(ticket)}")
        if self._both(CommonCap.PROTOCOL_AUTH_SELECTION):
            self._out += LinkAuthMechanism(CommonCap.AUTH_SPICE).encode()
        self._out += ticket
        self._state = _State.RESULT

    def _read_result(self) -> Linked | None:
        # A server that does not like the mechanism answers with a whole link reply in place of the number.
        if self._in.startswith(MAGIC):
            self._state = _State.HEADER
            return None
        data = self._take(_WORD)
        if data is None:
            return None
        code = LinkResult.decode(data).error
        if code != LinkErrorCode.OK:
            raise link_error(code)
        assert self._reply is not None
        return self._linked(self._reply)

    _steps: ClassVar[_Steps] = {
        _State.HEADER: _Link._read_header,  # noqa: SLF001 - the base's, inherited
        _State.BODY: _read_reply,
        _State.RESULT: _read_result,
    }


class ServerLink(_Link):
    """The server's side of one link."""

    _expected = LinkMess

    def next_event(self) -> LinkRequested | TicketReceived | None:
        """What happened; None: receive more.

        Raises:
            MalformedMessage: The client does not speak SPICE, or not correctly; the refusal is in `data_to_send`.
            LocalProtocolError: No event is due: an answer of ours is, or the link is complete or was refused.
        """
        try:
            event: LinkRequested | TicketReceived | None = self._advance()
        except MalformedLink as error:
            if self._error is None:
                self._out += pack_link(LinkReply.refuse(error.code))
                self._fail(error)
            raise
        return event

    def _read_mess(self) -> LinkRequested | None:
        body = self._take(self._size)
        if body is None:
            return None
        self._mess = parse_link_mess(body)
        self._state = _State.REQUESTED
        return LinkRequested(self._mess)

    def _read_mechanism(self) -> None:
        data = self._take(_WORD)
        if data is None:
            return
        mechanism = LinkAuthMechanism.decode(data).auth_mechanism
        if mechanism != CommonCap.AUTH_SPICE:
            raise MalformedLink(f"the client chose authentication mechanism {mechanism:d}", LinkErrorCode.INVALID_DATA)
        self._state = _State.TICKET

    def _read_ticket(self) -> TicketReceived | None:
        ticket = self._take(TICKET_SIZE)
        if ticket is None:
            return None
        self._state = _State.TICKET_RECEIVED
        return TicketReceived(ticket)

    _steps: ClassVar[_Steps] = {
        _State.HEADER: _Link._read_header,  # noqa: SLF001 - the base's, inherited
        _State.BODY: _read_mess,
        _State.MECHANISM: _read_mechanism,
        _State.TICKET: _read_ticket,
    }

    def accept(self, public_key: bytes, *, channel_caps: Iterable[int] = (), common_caps: Iterable[int] = SERVER_CAPS) -> None:
        """Answer `LinkRequested`: the channel exists, here is the key for the ticket.

        Raises:
            ConfigError: A key of other than 162 bytes, or capabilities that do not fit.
            LocalProtocolError: There is no request to answer.
        """
        self._expect(_State.REQUESTED, "there is no request to answer")
        reply = LinkReply(LinkErrorCode.OK, public_key, frozenset(common_caps), frozenset(channel_caps))
        self._out += pack_link(reply)
        self._reply = reply
        # A client that cannot choose a mechanism sends its ticket at once.
        self._state = _State.MECHANISM if self._both(CommonCap.PROTOCOL_AUTH_SELECTION) else _State.TICKET

    def refuse(self, code: int) -> None:
        """Answer `LinkRequested` with a link error; the link is over.

        Raises:
            ConfigError: A code beyond 32 bits.
            LocalProtocolError: There is no request to answer, or `code` is OK.
        """
        self._expect(_State.REQUESTED, "there is no request to answer")
        if code == LinkErrorCode.OK:
            raise LocalProtocolError("a refusal says why: its code cannot be OK")
        self._out += pack_link(LinkReply.refuse(code))
        self._fail(LocalProtocolError("the link was refused"))

    def finish(self, code: int = LinkErrorCode.OK) -> Linked | None:
        """Answer `TicketReceived`: OK and the data stage begins, anything else and the link is over.

        Raises:
            LocalProtocolError: There is no ticket to answer, or a code beyond 32 bits.
        """
        self._expect(_State.TICKET_RECEIVED, "there is no ticket to answer")
        self._out += LinkResult(LinkErrorCode(code)).encode()
        if code != LinkErrorCode.OK:
            self._fail(LocalProtocolError("the link was refused"))
            return None
        assert self._mess is not None
        return self._linked(self._mess)
