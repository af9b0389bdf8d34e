"""How long it takes to be connected: each step of each channel's link, all of it, and until there is a picture."""

from __future__ import annotations

import time
from collections import defaultdict

import attrs
import trio

import atp_trio
from atp_trio.bench.run import MILLI, BenchRun


async def measure_link(run: BenchRun) -> None:
    """Connect again and again.

    A server makes an RSA key for every link, and that is nearly all of the time. The embedded server is therefore measured a
    second time without: what remains is our own time and that of its answering.
    """
    async with run.server(fresh_keys=True) as uri:
        with run.measuring("connecting", 0):
            await _measure(run, uri, "")
    if run.is_embedded:
        async with run.server(fresh_keys=False) as uri:
            with run.measuring("connecting, the server's keys being there", 0.5):
                await _measure(run, uri, "without_keys.")


async def _measure(run: BenchRun, uri: atp_trio.SpiceUri, prefix: str) -> None:
    steps: defaultdict[str, list[float]] = defaultdict(list)
    await _connect(run, uri, defaultdict(list))  # imports, OpenSSL's tables
    end = trio.current_time() + run.settings.seconds
    while not steps or trio.current_time() < end:
        await _connect(run, uri, steps)
    for name, values in steps.items():
        run.distribution(prefix + name, "ms", values)


async def _connect(run: BenchRun, uri: atp_trio.SpiceUri, steps: defaultdict[str, list[float]]) -> None:
    kinds = atp_trio.ChannelType
    started = time.perf_counter()
    async with run.connect(uri, kinds.DISPLAY, kinds.INPUTS, kinds.CURSOR) as vm:
        steps["open_spice"].append((time.perf_counter() - started) * MILLI)
        if any(isinstance(channel, atp_trio.DisplayChannel) for channel in vm.channels):
            await vm.display.wait_ready()
            steps["first_picture"].append((time.perf_counter() - started) * MILLI)
        for channel in vm.channels:
            timings = channel.link_timings
            assert timings is not None
            for step, seconds in (*attrs.asdict(timings).items(), ("total", timings.total)):
                steps[f"{channel.name}.{step}"].append(seconds * MILLI)
        leaving = time.perf_counter()
    steps["leave"].append((time.perf_counter() - leaving) * MILLI)
