"""Linking a channel: our client beside plain blocking sockets that do the same by hand, on the same server, one after the other.

The embedded server has its key ready, so what is measured is our own time and the server's answering, which the plain sockets
wait for too. Aim: our own time, what a link takes beyond the same link by plain sockets, is at most 2 ms. The last lines are
the same with a key made for every link, as other servers do: there is nothing that a client could do about it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import trio
from spice_probe import INPUTS, Probe, link

import atp_trio
from atp_trio.testing.server import run_server_in_process


def measure_probe(port: int, seconds: float) -> list[float]:
    """Milliseconds of linking an inputs channel by hand."""
    probe = Probe(port)
    found = []
    end = time.perf_counter() + seconds
    try:
        while (started := time.perf_counter()) < end:
            probe.sock.close()
            probe.sock = link(port, INPUTS, probe.session)
            found.append((time.perf_counter() - started) * 1e3)
    finally:
        probe.close()
    return found


def measure_client(port: int, seconds: float) -> list[float]:
    """The same through `open_channel`."""

    async def measure() -> list[float]:
        found = []
        end = time.perf_counter() + seconds
        async with atp_trio.open_spice(f"spice://127.0.0.1:{port}", channels=()) as vm:
            while (started := time.perf_counter()) < end:
                await vm.open_channel(atp_trio.ChannelType.INPUTS)
                found.append((time.perf_counter() - started) * 1e3)
                await vm.close_channel(atp_trio.ChannelType.INPUTS)
        return found

    return trio.run(measure)


def measure_open_spice(port: int, seconds: float) -> list[float]:
    """Milliseconds of `open_spice`: main and the three common channels."""

    async def connect() -> float:
        started = time.perf_counter()
        async with atp_trio.open_spice(f"spice://127.0.0.1:{port}"):
            return (time.perf_counter() - started) * 1e3

    end = time.perf_counter() + seconds
    found = []
    while time.perf_counter() < end:
        found.append(trio.run(connect))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    seconds = parser.parse_args().seconds
    measures: dict[str, Callable[[int, float], list[float]]] = {
        "link, plain sockets": measure_probe,
        "link, our client": measure_client,
        "open_spice, 4 channels": measure_open_spice,
    }
    for fresh_keys in (False, True):
        with run_server_in_process(fresh_keys=fresh_keys) as server:
            assert server.port
            for measure in measures.values():  # imports, OpenSSL's tables
                measure(server.port, 0.1)
            p50 = {}
            for name, measure in measures.items():
                values = measure(server.port, seconds)
                p50[name], p90 = np.percentile(values, (50, 90))
                title = f"{name}, {'a new key a link' if fresh_keys else 'key ready'}"
                print(f"{title:45} n {len(values):5}  p50 {p50[name]:7.2f} ms  p90 {p90:7.2f} ms")
            keys = server.report()["key_seconds"]
        probe, client = p50["link, plain sockets"], p50["link, our client"]
        print(f"our own time in a link: {client - probe:.2f} ms, ratio {client / probe:.2f}")
        if keys:
            print(f"the server's key: p50 {np.percentile(keys, 50) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
