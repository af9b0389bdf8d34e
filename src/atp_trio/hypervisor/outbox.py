"""What is to be sent on a stream, between Trio and the thread that sends it."""

from __future__ import annotations

import threading
from collections import deque

import attrs

__all__ = ["Outbox"]


@attrs.define(eq=False)
class Outbox:
    """Filled by Trio, emptied by a thread that runs while there is something."""

    limit: int
    """How many bytes may wait; what is put at once is taken whole."""
    slice_size: int
    """How many are sent at a time."""
    size: int = attrs.field(init=False, default=0)
    """How many wait, those that are being sent included."""
    is_running: bool = attrs.field(init=False, default=False)
    """Whether the thread is there."""
    _pieces: deque[bytes] = attrs.field(init=False, factory=deque)
    _at: int = attrs.field(init=False, default=0)
    """How much of the first piece was sent."""
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    @property
    def is_full(self) -> bool:
        """Whether the next must wait."""
        return self.size > self.limit

    def put(self, data: bytes) -> bool:
        """Have it sent; whether the thread must be started for it."""
        with self._lock:
            self._pieces.append(data)
            self.size += len(data)
            must_start, self.is_running = not self.is_running, True
        return must_start

    def peek(self) -> bytes:
        """What to send next: small pieces together, a large one by slices; empty where nothing waits. For the thread."""
        with self._lock:
            if not self._pieces:
                return b""
            if self._at or len(self._pieces[0]) >= self.slice_size:
                return self._pieces[0][self._at : self._at + self.slice_size]
            if len(self._pieces) == 1:
                return self._pieces[0]
            joined, size = [], 0
            for piece in self._pieces:
                size += len(piece)
                if size > self.slice_size:
                    break
                joined.append(piece)
            return b"".join(joined)

    def sent(self, count: int) -> bool:
        """So much of it was sent; whether there is room now, which there was not. For the thread."""
        with self._lock:
            if not self._pieces:
                return False  # cleared meanwhile
            was_full = self.is_full
            self.size -= count
            self._at += count
            while self._pieces and self._at >= len(self._pieces[0]):
                self._at -= len(self._pieces.popleft())
            return was_full and not self.is_full

    def stop(self) -> bool:
        """Whether the thread ends, as nothing waits."""
        with self._lock:
            self.is_running = bool(self._pieces)
            return not self.is_running

    def clear(self) -> None:
        """Send nothing more."""
        with self._lock:
            self._pieces.clear()
            self.size = self._at = 0
