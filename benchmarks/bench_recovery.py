"""How long it takes from a cut until it works again, beyond the backoff's delay; and what being kept costs in throughput.

    python benchmarks/bench_recovery.py [--cuts 100] [--seconds 2] [--turns 5]

The embedded server, in a process of its own, is behind a fault proxy in this one, which resets a channel's connection. The
backoff's delay is taken off, and how late a sleep of that length alone ends is said; `link` is what opening the same channel
takes on the same way without a cut. Aim: p50 and p99 at most 50 ms above the link's. Then a screen that is drawn on as fast as it
can be, and motions as fast as they are acknowledged, by `open_spice` alone and under a manager with a heartbeat every second, in
turns; aim: at most 3 % less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio
from bench_motion import client_stream

from atp_trio.spice.connection import SpiceVmConnection, open_spice
from atp_trio.spice.manager import SpiceConnectionManager, open_spice_manager
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.state import ConnectionState
from atp_trio.testing.faults import FaultProxy, open_fault_proxy
from atp_trio.testing.server import run_server_in_process

DELAY: Final = 0.05
RECONNECT: Final = ReconnectConfig(initial=DELAY, maximum=DELAY, jitter=0)
KINDS: Final = (ChannelType.DISPLAY, ChannelType.INPUTS, ChannelType.CURSOR)


def percentile(found: Sequence[float], share: float) -> float:
    """The value that so large a share is not above."""
    return sorted(found)[min(int(len(found) * share), len(found) - 1)]


async def measure_links(uri: str, count: int) -> dict[str, list[float]]:
    """Milliseconds of opening each channel, and of connecting the machine."""
    found: dict[str, list[float]] = {name: [] for name in ("main", *(kind.name.lower() for kind in KINDS))}
    for _ in range(max(count // 10, 1)):
        started = time.perf_counter()
        async with open_spice(uri) as vm:
            found["main"].append((time.perf_counter() - started) * 1e3)
            for kind in KINDS:
                await vm.close_channel(kind)
                started = time.perf_counter()
                channel = await vm.open_channel(kind)
                await channel.wait_first_message()
                found[kind.name.lower()].append((time.perf_counter() - started) * 1e3)
    return found


async def measure_cut(manager: SpiceConnectionManager, proxy: FaultProxy, name: str) -> float:
    """Milliseconds from a cut until the channel, or the machine, works again, without the backoff's delay."""
    vm = manager.get_vm_connection("vm")
    started = time.perf_counter()
    proxy.cut(name)
    if name == "main":
        await manager.get_state("vm").wait_state(ConnectionState.DISCONNECTED)
        await manager.wait_vm_connection("vm")
    else:
        old = vm.get_channel(ChannelType[name.upper()])
        await old.wait_closed()
        await trio.lowlevel.checkpoint()
        await vm.wait_channel(ChannelType[name.upper()])
    return (time.perf_counter() - started - DELAY) * 1e3


async def measure_lateness(count: int) -> list[float]:
    """Milliseconds by which this machine is late to wake who sleeps for the delay."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        await trio.sleep(DELAY)
        found.append((time.perf_counter() - started - DELAY) * 1e3)
    return found


async def measure_recovery(uri: str, cuts: int) -> None:
    """Cut each channel again and again."""
    async with open_fault_proxy(uri) as proxy:
        links, late = await measure_links(proxy.uri, cuts), await measure_lateness(cuts)
        print(f"a sleep of the delay alone is late by p50 {percentile(late, 0.5):.2f} ms, p99 {percentile(late, 0.99):.2f} ms")
        async with open_spice_manager(reconnect=RECONNECT) as manager:
            manager.add_vm("vm", proxy.uri)
            await manager.wait_vm_connection("vm")
            await trio.sleep(0.1)
            for name in ("display", "inputs", "cursor", "main"):
                found = []
                for _ in range(cuts):
                    found.append(await measure_cut(manager, proxy, name))
                    await manager.get_state("vm").wait_state(ConnectionState.CONNECTED)
                    await trio.sleep(0.01)
                what = "machine" if name == "main" else name
                median, worst, link = percentile(found, 0.5), percentile(found, 0.99), statistics.median(links[name])
                print(f"{what:8} works again after p50 {median:6.2f} ms, p99 {worst:6.2f} ms; link p50 {link:.2f} ms", flush=True)


@asynccontextmanager
async def connected(uri: str, *, kept: bool) -> AsyncIterator[SpiceVmConnection]:
    """The machine, by `open_spice` alone or kept by a manager."""
    if not kept:
        async with open_spice(uri, mouse_mode=MouseMode.SERVER) as vm:
            yield vm
        return
    async with open_spice_manager(heartbeat=HeartbeatConfig(interval=1)) as manager:
        manager.add_vm("vm", uri, mouse_mode=MouseMode.SERVER)
        vm = await manager.wait_vm_connection("vm")
        await vm.wait_channel(ChannelType.CURSOR)
        yield vm


async def measure_updates(uri: str, seconds: float, *, kept: bool) -> float:
    """Updates drawn in a second."""
    async with connected(uri, kept=kept) as vm:
        await vm.display.wait_ready()
        await trio.sleep(0.2)
        before, started = vm.display.display_statistics().updates, time.perf_counter()
        await trio.sleep(seconds)
        return (vm.display.display_statistics().updates - before) / (time.perf_counter() - started)


async def measure_motions(uri: str, seconds: float, *, kept: bool) -> float:
    """Motions acknowledged in a second."""
    async with connected(uri, kept=kept) as vm:
        return await client_stream(vm.inputs, seconds)


def compare(what: str, measure: Callable[..., Awaitable[float]], uri: str, seconds: float, turns: int) -> None:
    """Without and with supervision, in turns; each turn's ratio is of two measurements that follow one another."""
    rates, costs = [], []
    for turn in range(turns):
        rate, cost = {}, {}
        for kept in (False, True) if turn % 2 else (True, False):
            before = time.process_time()
            rate[kept] = trio.run(partial(measure, uri, seconds, kept=kept))
            cost[kept] = (time.process_time() - before) / rate[kept]
        rates.append((rate[False], rate[True]))
        costs.append(cost[True] / cost[False])
    plain, kept_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio, cpu = statistics.median(kept / plain for plain, kept in rates), statistics.median(costs)
    print(
        f"{what}/s: {plain:,.0f} alone, {kept_rate:,.0f} kept; by turns {ratio - 1:+.1%}, CPU for each {cpu - 1:+.1%}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with run_server_in_process(size=(1024, 768), network_test=False) as server:
        trio.run(measure_recovery, server.uri, options.cuts)
    with run_server_in_process(size=(1024, 768), scene="text", ack_window=20) as server:
        compare("updates", measure_updates, server.uri, options.seconds, options.turns)
    with run_server_in_process(size=(1024, 768)) as server:
        compare("motions", measure_motions, server.uri, options.seconds, options.turns)


if __name__ == "__main__":
    main()
