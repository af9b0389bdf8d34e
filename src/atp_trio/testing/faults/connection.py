"""One connection through the proxy: two streams, and what lies between them.

Theory of operation. Each direction has a reader and a writer with a line between them: the reader takes bytes from one side, asks
the wire when they arrive on the other, and puts both into the line; the writer waits for that moment and delivers. The line is
bounded, so a receiver that does not read stops the sender, as it does without a proxy. What a fault changes is looked at
before each piece is passed, and whoever waits is woken when it changes.

Whatever ends one side ends the other in the same way: an end of stream is passed on as one, a reset as a reset.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from atp_trio.errors import AtpError
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.faults.conditions import LinkConditions, Wire
from atp_trio.testing.faults.tap import ChannelTap
from atp_trio.testing.faults.treatment import Direction, Flow, Selector, Treatment

__all__ = ["ProxiedConnection"]

# What a direction holds at most, in bytes: at 40 ms that is 200 MB/s.
MAX_LINE: Final = 8 * 1024 * 1024
_RESET: Final = struct.pack("ii", 1, 0)

TreatmentOf = Callable[[tuple[int, int] | None], Treatment]
WireOf = Callable[[LinkConditions, Direction], Wire]
Stream = trio.abc.HalfCloseableStream


@attrs.define(eq=False)
class _Line:
    """What is under way in one direction: pieces and when they arrive; None is the end of the stream."""

    pieces: deque[tuple[float, bytes | None]] = attrs.field(factory=deque)
    size: int = 0
    last_at: float = 0.0
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def put(self, at: float, data: bytes | None) -> None:
        self.last_at = max(self.last_at, at)  # order is kept
        self.pieces.append((self.last_at, data))
        self.size += len(data or b"")
        self.changed.unpark_all()

    def put_first(self, data: bytes) -> None:
        self.pieces.appendleft((0.0, data))
        self.size += len(data)
        self.changed.unpark_all()

    def take(self) -> bytes | None:
        _, data = self.pieces.popleft()
        self.size -= len(data or b"")
        self.changed.unpark_all()
        return data


class ProxiedConnection:
    """A client's connection through the proxy; `FaultProxy` makes it.

    Attributes:
        has_ended: Whether it is over.
    """

    def __init__(
        self,
        client: Stream,
        treatment_of: TreatmentOf,
        wire_of: WireOf,
        chance: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.has_ended = False
        self._client = client
        self._server: Stream | None = None
        self._treatment_of = treatment_of
        self._wire_of = wire_of
        self._chance = chance
        self._changed = changed
        self._tap = ChannelTap()
        self._lines = {direction: _Line() for direction in Direction}
        self._scope = trio.CancelScope()
        self._woken = trio.lowlevel.ParkingLot()
        self._is_reset = False
        self._is_half_open = False
        self._has_discarded = False

    def __repr__(self) -> str:
        return f"<ProxiedConnection {self.channel or 'unknown'}{' ended' if self.has_ended else ''}>"

    @property
    def channel(self) -> str | None:
        """Which SPICE channel it is, `display:0`; None as long as the client has not said, or where it cannot be read."""
        if self._tap.channel is None:
            return None
        kind, number = self._tap.channel
        return f"{ChannelType(kind).name.lower()}:{number}"

    @property
    def acks_withheld(self) -> int:
        """How many ACKs of the client were taken out."""
        return self._tap.withheld

    def is_chosen(self, selector: Selector) -> bool:
        """Whether the selector means this connection."""
        return selector.covers(Selector(*(self._tap.channel or (None, None))))

    # --- faults

    def reset(self) -> None:
        """End both sides with RST, at once; what is under way is lost."""
        self._is_reset = True
        self._scope.cancel()

    def hang_up(self) -> None:
        """End both sides in order, with FIN; what is under way is lost."""
        self._scope.cancel()

    def half_open(self) -> None:
        """Reset the server's side and keep the client's, which hears no more and may go on sending."""
        self._is_half_open = True
        self._has_discarded = True
        if self._server is not None:
            _reset(self._server)
        self.wake()

    def heal(self) -> None:
        """Go on; where bytes were thrown away that is not possible, and both sides are reset."""
        if self._has_discarded:
            self.reset()
        self.wake()

    def inject(self, data: bytes, direction: Direction) -> None:
        """Deliver these bytes before all that is under way."""
        self._lines[direction].put_first(data)

    def wake(self) -> None:
        """The treatment may have changed."""
        self._tap.withholding = self._treatment.withholds_acks
        self._woken.unpark_all()

    # --- running

    @property
    def _treatment(self) -> Treatment:
        return self._treatment_of(self._tap.channel)

    def _flow(self, direction: Direction) -> Flow:
        return Flow.DISCARD if self._is_half_open else self._treatment.flow(direction)

    def _wire(self, direction: Direction) -> Wire:
        return self._wire_of(self._treatment.link, direction)

    async def run(self, connect: Callable[[], Awaitable[Stream]]) -> None:
        """Connect to the server, and pass bytes until the connection ends."""
        try:
            with self._scope:
                await self._serve(connect)
        finally:
            self.has_ended = True
            with trio.CancelScope(shield=True):  # the second one too, where the first meets a cancellation; neither waits
                for stream in filter(None, (self._client, self._server)):
                    if self._is_reset:
                        _reset(stream)
                    await trio.aclose_forcefully(stream)

    async def _serve(self, connect: Callable[[], Awaitable[Stream]]) -> None:
        treatment = self._treatment
        if treatment.refuses:
            self._is_reset = True
            return
        if {treatment.to_server, treatment.to_client} == {Flow.DISCARD}:
            self.half_open()  # the server never hears of it
        else:
            try:
                self._server = await connect()
            except (OSError, AtpError):
                self._is_reset = True
                return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, Direction.TO_SERVER, self._client)
            nursery.start_soon(self._write, Direction.TO_CLIENT, self._client)
            if self._server is not None:
                nursery.start_soon(self._read, Direction.TO_CLIENT, self._server)
                nursery.start_soon(self._write, Direction.TO_SERVER, self._server)

    async def _read(self, direction: Direction, source: Stream) -> None:
        line = self._lines[direction]
        while True:
            await self._pass_gate(direction)
            try:
                data = await source.receive_some(self._wire(direction).read_size)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end_with(self.reset, direction)
                return
            await self._pass_gate(direction)
            wire = self._wire(direction)  # not before: conditions may have changed while nothing came
            if not data:
                if self._flow(direction) is Flow.DISCARD:
                    self._end_with(self.hang_up, direction)
                else:
                    line.put(wire.send(trio.current_time(), 0, self._chance()), None)
                return
            passed = self._follow(bytes(data), direction)
            if self._flow(direction) is Flow.DISCARD:
                self._has_discarded = True
            elif passed:
                line.put(wire.send(trio.current_time(), len(passed), self._chance()), passed)
            await trio.sleep_until(wire.takes_more_at)
            while line.size > MAX_LINE:
                await line.changed.park()

    def _end_with(self, end: Callable[[], None], direction: Direction) -> None:
        """One side is gone: so is the other, if it can hear of it."""
        if self._is_half_open:
            if direction is Direction.TO_SERVER:
                end()
        elif self._flow(direction) is Flow.DISCARD:
            self._has_discarded = True
        else:
            end()

    def _follow(self, data: bytes, direction: Direction) -> bytes:
        if direction is Direction.TO_CLIENT:
            return self._tap.from_server(data)
        known = self._tap.channel
        passed = self._tap.from_client(data)
        if self._tap.channel != known:
            self.wake()
            self._changed()
            if self._treatment.refuses:
                self.reset()
        return passed

    async def _write(self, direction: Direction, sink: Stream) -> None:
        line = self._lines[direction]
        while True:
            await _arrival(line)
            await self._pass_gate(direction)
            data = line.take()
            if self._flow(direction) is Flow.DISCARD:
                self._has_discarded = True
                continue
            try:
                if data is None:
                    await sink.send_eof()
                    return
                await self._deliver(sink, data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end_with(self.reset, direction)
                return

    async def _deliver(self, sink: Stream, data: bytes) -> None:
        link = self._treatment.link
        if link.chunk is None:
            await sink.send_all(data)
            return
        for start in range(0, len(data), link.chunk):
            await sink.send_all(data[start : start + link.chunk])
            await trio.sleep(link.gap)

    async def _pass_gate(self, direction: Direction) -> None:
        while self._flow(direction) is Flow.STALL:
            await self._woken.park()


async def _arrival(line: _Line) -> None:
    """Wait until the first piece has arrived."""
    while not line.pieces or line.pieces[0][0] > trio.current_time():
        with trio.move_on_at(line.pieces[0][0] if line.pieces else math.inf):
            await line.changed.park()


def _reset(stream: Stream) -> None:
    """Close a socket so that its peer hears of it by RST; a UNIX socket's hears of it when it next sends."""
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.socket.close()
