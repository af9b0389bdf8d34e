"""How fast input gets there: motions until they are acknowledged, motions in a stream, and a key until it has drawn."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

import atp_trio
from atp_trio.bench.run import MICRO, MILLI, BenchRun, CannotMeasure

# The server acknowledges motions by fours.
BUNCH: Final = 4
# Enough to be always under way, and far below what a socket's buffers hold.
WIDE_WINDOW: Final = 4096
# How many are sent together in a stream.
BURST: Final = 64
SCREEN: Final = (640, 480)
KEY_REGION: Final = (64, 64, 128, 128)
# Long enough for a machine to have drawn a character, in seconds.
KEY_PATIENCE: Final = 5.0


async def measure_input(run: BenchRun) -> None:
    """Move the pointer by a pixel and back, and press a key."""
    async with run.server(size=SCREEN, regions={"key": KEY_REGION}) as uri:
        async with run.connect(uri, atp_trio.ChannelType.INPUTS) as vm:
            await _settle(vm)
            with run.measuring("motion-ack round trip", 0):
                await _measure_round_trip(run, vm)
            with run.measuring("motions in a stream", 1 / 3):
                await _measure_stream(run, vm)
        region = atp_trio.Rect.at(*KEY_REGION) if run.is_embedded else run.settings.region
        if region is None:
            run.skip("key_to_region", "no region of the screen was given in which a typed character shows up")
            return
        async with run.connect(uri, atp_trio.ChannelType.INPUTS, atp_trio.ChannelType.DISPLAY) as vm:
            with run.measuring("key to drawn region", 2 / 3):
                await _measure_key(run, vm, region)


async def _settle(vm: atp_trio.SpiceVmConnection) -> None:
    """Have the mouse mode that the machine can do, so that it does not change while we measure."""
    if atp_trio.MouseMode.CLIENT in vm.main.supported_mouse_modes:
        await vm.main.request_mouse_mode(atp_trio.MouseMode.CLIENT)


def _mover(vm: atp_trio.SpiceVmConnection, count: int) -> Callable[[], int]:
    """A function that moves the pointer so many times, there and back, as far as the window allows; it gives how many."""
    inputs = vm.inputs
    if vm.mouse_mode is atp_trio.MouseMode.CLIENT:
        return partial(inputs.positions_nowait, [(number & 1, 0) for number in range(count)])
    return partial(inputs.motions_nowait, [(-1 if number & 1 else 1, 0) for number in range(count)])


async def _measure_round_trip(run: BenchRun, vm: atp_trio.SpiceVmConnection) -> None:
    move, inputs = _mover(vm, BUNCH), vm.inputs
    microseconds = array("d")
    end = trio.current_time() + run.settings.seconds
    while not microseconds or trio.current_time() < end:
        started = time.perf_counter()
        move()
        await inputs.wait_motions_acknowledged()
        microseconds.append((time.perf_counter() - started) * MICRO)
    run.distribution("motion_ack", "us", microseconds)


async def _measure_stream(run: BenchRun, vm: atp_trio.SpiceVmConnection) -> None:
    move, inputs = _mover(vm, BURST), vm.inputs
    inputs.motion_window = WIDE_WINDOW
    acknowledged = inputs.motion_acks
    started = time.perf_counter()
    end = started + run.settings.seconds
    while time.perf_counter() < end:
        await inputs.wait_motion()
        while move():
            pass
    await inputs.wait_motions_acknowledged()
    taken = time.perf_counter() - started
    run.amount("motions", "events/s", BUNCH * (inputs.motion_acks - acknowledged) / taken)


async def _measure_key(run: BenchRun, vm: atp_trio.SpiceVmConnection, region: atp_trio.Rect) -> None:
    await vm.display.wait_ready()
    milliseconds = array("d")
    end = trio.current_time() + run.settings.seconds
    while not milliseconds or trio.current_time() < end:
        milliseconds.append(await _time_key(vm, region) * MILLI)
    run.distribution("key_to_region", "ms", milliseconds)


async def _time_key(vm: atp_trio.SpiceVmConnection, region: atp_trio.Rect) -> float:
    """Seconds from a key's going down until the region is drawn on."""
    started = 0.0

    async def press() -> None:
        nonlocal started
        # The watch of `wait_damage` stands after its first checkpoint.
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        started = time.perf_counter()
        await vm.inputs.press("a")

    with trio.move_on_after(KEY_PATIENCE) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press)
            await vm.display.wait_damage(region)
            drawn = time.perf_counter()
    if scope.cancelled_caught:
        raise CannotMeasure(f"a key drew nothing in the region within {KEY_PATIENCE:g} s")
    return drawn - started
