"""One channel of the embedded server, from its link to its end: a reader and a writer, as the client's channels have.

What a client does never raises out of `ServerChannel.run`: a lost connection ends the channel, and so does whatever it sends that
is malformed, unknown or not allowed, as with other servers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import trio

from atp_trio.errors import RemoteProtocolError
from atp_trio.spice.channels.outbox import ChannelStream, Outbox
from atp_trio.spice.messages import base
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Message

if TYPE_CHECKING:
    from atp_trio.testing.server.server import SpiceServer
    from atp_trio.testing.server.session import ClientSession

log = logging.getLogger("atp_trio.testing.server")

GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen
class ClosedChannel:
    """A channel that has ended.

    Attributes:
        channel_type: What it was.
        channel_id: Its instance.
        said_goodbye: Whether the client sent DISCONNECTING.
        received: The messages that came, by name; SET_ACK's and PING's answers are not among them.
        was_read: Whether the client has certainly read from it: it answered a SET_ACK, a PING, or main's INIT.
        error: What the client did wrong, if that ended the channel.
    """

    channel_type: ChannelType
    channel_id: int
    said_goodbye: bool
    received: Mapping[str, int]
    was_read: bool
    error: str | None


@attrs.frozen
class Linked:
    """What linking found out."""

    stream: ChannelStream
    core: ChannelCore
    channel_type: ChannelType
    channel_id: int
    client_caps: frozenset[int]
    network_test: bool


class ServerChannel:
    """A linked channel; of a type that has no class of its own, one that says nothing and listens.

    Attributes:
        received: The messages that came, by name.
        was_read: Whether the client has certainly read from it.
        is_ending: Whether the client has left, or done something wrong.
    """

    caps: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, server: SpiceServer, session: ClientSession, linked: Linked) -> None:
        self.server = server
        self.machine = server.machine
        self.session = session
        self.linked = linked
        self.core = linked.core
        self.outbox = Outbox(linked.stream, joins=linked.core.joins)
        self.received: Counter[str] = Counter()
        self.was_read = False
        self.is_ending = False
        self.scope = trio.CancelScope()
        self._changed = trio.lowlevel.ParkingLot()
        self._error: str | None = None
        self._handlers: dict[type[Message], Callable[[Any], None]] = {}

    @property
    def key(self) -> tuple[ChannelType, int]:
        """The channel's type and id."""
        return self.linked.channel_type, self.linked.channel_id

    def send(self, *messages: Message) -> None:
        """Send these; without waiting, so not for many.

        Raises:
            LocalProtocolError: A message does not belong on this channel, or not now.
        """
        for message in messages:
            self.core.send(message)
        self.flush()

    def flush(self) -> None:
        """Send what the core has put out."""
        pieces = self.core.data_to_send()
        if pieces:
            self.outbox.put(pieces)

    def wake(self) -> None:
        """Something that the channel may wait for has happened."""
        self._changed.unpark_all()

    async def run(self) -> None:
        """Serve the channel until either side ends it."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._read)
                    self._begin()
                    self.flush()
                    nursery.start_soon(self._work)
        finally:
            self._end()
            self.server.note_closed(
                ClosedChannel(
                    *self.key,
                    said_goodbye=bool(self.received[base.Disconnecting.__name__]),
                    received=dict(self.received),
                    was_read=self.was_read,
                    error=self._error,
                )
            )

    def _begin(self) -> None:
        """Put what comes first."""

    async def _work(self) -> None:
        """Do what the channel does by itself."""

    def _end(self) -> None:
        """The channel has ended."""

    async def _write(self) -> None:
        try:
            await self.outbox.run()
        except GONE:
            self.scope.cancel()

    async def _read(self) -> None:
        try:
            await self._take_all()
        except GONE:
            pass
        except RemoteProtocolError as error:
            self._error = str(error)
            log.info("%s:%d: the client broke the protocol: %s", self.key[0].name.lower(), self.key[1], error)
        self.is_ending = True
        await self._wait_end()
        self.scope.cancel()

    async def _wait_end(self) -> None:
        """The client has left: wait for what is to end before."""

    async def _take_all(self) -> None:
        core = self.core
        while True:
            while (message := core.next_message()) is not None:
                self.received[type(message).__name__] += 1
                self._take(message)
            self._after_batch()
            self.flush()
            self._changed.unpark_all()
            self.server.changed()
            # A client that only asks and never reads is not listened to.
            await self.outbox.wait_room()
            count = await self.linked.stream.receive_into(core.free_space())
            if not count:
                return
            core.received(count)

    def _take(self, message: Message) -> None:
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)

    def _after_batch(self) -> None:
        """Everything that was received has been taken."""
        # What the core takes for itself, ACK_SYNC and ACK, answers what the client has read.
        self.was_read = self.was_read or self.core.traffic.messages_received > self.received.total()

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that the client brings about; a checkpoint in any case."""
        await trio.lowlevel.checkpoint()
        while not holds():
            await self._changed.park()
