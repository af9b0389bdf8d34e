"""Full frames of 1920x1080 at 60 a second, uncompressed: our client beside a loop that receives and copies the same bytes.

Aim: our client takes at most half a core; the loop is what receiving and one copy cost by themselves.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import trio
from spice_probe import DISPLAY, Probe

import atp_trio
from atp_trio.testing.server import run_server_in_process

WIDTH, HEIGHT, RATE = 1920, 1080, 60


class Cost(NamedTuple):
    """What watching took."""

    cpu: float  # of one core
    megabytes: float  # a second
    frames: float  # a second


def measure_probe(port: int, seconds: float) -> Cost:
    probe = Probe(port, DISPLAY)
    try:
        screen = bytearray(WIDTH * HEIGHT * 4)
        probe.start_display()
        probe.watch(0.3, screen)  # the first picture
        cpu, started = time.process_time(), time.perf_counter()
        frames, size = probe.watch(seconds, screen)
        taken = time.perf_counter() - started
        return Cost((time.process_time() - cpu) / taken, size / taken / 1e6, frames / taken)
    finally:
        probe.close()


async def measure_client(port: int, seconds: float) -> tuple[Cost, list[float]]:
    """The cost, and the milliseconds from receiving a frame to having it on the surface."""
    async with atp_trio.open_spice(f"spice://127.0.0.1:{port}", channels=(atp_trio.ChannelType.DISPLAY,)) as vm:
        display = vm.display
        await display.wait_ready()
        await trio.sleep(0.3)
        before, updates = display.statistics().bytes_received, display.display_statistics().updates
        cpu, started = time.process_time(), time.perf_counter()
        await trio.sleep(seconds)
        taken = time.perf_counter() - started
        used = (time.process_time() - cpu) / taken
        size = display.statistics().bytes_received - before
        frames = display.display_statistics().updates - updates
        return Cost(used, size / taken / 1e6, frames / taken), [1e3 * latency for latency in display.latencies[-frames:]]


def show(name: str, cost: Cost) -> None:
    print(f"{name:12} {cost.frames:6.1f} frames/s  {cost.megabytes:6.0f} MB/s  {100 * cost.cpu:5.1f} % of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each of the two measurements")
    seconds = parser.parse_args().seconds
    with run_server_in_process(scene="video", size=(WIDTH, HEIGHT), rate=RATE) as server:
        assert server.port
        probe = measure_probe(server.port, seconds)
        client, latencies = trio.run(measure_client, server.port, seconds)
    show("recv + copy", probe)
    show("our client", client)
    ratio = (client.cpu / client.frames) / (probe.cpu / probe.frames)
    print(f"CPU time a frame: ratio {ratio:.2f}")
    p50, p99 = np.percentile(latencies, (50, 99))
    print(f"received to surface: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
