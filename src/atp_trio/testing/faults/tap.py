"""Follows the bytes of one SPICE connection as they pass: which channel it is, and its ACKs, which may be taken out.

Sans-IO. What passes is not held back, but for a header that is not yet whole while ACKs are withheld. A connection that does not
speak SPICE, or speaks it encrypted, passes unread.
"""

from __future__ import annotations

import struct
from typing import Final

from atp_trio.errors import MalformedMessage
from atp_trio.spice.codec.link import LinkHeader, LinkMess, LinkReply, parse_link_header, parse_link_mess, parse_link_reply
from atp_trio.spice.messages.base import Ack
from atp_trio.spice.messages.link import TICKET_SIZE, CommonCap
from atp_trio.spice.wire import Role

__all__ = ["ChannelTap"]

_MINI: Final = struct.Struct("<HI")
_FULL: Final = struct.Struct("<QHII")
_MECHANISM_SIZE: Final = 4
_ACK: Final = Ack.numbers[Role.CLIENT]


class _LinkReader:
    """Collects one side's first structure, header and body."""

    def __init__(self, expected: type[LinkMess | LinkReply]) -> None:
        self._expected = expected
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> tuple[bytes, int] | None:
        """The body, and how many of these bytes were its; None: there is more to come.

        Raises:
            MalformedMessage: This is not SPICE.
        """
        before = len(self._data)
        self._data += data
        header = parse_link_header(bytes(self._data[: LinkHeader.SIZE]), self._expected)
        if header is None or len(self._data) < LinkHeader.SIZE + header.size:
            return None
        end = LinkHeader.SIZE + header.size
        return bytes(self._data[LinkHeader.SIZE : end]), end - before


class ChannelTap:
    """Follows one connection.

    Attributes:
        channel: Type and id of the channel, once the client's link message has passed.
        is_readable: Whether the connection can be followed: it speaks SPICE, and not encrypted.
        withholding: Whether the client's ACKs are taken out.
        withheld: How many were.
    """

    def __init__(self) -> None:
        self.channel: tuple[int, int] | None = None
        self.is_readable = True
        self.withholding = False
        self.withheld = 0
        self._mess_reader = _LinkReader(LinkMess)
        self._reply_reader = _LinkReader(LinkReply)
        self._mess: LinkMess | None = None
        self._reply: LinkReply | None = None
        self._skip = 0  # bytes of the client before its next header
        self._is_dropped = False  # whether those are taken out
        self._header = bytearray()
        self._held_from = 0  # how much of that header has passed already

    def from_server(self, data: bytes) -> bytes:
        """Bytes of the server; they pass as they are."""
        if self.is_readable and self._reply is None:
            try:
                found = self._reply_reader.feed(data)
                if found is not None:
                    self._reply = parse_link_reply(found[0])
            except MalformedMessage:
                self.is_readable = False
        return data

    def from_client(self, data: bytes) -> bytes:
        """Bytes of the client; gives those that are to pass."""
        if not self.is_readable:
            return data
        if self._mess is None:
            return self._read_mess(data)
        if self._reply is None:  # nobody speaks before the server's reply, which has the key
            self.is_readable = False
            return data
        return self._read_messages(data)

    def _read_mess(self, data: bytes) -> bytes:
        try:
            found = self._mess_reader.feed(data)
            if found is None:
                return data
            self._mess = parse_link_mess(found[0])
        except MalformedMessage:
            self.is_readable = False
            return data
        self.channel = self._mess.channel_type, self._mess.channel_id
        self._skip = -1
        rest = data[found[1] :]
        return data[: found[1]] + (self.from_client(rest) if rest else b"")

    def _agreed(self, cap: CommonCap) -> bool:
        assert self._mess is not None
        assert self._reply is not None
        return cap in self._mess.common_caps and cap in self._reply.common_caps

    def _read_messages(self, data: bytes) -> bytes:
        if self._skip < 0:
            self._skip = TICKET_SIZE + (_MECHANISM_SIZE if self._agreed(CommonCap.PROTOCOL_AUTH_SELECTION) else 0)
        form = _MINI if self._agreed(CommonCap.MINI_HEADER) else _FULL
        out, view = bytearray(), memoryview(data)
        while view:
            if self._skip:
                passed, view = view[: self._skip], view[self._skip :]
                self._skip -= len(passed)
                out += b"" if self._is_dropped else passed
                continue
            missing = form.size - len(self._header)
            self._header += view[:missing]
            view = view[missing:]
            if len(self._header) == form.size:
                self._end_header(form, out)
        if not self.withholding:
            out += self._header[self._held_from :]
            self._held_from = len(self._header)
        return bytes(out)

    def _end_header(self, form: struct.Struct, out: bytearray) -> None:
        number, size = form.unpack(self._header)[:2] if form is _MINI else form.unpack(self._header)[1:3]
        # A header of which a part has passed cannot be taken out any more.
        self._is_dropped = self.withholding and number == _ACK and not self._held_from
        if self._is_dropped:
            self.withheld += 1
        else:
            out += self._header[self._held_from :]
        self._header.clear()
        self._held_from, self._skip = 0, size
