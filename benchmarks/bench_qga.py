"""Files and programs through a guest's agent: ours beside bare loops in plain libvirt-python, in turns on one emulated machine.

The yardstick for files is what scripts do: `qemuAgentCommand` with `guest-file-write` and `guest-file-read` of 64 KiB at a time.
Users report 350 KB/s of such. For programs it is `guest-exec` with captured output, and `guest-exec-status` without a pause until
it has ended; ours, `run`, also brings the output out of the guest whatever its size, and cleans up. Aim: files at 3.5 MB/s and
more, ten times what users report. The machine is emulated: most of the time is the guest's own, where the agent reads JSON.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import libvirt
import libvirt_qemu
import trio

from atp_trio.hypervisor.host import open_host
from atp_trio.protocols.qga import QgaProtocol, open_qga
from atp_trio.testing.guest import build_guest
from atp_trio.testing.libvirtd import Libvirtd

CHUNK: Final = 64 * 1024
REMOTE: Final = "/tmp/bench"
PROGRAM: Final = ("/bin/echo", "hello")


class Bare:
    """The yardstick."""

    def __init__(self, uri: str) -> None:
        self.connection = libvirt.open(uri)
        self.domain = self.connection.lookupByName("bench")

    def ask(self, command: str, **arguments: Any) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(self.domain, text, 30, 0))["return"]

    def put(self, path: Path) -> None:
        handle = self.ask("guest-file-open", path=REMOTE, mode="w")
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                self.ask("guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(data).decode()})
        self.ask("guest-file-close", handle=handle)

    def get(self, path: Path) -> None:
        handle = self.ask("guest-file-open", path=REMOTE, mode="r")
        with path.open("wb") as file:
            is_end = False
            while not is_end:
                told = self.ask("guest-file-read", handle=handle, count=CHUNK)
                file.write(base64.b64decode(told["buf-b64"]))
                is_end = told["eof"]
        self.ask("guest-file-close", handle=handle)

    def run(self) -> None:
        pid = self.ask("guest-exec", path=PROGRAM[0], arg=PROGRAM[1:], **{"capture-output": True})["pid"]
        while not (status := self.ask("guest-exec-status", pid=pid))["exited"]:
            pass
        assert base64.b64decode(status["out-data"]) == b"hello\n"

    def ping(self) -> None:
        self.ask("guest-ping")


async def measure_ours(uri: str, do: Callable[[QgaProtocol], Any], times: int) -> float:
    async with open_host(uri) as host, open_qga(await host.domain("bench")) as qga:
        await qga.ping()
        started = time.perf_counter()
        for _ in range(times):
            await do(qga)
        return (time.perf_counter() - started) / times


def measure_bare(uri: str, do: Callable[[Bare], Any], times: int) -> float:
    bare = Bare(uri)
    bare.ping()
    started = time.perf_counter()
    for _ in range(times):
        do(bare)
    return (time.perf_counter() - started) / times


def measure(uri: str, size: int, turns: int, directory: Path) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each, ours and the yardstick's, by what was done."""
    source, target = directory / "source", directory / "target"
    source.write_bytes(os.urandom(size))
    kinds: dict[str, tuple[Callable[[QgaProtocol], Any], Callable[[Bare], Any], int]] = {
        "put": (lambda qga: qga.put(source, REMOTE), lambda bare: bare.put(source), 1),
        "get": (lambda qga: qga.get(REMOTE, target), lambda bare: bare.get(target), 1),
        "run": (lambda qga: qga.run(PROGRAM), Bare.run, 10),
        "ping": (QgaProtocol.ping, Bare.ping, 50),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for turn in range(turns):
        for name, (ours, theirs, times) in kinds.items():
            # The first of two is not always the same.
            if turn % 2:
                yardstick = measure_bare(uri, theirs, times)
                found[name].append((trio.run(measure_ours, uri, ours, times), yardstick))
            else:
                found[name].append((trio.run(measure_ours, uri, ours, times), measure_bare(uri, theirs, times)))
    assert target.read_bytes() == source.read_bytes()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=8, help="the size of the file")
    parser.add_argument("--turns", type=int, default=4, help="measurements of each kind, in turns")
    arguments = parser.parse_args()
    size = arguments.mib << 20
    with Libvirtd() as daemon, tempfile.TemporaryDirectory(prefix="atp-bench-") as directory:
        daemon.run("bench", build_guest(), spice=None, display="", tablet=False, memory_mib=256 + 2 * arguments.mib)
        found = measure(daemon.uri, size, arguments.turns, Path(directory))
    print(f"{arguments.mib} MiB, {arguments.turns} turns, {os.cpu_count()} cores, an emulated guest")
    for name, pairs in found.items():
        ours, bare = (statistics.median(one) for one in zip(*pairs, strict=True))
        ratios = [theirs / mine for mine, theirs in pairs]
        if name in {"put", "get"}:
            told = f"ours {size / ours / 1e6:6.2f} MB/s   bare loop {size / bare / 1e6:6.2f} MB/s"
        else:
            told = f"ours {ours * 1e3:6.2f} ms     bare loop {bare * 1e3:6.2f} ms  "
        print(f"{name:5} {told}   {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f}..{max(ratios):.2f})")


if __name__ == "__main__":
    main()
