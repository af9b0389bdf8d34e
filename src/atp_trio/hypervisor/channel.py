"""A byte stream to a port or a console of a domain, through libvirt.

Theory of operation. A stream has a lane of its own, and is read and written in different ways. libvirt's client reads its socket
in the event thread whenever there is something, and keeps what came for the stream without a limit; it tells us, we take it over
in that same thread (which is no call: nothing is sent) and wake Trio. Sending may wait for as long as the guest does not read,
whatever flag the stream was made with; so it is a call in a thread, one at a time.

libvirt's client has no way to slow a guest down: what comes is taken, up to a limit of ours, beyond which the stream is ended.
In the other direction, libvirtd stops reading when the guest does, keepalive included, and takes us for dead after 30 s. That is
the loss of a stream, not of its host.

Source:
    libvirt, libvirt-stream.h; virDomainOpenChannel, virDomainOpenConsole.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import attrs
import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import AtpError, ChannelNotAvailable, ConnectionLost, HypervisorError
from atp_trio.hypervisor.inbox import Inbox
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.lanes import LEAVE_SECONDS, ThreadEnd
from atp_trio.hypervisor.outbox import Outbox

if TYPE_CHECKING:
    from atp_trio.hypervisor.host import HostConnection

__all__ = ["MAX_WAITING", "LibvirtStream", "open_libvirt_stream"]

_log = logging.getLogger("atp_trio.hypervisor")

MAX_WAITING: Final = 1 << 26
"""How many bytes wait for a slow reader: about a second of what a guest can write."""
_SLICE: Final = 1 << 17  # sent at a time: two of what programs like to send
_SEND_BUFFER: Final = 1 << 18  # that wait to be sent, as in a socket's buffer: the thread that sends goes on without Trio
_CHUNK: Final = 1 << 18  # the most that libvirtd sends at a time
_TURN: Final = 16  # chunks taken before libvirt's other events have theirs
_GUEST_STALLS: Final = 15.0  # seconds; keepalive, which starves while the guest takes nothing, ends connections after 20 or 30

_NONBLOCK: Final = 1  # VIR_STREAM_NONBLOCK
_READABLE, _ERROR, _HANGUP = 1, 4, 8  # VIR_STREAM_EVENT_*
_WOULD_BLOCK: Final = -2
_NO_CHANNEL, _BUSY = 1, 9  # VIR_ERR_INTERNAL_ERROR, VIR_ERR_OPERATION_FAILED: libvirt has no better numbers for these


@attrs.define(eq=False)
class _Pipe:
    """The virStream of a `LibvirtStream`, and what threads do with it."""

    what: str
    inbox: Inbox
    outbox: Outbox = attrs.field(factory=lambda: Outbox(_SEND_BUFFER, _SLICE))
    _stream: Any = None
    _error: type[Exception] = Exception
    _myself: list[_Pipe] = attrs.field(init=False, factory=list)
    _sending_since: float | None = None
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def open(self, lane: Lane, opening: Callable[[Lane, Any], None]) -> None:
        """Make the stream and have `opening` connect it; inside of `lane.run`."""
        assert lane.connection is not None
        assert lane.binding is not None
        self._error = lane.binding.error
        tell_host = lane.on_lost
        lane.on_lost = lambda lane: self._lane_lost(lane, tell_host)
        stream = lane.connection.newStream(_NONBLOCK)
        opening(lane, stream)
        self._stream = stream
        self._myself.append(self)
        stream.eventAddCallback(_READABLE | _ERROR | _HANGUP, _happened, self._myself)
        lane.before_closing(self._lane_closes)

    def send_waiting(self, lane: Lane) -> None:
        """Send what waits, until nothing does; in a thread. It blocks while the guest does not take it."""
        while True:
            try:
                lane.run(self._send)
            except ConnectionLost as error:
                self.fail(error)
            except AtpError as error:  # a stream's errors are for ever
                self.fail(ConnectionLost(f"{self.what} was lost: {error}"))
            if self.outbox.stop():
                return

    def fail(self, failure: AtpError) -> None:
        """Nothing can be sent or received any more."""
        self.inbox.end(failure)
        self.outbox.clear()

    def _send(self, _lane: Lane) -> None:
        try:
            while data := self.outbox.peek():
                self._sending_since = time.monotonic()
                sent = self._stream.send(data)
                while sent == _WOULD_BLOCK:  # libvirt's clients up to now block instead
                    time.sleep(0.005)
                    sent = self._stream.send(data)
                if self.outbox.sent(sent):
                    self.inbox.wake()
        except self._error as error:
            stalled = self._stalled()
            if stalled is not None:
                raise stalled from error.with_traceback(None)
            raise
        finally:
            self._sending_since = None

    def _stalled(self) -> ConnectionLost | None:
        """What a loss was that happens now, if it is the guest's doing."""
        since = self._sending_since
        if since is None or (seconds := time.monotonic() - since) < _GUEST_STALLS:
            return None
        return ConnectionLost(f"{self.what} was lost: the guest took nothing for {seconds:.0f} s, and libvirt gave up")

    def finish(self, lane: Lane) -> None:
        """Say good-bye, after all that was sent; inside of `lane.run`."""
        stream = self._let_go()
        if stream is not None:
            with lane.suppress_errors():
                stream.finish()
            _free(stream)

    def _let_go(self) -> Any:
        """The stream, for the last time and without its callback, which libvirt would hold it by."""
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(self._error):
                stream.eventRemoveCallback()
            self._myself.clear()
        return stream

    def _lane_closes(self) -> None:
        stream = self._let_go()
        if stream is not None:
            _free(stream)
        self.inbox.end(ConnectionLost(f"{self.what}: the host's connection was left or lost"))

    # --- in libvirt's event thread, where nothing may be raised

    def happened(self, stream: Any) -> None:
        """Something can be read, or nothing any more."""
        try:
            if not self._drain(stream):
                stream.eventUpdateCallback(0)
        except self._error as error:
            self.inbox.end(ConnectionLost(f"{self.what} was lost: {error}"))
            with contextlib.suppress(self._error):
                stream.eventUpdateCallback(0)
        except Exception:  # noqa: BLE001
            _log.exception("%s could not be read", self.what)

    def _drain(self, stream: Any) -> bool:
        """Take what there is; whether more may come."""
        for _ in range(_TURN):
            data = stream.recv(_CHUNK)
            if data == _WOULD_BLOCK:
                break
            if not data:
                self.inbox.end(None)
                return False
            if not self.inbox.put(data):
                return False
        return True

    def _lane_lost(self, lane: Lane, tell_host: Callable[[Lane], None]) -> None:
        self.inbox.end(self._stalled() or ConnectionLost(f"{self.what} was lost: the connection to {lane.uri} has ended"))
        tell_host(lane)


