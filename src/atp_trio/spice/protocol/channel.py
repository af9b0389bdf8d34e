"""The data stage of one channel, for either role: bytes in, messages out, and messages in, bytes out.

Theory of operation. The driver receives into `free_space()`, tells `received(n)`, and takes messages with `next_message()` until
it gives None. Views inside a message are good until the next `free_space()`. A message counts as processed when the next one is
asked for: other channels may wait for that (`WAIT_FOR_CHANNELS`), and so may the peer. What the core answers by itself, SET_ACK
and PING and the ACKs of the window, is put into the output beside what `send` puts there, so a driver looks at `data_to_send()`
after every batch. Three errors tell what is wrong with a message: `UnknownMessage` and `UnexpectedMessage` pass over that
message and leave the core usable, `MalformedMessage` ends it.

Source: SPICE protocol reference, section 2.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import attrs

from atp_trio.errors import LocalProtocolError, MalformedMessage, UnexpectedMessage, UnknownMessage
from atp_trio.spice.codec.framing import Framer, HeaderKind, pack_full_header, pack_mini_header, sub_messages
from atp_trio.spice.messages import base
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.buffer import ReceiveBuffer
from atp_trio.spice.protocol.order import Order
from atp_trio.spice.wire import Message, Role, table
from atp_trio.spice.wire.kind import Buffer

# What a peer may make us hold. The server's own limits are those of SPICE's server (reference, 2.4); from a server we take at
# most one uncompressed picture of 64 Mi pixels on a display, and elsewhere four times the network test's PING of 256000 bytes.
MAX_BODY_FROM_SERVER: Final = 1024 * 1024
MAX_BODY_FROM_SERVER_DISPLAY: Final = 256 * 1024 * 1024 + 4096
MAX_BODY_FROM_CLIENT: Final = {
    ChannelType.MAIN: 26624,
    ChannelType.DISPLAY: 1024,
    ChannelType.CURSOR: 1024,
    ChannelType.INPUTS: 2048,
}


def max_body(channel_type: int, sender: Role) -> int:
    """The largest body, in bytes, that is taken from `sender` on such a channel."""
    if sender is Role.CLIENT:
        return MAX_BODY_FROM_CLIENT.get(ChannelType(channel_type), MAX_BODY_FROM_SERVER)
    return MAX_BODY_FROM_SERVER_DISPLAY if channel_type == ChannelType.DISPLAY else MAX_BODY_FROM_SERVER


@attrs.define(eq=False)
class AckWindow:
    """Acknowledgement by the receiver: an ACK for every `window` messages; 0 is none.

    Attributes:
        window: Messages an ACK stands for.
        generation: The number of the SET_ACK that is in force.
        left: Messages until the next ACK.
        acks: ACKs sent so far.
    """

    window: int = 0
    generation: int = 0
    left: int = 0
    acks: int = 0

    def set(self, generation: int, window: int) -> None:
        """A SET_ACK came."""
        self.generation, self.window, self.left = generation, window, window

    def count(self) -> bool:
        """A message came; whether an ACK is due."""
        if not self.left:
            return False
        self.left -= 1
        if self.left:
            return False
        self.left = self.window
        self.acks += 1
        return True


@attrs.define(eq=False)
class SendWindow:
    """The same from the sender's side: how much it may send before it must wait.

    Attributes:
        window: What SET_ACK announced; 0 is no limit.
        generation: The number of our SET_ACK.
        unacknowledged: Messages sent since, less those acknowledged.
    """

    window: int = 0
    generation: int = 0
    unacknowledged: int = 0
    _synced: bool = False

    @property
    def is_open(self) -> bool:
        """Whether more may be sent: at most two windows are under way."""
        return not self.window or self.unacknowledged <= 2 * self.window

    def announce(self, window: int) -> base.SetAck:
        """Begin a window; gives the message that says so."""
        self.generation, self.window, self.unacknowledged, self._synced = self.generation + 1, window, 0, False
        return base.SetAck(generation=self.generation, window=window)

    def sync(self, generation: int) -> None:
        """ACK_SYNC came: ACKs count from here on."""
        self._synced = self._synced or generation == self.generation

    def acknowledge(self) -> None:
        """ACK came."""
        if self._synced:
            self.unacknowledged = max(0, self.unacknowledged - self.window)


@attrs.define(eq=False)
class Traffic:
    """What went through a channel so far."""

    bytes_received: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    pings_answered: int = 0
    skipped: Counter[str] = attrs.field(factory=Counter)


class ChannelCore:
    """The data stage of one channel.

    Args:
        role: Who we are.
        channel_type: What the channel is; its messages come from the catalogue.
        mini_header: Whether the link agreed on mini headers.
        max_body: The largest body to take, in bytes; by default SPICE's own limits.
        received: What came with the end of the link stage.

    Attributes:
        ack: The window that the peer gave us.
        send_window: The window that we gave the peer.
        last_serial: The serial of the last message that was fully processed.
        traffic: The counters.
    """

    def __init__(
        self,
        role: Role,
        channel_type: int,
        *,
        mini_header: bool,
        max_body: int | None = None,
        received: bytes = b"",
    ) -> None:
        self.role = role
        self.channel_type = channel_type
        self.ack = AckWindow()
        self.send_window = SendWindow()
        self.traffic = Traffic()
        self.last_serial = 0
        self._mini_header = mini_header
        self._table = table(channel_type, role.peer)
        self._order_in = Order.of(channel_type, role.peer)
        self._order_out = Order.of(channel_type, role)
        limit = _limit(channel_type, role) if max_body is None else max_body
        self._framer = Framer(HeaderKind.MINI if mini_header else HeaderKind.FULL, limit)
        self._buffer = ReceiveBuffer()
        self._needed = 0
        self._more = False
        self._frames: deque[tuple[int, int, int, int]] = deque()  # number, offset, size, serial once it is processed (or 0)
        self._serial_in = 0
        self._serial_out = 0
        self._processing = 0
        self._out: list[Buffer] = []
        self._error: MalformedMessage | None = None
        for at in range(0, len(received), 65536):
            self.receive_data(received[at : at + 65536])

    # --- in

    def free_space(self) -> memoryview:
        """Where to receive into; earlier views into messages end here. Only after `next_message` gave None."""
        return self._buffer.free_space(self._needed)

    def received(self, count: int) -> None:
        """So many bytes were received into the free space."""
        self._buffer.filled(count)
        self.traffic.bytes_received += count
        self._more = True

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Receive bytes that lie elsewhere (copies them)."""
        view = memoryview(data)
        while view:
            space = self.free_space()
            count = min(len(space), len(view))
            space[:count] = view[:count]
            self.received(count)
            view = view[count:]

    def next_message(self) -> Message | None:
        """The next message, or None: receive more.

        Raises:
            UnknownMessage: The channel has no such message; it was passed over.
            UnexpectedMessage: It is not allowed now; it was passed over.
            MalformedMessage: Its bytes do not fit; the channel cannot go on, and every further call raises this again.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except MalformedMessage as error:
            self._error = error
            raise

    def _next(self) -> Message | None:
        while True:
            if self._processing:
                self.last_serial, self._processing = self._processing, 0
            if not self._frames and not self._find_frames():
                return None
            number, offset, size, serial = self._frames.popleft()
            if serial:
                self._processing = serial
                # One a message of the wire; its sub-messages went before.
                if self.ack.count():
                    self.send(base.Ack())
            message = self._take(number, offset, size)
            if message is not None:
                return message

    def _find_frames(self) -> bool:
        """Search the buffer for messages; whether there are any."""
        if not self._more:
            return False
        buffer = self._buffer
        found = self._framer.frames(buffer.data, buffer.start, buffer.end)
        if self._mini_header:
            for number, offset, size in found:
                self._serial_in += 1
                if number == _LIST:
                    self._unpack(offset, size, 0)
                self._frames.append((number, offset, size, self._serial_in))
        else:
            for number, offset, size, sub_list, serial in found.rows():
                # Serials may skip; one that stands still or goes back would make us say that nothing was processed.
                self._serial_in = max(serial, self._serial_in + 1)
                if sub_list or number == _LIST:
                    self._unpack(offset, size, sub_list)
                self._frames.append((number, offset, size, self._serial_in))
        self.traffic.messages_received += found.count
        buffer.start, self._needed, self._more = found.consumed, found.needed, found.more
        return bool(self._frames)

    def _unpack(self, offset: int, size: int, sub_list: int) -> None:
        for number, at, length in sub_messages(self._buffer.data, offset, size, sub_list):
            if number == _LIST:
                raise MalformedMessage("a list of messages inside a list of messages")
            self._frames.append((number, at, length, 0))

    def _take(self, number: int, offset: int, size: int) -> Message | None:
        """Read one message and answer it where that is our own business; None when nothing is left to tell."""
        cls = self._table.get(number)
        if cls is None:
            self.traffic.skipped[f"type {number}"] += 1
            raise UnknownMessage(f"message type {number} of {size} bytes is unknown on this channel")
        wrong = self._order_in.check(cls)
        if wrong is not None:
            self.traffic.skipped[cls.__name__] += 1
            raise UnexpectedMessage(wrong)
        if cls is base.List:
            return None
        message = cls.decode(memoryview(self._buffer.data)[offset : offset + size], copy=False)
        return message if not self._answer(message) else None

    def _answer(self, message: Message) -> bool:
        """Whether the message concerns the transport alone and is done with."""
        if isinstance(message, base.Ping):
            self.traffic.pings_answered += 1
            self.send(base.Pong(id=message.id, timestamp=message.timestamp))
        elif isinstance(message, base.SetAck):
            self.ack.set(message.generation, message.window)
            self.send(base.AckSync(generation=message.generation))
        elif isinstance(message, base.AckSync):
            self.send_window.sync(message.generation)
        elif isinstance(message, base.Ack):
            self.send_window.acknowledge()
        else:
            return False
        return True

    # --- out

    def send(self, message: Message) -> None:
        """Put a message into the output.

        Raises:
            LocalProtocolError: Our role does not send it, it is not allowed now, or its values do not fit; nothing was put.
        """
        number = message.number(self.role)
        if message.channel_types and self.channel_type not in message.channel_types:
            raise LocalProtocolError(f"{type(message).__name__} does not belong on this channel")
        body = message.encode()
        wrong = self._order_out.check(type(message))
        if wrong is not None:
            raise LocalProtocolError(wrong)
        self._put(number, body)

    def send_body(self, number: int, *pieces: Buffer) -> None:
        """Put a message into the output whose body was encoded before, in pieces: for fast paths and for fuzzing.

        Nothing is checked, so the peer may find it malformed. The pieces are not copied: they must not change before they are
        sent.
        """
        self._put(number, *pieces)

    def _put(self, number: int, *pieces: Buffer) -> None:
        self._serial_out += 1
        size = sum(map(len, pieces))
        header = pack_mini_header(number, size) if self._mini_header else pack_full_header(self._serial_out, number, size)
        self._out += (header, *pieces)
        self.traffic.messages_sent += 1
        self.send_window.unacknowledged += 1

    def announce_window(self, window: int) -> None:
        """As the server: ask for an ACK every `window` messages."""
        self.send(self.send_window.announce(window))
        self.send_window.unacknowledged = 0

    def data_to_send(self) -> list[Buffer]:
        """What is to be sent now, in order; it is handed out once. Small pieces are joined, large ones are not copied."""
        joined: list[Buffer] = []
        small: list[Buffer] = []
        for piece in self._out:
            if len(piece) < _LARGE:
                small.append(piece)
                continue
            joined += (b"".join(small), piece)
            small = []
        if small:
            joined.append(b"".join(small))
        self._out = []
        self.traffic.bytes_sent += sum(map(len, joined))
        return joined


# Above this, one more call of send costs less than copying.
_LARGE: Final = 32 * 1024
_LIST: Final = base.List.numbers[Role.SERVER]


def _limit(channel_type: int, role: Role) -> int:
    return max_body(channel_type, role.peer)
