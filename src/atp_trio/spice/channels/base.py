"""What every channel is: linked once, two tasks, one orderly end.

Theory of operation. A channel lives in one background task of its connection, under a shielded cancel scope of its own, so that
nothing that happens to a caller tears a socket out of the server's hands. That task links the channel, then runs a reader and a
writer. The reader receives into the core's buffer and handles each message before it takes the next; there is no checkpoint
between receiving and feeding. What can be expected (the peer is gone, or sends nonsense) ends the channel with its cause, which
callers meet as `ConnectionLost` at their next call; nothing else leaves the task, so an exception group is a bug of ours.

A link passes a point of no return when its ticket is sent: from then on it is brought to its result, as the server makes the
channel; and some servers die when a display channel that they have accepted closes before its first message was read. `may_close`
says whether that has happened; `aclose` waits for it, within a deadline.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

import trio

from atp_trio.errors import AtpError, ChannelNotAvailable, ConnectionLost, LocalProtocolError, RemoteProtocolError
from atp_trio.spice.channels.inbox import Inbox, log
from atp_trio.spice.channels.outbox import Outbox
from atp_trio.spice.channels.pace import Pace
from atp_trio.spice.channels.session import Session
from atp_trio.spice.channels.state import ChannelStatistics, Link, LinkTimings, Phase
from atp_trio.spice.messages import base, display
from atp_trio.spice.messages.link import ChannelType, LinkErrorCode
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Message

# How long leaving may take for one channel: far beyond any round trip, short for a person who waits.
LEAVE_SECONDS: Final = 2.0
# How long a wait for an answer looks for it before it sleeps, in seconds: some round trips to a server on this host.
SOON: Final = 200e-6

Handler = Callable[[Any], Awaitable[None] | None]
Connect = Callable[["SpiceChannel"], Awaitable[Link]]


class SpiceChannel:
    """One channel of a machine; made by `SpiceVmConnection`, never by hand.

    Attributes:
        channel_type: What it is.
        channel_id: Which of its type.
        server_caps: What the server can do on it, as capability numbers; empty before it is open.
        link_timings: How long linking it took; None before it is open.
        notifications: The last texts that the server sent with NOTIFY.
        migration: The last migration message, if one came: this version recognises migration but does not follow it.
        last_heard: When the server was last heard, on Trio's clock; before all times if it never was.
    """

    channel_type: ChannelType
    caps: ClassVar[frozenset[int]] = frozenset()
    # Whether the server must have been heard before the channel is closed, once it has accepted our ticket.
    needs_first_message: ClassVar[bool] = False
    # Whether there is something that a server always answers on this channel: see `ask`.
    can_ask: ClassVar[bool] = False

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        self.session = session
        self.channel_type = channel_type
        self.channel_id = channel_id
        self.server_caps: frozenset[int] = frozenset()
        self.link_timings: LinkTimings | None = None
        self.notifications: deque[base.Notify] = deque(maxlen=100)
        self.migration: Message | None = None
        self.last_heard = -math.inf
        self._phase = Phase.LINKING
        self._core: ChannelCore | None = None
        self._inbox: Inbox | None = None
        self._outbox: Outbox | None = None
        self._scope = trio.CancelScope(shield=True)
        self._tasks = trio.CancelScope()  # the tasks of the open channel
        self._closing = False
        self._cause: AtpError | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._leaving = trio.Event()  # we have begun to close it
        self._ended = trio.Event()
        self._legacy: object = None
        self._handlers: dict[type[Message], Handler] = {
            base.Notify: self._notify,
            base.Disconnecting: self._disconnecting,
            base.WaitForChannels: self._wait_for_channels,
            base.Migrate: self._migrate,
            base.MigrateData: self._migrate,
        }
        self._unhandled: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self._phase.value}>"

    @property
    def name(self) -> str:
        """The channel's type and id as people write them: `display:0`."""
        return f"{self.channel_type.name.lower()}:{self.channel_id}"

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._phase is Phase.OPEN and not self._closing

    @property
    def is_closing(self) -> bool:
        """Whether we have begun to close it, and it has not ended yet."""
        return self._closing and self._phase is not Phase.CLOSED

    @property
    def closed_by(self) -> AtpError | None:
        """What ended the channel; None while it lives, and after we closed it ourselves."""
        return self._cause

    @property
    def last_serial(self) -> int:
        """The serial of the last message that was handled completely."""
        return self._core.last_serial if self._core else 0

    def statistics(self) -> ChannelStatistics:
        """The counters, as they stand."""
        traffic = self._core.traffic if self._core else None
        return ChannelStatistics(
            channel_type=self.channel_type,
            channel_id=self.channel_id,
            phase=self._phase,
            bytes_received=traffic.bytes_received if traffic else 0,
            bytes_sent=traffic.bytes_sent if traffic else 0,
            messages_received=traffic.messages_received if traffic else 0,
            messages_sent=traffic.messages_sent if traffic else 0,
            handling_seconds=self._inbox.handling_seconds if self._inbox else 0.0,
            ack_window=self._core.ack.window if self._core else 0,
            acks_sent=self._core.ack.acks if self._core else 0,
            pings_answered=traffic.pings_answered if traffic else 0,
            skipped=dict(traffic.skipped) if traffic else {},
            unhandled=dict(self._unhandled),
            queued_bytes=self._outbox.queued if self._outbox else 0,
        )

    # --- for callers

    async def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            LocalProtocolError: It does not belong on this channel, or not now; nothing was sent.
            ConnectionLost: The channel has ended.

        Cancellation: the message is queued whole, or not at all.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._wait_room()
        self.send_nowait(message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, *messages: Message) -> None:
        """Send messages, all together, without waiting for anything.

        Raises:
            trio.WouldBlock: So much is queued that the caller should wait: use `send`.
            LocalProtocolError: One does not belong on this channel, or not now; it and those after it were not sent.
            ConnectionLost: The channel has ended.
        """
        core, outbox = self._open_parts()
        if not outbox.has_room:
            raise trio.WouldBlock
        try:
            core.send(*messages)
        finally:
            outbox.put(core.data_to_send())

    async def wait_sent(self) -> None:
        """Wait until the kernel has taken everything that was sent.

        Cancellation: nothing is lost, what is queued is sent all the same.
        """
        await trio.lowlevel.checkpoint()
        _, outbox = self._open_parts()
        await outbox.wait_drained()
        self._open_parts()

    async def wait_open(self) -> None:
        """Wait until the channel is linked.

        Raises:
            TransportError: It could not be linked, or has ended; the class says why.

        Cancellation: the channel goes on being linked.
        """
        await trio.lowlevel.checkpoint()
        while self._phase in (Phase.LINKING, Phase.AUTHENTICATING):
            await self._changed.park()
        if self._phase is Phase.CLOSED:
            raise self._cause or ChannelNotAvailable(f"{self.name} is closed")

    async def wait_closed(self) -> None:
        """Wait until the channel has ended, however it does; `closed_by` says what ended it."""
        # Not by `_changed`: who keeps a channel waits all its life, and would be woken by all that is drawn.
        await self._ended.wait()

    async def wait_first_message(self) -> None:
        """Wait until the server has said something on this channel: one that resets a link it has accepted never does.

        Raises:
            TransportError: The channel has ended before; the class says why.
        """
        await self.wait_open()
        await self.session.wait_until(lambda: not self.is_open or self._has_heard)
        if not self._has_heard:
            self._open_parts()

    @property
    def _has_heard(self) -> bool:
        return self._core is not None and self._core.traffic.messages_received > 0

    async def ask(self) -> None:
        """Ask the server for a sign of life, and wait for it: harmless, and only where `can_ask` says that there is a way.

        Raises:
            ConnectionLost: The channel has ended.
        """
        raise LocalProtocolError(f"{self.name}: there is nothing that a server answers")

    async def aclose(self) -> None:
        """Close the channel in the order that servers survive, and wait for it; twice is allowed.

        Cancellation: the channel is closed all the same, within the deadline of leaving, but not waited for.
        """
        self.close_soon()
        await self.wait_closed()

    def close_soon(self, because: AtpError | None = None) -> None:
        """Begin to close the channel; `because` becomes what `closed_by` tells."""
        if self._phase is Phase.CLOSED or self._closing:
            return
        if self.is_open:
            self._say_goodbye()
            self._put(base.Disconnecting(time_stamp=time.monotonic_ns(), reason=LinkErrorCode.OK))
            self._flush()
        self._closing, self._cause = True, self._cause or because
        self._leaving.set()
        # Whatever the server does, the end comes.
        self._scope.deadline = trio.current_time() + LEAVE_SECONDS
        self._changed.unpark_all()
        self.session.changed()
        if self._phase is not Phase.OPEN and self.may_close:
            self._scope.cancel()

    # --- for the connection that runs it

    def recall(self) -> None:
        """Somebody waits for what is received, or wants to see what came of it: nobody is to work ahead unseen."""

    def lose(self, error: ConnectionLost) -> None:
        """End the channel because its peer is found to be gone: there is nobody to say goodbye to."""
        self._lost(error)

    def leave_legacy(self) -> object:
        """What a channel that is linked in place of this one, which was lost, takes over; None for nothing."""
        return self._legacy

    def inherit(self, legacy: object) -> None:
        """Before the channel runs: take this over from the one that was lost."""
        self._legacy = legacy

    @property
    def may_close(self) -> bool:
        """Whether the socket can be closed without harm to the server."""
        if self._phase is Phase.AUTHENTICATING:
            # The server is about to make the channel: it complains of one that is gone by then.
            return False
        if self._phase is not Phase.OPEN or not self.needs_first_message:
            return True
        return self._has_heard

    def sending_ticket(self) -> None:
        """The link passes its point of no return."""
        self._phase = Phase.AUTHENTICATING

    def _say_goodbye(self) -> None:
        """Put what must still be said before the channel closes into the core's output."""

    async def run(self, connect: Connect) -> None:
        """Link the channel and serve it until it ends: the body of its task."""
        try:
            with self._scope:
                await self._live(connect)
        finally:
            self._phase = Phase.CLOSED
            self.session.channels.pop((self.channel_type, self.channel_id), None)
            self._ended.set()
            self._changed.unpark_all()
            self.session.changed()

    async def _live(self, connect: Connect) -> None:
        try:
            link = await connect(self)
        except AtpError as error:
            self._cause = error
            return
        self.server_caps, self.link_timings = link.server_caps, link.timings
        self._core, self._outbox = link.core, Outbox(link.stream)
        self._inbox = Inbox(
            link.core, self._outbox, self._handle, self._batch_handled, self._handle_found, self._pace(), self._follow
        )
        try:
            # The tasks are protected: a KeyboardInterrupt is the caller's, who leaves in order. Raised in one of them it would
            # end the channel, or get lost where exceptions do.
            async with trio.open_nursery() as nursery:
                self._tasks = nursery.cancel_scope
                nursery.start_soon(self._writer)
                self._phase = Phase.OPEN
                self._opened()
                self._flush()
                self._changed.unpark_all()
                self.session.changed()
                nursery.start_soon(self._closer)
                nursery.start_soon(self._reader)
        finally:
            # Who waits for the outbox goes on, and is to find the channel no longer open.
            self._closing = True
            self._outbox.close()
            await trio.aclose_forcefully(link.stream)  # type: ignore[arg-type] # all it calls is aclose

    def _opened(self) -> None:
        """The data stage begins: put what the channel says first into the core's output."""

    @trio.lowlevel.enable_ki_protection
    async def _writer(self) -> None:
        assert self._outbox is not None
        try:
            await self._outbox.run()
        except trio.BrokenResourceError as error:
            self._lost(error)

    @trio.lowlevel.enable_ki_protection
    async def _reader(self) -> None:
        assert self._inbox is not None
        try:
            await self._inbox.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError) as error:
            self._lost(error)

    @trio.lowlevel.enable_ki_protection
    async def _closer(self) -> None:
        """Wait until we are to leave and may, then end the tasks."""
        assert self._outbox is not None
        # Not woken before: whatever is received changes something.
        await self._leaving.wait()
        while not self.may_close:
            await self._changed.park()
        await self._outbox.wait_drained()
        # A server that is asked for this channel again before it has noticed its end resets the new one. That it says the same
        # is met by the reader, which ends the tasks.
        await self._outbox.hang_up()
        self._tasks.cancel()

    def _lost(self, error: Exception) -> None:
        if not self._closing and self._cause is None:
            if isinstance(error, RemoteProtocolError):
                self._cause = ConnectionLost(f"{self.name}: the server broke the protocol: {error}")
            else:
                self._cause = ConnectionLost(f"{self.name}: {error}" if str(error) else f"{self.name}: the connection was lost")
            # Without its traceback, which would hold all that this channel holds for as long as somebody remembers why it ended.
            self._cause.__cause__ = error.with_traceback(None)
            log.info("%s", self._cause)
        self._tasks.cancel()

    def _handle_found(self, core: ChannelCore) -> bool:  # noqa: ARG002
        """Handle what comes next as it lies in the receive buffer; whether that was done for anything."""
        return False

    def _pace(self) -> Pace | None:
        """What decides how many messages are gathered before they are handled; None where each may be waited for."""
        return None

    def _follow(self, pace: Pace) -> Awaitable[None] | None:  # noqa: ARG002
        """Let a thread receive and handle for a while, where that is worth it now; gives what to wait for then."""
        return None

    def _handle(self, message: Message) -> Awaitable[None] | None:
        handler = self._handlers.get(type(message))
        if handler is None:
            self._unhandled[type(message).__name__] += 1
            return None
        return handler(message)

    def _flush(self) -> None:
        assert self._inbox is not None
        self._inbox.flush()

    def _batch_handled(self) -> None:
        """All that was received has been handled."""
        self.last_heard = trio.current_time()
        self.session.changed()
        if self._closing:
            self._changed.unpark_all()

    def _put(self, *messages: Message) -> None:
        """From a handler: send these with the next flush."""
        assert self._core is not None
        for message in messages:
            self._core.send(message)

    def _open_parts(self) -> tuple[ChannelCore, Outbox]:
        if self.is_open and self._core and self._outbox:
            return self._core, self._outbox
        if self._cause is not None:
            raise ConnectionLost(f"{self.name} has ended: {self._cause}") from self._cause
        raise ChannelNotAvailable(f"{self.name} is {'closing' if self._closing else self._phase.value}")

    async def _wait_room(self) -> None:
        _, outbox = self._open_parts()
        if not outbox.has_room:
            await outbox.wait_room()
            self._open_parts()

    async def _wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that a handler brings about; always a checkpoint. A channel that ends meanwhile raises."""
        if holds():
            await trio.lowlevel.checkpoint()
        while not holds():
            self._open_parts()
            self.recall()
            await self._changed.park()

    async def _wait_soon(self, holds: Callable[[], bool]) -> None:
        """As `_wait_until`, for an answer that is a round trip away: looks for it for a while before it sleeps."""
        self._open_parts()
        assert self._inbox is not None
        until = time.perf_counter() + SOON
        try:
            while not holds() and time.perf_counter() < until:
                self._inbox.look()
        except (trio.BrokenResourceError, RemoteProtocolError) as error:
            self._lost(error)
        await self._wait_until(holds)

    # --- the messages that all channels share

    def _notify(self, message: base.Notify) -> None:
        self.notifications.append(base.Notify.decode(message.encode()))  # its bytes are views of the receive buffer
        log.info("%s: the server says: %s", self.name, bytes(message.message).decode(errors="replace"))

    def _disconnecting(self, message: base.Disconnecting) -> None:
        log.info("%s: the server is disconnecting, reason %d", self.name, message.reason)

    def _migrate(self, message: base.Migrate | base.MigrateData) -> None:
        self.migration = message
        log.warning("%s: the machine is migrating, which this version does not follow", self.name)

    async def _wait_for_channels(self, message: base.WaitForChannels | display.InvalAllPixmaps) -> None:
        waits = [(one.channel_type, one.channel_id, one.message_serial) for one in message.wait_list]
        await self.session.wait_until(lambda: self._closing or all(self.session.has_processed(*one) for one in waits))
