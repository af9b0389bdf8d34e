"""libvirt mode beside bare libvirt-python, against a private libvirtd with machines that do nothing, in turns.

The yardstick of `query-status` is the same call in a plain thread of another process, without event loop or Trio. Aims:
connecting takes less than 500 ms on every transport; our median is at most 1.3 times the yardstick's, our p99 below 10 ms; 8
callers over 4 machines do at least twice what one does; a machine that hangs changes none of it.

The last lines show why a connection of ours never has two calls in flight: plain threads that share one, beside a call that
hangs, stand still until that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain

import trio

from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.host import open_host
from atp_trio.testing.libvirtd import Libvirtd, missing

STATUS = '{"execute": "query-status"}'
NAMES = ("a", "b", "c", "d")
HUNG = "hung"


def percentile(found: Sequence[float], share: float) -> float:
    """The value that so large a share is not above."""
    return sorted(found)[min(int(len(found) * share), len(found) - 1)]


def quietest(turns: Sequence[Sequence[float]]) -> float:
    """The least of the turns' medians."""
    return min(percentile(found, 0.5) for found in turns)


def show(what: str, found: Sequence[float]) -> None:
    """A line about milliseconds."""
    p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
    print(f"{what:<44} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   most {max(found):7.2f} ms   n {len(found)}")


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- the yardstick: libvirt-python alone


def call_bare(uri: str, name: str, seconds: float) -> list[float]:
    """Milliseconds of `query-status` in a plain thread; what the other process runs."""
    import libvirt
    import libvirt_qemu

    domain = libvirt.open(uri).lookupByName(name)
    found: list[float] = []

    def run() -> None:
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            libvirt_qemu.qemuMonitorCommand(domain, STATUS, 0)
            found.append((time.perf_counter() - started) * 1e3)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


def measure_bare(uri: str, seconds: float) -> list[float]:
    """The same, from here."""
    command = [sys.executable, __file__, "--bare", uri, "--seconds", str(seconds)]
    found: list[float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def count_shared(uri: str, threads: int, seconds: float) -> int:
    """Calls of plain threads that share a connection with a call that hangs."""
    import libvirt
    import libvirt_qemu

    connection = libvirt.open(uri)
    hung = connection.lookupByName(HUNG)

    def hang() -> None:
        with contextlib.suppress(libvirt.libvirtError):  # libvirtd ends before it does
            libvirt_qemu.qemuMonitorCommand(hung, STATUS, 0)

    hanging = threading.Thread(target=hang, daemon=True)
    domains = [connection.lookupByName(name) for name in NAMES]
    hanging.start()
    time.sleep(0.1)
    count = [0] * threads
    end = time.perf_counter() + seconds

    def run(number: int) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            while time.perf_counter() < end:
                domains[number % len(domains)].state()
                count[number] += 1

    callers = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for one in callers:
        one.start()
    time.sleep(seconds)
    return sum(count)


def connect_bare(uri: str, times: int) -> list[float]:
    """Milliseconds of `virConnectOpen`."""
    import libvirt

    found = []
    for _ in range(times):
        started = time.perf_counter()
        connection = libvirt.open(uri)
        found.append((time.perf_counter() - started) * 1e3)
        connection.close()
    return found


# --- ours


def measure_connect(uri: str, times: int) -> list[float]:
    """Milliseconds of `open_host`."""

    async def connect() -> float:
        started = time.perf_counter()
        async with open_host(uri):
            return (time.perf_counter() - started) * 1e3

    return [trio.run(connect) for _ in range(times)]


def measure_calls(uri: str, callers: int, seconds: float, *, hang: bool = False) -> list[float]:
    """Milliseconds of `Domain.monitor`, by so many callers; `hang` calls the machine that does, beside them."""
    found: list[float] = []

    async def run(domain: Domain) -> None:
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            await domain.monitor(STATUS)
            found.append((time.perf_counter() - started) * 1e3)

    async def main() -> None:
        async with open_host(uri) as host:
            domains = [await host.domain(name) for name in NAMES]
            for domain in domains:
                await domain.monitor(STATUS)
            if hang:
                with trio.move_on_after(0.5):
                    await (await host.domain(HUNG)).monitor(STATUS)
            async with trio.open_nursery() as nursery:
                for number in range(callers):
                    nursery.start_soon(run, domains[number % len(domains)])

    trio.run(main)
    return found


def measure(daemon: Libvirtd, seconds: float, turns: int) -> None:
    uris = {"unix": daemon.uri, "tcp": daemon.tcp_uri, "tls": daemon.tls_uri, "ssh": daemon.ssh_uri}
    for name, uri in uris.items():
        times = 5 if name == "ssh" else 20
        show(f"connect by {name}, bare libvirt-python", connect_bare(uri, times))
        show(f"connect by {name}, ours", measure_connect(uri, times))
    bare: list[list[float]] = []
    one: list[list[float]] = []
    eight: list[list[float]] = []
    for _ in range(turns):
        bare.append(measure_bare(daemon.uri, seconds))
        one.append(measure_calls(daemon.uri, 1, seconds))
        eight.append(measure_calls(daemon.uri, 8, seconds))
    show("query-status, bare libvirt-python", [*chain(*bare)])
    show("query-status, ours", [*chain(*one)])
    show("query-status, 8 callers over 4 machines", [*chain(*eight)])
    # Two more threads have to be woken for a call of ours; on a busy machine each waits its turn. So the quietest turns count.
    ours, theirs = quietest(one), quietest(bare)
    print(f"ours to bare, p50 of the quietest turn: {ours:.2f} / {theirs:.2f} ms = {ours / theirs:.2f}")
    print(f"calls a second: {max(map(len, one)) / seconds:.0f} by one, {max(map(len, eight)) / seconds:.0f} by 8 callers")
    with stopped(daemon.qemu_pid(HUNG)):
        show("query-status beside a hung machine", measure_calls(daemon.uri, 1, seconds, hang=True))
        show("... and 8 callers", measure_calls(daemon.uri, 8, seconds, hang=True))
        for threads in (1, 4):
            count = count_shared(daemon.uri, threads, seconds)
            print(
                f"bare libvirt-python on a connection where a call hangs, {threads} threads: {count / seconds:.0f} calls a second"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--bare", metavar="URI", help="be the yardstick, and print what was found")
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(call_bare(options.bare, NAMES[0], options.seconds)))
        return
    if problem := missing(ssh=True):
        raise SystemExit(f"no private libvirtd on this machine: {problem}")
    with Libvirtd(tcp=True, tls=True, ssh=True) as daemon:
        for name in (*NAMES, HUNG):
            daemon.run(name, agent=False, console=False, spice=None, display="", tablet=False, memory_mib=32)
        measure(daemon, options.seconds, options.turns)


if __name__ == "__main__":
    main()
