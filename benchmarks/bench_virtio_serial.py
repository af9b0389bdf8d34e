"""A virtio-serial port through libvirt: our stream beside a plain libvirt-python loop, in turns, on one machine's echo port.

The yardstick is libvirt-python's blocking stream in a process of its own, without event loop or Trio: one thread sends, another
receives (throughput), or one does both in turn (latency of 64 bytes). Aim: at least 80 % of its throughput. Latency is shown
beside it: ours goes through a thread to send, and comes back by libvirt's event thread, so that nothing blocks Trio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import trio

from atp_trio.hypervisor.channel import LibvirtStream
from atp_trio.hypervisor.host import open_host
from atp_trio.testing.guest import ECHO_PORT, build_guest
from atp_trio.testing.libvirtd import Libvirtd, missing

NAME = "bench"
PIECE = 1 << 16
SMALL = bytes(64)
Figures = tuple[float, list[float]]  # MB/s; milliseconds of each round trip


def measure_plain(uri: str, size: int, count: int) -> Figures:
    """The yardstick."""
    import libvirt

    connection = libvirt.open(uri)
    stream = connection.newStream(0)
    connection.lookupByName(NAME).openChannel(ECHO_PORT, stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE)
    time.sleep(0.2)  # until the guest has heard that the one before has left

    def receive(left: int) -> None:
        while left:
            left -= len(stream.recv(1 << 18))

    def send() -> None:
        for _ in range(size // PIECE):
            stream.send(bytes(PIECE))

    times = []
    for _ in range(count):
        started = time.perf_counter()
        stream.send(SMALL)
        receive(len(SMALL))
        times.append((time.perf_counter() - started) * 1e3)
    started = time.perf_counter()
    threading.Thread(target=send, daemon=True).start()
    receive(size)
    rate = size / (time.perf_counter() - started) / 1e6
    stream.finish()
    connection.close()
    return rate, times


async def receive_ours(stream: LibvirtStream, left: int) -> None:
    """So many bytes."""
    while left:
        left -= len(await stream.receive_some())


def measure_ours(uri: str, size: int, count: int) -> Figures:
    """The same by `Domain.open_channel`."""

    async def measure() -> Figures:
        async with open_host(uri) as host, await (await host.domain(NAME)).open_channel(ECHO_PORT, force=True) as stream:
            await trio.sleep(0.2)
            times = []
            for _ in range(count):
                started = time.perf_counter()
                await stream.send_all(SMALL)
                await receive_ours(stream, len(SMALL))
                times.append((time.perf_counter() - started) * 1e3)
            started = time.perf_counter()

            async def send() -> None:
                for _ in range(size // PIECE):
                    await stream.send_all(bytes(PIECE))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await receive_ours(stream, size)
            return size / (time.perf_counter() - started) / 1e6, times

    return trio.run(measure)


KINDS: dict[str, Callable[[str, int, int], Figures]] = {"plain": measure_plain, "ours": measure_ours}


def in_process(kind: str, uri: str, size: int, count: int) -> Figures:
    """Measure in a process of its own; a plain loop may stand still for ever, and is begun anew then."""
    command = [sys.executable, __file__, "--child", kind, uri, "--mib", str(size >> 20), "--count", str(count)]
    for _ in range(5):
        try:
            done = subprocess.run(command, check=True, capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:
            print(f"{kind} stood still; once more")
            continue
        rate, times = json.loads(done.stdout)
        return rate, times
    sys.exit(f"{kind} always stands still")


def show(name: str, rates: list[float], times: list[float]) -> None:
    """A line of figures."""
    times.sort()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    rate = statistics.median(rates)
    print(f"{name:6} {rate:6.1f} MB/s ({min(rates):.1f}..{max(rates):.1f})   64 bytes: p50 {p50:.3f} ms, p99 {p99:.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=32, help="sent and received in each measurement")
    parser.add_argument("--count", type=int, default=300, help="round trips in each measurement")
    parser.add_argument("--turns", type=int, default=5, help="measurements of each kind, in turns")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "URI"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = arguments.mib << 20
    if arguments.child:
        kind, uri = arguments.child
        print(json.dumps(KINDS[kind](uri, size, arguments.count)))
        return
    problem = missing()
    if problem:
        sys.exit(problem)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with Libvirtd() as libvirtd:
        libvirtd.run(NAME, build_guest(), ports=(ECHO_PORT,), memory_mib=256)
        for _ in range(arguments.turns):
            for kind in KINDS:
                rate, found = in_process(kind, libvirtd.uri, size, arguments.count)
                rates[kind].append(rate)
                times[kind] += found
    for kind in KINDS:
        show(kind, rates[kind], times[kind])
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    print(f"throughput: {statistics.median(ratios):.2f} of the plain loop's ({min(ratios):.2f}..{max(ratios):.2f})")


if __name__ == "__main__":
    main()
