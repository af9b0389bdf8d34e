"""What came on a stream and was not received, between libvirt's event thread and Trio."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import attrs

from atp_trio.errors import AtpError, ConnectionLost

__all__ = ["Inbox"]


@attrs.define(eq=False)
class Inbox:
    """What came and was not received: filled in libvirt's event thread, emptied by Trio."""

    limit: int
    wake: Callable[[], None]
    """Called in any thread when something changed."""
    size: int = attrs.field(init=False, default=0)
    is_ended: bool = attrs.field(init=False, default=False)
    failure: AtpError | None = attrs.field(init=False, default=None)
    """Why it ended; None where the other side ended it."""
    _chunks: deque[bytes] = attrs.field(init=False, factory=deque)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def put(self, data: bytes) -> bool:
        """Take what came; whether more is wanted."""
        with self._lock:
            if self.is_ended:
                return False
            self._chunks.append(data)
            self.size += len(data)
            is_full = self.size > self.limit
        if is_full:
            self.end(ConnectionLost(f"the stream was ended: more than {self.limit} bytes waited for a reader that is too slow"))
        self.wake()
        return not is_full

    def end(self, failure: AtpError | None) -> None:
        """Nothing more will come. The first reason counts."""
        with self._lock:
            if self.is_ended:
                return
            self.is_ended, self.failure = True, failure
        self.wake()

    def take(self, most: int | None) -> bytes:
        """The next bytes; empty where there are none now."""
        with self._lock:
            if not self._chunks:
                return b""
            data = self._chunks.popleft()
            if most is not None and len(data) > most:
                # All of it in pieces of this size now, not the rest again and again.
                pieces = [data[at : at + most] for at in range(0, len(data), most)]
                self._chunks.extendleft(reversed(pieces[1:]))
                data = pieces[0]
            self.size -= len(data)
            return data

    def drop(self) -> None:
        """Nobody will receive any more."""
        self.end(None)
        with self._lock:
            self._chunks.clear()
            self.size = 0
