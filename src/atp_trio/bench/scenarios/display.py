"""What the display takes in, and what that costs: updates, pixels and bytes a second, latency, and the client's CPU time."""

from __future__ import annotations

import resource
import time
from typing import Any, Final

import trio

import atp_trio
from atp_trio.bench.run import MICRO, BenchRun, CannotMeasure

# What the embedded server shows. Rate 0 is as fast as the window lets it; a video's rate is its frames'.
SCENES: Final[dict[str, dict[str, Any]]] = {
    "text": {"scene": "text", "size": (1024, 768)},
    "rectangles": {"scene": "rectangles", "size": (1024, 768)},
    "scroll": {"scene": "scroll", "size": (1024, 768)},
    "video": {"scene": "video", "size": (1920, 1080), "rate": 60},
}


async def measure_display(run: BenchRun) -> None:
    """Watch each scene of the embedded server, or whatever the machine shows."""
    scenes = SCENES if run.is_embedded else {"machine": {}}
    for number, (name, options) in enumerate(scenes.items()):
        async with run.server(**options) as uri, run.connect(uri, atp_trio.ChannelType.DISPLAY) as vm:
            with run.measuring(name, number / len(scenes)):
                await _measure(run, vm.display, name)


async def _measure(run: BenchRun, display: atp_trio.DisplayChannel, name: str) -> None:
    await display.wait_ready()
    before, drawn_before = display.statistics(), display.display_statistics()
    cpu, started = _cpu_seconds(), time.perf_counter()
    await trio.sleep(run.settings.seconds)
    taken, used = time.perf_counter() - started, _cpu_seconds() - cpu
    after, drawn = display.statistics(), display.display_statistics()
    if not display.is_open:
        raise CannotMeasure(f"{name}: the display ended: {display.closed_by}")

    updates = drawn.updates - drawn_before.updates
    run.amount(f"{name}.updates", "1/s", updates / taken)
    run.amount(f"{name}.pixels", "Mpixel/s", (drawn.pixels - drawn_before.pixels) / taken / 1e6)
    run.amount(f"{name}.frames", "screens/s", (drawn.pixels - drawn_before.pixels) / taken / _pixels(display))
    run.amount(f"{name}.bytes", "MB/s", (after.bytes_received - before.bytes_received) / taken / 1e6)
    run.amount(f"{name}.cpu", "% of a core", 100 * used / taken)
    if not updates:
        run.skip(f"{name}.latency", "the machine drew nothing")
        return
    run.amount(f"{name}.drawing", "us/update", (drawn.drawing_seconds - drawn_before.drawing_seconds) / updates * MICRO)
    run.distribution(f"{name}.latency", "us", [seconds * MICRO for seconds in display.latencies[-updates:]])
    missing = sum(drawn.not_drawn.values()) + sum(drawn.failed.values())
    if missing:
        raise CannotMeasure(f"{name}: {missing} updates could not be drawn: {', '.join([*drawn.not_drawn, *drawn.failed])}")


def _pixels(display: atp_trio.DisplayChannel) -> int:
    width, height = display.size or (1, 1)
    return width * height


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
