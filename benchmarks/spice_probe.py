"""The yardstick: SPICE's link and motions by hand, over plain blocking sockets, nothing between the program and the kernel."""

from __future__ import annotations

import socket
import struct
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MAIN, DISPLAY, INPUTS = 1, 2, 3
MOTION = struct.pack("<HIiiH", 111, 10, 1, 0, 0)
MOTION_ACK = 111
BUNCH = 4
# PROTOCOL_AUTH_SELECTION, AUTH_SPICE, MINI_HEADER.
COMMON_CAPS = 0b1011


def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError("the server closed the connection")
        data += piece
    return bytes(data)


def receive_message(sock: socket.socket) -> tuple[int, bytes]:
    number, size = struct.unpack("<HI", receive(sock, 6))
    return number, receive(sock, size)


def link(port: int, channel: int, connection_id: int = 0) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = struct.pack("<IBBIIIII", connection_id, channel, 0, 1, 1, 18, COMMON_CAPS, 0)
    sock.sendall(struct.pack("<4sIII", b"REDQ", 2, 2, len(body)) + body)
    _, _, _, size = struct.unpack("<4sIII", receive(sock, 16))
    reply = receive(sock, size)
    key = serialization.load_der_public_key(reply[4:166])
    assert isinstance(key, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    sock.sendall(struct.pack("<I", 1) + key.encrypt(b"\0", oaep))
    (code,) = struct.unpack("<I", receive(sock, 4))
    if code:
        raise ConnectionError(f"the server refused the link with error {code}")
    return sock


class Probe:
    """A channel, and the main channel it belongs to."""

    def __init__(self, port: int, channel: int = INPUTS) -> None:
        self.main = link(port, MAIN)
        number, body = receive_message(self.main)
        while number != 103:  # INIT
            number, body = receive_message(self.main)
        (self.session,) = struct.unpack_from("<I", body)
        self.sock = link(port, channel, self.session)
        if channel == INPUTS:
            receive_message(self.sock)  # INIT

    def close(self) -> None:
        self.sock.close()
        self.main.close()

    def start_display(self) -> None:
        """Say what a display waits for: INIT, here without a cache or a dictionary."""
        self.sock.sendall(struct.pack("<HIBqBi", 101, 14, 1, 0, 1, 0))
        self.window = self.unacknowledged = 0

    def watch(self, seconds: float, screen: bytearray) -> tuple[int, int]:
        """Receive what a display sends, and copy the end of each full frame to the screen; gives frames and bytes."""
        header, body = bytearray(6), bytearray(len(screen) + 4096)
        view, frames, size = memoryview(body), 0, 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if self.sock.recv_into(header, 6, socket.MSG_WAITALL) != 6:
                raise EOFError("the server closed the connection")
            number, length = struct.unpack("<HI", header)
            if length:
                self.sock.recv_into(body, length, socket.MSG_WAITALL)
            size += 6 + length
            if length >= len(screen):
                frames += 1
                screen[:] = view[length - len(screen) : length]
            self.acknowledge(number, body)
        return frames, size

    def acknowledge(self, number: int, body: bytearray) -> None:
        """Do what the server's window asks for after each message."""
        if number == 3:  # SET_ACK, answered by ACK_SYNC
            generation, self.window = struct.unpack_from("<II", body)
            self.unacknowledged = 0
            self.sock.sendall(struct.pack("<HII", 1, 4, generation))
            return
        self.unacknowledged += 1
        if self.unacknowledged == self.window:
            self.unacknowledged = 0
            self.sock.sendall(struct.pack("<HI", 2, 0))  # ACK

    def wait_ack(self) -> None:
        while receive_message(self.sock)[0] != MOTION_ACK:
            pass

    def round_trips(self, seconds: float) -> list[float]:
        """Microseconds from four motions, sent together, to the acknowledgement."""
        found = []
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            self.sock.send(BUNCH * MOTION)
            self.wait_ack()
            found.append((time.perf_counter() - started) * 1e6)
        return found

    def stream(self, seconds: float, window: int) -> float:
        """Acknowledged motions a second, each sent by itself, with up to `window` under way."""
        sent = acks = 0
        started = time.perf_counter()
        while time.perf_counter() < started + seconds:
            while sent - BUNCH * acks < window:
                self.sock.send(MOTION)
                sent += 1
            acks += self.receive_acks()
        while acks < sent // BUNCH:
            acks += self.receive_acks()
        return BUNCH * acks / (time.perf_counter() - started)

    def receive_acks(self) -> int:
        """Take what is there; an acknowledgement is six bytes, and nothing else comes while nobody types."""
        data = self.sock.recv(65536)
        if len(data) % 6:
            data += receive(self.sock, 6 - len(data) % 6)
        return len(data) // 6
