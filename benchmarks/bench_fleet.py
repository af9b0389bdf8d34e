"""Many machines kept by one process: how long connecting takes, what a machine costs in memory, what an idle one costs in time.

    python benchmarks/bench_fleet.py [--machines 1000] [--processes 4] [--seconds 60]

Every machine is an embedded server of its own, with four channels; they share a few processes. Memory is what this process holds
more than before, by machine; its screens have 64x48 pixels. Aims for 1000 machines: at most 300 KiB a machine without pixels, and
at most 10 % of a core while nothing happens, the heartbeat included.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import trio

from atp_trio.spice.manager import SpiceConnectionManager, open_spice_manager
from atp_trio.spice.messages.link import ChannelType
from atp_trio.supervision.state import ConnectionState
from atp_trio.testing.server import open_spice_server

# Descriptors beside those of the channels.
SPARE: Final = 200
SCREEN: Final = (64, 48)


def resident() -> float:
    """The process's resident memory, in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1024


def serve(count: int, pipe: Connection) -> None:
    """So many servers in this process, until the pipe ends."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(open_spice_server(size=SCREEN, network_test=False)) for _ in range(count)]
            pipe.send([server.uri for server in servers])
            await trio.lowlevel.wait_readable(pipe.fileno())

    trio.run(run)


@contextmanager
def served(machines: int, processes: int) -> Iterator[list[str]]:
    """The URIs of so many servers."""
    with ExitStack() as stack:
        uris: list[str] = []
        pipes = []
        context = multiprocessing.get_context("spawn")
        for number in range(processes):
            ours, theirs = context.Pipe()
            count = machines // processes + (number < machines % processes)
            process = context.Process(target=serve, args=(count, theirs))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)
            pipes.append(ours)
        for pipe in pipes:
            uris += pipe.recv()
        yield uris


async def connect(manager: SpiceConnectionManager, uris: list[str], prefix: str) -> None:
    """Connect them, and wait until all of each works."""
    for number, uri in enumerate(uris):
        manager.add_vm(f"{prefix}{number}", uri)
    for number in range(len(uris)):
        await manager.get_state(f"{prefix}{number}").wait_state(ConnectionState.CONNECTED)
    for number in range(len(uris)):
        # It comes after what is required.
        await manager.get_vm_connection(f"{prefix}{number}").wait_channel(ChannelType.CURSOR)


async def measure(uris: list[str], seconds: float) -> None:
    """Connect the machines, and look on."""
    async with open_spice_manager() as manager:
        await connect(manager, uris[:1], "first")  # what is loaded once
        gc.collect()
        before, started, spent = resident(), time.perf_counter(), time.process_time()
        await connect(manager, uris[1:], "vm")
        took, worked = time.perf_counter() - started, time.process_time() - spent
        gc.collect()
        count = len(uris) - 1
        print(f"{count} machines of 4 channels: connected in {took:.2f} s, {worked:.2f} s of it our own time")
        print(f"memory: {(resident() - before) / count:.0f} KiB a machine")
        await trio.sleep(seconds / 4)
        spent, started = time.process_time(), time.perf_counter()
        await trio.sleep(seconds)
        share = (time.process_time() - spent) / (time.perf_counter() - started)
        print(f"idle: {100 * share:.1f} % of a core over {seconds:g} s")
        lost = sum(one.connections > 1 or any(one.relinks.values()) for one in manager.statistics().values())
        print(f"lost meanwhile: {lost}; grown to {(resident() - before) / count:.0f} KiB a machine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    wanted = 4 * (options.machines + 1) + SPARE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        sys.exit(f"{wanted} open files are needed, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with served(options.machines + 1, options.processes) as uris:
        trio.run(measure, uris, options.seconds)


if __name__ == "__main__":
    main()
