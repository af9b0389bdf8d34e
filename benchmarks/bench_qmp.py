"""QMP on a monitor's own socket: our client beside `qemu.qmp`, QEMU's own Python client, in turns against one QEMU.

Two kinds of use: one task that executes `query-status` again and again, and 32 tasks that do so at once. Aim: at least 1.5 times
the commands a second of qemu.qmp one after the other, and at least twice as many at once. A plain blocking socket that says the
same as briefly as we do shows what QEMU and the kernel take of it; kept eight commands ahead, how fast QEMU is at all: it takes
a monitor's bytes one by one, at some 2 us each, so no client is faster than about 10000 of these commands a second.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from atp_trio.protocols.qmp import open_qmp

COMMAND: Final = "query-status"
TASKS: Final = 32
AHEAD: Final = 8  # commands that QEMU queues

Measure = Callable[[str, int], float]


def measure_socket(path: str, count: int, ahead: int = 1) -> float:
    """Seconds for so many commands on a plain blocking socket, `ahead` of them in flight."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        lines = sock.makefile("rb")
        lines.readline()
        sock.sendall(b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}\n')
        lines.readline()
        started = time.perf_counter()
        for number in range(count + ahead):
            if number < count:
                sock.sendall(b'{"id":%d,"execute":"%b"}\n' % (number % 10, COMMAND.encode()))
            if number >= ahead:
                assert "return" in json.loads(lines.readline())
        return time.perf_counter() - started


def measure_socket_ahead(path: str, count: int) -> float:
    return measure_socket(path, count, AHEAD)


def measure_ours(path: str, count: int, tasks: int = 1) -> float:
    """The same through `open_qmp`, by so many tasks."""

    async def measure() -> float:
        async with open_qmp(f"unix:{path}") as qmp:

            async def work() -> None:
                for _ in range(count // tasks):
                    await qmp.execute(COMMAND)

            started = time.perf_counter()
            if tasks == 1:
                await work()
            else:
                async with trio.open_nursery() as nursery:
                    for _ in range(tasks):
                        nursery.start_soon(work)
            return time.perf_counter() - started

    return trio.run(measure)


def measure_ours_at_once(path: str, count: int) -> float:
    return measure_ours(path, count, TASKS)


def measure_theirs(path: str, count: int, tasks: int = 1) -> float:
    """The same through qemu.qmp."""
    client_class = importlib.import_module("qemu.qmp").QMPClient

    async def measure() -> float:
        client = client_class("bench")
        await client.connect(path)
        try:

            async def work() -> None:
                for _ in range(count // tasks):
                    await client.execute(COMMAND)

            started = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(tasks)))
            return time.perf_counter() - started
        finally:
            await client.disconnect()

    return asyncio.run(measure())


def measure_theirs_at_once(path: str, count: int) -> float:
    return measure_theirs(path, count, TASKS)


@contextmanager
def running_qemu() -> Iterator[str]:
    """A QEMU without a machine; gives its monitor's path."""
    with tempfile.TemporaryDirectory(prefix="atp-bench-") as directory:
        path = f"{directory}/qmp.sock"
        command = ["qemu-system-x86_64", "-nodefaults", "-machine", "none", "-display", "none"]
        with subprocess.Popen([*command, "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL) as process:
            try:
                while not Path(path).exists() and process.poll() is None:
                    time.sleep(0.02)
                yield path
            finally:
                process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2048, help="commands in each measurement")
    parser.add_argument("--turns", type=int, default=5, help="measurements of each kind, in turns")
    arguments = parser.parse_args()
    try:
        importlib.import_module("qemu.qmp")
    except ModuleNotFoundError:
        sys.exit("the yardstick is missing: pip install qemu.qmp")
    kinds: dict[str, Measure] = {
        "one after the other, plain socket": measure_socket,
        "one after the other, qemu.qmp": measure_theirs,
        "one after the other, ours": measure_ours,
        "at once, plain socket": measure_socket_ahead,
        "at once, qemu.qmp": measure_theirs_at_once,
        "at once, ours": measure_ours_at_once,
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    processor: dict[str, list[float]] = {name: [] for name in kinds}
    with running_qemu() as path:
        for measure in kinds.values():  # imports, and QEMU's own first time
            measure(path, 64)
        for _ in range(arguments.turns):
            for name, measure in kinds.items():
                before = time.process_time()
                rates[name].append(arguments.count / measure(path, arguments.count))
                processor[name].append((time.process_time() - before) / arguments.count * 1e6)
    print(f"{COMMAND}, {arguments.turns} turns of {arguments.count}, {os.cpu_count()} cores")
    for name, values in rates.items():
        used = statistics.median(processor[name])
        print(f"{name:35} {statistics.median(values):7.0f}/s  ({min(values):.0f}..{max(values):.0f})  CPU {used:4.0f} us each")
    for kind in ("one after the other", "at once"):
        ratios = [ours / theirs for ours, theirs in zip(rates[f"{kind}, ours"], rates[f"{kind}, qemu.qmp"], strict=True)]
        print(f"{kind}: {statistics.median(ratios):.2f} times qemu.qmp ({min(ratios):.2f}..{max(ratios):.2f})")


if __name__ == "__main__":
    main()
