"""A byte stream to a port or a console of a domain, through libvirt.

Each stream has a lane of its own. Threads read and write it (`pipe`), into an inbox and out of an outbox, which are all that this
module looks at.

Source:
    libvirt, virDomainOpenChannel, virDomainOpenConsole.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import trio

from atp_trio.conflict import ConflictDetector
from atp_trio.errors import AtpError, ChannelNotAvailable, ConnectionLost, HypervisorError
from atp_trio.hypervisor.inbox import Inbox
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.lanes import LEAVE_SECONDS, ThreadEnd
from atp_trio.hypervisor.pipe import Pipe

if TYPE_CHECKING:
    from atp_trio.hypervisor.host import HostConnection

__all__ = ["MAX_WAITING", "LibvirtStream", "open_libvirt_stream"]

MAX_WAITING: Final = 1 << 26
"""How many bytes wait for a slow reader: about a second of what a guest can write."""
_NO_CHANNEL, _BUSY = 1, 9  # VIR_ERR_INTERNAL_ERROR, VIR_ERR_OPERATION_FAILED: libvirt has no better numbers for these


class LibvirtStream(trio.abc.HalfCloseableStream):
    """A port or a console of a domain; `Domain.open_channel` and `Domain.open_console` give it.

    A guest cannot be slowed down through libvirt: what it writes waits here, and if that is more than `MAX_WAITING` bytes (or
    what was asked for), the stream ends with an error after they were received. The end of the stream (`b""`) is that the machine
    has ended, or that libvirt closed the port; that a program in the guest closes it, or opens it again, is not told.

    A stream that is lost is a `ConnectionLost` for both directions, after what had come was received.
    """

    def __init__(self, host: HostConnection, lane: Lane, pipe: Pipe) -> None:
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
            await _run(self._lane, self._pipe.finish)

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

    def wake() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(stream.arrived, idempotent=True)

    lane = await host.take_lane()
    pipe = Pipe(what, Inbox(max_waiting, wake))
    stream = LibvirtStream(host, lane, pipe)
    try:
        await _run(lane, lambda lane: pipe.open(lane, opening))
    except BaseException as error:
        lane.is_lost = True  # its thread, which may still be opening, closes it
        host.give_lane_back(lane)
        if isinstance(error, HypervisorError) and error.code in {_NO_CHANNEL, _BUSY}:
            hint = " (force takes it from who has it)" if error.code == _BUSY else ""
            raise ChannelNotAvailable(f"{what}: {error}{hint}") from error
        raise
    return stream


async def _run(lane: Lane, do: Callable[[Lane], None]) -> None:
    """Do it in a thread, inside of `lane.run`. Cancelled, it goes on alone."""
    await trio.to_thread.run_sync(
        lane.run,
        do,
        abandon_on_cancel=True,
        limiter=ThreadEnd(lambda: None),  # type: ignore[arg-type] # Trio takes what is like a CapacityLimiter
    )
