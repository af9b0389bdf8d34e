"""A virStream, and what threads do with it: the side of a `LibvirtStream` that Trio does not see.

Theory of operation. Reading and writing go different ways. libvirt's client reads its socket in the event thread whenever there
is something, and keeps what came for the stream without a limit; it tells us, we take it over in that same thread (which is no
call: nothing is sent) and wake Trio. Sending may wait for as long as the guest does not read, whatever flag the stream was made
with; so it is a call in a thread, one at a time.

libvirt's client has no way to slow a guest down: what comes is taken, up to a limit of ours, beyond which the stream is ended.
In the other direction, libvirtd stops reading when the guest does, keepalive included, and takes us for dead after 30 s. That is
the loss of a stream, not of its host.

Source:
    libvirt, libvirt-stream.h.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import attrs

from atp_trio.errors import AtpError, ConnectionLost
from atp_trio.hypervisor.inbox import Inbox
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.outbox import Outbox

__all__ = ["Pipe"]

_log = logging.getLogger("atp_trio.hypervisor")

_SLICE: Final = 1 << 17  # sent at a time: two of what programs like to send
_SEND_BUFFER: Final = 1 << 18  # that wait to be sent, as in a socket's buffer: the thread that sends goes on without Trio
_CHUNK: Final = 1 << 18  # the most that libvirtd sends at a time
_TURN: Final = 16  # chunks taken before libvirt's other events have theirs
_GUEST_STALLS: Final = 15.0  # seconds; keepalive, which starves while the guest takes nothing, ends connections after 20 or 30

_NONBLOCK: Final = 1  # VIR_STREAM_NONBLOCK
_READABLE, _ERROR, _HANGUP = 1, 4, 8  # VIR_STREAM_EVENT_*
_WOULD_BLOCK: Final = -2


@attrs.define(eq=False)
class Pipe:
    """The virStream of a `LibvirtStream`, and what threads do with it."""

    what: str
    inbox: Inbox
    outbox: Outbox = attrs.field(factory=lambda: Outbox(_SEND_BUFFER, _SLICE))
    _stream: Any = None
    _error: type[Exception] = Exception
    _myself: list[Pipe] = attrs.field(init=False, factory=list)
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
        except Exception as error:  # noqa: BLE001 - a bug, of which libvirt's thread is not to die, nor a reader to wait for ever
            _log.exception("%s could not be read", self.what)
            self.inbox.end(ConnectionLost(f"{self.what} was lost: it could not be read: {error!r}"))
            with contextlib.suppress(self._error):
                stream.eventUpdateCallback(0)

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


def _happened(stream: Any, _events: int, pipes: list[Pipe]) -> None:
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
