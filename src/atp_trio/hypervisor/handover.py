"""A descriptor that a thread gets for a caller who may have gone meanwhile."""

from __future__ import annotations

import socket
import threading

import attrs

__all__ = ["Handover"]


@attrs.define(eq=False)
class Handover:
    """Hands a connected socket from a thread to its caller; one of the two closes it if the caller leaves."""

    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _socket: socket.socket | None = attrs.field(init=False, default=None)
    _is_dropped: bool = attrs.field(init=False, default=False)

    def put(self, descriptor: int) -> None:
        """Take over a descriptor; called in the thread."""
        connected = socket.socket(fileno=descriptor)
        with self._lock:
            if not self._is_dropped:
                self._socket = connected
                return
        connected.close()

    def take(self) -> socket.socket:
        """The socket, which is the caller's from here on."""
        connected, self._socket = self._socket, None
        assert connected is not None
        return connected

    def drop(self) -> None:
        """The caller leaves."""
        with self._lock:
            self._is_dropped = True
            if self._socket is not None:
                self._socket.close()
