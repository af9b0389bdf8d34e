"""The data stage of one channel, for either role: bytes in, messages out, and messages in, bytes out.

Theory of operation. The driver receives into `free_space()`, tells `received(n)`, and takes messages with `next_message()` until
it gives None. Bytes in a message are views of the receive buffer, good until the next `free_space()` or `receive_data()`. A
message counts as processed when the next one is asked for: other channels may wait for that (`WAIT_FOR_CHANNELS`), and so may
the peer. What the core answers by itself, SET_ACK and PING and the ACKs of the window, is put into the output beside what `send`
puts there, so a driver looks at `data_to_send()` after every batch. Three errors tell what is wrong with a message:
`UnknownMessage` and `UnexpectedMessage` pass over that message and leave the core usable, `MalformedMessage` ends it.

A message of the wire is taken in three steps: its sub-messages in order, then the window's accounting, then the message itself.
They are looked for when their turn comes, so that a list that breaks a rule hides nothing of what came before it.

Source: SPICE protocol reference, section 2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import length_hint
from typing import Final

from atp_trio.errors import LocalProtocolError, MalformedMessage, UnexpectedMessage, UnknownMessage
from atp_trio.spice.codec.following import ACK_BYTES, Followed, Received
from atp_trio.spice.codec.framing import Framer, HeaderKind, pack_full_header, pack_mini_header, sub_messages
from atp_trio.spice.messages import base
from atp_trio.spice.protocol.buffer import USUAL, FoundMessages, ReceiveBuffer
from atp_trio.spice.protocol.flow import AckWindow, SendWindow, Traffic
from atp_trio.spice.protocol.limit import body_limit, peer_limit
from atp_trio.spice.protocol.order import Order
from atp_trio.spice.wire import Message, Role, table
from atp_trio.spice.wire.kind import Buffer


class ChannelCore:
    """The data stage of one channel.

    Args:
        role: Who we are.
        channel_type: What the channel is; its messages come from the catalogue.
        mini_header: Whether the link agreed on mini headers.
        max_body: The largest body to take, in bytes; by default SPICE's own limits.
        received: What came with the end of the link stage.
        joins: Whether small messages are put out together. If not, every piece of the output belongs to one message.

    Attributes:
        joins: As it was given.
        ack: The window that the peer gave us.
        send_window: The window that we gave the peer.
        last_serial: The serial of the last message that was fully processed: it was taken, and the next one asked for.
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
        joins: bool = True,
    ) -> None:
        self.role = role
        self.channel_type = channel_type
        self.joins = joins
        self.ack = AckWindow()
        self.send_window = SendWindow()
        self.traffic = Traffic()
        self.last_serial = 0
        self._mini_header = mini_header
        self._table = table(channel_type, role.peer)
        self._order_in = Order.of(channel_type, role.peer)
        self._order_out = Order.of(channel_type, role)
        limit = body_limit(channel_type, role.peer) if max_body is None else max_body
        self._limit_out = peer_limit(channel_type, role)
        self._framer = Framer(HeaderKind.MINI if mini_header else HeaderKind.FULL, limit)
        self._buffer = ReceiveBuffer()
        self._needed = 0
        self._more = False  # whether the buffer may hold messages that were not found yet
        self._rows: Iterator[tuple[int, int, int, int, int]] = iter(())  # messages that were found and not taken
        self._subs: Iterator[tuple[int, int, int]] = iter(())  # sub-messages of the one that is being taken
        self._outer: tuple[int, int, int] | None = None  # that one, until its sub-messages were taken
        self._taking = False
        self._early = 0  # messages that are counted for the ACKs already, and not taken yet
        self._serial_in = 0
        self._serial_out = 0
        self._out: list[Buffer] = []
        self._tail = bytearray()  # what is small is joined at once: an ACK costs six bytes, not an object
        self._error: MalformedMessage | None = None
        self.receive_data(received)

    # --- in

    @property
    def missing(self) -> int:
        """How many bytes of a message that has begun have not come yet, as far as known; 0 when nothing is known of the next."""
        return max(self._needed - len(self._buffer), 0) if len(self._buffer) else 0

    def free_space(self, size: int = 0) -> memoryview:
        """Where to receive into; earlier views into messages end here.

        Args:
            size: How many bytes are there to be received, where the caller knows.

        Raises:
            LocalProtocolError: There are messages to be taken first: `next_message` has not given None since it gave one, nor
                `skip` passed the last.
            MalformedMessage: The channel has ended with it.
        """
        if self._error is not None:
            raise self._error
        if self._taking:
            raise LocalProtocolError("receive when the core is drained: there may be more messages in the buffer")
        return self._buffer.free_space(max(self._needed, len(self._buffer) + size))

    def received(self, count: int) -> None:
        """So many bytes were received into the free space."""
        self._buffer.filled(count)
        self.traffic.bytes_received += count
        self._more = True

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Receive bytes that lie elsewhere (copies them).

        Raises:
            LocalProtocolError: As for `free_space`.
            MalformedMessage: The channel has ended with it.
        """
        self.free_space(len(data))[: len(data)] = data
        self.received(len(data))

    @property
    def is_drained(self) -> bool:
        """Whether no message is left that was received completely, and the last one is fully processed."""
        return not self._taking and not self._more

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
            while True:
                frame = self._next_frame()
                if frame is None:
                    return None
                message = self._take(*frame)
                if message is not None:
                    return message
        except MalformedMessage as error:
            self._error = error
            raise

    def _next_frame(self) -> tuple[int, int, int] | None:
        """Type, offset and size of what is to be handled next: the sub-messages of a message, then the message itself."""
        if self._outer is None:
            self.last_serial = self._serial_in
            row = self._next_row()
            if row is None:
                self._drained()
                return None
            self._taking = True
            number, offset, size, sub_list, serial = row
            self._outer = number, offset, size
            # Mini headers have no serial. Where there is one it may skip; one that stands still or goes back would make us say
            # that nothing was processed.
            self._serial_in = max(serial, self._serial_in + 1)
            self.traffic.messages_received += 1
            if sub_list or number == _LIST:
                self._subs = iter(sub_messages(self._buffer.data, offset, size, sub_list))
        sub = next(self._subs, None)
        if sub is not None:
            if sub[0] == _LIST:
                raise MalformedMessage("a list of messages inside a list of messages")
            return sub
        outer, self._outer = self._outer, None
        self._acknowledge(1)
        return outer

    def _drained(self) -> None:
        self._taking = False
        self._buffer.drained()

    def _next_row(self) -> tuple[int, int, int, int, int] | None:
        row = next(self._rows, None)
        while row is None and self._more:
            self._find()
            row = next(self._rows, None)
        return row

    def _find(self) -> None:
        buffer = self._buffer
        found = self._framer.frames(buffer.data, buffer.start, buffer.end)
        buffer.start, self._needed, self._more = found.consumed, found.needed, found.more
        self._rows = found.rows()

    def acknowledge_early(self) -> None:
        """Count the messages that come next as received before they are handled, so that the peer goes on meanwhile.

        That ends before any that may change how messages are counted.
        """
        if not self.ack.left or self._early:
            return
        found = self.peek()
        if found is None or len(found) < self.ack.left:
            return
        count = 0
        for number, _, _, sub_list, _ in islice(found.table.rows(), found.row, None):
            if number < _FIRST_OWN or sub_list:
                break
            count += 1
        self._acknowledge(count)
        self._early = count

    def _acknowledge(self, messages: int) -> None:
        if self._early:
            early = min(messages, self._early)
            self._early -= early
            messages -= early
        for _ in range(self.ack.count(messages)):
            self._put(_ACK, _EMPTY)

    def peek(self) -> FoundMessages | None:
        """The messages that come next, if any are there: some of them may be handled as they lie, and then passed with `skip`.

        Good until the next call of `next_message`. What is wrong with a message is for `next_message` to tell.
        """
        if self._error is not None or self._outer is not None:
            return None
        while not (left := length_hint(self._rows)):
            if not self._more:
                return None
            try:
                self._find()
            except MalformedMessage:
                return None
        self._taking = True  # the buffer must stay as it is
        found = self._framer.table
        return FoundMessages(found, found.count - left, self._buffer.data)

    def skip(self, count: int) -> None:
        """Take note that the next messages, of those that `peek` gave, were handled as they lay: taken and fully processed.

        They must be messages that concern neither the transport nor the order of messages, and have no sub-messages.

        Raises:
            LocalProtocolError: There are not so many.
        """
        if not 0 <= count <= length_hint(self._rows) or self._outer is not None:
            raise LocalProtocolError(f"{count} messages cannot be skipped")
        if self._mini_header:
            next(islice(self._rows, count, count), None)
            self._serial_in += count
        else:
            for _, _, _, _, serial in islice(self._rows, count):
                self._serial_in = max(serial, self._serial_in + 1)
        self.last_serial = self._serial_in
        self.traffic.messages_received += count
        self._acknowledge(count)
        if not length_hint(self._rows) and not self._more:
            self._drained()

    def lend(self) -> Received | None:
        """What somebody needs to receive and handle messages in the core's place, until `take_back`.

        Meanwhile messages may be sent through the core, and nothing be received.

        Returns:
            None where that cannot be now: there is a message to be taken or something to be sent, or the link has full headers.
        """
        if self._error is not None or not self._mini_header or not self.is_drained or self.has_data_to_send:
            return None
        buffer, ack = self._buffer, self.ack
        return Received(
            buffer.data, buffer.start, buffer.end, self._framer.table, self._framer.max_body, ack.window, ack.left, self._early
        )

    def take_back(self, followed: Followed) -> None:
        """Go on after what somebody else has done."""
        self._buffer.start, self._buffer.end = followed.start, followed.end
        self._needed, self._more, self._early = 0, True, followed.early
        self.ack.left = followed.left
        self.ack.acks += followed.acks
        self._serial_in += followed.messages
        self.last_serial = self._serial_in
        self._serial_out += followed.acks
        self.send_window.unacknowledged += followed.acks
        self.traffic.bytes_received += followed.received
        self.traffic.messages_received += followed.messages
        self.traffic.messages_sent += followed.acks
        self.traffic.bytes_sent += followed.acks * ACK_BYTES

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
        message = cls.decode(self._buffer.data[offset : offset + size], copy=False)
        return None if self._answer(message) else message

    def _answer(self, message: Message) -> bool:
        """Whether the message concerns the transport alone and is done with."""
        if isinstance(message, base.Ping):
            self.traffic.pings_answered += 1
            self.send(base.Pong(id=message.id, timestamp=message.timestamp))
            if len(message.data) > USUAL:  # the network test, once in a connection's life
                self._buffer.give_back()
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

    def send(self, *messages: Message) -> None:
        """Put messages into the output.

        Raises:
            LocalProtocolError: Our role does not send one, it is not allowed now, its values do not fit, or the peer would not
                take so much; neither it nor those after it were put.
        """
        kind, number = None, 0
        for message in messages:
            if type(message) is not kind:
                kind = type(message)
                number = self._number(kind)
            body = message.encode()
            if len(body) > self._limit_out:
                raise LocalProtocolError(f"{kind.__name__} of {len(body)} bytes: the peer takes {self._limit_out}")
            wrong = self._order_out.check(kind)
            if wrong is not None:
                raise LocalProtocolError(wrong)
            self._put(number, (body,))

    def _number(self, kind: type[Message]) -> int:
        """The type number under which we send such messages on this channel."""
        if kind.channel_types and self.channel_type not in kind.channel_types:
            raise LocalProtocolError(f"{kind.__name__} does not belong on this channel")
        return kind.number(self.role)

    def send_body(self, number: int, *pieces: Buffer) -> None:
        """Put a message into the output whose body was encoded before, in pieces: for fast paths and for fuzzing.

        Nothing of what it says is checked, so the peer may find it malformed. Pieces of 32 KiB and more are not copied: they must
        not change before they are sent.

        Raises:
            LocalProtocolError: The type's number has more than 16 bits, or the body is larger than a header can say; nothing was
                put.
        """
        # Bytes are what is counted, so memory of another shape is looked at as bytes.
        self._put(number, [piece.cast("B") if isinstance(piece, memoryview) else piece for piece in pieces])

    def _put(self, number: int, pieces: Sequence[Buffer]) -> None:
        serial, size = self._serial_out + 1, len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        try:
            header = pack_mini_header(number, size) if self._mini_header else pack_full_header(serial, number, size)
        except struct.error as error:
            raise LocalProtocolError(f"no header can say type {number}, {size} bytes") from error
        self._serial_out = serial
        self._tail += header
        for piece in pieces:
            if len(piece) < _LARGE:
                self._tail += piece
            else:
                self._cut()
                self._out.append(piece)
        if not self.joins:
            self._cut()
        self.traffic.messages_sent += 1
        self.send_window.unacknowledged += 1

    def _cut(self) -> None:
        """Let nothing more be joined to what was put so far."""
        if self._tail:
            self._out.append(bytes(self._tail))
            self._tail.clear()

    def announce_window(self, window: int) -> None:
        """As the server: ask for an ACK every `window` messages.

        Raises:
            LocalProtocolError: We are the client, or the number has more than 32 bits; nothing was put.
        """
        message = self.send_window.set_ack(window)
        self.send(message)
        self.send_window.announced(message)

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would give anything."""
        return bool(self._tail or self._out)

    def data_to_send(self) -> list[Buffer]:
        """What is to be sent now, in order; it is handed out once. Small pieces are joined, large ones are not copied."""
        self._cut()
        pieces, self._out = self._out, []
        self.traffic.bytes_sent += sum(map(len, pieces))
        return pieces


# Above this, one more call of send costs less than copying.
_LARGE: Final = 32 * 1024
# Below are the messages that all channels share.
_FIRST_OWN: Final = 101
_LIST: Final = base.List.numbers[Role.SERVER]
_ACK: Final = base.Ack.numbers[Role.CLIENT]
_EMPTY: Final = (b"",)
