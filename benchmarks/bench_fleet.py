"""A fleet: many machines in one process, each kept connected; what a machine costs.

    python benchmarks/bench_fleet.py [--machines N] [--processes N] [--seconds S] [--trace]

Every machine is an embedded server with a display of 64 x 64 pixels, in other processes; each has main, display, inputs and
cursor open, and heartbeats every 30 s. The servers of a process share one RSA key, so what setting up takes is our work and
theirs, without the making of keys: a server that makes one for every link adds some milliseconds of its own CPU to each.

Setting up is from the first `add_vm` until all are CONNECTED. Memory is what the process has grown by, divided by the machines,
after one machine was connected and left (imports, OpenSSL's tables); the surfaces' pixels are in it, and said. Idle CPU is the
process's own, over whole rounds of heartbeats. Aims: at most 300 KiB a machine without pixels, and 10 % of a core for 1000.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import resource
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import trio

import atp_trio
from atp_trio.spice.manager import SpiceConnectionManager, open_spice_manager
from atp_trio.supervision.degradation import ChannelsConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.state import ConnectionState
from atp_trio.testing.server import open_spice_server

SIDE: Final = 64
PIXELS_KIB: Final = SIDE * SIDE * 4 / 1024
CHANNELS: Final = ("main", "display", "inputs", "cursor")


# --- the servers


def serve(count: int, pipe: Connection, options: dict[str, Any]) -> None:
    """The body of a process: so many servers, until the pipe is closed."""
    trio.run(serve_all, count, pipe, options)


async def serve_all(count: int, pipe: Connection, options: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(open_spice_server(size=(SIDE, SIDE), **options)) for _ in range(count)]
        pipe.send([server.uri for server in servers])
        await trio.lowlevel.wait_readable(pipe.fileno())


@contextmanager
def fleet(machines: int, number_of_processes: int, **options: Any) -> Iterator[list[str]]:
    """Servers in other processes; gives where they are."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(number_of_processes):
        ours, theirs = context.Pipe()
        count = machines // number_of_processes + (number < machines % number_of_processes)
        process = context.Process(target=serve, args=(count, theirs, options), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield [uri for pipe in pipes for uri in pipe.recv()]
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join()


# --- what is measured


def resident_kib() -> float:
    """The process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


def cpu_seconds() -> float:
    """What the process has computed so far, its threads included."""
    return time.process_time()


def descriptors() -> int:
    """File descriptors that are open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def wait_connected(manager: SpiceConnectionManager) -> None:
    """Wait until every machine has all of its channels."""
    for vm_id in manager.vm_ids:
        source = manager.get_state(vm_id)
        while source.state is not ConnectionState.CONNECTED:
            await source.wait_state(ConnectionState.CONNECTED)


async def warm_up(uri: str) -> None:
    async with atp_trio.open_spice(uri) as vm:
        await vm.display.screenshot()


async def measure(uris: list[str], interval: float, seconds: float, *, trace: bool) -> None:
    await warm_up(uris[0])
    gc.collect()
    memory, files = resident_kib(), descriptors()
    if trace:
        tracemalloc.start(12)
    # CONNECTED is said when all that is required is: here, everything.
    channels = ChannelsConfig(open=CHANNELS[1:], required=CHANNELS)
    async with open_spice_manager(heartbeat=HeartbeatConfig(interval=interval), channels=channels) as manager:
        started, cpu = time.perf_counter(), cpu_seconds()
        for number, uri in enumerate(uris):
            manager.add_vm(str(number), uri)
        await wait_connected(manager)
        report("set up", f"{time.perf_counter() - started:.1f} s, of which CPU of ours {cpu_seconds() - cpu:.1f} s")
        report("connected more than once", str(sum(one.connections > 1 for one in manager.statistics().values())))
        report_memory("memory a machine", memory, len(uris))
        report("file descriptors a machine", f"{(descriptors() - files) / len(uris):.2f}")
        await measure_idle(manager, len(uris), seconds)
        report_memory("memory a machine, later", memory, len(uris))
        if trace:
            show_trace(len(uris))
        started = time.perf_counter()
    report("leaving all", f"{time.perf_counter() - started:.1f} s")


async def measure_idle(manager: SpiceConnectionManager, machines: int, seconds: float) -> None:
    await trio.sleep(2)
    started, cpu = time.perf_counter(), cpu_seconds()
    await trio.sleep(seconds)
    busy, elapsed = cpu_seconds() - cpu, time.perf_counter() - started
    share = busy / elapsed
    report("idle CPU", f"{100 * share:.1f} % of a core over {elapsed:.0f} s, {1e6 * share / machines:.0f} us/s each")
    counters = manager.statistics().values()
    latencies = sorted(latency for one in counters for latency in one.latencies.values())
    report("channels that were asked for a sign of life", f"{len(latencies)} of {len(CHANNELS) * machines}")
    if latencies:
        median, longest = 1e3 * latencies[len(latencies) // 2], 1e3 * latencies[-1]
        report("the sign came after", f"p50 {median:.1f} ms, at most {longest:.0f} ms")
    report("machines connected", f"{sum(one.state is ConnectionState.CONNECTED for one in counters)} of {machines}")


def report(what: str, text: str) -> None:
    print(f"{what:46} {text}", flush=True)


def report_memory(what: str, before: float, machines: int) -> None:
    gc.collect()
    each = (resident_kib() - before) / machines
    report(what, f"{each:.0f} KiB, without pixels {each - PIXELS_KIB:.0f}")


def show_trace(machines: int) -> None:
    for line in tracemalloc.take_snapshot().statistics("lineno")[:25]:
        where = line.traceback[0]
        print(f"  {line.size / machines:10.0f} bytes  {line.count / machines:6.1f} blocks  {where.filename}:{where.lineno}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="of the servers")
    parser.add_argument("--seconds", type=float, default=60.0, help="of being idle: a multiple of the interval")
    parser.add_argument("--interval", type=float, default=30.0, help="of heartbeats, in seconds")
    parser.add_argument("--no-network-test", action="store_true", help="servers do not begin with 256000 bytes of PING")
    parser.add_argument("--trace", action="store_true", help="say which lines allocate; slow, and counts as memory itself")
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with fleet(chosen.machines, chosen.processes, network_test=not chosen.no_network_test) as uris:
        trio.run(lambda: measure(uris, chosen.interval, chosen.seconds, trace=chosen.trace))


if __name__ == "__main__":
    main()
