"""What framing costs: many small messages against a plain Python loop, and large ones against a bare socket.

Run it alone: `python benchmarks/bench_framing.py`. Both sides of a ratio run in turn, so that a busy machine slows both; the
figures are medians, with the smallest and largest behind them.
"""

from __future__ import annotations

import random
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import trio

from atp_trio.spice.codec.framing import Framer, HeaderKind, pack_mini_header
from atp_trio.spice.streams.socket import SocketStream

RUNS = 11
WARM_UP = 5  # pairs that do not count: a processor takes a while to reach its speed, and the sender to start
LIMIT = 1 << 20
SMALL_COUNT = 64 * 1024
BUFFER = 256 * 1024
LARGE_BODY = 64 * 1024
LARGE_BLOCK = 16  # messages in one call of sendall
LARGE_TOTAL = 512 * 1024 * 1024


def small_messages() -> bytes:
    """64 Ki mini frames with bodies of 0 to 40 bytes, always the same."""
    chosen = random.Random(2026)
    return b"".join(
        pack_mini_header(chosen.randrange(101, 330), size) + bytes(size)
        for size in (chosen.randrange(41) for _ in range(SMALL_COUNT))
    )


def frame_plain(stream: bytes) -> int:
    """The fastest plain loop: nothing but what tells the messages apart."""
    unpack = struct.Struct("<HI").unpack_from
    count = at = 0
    while at < len(stream):
        end = min(at + BUFFER, len(stream))
        while end - at >= 6:
            _type, size = unpack(stream, at)
            if size > LIMIT:
                raise ValueError
            if size > end - at - 6:
                break
            at += 6 + size
            count += 1
    return count


def frame_table(stream: bytes) -> int:
    """Ours, the table left in C."""
    framer = Framer(HeaderKind.MINI, LIMIT)
    count = at = 0
    while at < len(stream):
        end = min(at + BUFFER, len(stream))
        more = True
        while more:
            table = framer.frames(stream, at, end)
            count += table.count
            at, more = table.consumed, table.more
    return count


def frame_ints(stream: bytes) -> int:
    """Ours, with (type, offset, size) as Python integers for each message."""
    framer = Framer(HeaderKind.MINI, LIMIT)
    count = at = 0
    while at < len(stream):
        end = min(at + BUFFER, len(stream))
        more = True
        while more:
            table = framer.frames(stream, at, end)
            for _type, _offset, _size in table:
                count += 1
            at, more = table.consumed, table.more
    return count


def timed(function: Callable[[], int], expected: int) -> float:
    begin = time.perf_counter()
    count = function()
    elapsed = time.perf_counter() - begin
    if count != expected:
        raise SystemExit(f"{function} found {count}, not {expected}")
    return elapsed


def send(port: int) -> None:
    """The sender's process: the same bytes on one connection after another."""
    block = (pack_mini_header(101, LARGE_BODY) + bytes(LARGE_BODY)) * LARGE_BLOCK
    for _ in range(2 * (WARM_UP + RUNS)):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            for _ in range(LARGE_TOTAL // LARGE_BODY // LARGE_BLOCK):
                sock.sendall(block)


def receive_bare(sock: socket.socket) -> int:
    """Bytes received by a blocking loop."""
    buffer = bytearray(BUFFER)
    total = 0
    while received := sock.recv_into(buffer):
        total += received
    return total


async def receive_framed(sock: socket.socket) -> int:
    """Bytes in the messages that our stream and framer give, as a channel's reader does it."""
    framer = Framer(HeaderKind.MINI, LIMIT)
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    total = start = end = needed = 0
    async with SocketStream(sock, address="sender") as stream:
        while received := await stream.receive_into(view[end:]):
            end += received
            more = True
            while more:
                table = framer.frames(buffer, start, end)
                for _type, _offset, size in table:
                    total += HeaderKind.MINI + size
                start, needed, more = table.consumed, table.needed, table.more
            if start == end:
                start = end = 0
            elif start + needed > len(buffer):
                view[: end - start] = view[start:end]
                start, end = 0, end - start
    return total


def compare(one: Callable[[], int], other: Callable[[], int], expected: int) -> tuple[list[float], list[float]]:
    """Both timed in turn."""
    pairs = [(timed(one, expected), timed(other, expected)) for _ in range(WARM_UP + RUNS)][WARM_UP:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def ratio(above: list[float], below: list[float]) -> str:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def bench_small() -> None:
    stream = small_messages()
    for _ in range(50):
        frame_plain(stream)
    print(f"{SMALL_COUNT} mini frames, bodies of 0 to 40 bytes, {BUFFER // 1024} KiB buffers")
    for name, function in (("table left in C", frame_table), ("Python integers", frame_ints)):
        plain, ours = compare(partial(frame_plain, stream), partial(function, stream), SMALL_COUNT)
        each = [1e9 * statistics.median(times) / SMALL_COUNT for times in (plain, ours)]
        print(f"  {name}: {each[1]:6.1f} ns a message, plain loop {each[0]:6.1f} ns; times faster: {ratio(plain, ours)}")


def bench_large() -> None:
    total = LARGE_TOTAL // LARGE_BODY * (LARGE_BODY + HeaderKind.MINI)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with subprocess.Popen([sys.executable, __file__, "--send", str(port)]) as sender:

            def bare() -> int:
                with listener.accept()[0] as sock:
                    return receive_bare(sock)

            ours, plain = compare(lambda: trio.run(receive_framed, listener.accept()[0]), bare, total)
            sender.wait()
    speed = [total / statistics.median(times) / 1e6 for times in (plain, ours)]
    print(f"{LARGE_BODY // 1024} KiB messages over loopback TCP, {BUFFER // 1024} KiB buffers")
    print(f"  stream and framer: {speed[1]:6.0f} MB/s, bare recv_into {speed[0]:6.0f} MB/s; part of it: {ratio(plain, ours)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(int(sys.argv[2]))
    else:
        bench_small()
        bench_large()
