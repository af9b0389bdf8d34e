"""The whole client beside spice-gtk: the same load from the same libspice-server, in turn, the pixels compared at the end.

    python benchmarks/bench_client.py [--seconds 3] [--rounds 1] [--json] [WORD ...]

For each case whose name has one of the words: CPU seconds of the client's process a thousand updates, and updates a second, which
tell something where the server draws as fast as the client takes them; of several rounds the best. These clients take turns:

    ours                the display is kept; what of it was drawn on is kept for whoever asks
    ours, damage        the same, and a task receives all rectangles that were drawn on (`DisplayChannel.damage`)
    ours, seen          for video only: a task looks at every frame (`DisplayChannel.wait_until`). The two above do not look,
                        and most frames of a video that nobody sees are not decoded; spice-gtk decodes all of them
    spice-gtk in C      as a viewer written in C: GLib counts the updates
    spice-gtk           driven from Python through GObject introspection: a handler of one line hears of every update

Aims: at most half of spice-gtk's CPU seconds at set rates, and more updates a second. The load is spice_load.c, which is built on
the way; needed are gcc, libspice-server-dev, gir1.2-spiceclientglib-2.0 and python3-gi.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import trio

import atp_trio

HERE: Final = Path(__file__).parent
SYSTEM_PYTHON: Final = "/usr/bin/python3"  # the bindings belong to it
UNLIMITED: Final = -1
# Until a client has caught up, and a server has replaced the last frame of a video by an exact picture.
SAME_WITHIN: Final = 5.0


class Case(NamedTuple):
    """A load."""

    name: str
    how: str  # how images are sent
    load: str
    rate: int  # a second

    @property
    def is_video(self) -> bool:
        """Whether the server makes a video stream of it."""
        return self.how == "video"

    @property
    def is_unlimited(self) -> bool:
        """Whether the server draws as much as is taken."""
        return self.rate == UNLIMITED


CASES: Final = (
    Case("fill 64x64, 5000/s", "off", "fill", 5000),
    Case("raw 64x64, 2000/s", "off", "tiles", 2000),
    Case("LZ 64x64, 2000/s", "lz", "tiles", 2000),
    Case("GLZ 64x64, 2000/s", "glz", "tiles", 2000),
    Case("QUIC 64x64, 2000/s", "quic", "tiles", 2000),
    Case("LZ 1024x768 photo, 30/s", "lz", "frames", 30),
    Case("QUIC 1024x768 photo, 20/s", "quic", "frames", 20),
    Case("MJPEG 640x480, 30/s", "video", "video", 30),
    Case("fill 64x64, unlimited", "off", "fill", UNLIMITED),
    Case("raw 64x64, unlimited", "off", "tiles", UNLIMITED),
    Case("LZ 64x64, unlimited", "lz", "tiles", UNLIMITED),
    Case("GLZ 64x64, unlimited", "glz", "tiles", UNLIMITED),
    Case("QUIC 64x64, unlimited", "quic", "tiles", UNLIMITED),
)


class Result(NamedTuple):
    """What a client did with a load."""

    rate: float  # updates a second
    cpu_ms: float  # milliseconds of CPU time a thousand updates
    is_exact: bool  # whether it ended with the server's pixels


class Program:
    """A process that answers lines with lines."""

    def __init__(self, *command: object) -> None:
        self._command = list(map(str, command))
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self._command)} has ended")
        return line.strip()

    def ask(self, line: str) -> str:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)
        return self.read()


# --- our client, as a process of its own


async def follow(vm: atp_trio.SpiceVmConnection) -> None:
    async with vm.display.damage() as rects:
        while True:
            await rects.receive_all()


async def look(vm: atp_trio.SpiceVmConnection) -> None:
    def is_over(screen: atp_trio.LiveScreen) -> bool:
        return not screen.region(0, 0, 64, 64).size

    await vm.display.wait_until(is_over)


TASKS: Final = {"damage": follow, "seen": look}


async def serve(port: str, task: str | None) -> None:
    """Answer the lines that spice_gtk_client.py answers."""
    async with (
        atp_trio.open_spice(f"spice://127.0.0.1:{port}", channels=(atp_trio.ChannelType.DISPLAY,)) as vm,
        trio.open_nursery() as nursery,
    ):
        await vm.display.wait_ready()
        if task is not None:
            nursery.start_soon(TASKS[task], vm)
        print("ready", flush=True)
        while True:
            await trio.lowlevel.wait_readable(sys.stdin)
            command, *arguments = sys.stdin.readline().split() or ["quit"]
            if command == "count":
                used = resource.getrusage(resource.RUSAGE_SELF)
                print(vm.display.display_statistics().updates, used.ru_utime + used.ru_stime, flush=True)
            elif command == "save":
                (await vm.display.screenshot()).pixels.tofile(arguments[0])
                print("done", flush=True)
            else:
                nursery.cancel_scope.cancel()
                return


SEEN: Final = "ours, seen"
CLIENTS: Final = {
    "ours": (sys.executable, __file__, "--serve"),
    "ours, damage": (sys.executable, __file__, "--task", "damage", "--serve"),
    SEEN: (sys.executable, __file__, "--task", "seen", "--serve"),
    "spice-gtk in C": (SYSTEM_PYTHON, HERE / "spice_gtk_client.py", "in-c"),
    "spice-gtk": (SYSTEM_PYTHON, HERE / "spice_gtk_client.py", "in-python"),
}

# --- measuring


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def build(directory: Path) -> Path:
    """The program that makes the load."""
    program = directory / "spice_load"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "spice-server"], capture_output=True, text=True, check=True)
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "spice_load.c", *flags.stdout.split(), "-lpthread"], check=True)
    return program


def missing() -> str | None:
    """What is to be installed."""
    tries = (
        (["pkg-config", "--exists", "spice-server"], "gcc pkg-config libspice-server-dev"),
        (
            [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('SpiceClientGLib', '2.0')"],
            "gir1.2-spiceclientglib-2.0 python3-gi",
        ),
    )
    packages = [
        names
        for command, names in tries
        if not shutil.which(command[0]) or subprocess.run(command, capture_output=True, check=False).returncode
    ]
    return f"apt-get install --no-install-recommends {' '.join(packages)}" if packages else None


def pixels(path: Path) -> npt.NDArray[np.uint32]:
    """A saved screen, as numbers 0x00RRGGBB."""
    return np.fromfile(path, np.uint32) & np.uint32(0xFFFFFF)


def is_same(server: Program, client: Program, directory: Path) -> bool:
    """Whether the client comes to show what the server has drawn."""
    expected, shown = directory / "expected", directory / "shown"
    until = time.monotonic() + SAME_WITHIN
    while time.monotonic() < until:
        time.sleep(0.3)
        server.ask(f"dump {expected}")
        client.ask(f"save {shown}")
        if np.array_equal(pixels(expected), pixels(shown)):
            return True
    return False


def measure(program: Path, case: Case, command: tuple[object, ...], seconds: float) -> Result:
    def count() -> tuple[float, int, float]:
        updates, cpu = client.ask("count").split()
        return time.perf_counter(), int(updates), float(cpu)

    port = free_port()
    with Program(program, port, case.how) as server:
        server.read()
        with Program(*command, port) as client:
            assert client.read() == "ready"
            server.ask(f"draw {case.load} {case.rate}")
            time.sleep(2 if case.is_video else 0.5)  # a server that sees a video has looked at it for a while
            started, updates_before, cpu_before = count()
            time.sleep(seconds)
            ended, updates, cpu = count()
            server.ask(f"draw {case.load} 0")
            same = is_same(server, client, program.parent)
    done = updates - updates_before
    return Result(done / (ended - started), 1e6 * (cpu - cpu_before) / max(done, 1), same)


def best(results: list[Result]) -> Result:
    return Result(max(one.rate for one in results), min(one.cpu_ms for one in results), all(one.is_exact for one in results))


def compare(program: Path, words: list[str], seconds: float, rounds: int) -> Iterator[tuple[Case, dict[str, Result]]]:
    for case in CASES:
        if words and not any(word.lower() in case.name.lower() for word in words):
            continue
        clients = {name: command for name, command in CLIENTS.items() if name != SEEN or case.is_video}
        found: dict[str, list[Result]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, command in clients.items():
                found[name].append(measure(program, case, command, seconds))
        yield case, {name: best(results) for name, results in found.items()}


@contextmanager
def built() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield build(Path(directory))


def show(case: Case, results: dict[str, Result]) -> None:
    """A line for each client, with how many times as much as ours it is."""
    ours = results["ours"]
    print(case.name)
    for name, one in results.items():
        print(
            f"    {name:18}{one.cpu_ms:10.1f}{one.cpu_ms / ours.cpu_ms:8.2f}{one.rate:14.0f}{one.rate / ours.rate:8.2f}"
            f"   {'same' if one.is_exact else 'DIFFER'}",
            flush=True,
        )


def as_json(case: Case, results: dict[str, Result]) -> str:
    return json.dumps({"case": case.name} | {name: one._asdict() for name, one in results.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each client of each case")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line a case")
    parser.add_argument("--serve", metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve, options.task)
        return
    if needed := missing():
        sys.exit(f"there is nothing to compare with: {needed}")
    if not options.json:
        print(f"{'':22}{'CPU ms a thousand updates':^20}{'updates a second':^22}   pixels")
        print(f"{'':22}{'':10}{'/ ours':>8}{'':14}{'/ ours':>8}")
    with built() as program:
        for row in compare(program, options.words, options.seconds, options.rounds):
            if options.json:
                print(as_json(*row), flush=True)
            else:
                show(*row)


if __name__ == "__main__":
    main()