def _happened(stream: Any, _events: int, pipes: list[_Pipe]) -> None:
    for pipe in pipes:
        pipe.happened(stream)


def _free(stream: Any) -> None:
    """Free a stream whose callback was removed.

    libvirt keeps what was registered with a callback, and with it the stream and its connection, although it was removed: its
    remote driver frees it under a condition that is the wrong way round. So libvirt-python never comes to free the stream itself.
    """
    if hasattr(stream, "cb"):
        del stream.cb  # or it would be removed once more
    stream.__del__()


class LibvirtStream(trio.abc.HalfCloseableStream):
    """A port or a console of a domain; `Domain.open_channel` and `Domain.open_console` give it.

    A guest cannot be slowed down through libvirt: what it writes waits here, and if that is more than `MAX_WAITING` bytes (or
    what was asked for), the stream ends with an error after they were received. The end of the stream (`b""`) is that the machine
    has ended, or that libvirt closed the port; that a program in the guest closes it, or opens it again, is not told.

    A stream that is lost is a `ConnectionLost` for both directions, after what had come was received.
    """

    def __init__(self, host: HostConnection, lane: Lane, pipe: _Pipe) -> None:
        self._host = host
        self._lane = lane
        self._pipe = pipe
        self._inbox = pipe.inbox
        self._outbox = pipe.outbox
        self._is_closed = False
        self._is_eof_sent = False
        self._arrived = trio.lowlevel.ParkingLot()
        self._receiving = ConflictDetector("another task is receiving")
        self._drained = trio.lowlevel.ParkingLot()
        self._sending = ConflictDetector("another task is sending")

    def __repr__(self) -> str:
        return f"<LibvirtStream {self._pipe.what}>"

    async def receive_some(self, max_bytes: SupportsIndex | None = None) -> bytes:
        """As in Trio; see `trio.abc.ReceiveStream`.

        Raises:
            ConnectionLost: The stream was lost, and everything was received.

        Cancellation: nothing is lost.
        """
        most = None if max_bytes is None else operator.index(max_bytes)
        if most is not None and most < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            while not (self._is_closed or self._inbox.size or self._inbox.is_ended):
                await self._arrived.park()
        if self._is_closed:
            raise trio.ClosedResourceError("this stream is closed")
        data = self._inbox.take(most)
        if not data and self._inbox.failure is not None:
            raise self._inbox.failure
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As in Trio; see `trio.abc.SendStream`. Returns when all but 256 KiB of it are sent, as with a socket's buffer.

        Raises:
            ConnectionLost: The stream was lost; also when the guest took nothing for about 30 s.

        Cancellation: all of it is sent or nothing; of what is on its way, what is more than fits holds up the next call.
        """
        async with self._turn():
            if len(data):
                # Whole, so that a message is never cut by who sends it.
                if self._outbox.put(data if isinstance(data, bytes) else bytes(data)):
                    self._start_sending()
                await self._wait_room()

    async def wait_send_all_might_not_block(self) -> None:
        """As in Trio; see `trio.abc.SendStream`."""
        async with self._turn():
            pass

    async def send_eof(self) -> None:
        """Send no more; receiving goes on.

        The guest is not told, as a port has nothing to tell it with. (libvirt's own good-bye would end both directions.)
        """
        if self._is_eof_sent and not self._is_closed:
            await trio.lowlevel.checkpoint()
            return
        async with self._turn():
            self._is_eof_sent = True

    async def aclose(self) -> None:
        """Close the stream; what was sent is delivered, if the guest takes it within 2 seconds.

        Cancellation: it is closed all the same, and what is on its way may be lost.
        """
        was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            await trio.lowlevel.checkpoint()
            return
        self._inbox.drop()
        self.arrived()
        try:
            await self._part()
        finally:
            self._outbox.clear()
            # With its connection the stream ends in libvirtd, whatever was said; the lane's closing waits for its thread.
            self._lane.is_lost = True
            self._host.give_lane_back(self._lane)

    def end(self, failure: AtpError) -> None:
        """Take the stream for lost, for a reason that libvirt does not know of; what had come can be received."""
        self._pipe.fail(failure)

    def arrived(self) -> None:
        """Look at what came, and what was sent; called in Trio's thread."""
        self._arrived.unpark_all()
        self._drained.unpark_all()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """To send: checked, alone, when there is room."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            await self._wait_room()
            yield

    async def _wait_room(self) -> None:
        self._check_sendable()
        while self._outbox.is_full:
            await self._drained.park()
            self._check_sendable()

    def _start_sending(self) -> None:
        def deliver(outcome: Any) -> None:
            self._inbox.wake()
            outcome.unwrap()  # what is raised here is a bug of ours, and told as any thread's is

        trio.lowlevel.start_thread_soon(lambda: self._pipe.send_waiting(self._lane), deliver, "libvirt stream")

    async def _part(self) -> None:
        # Also a stream that has ended: libvirtd keeps the port until it is told, or the connection is gone.
        with trio.move_on_after(LEAVE_SECONDS), contextlib.suppress(AtpError):
            while self._outbox.is_running:
                await self._drained.park()
            await trio.to_thread.run_sync(
                self._lane.run,
                self._pipe.finish,
                abandon_on_cancel=True,
                limiter=ThreadEnd(lambda: None),  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
            )

    def _check_sendable(self) -> None:
        if self._is_closed or self._is_eof_sent:
            raise trio.ClosedResourceError("this stream is closed, or its sending side is")
        if self._inbox.is_ended:
            raise self._inbox.failure or ConnectionLost(f"{self._pipe.what} has ended")


async def open_libvirt_stream(
    host: HostConnection, what: str, opening: Callable[[Lane, Any], None], *, max_waiting: int = MAX_WAITING
) -> LibvirtStream:
    """Open a stream on a lane of its own.

    Args:
        host: The host.
        what: What it leads to, for people to read.
        opening: Connects a new virStream, in a thread, inside of `lane.run`.
        max_waiting: How many bytes may wait for a slow reader.

    Raises:
        ChannelNotAvailable: There is no such port, or somebody else has it.
        AtpError: What `HostConnection.call` raises.

    Cancellation: no stream stays open.
    """
    token = trio.lowlevel.current_trio_token()
    opened: list[LibvirtStream] = []

    def wake() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(arrived, idempotent=True)

    def arrived() -> None:
        for stream in opened:
            stream.arrived()

    pipe = _Pipe(what, Inbox(max_waiting, wake))
    lane = await host.take_lane()
    try:
        await trio.to_thread.run_sync(
            lane.run,
            lambda lane: pipe.open(lane, opening),
            abandon_on_cancel=True,
            limiter=ThreadEnd(lambda: None),  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
        )
    except BaseException as error:
        lane.is_lost = True  # its thread, which may still be opening, closes it
        host.give_lane_back(lane)
        if isinstance(error, HypervisorError) and error.code in {_NO_CHANNEL, _BUSY}:
            hint = " (force takes it from who has it)" if error.code == _BUSY else ""
            raise ChannelNotAvailable(f"{what}: {error}{hint}") from error
        raise
    stream = LibvirtStream(host, lane, pipe)
    opened.append(stream)
    stream.arrived()
    return stream
