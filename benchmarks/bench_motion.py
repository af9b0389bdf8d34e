"""Motions: our client beside two programs that do the same by hand, on the same server, in turns.

"probe" is plain blocking sockets. "trio" is the same socket under Trio, one task that receives and one that waits for it: what
any Trio program pays for its event loop. Aims: a round trip's p50 of at most twice the probe's, and 100 000 acknowledged motions
a second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import trio
from spice_probe import BUNCH, MOTION, Probe

import atp_trio
from atp_trio.testing.qemu import Qemu, missing
from atp_trio.testing.server import run_server_in_process

WINDOW = 4096
ROUNDS = 4
BURST = 64 * [(1, 0)]
FOUR = BUNCH * [(1, 0)]


@contextmanager
def servers() -> Iterator[dict[str, int]]:
    """Ports by name: the embedded server, and QEMU where it is installed."""
    with run_server_in_process() as embedded:
        assert embedded.port
        ports = {"embedded": embedded.port}
        if missing():
            yield ports
            return
        with Qemu(display="VGA") as machine:
            machine.wait_ready()
            assert machine.port
            yield ports | {"qemu": machine.port}


async def client_round_trips(inputs: atp_trio.InputsChannel, seconds: float) -> list[float]:
    """Microseconds from the first of four motions to the acknowledgement."""
    found = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        inputs.motions_nowait(FOUR)
        await inputs.wait_motions_acknowledged()
        found.append((time.perf_counter() - started) * 1e6)
    return found


async def client_stream(inputs: atp_trio.InputsChannel, seconds: float) -> float:
    """Acknowledged motions a second."""
    before, started = inputs.motion_acks, time.perf_counter()
    inputs.motion_window = WINDOW
    while time.perf_counter() < started + seconds:
        await inputs.wait_motion()
        while inputs.motions_nowait(BURST):
            pass
    await inputs.wait_motions_acknowledged()
    return BUNCH * (inputs.motion_acks - before) / (time.perf_counter() - started)


async def measure_client(port: int, seconds: float) -> tuple[list[float], float]:
    kinds = atp_trio.ChannelType
    async with atp_trio.open_spice(
        f"spice://127.0.0.1:{port}", channels=(kinds.INPUTS,), mouse_mode=atp_trio.MouseMode.SERVER
    ) as vm:
        return await client_round_trips(vm.inputs, seconds), await client_stream(vm.inputs, seconds)


async def trio_round_trips(probe: Probe, seconds: float) -> list[float]:
    """The same as `Probe.round_trips`, under Trio."""
    sock, arrived, found = probe.sock, trio.lowlevel.ParkingLot(), []

    async def receive() -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            sock.recv(65536)
            arrived.unpark_all()

    sock.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.lowlevel.checkpoint()
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            sock.send(BUNCH * MOTION)
            await arrived.park()
            found.append((time.perf_counter() - started) * 1e6)
        nursery.cancel_scope.cancel()
    return found


def measure_probe(port: int, seconds: float) -> tuple[list[float], float]:
    probe = Probe(port)
    try:
        return probe.round_trips(seconds), probe.stream(seconds, WINDOW)
    finally:
        probe.close()


def measure_trio(port: int, seconds: float) -> list[float]:
    probe = Probe(port)
    try:
        return trio.run(trio_round_trips, probe, seconds)
    finally:
        probe.close()


def compare(name: str, port: int, seconds: float) -> None:
    trips: dict[str, list[float]] = {"client": [], "trio": [], "probe": []}
    rates: dict[str, list[float]] = {"client": [], "probe": []}
    for _ in range(ROUNDS):  # in turns, so that what else the machine does meets all
        found, rate = measure_probe(port, seconds / ROUNDS)
        trips["probe"] += found
        rates["probe"].append(rate)
        trips["trio"] += measure_trio(port, seconds / ROUNDS)
        found, rate = trio.run(measure_client, port, seconds / ROUNDS)
        trips["client"] += found
        rates["client"].append(rate)
    for what, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
        client, by_trio, probe = (np.percentile(found, percent) for found in trips.values())
        print(
            f"{name}: motion-ack {what}: client {client:7.1f} us, trio {by_trio:7.1f} us, probe {probe:7.1f} us; "
            f"client to trio {client / by_trio:.2f}, to probe {client / probe:.2f}"
        )
    ours, theirs = max(rates["client"]), max(rates["probe"])
    print(f"{name}: motions: client {ours:.0f} /s, probe {theirs:.0f} /s; client to probe {ours / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of the four measurements a server")
    seconds = parser.parse_args().seconds
    with servers() as ports:
        for name, port in ports.items():
            compare(name, port, seconds)


if __name__ == "__main__":
    main()
