"""A virStream that is a socket, and the other ends of those that are opened."""

from __future__ import annotations

import select
import socket
import threading
import time

from .fake_libvirt import FakeError


class FakeStream:
    """A virStream; a thread of its own is libvirt's event thread."""

    def __init__(self, connection, flags):
        assert flags == 1, "a blocking stream"
        self.connection = connection
        self.socket = None
        self.callback = None
        self.is_watched = False
        self.receives = 0
        self.finishes = 0
        self.is_free = False

    def __del__(self):
        self.is_free = True

    def recv(self, size):
        self.receives += 1
        try:
            return self.socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return -2
        except OSError as error:
            raise FakeError(f"cannot read from stream: {error}") from error

    def send(self, data):
        end = time.monotonic() + 5
        while self.connection.is_alive and time.monotonic() < end:
            try:
                return self.socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                select.select([], [self.socket], [], 0.005)
            except OSError as error:
                raise FakeError(f"cannot write to stream: {error}") from error
        raise FakeError("client socket is closed")

    def eventAddCallback(self, events, callback, opaque):  # noqa: N802
        self.callback, self.opaque, self.is_watched = callback, opaque, True
        self.connection.callbacks[self] = callback
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while self.is_watched:
            try:
                readable, _, _ = select.select([self.socket], [], [], 0.005)
            except (OSError, ValueError):
                return  # closed
            if readable and self.is_watched:
                self.callback(self, 1, self.opaque)

    def eventUpdateCallback(self, events):  # noqa: N802
        self.is_watched = bool(events)

    def eventRemoveCallback(self):  # noqa: N802
        self.is_watched = False
        del self.connection.callbacks[self]

    def finish(self):
        self.finishes += 1
        self.socket.close()


class Ports:
    """The other ends of what `openChannel` opens, by name."""

    def __init__(self):
        self.sockets = {}
        self.made = []
        self.streams = []
        self.failure = None
        self.gate = None
        self.asked = []

    def add(self, name):
        ours, self.sockets[name] = self.pair()
        ours.settimeout(5)
        return ours

    def pair(self):
        pair = socket.socketpair()
        self.made += pair
        return pair

    def connections(self):
        """Those of streams; the host has another."""
        return {stream.connection for stream in self.streams if stream.connection in stream.connection.libvirt.connections}

    def open(self, name, stream, flags):
        self.asked.append((name, flags))
        if self.gate is not None:
            assert self.gate.wait(5)
        if self.failure is not None:
            raise self.failure
        stream.socket = self.sockets.pop(name)
        self.streams.append(stream)
        stream.connection.streams = [stream]


def read(guest, size):
    """So much that came to the guest's side; for a thread."""
    data = bytearray()
    while len(data) < size and (got := guest.recv(size - len(data))):
        data += got
    return bytes(data)


async def receive_exactly(stream, size):
    data = b""
    while len(data) < size:
        got = await stream.receive_some()
        assert got
        data += got
    return data
