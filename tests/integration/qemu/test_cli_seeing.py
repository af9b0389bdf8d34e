"""`atp wait`, `atp record` and `atp screenshot --watch` as processes of their own, on a real machine."""

from __future__ import annotations

import signal
import subprocess
import sys

import av
import numpy as np
import pytest
import trio
from PIL import Image

from atp_trio.spice.connection import open_spice
from atp_trio.spice.imaging.screenshot import Screenshot

WITHIN = 60
ATP = (sys.executable, "-m", "atp_trio")
LAST = 29


async def atp(*arguments):
    """Run the command; gives exit code, standard output and standard error."""
    command = [*ATP, *map(str, arguments)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def load(path):
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


@pytest.fixture
async def machine(qxl_machine, tell_guest, settle_screen):
    """A machine with an empty screen, and nobody connected to it."""
    with trio.fail_after(WITHIN):
        async with open_spice(qxl_machine.uri) as vm:
            await tell_guest(qxl_machine, "draw nothing")
            while (await settle_screen(vm, qxl_machine)).any():
                await vm.display.wait_damage()
        yield qxl_machine


@pytest.fixture
async def needle(machine, tell_guest, tmp_path):
    """A file with a part of what `draw code` shows, as QEMU renders it; it is on the screen."""
    await tell_guest(machine, "draw code")
    async with open_spice(machine.uri) as vm:
        await vm.display.wait_until(lambda screen: screen.pixels[419].any())
    shown = await trio.to_thread.run_sync(machine.screendump)
    Screenshot(shown[300:360, 200:320].copy()).save(tmp_path / "needle.png")
    return tmp_path / "needle.png"


async def test_wait_for_what_comes(machine, needle, tell_guest):
    assert await atp("wait", machine.uri, "--image", needle, "--region", "0,260,1024x160") == (0, "picture 0 at 200,300\n", "")
    code, out, err = await atp("wait", machine.uri, "--still", "0.3", "--monitor", "0")
    assert (code, out, err) == (0, "", "")
    results = {}

    async def wait(name, *arguments):
        results[name] = await atp("wait", machine.uri, *arguments)

    await tell_guest(machine, "draw nothing")
    async with trio.open_nursery() as nursery:
        # One client at a time: a new one puts the old one out.
        nursery.start_soon(wait, "text", "--text", "Login incorrect", "--region", "0,0,640x100")
        await trio.sleep(1)
        await tell_guest(machine, "printf 'Login incorrect\\n' >/dev/tty1")
    code, out, err = results["text"]
    assert (code, err) == (0, "")
    assert "incorrect" in out


async def test_time_runs_out(machine, needle, tell_guest, tmp_path):
    await tell_guest(machine, "draw nothing flat")
    evidence = tmp_path / "evidence.png"
    code, out, err = await atp("wait", machine.uri, "--image", needle, "--evidence", evidence, "--timeout", "4")
    assert (code, out) == (1, "")
    assert err.startswith("atp: the picture: not in ")
    assert "the nearest was picture 0 at" in err
    assert np.array_equal(load(evidence), await trio.to_thread.run_sync(machine.screendump))
    assert (load(evidence)[100:260] == 0x555555).all()


@pytest.mark.parametrize("ending", ["mp4", "webm"])
async def test_record(machine, tell_guest, film, tmp_path, ending):
    path = tmp_path / f"film.{ending}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_guest, machine, f"film {LAST + 1}")
        outcome = await atp("record", machine.uri, path, "--seconds", "3", "--region", "0,256,1024x256")
    assert outcome == (0, "", "")
    seen = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24").astype(np.uint32)
            judged = film.judge(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2])
            seen.append((float(frame.pts * frame.time_base), *judged))
    numbers = [number for _, number, _ in seen if number is not None]
    assert numbers
    assert numbers == sorted(numbers)
    assert all(decibels > 33 for _, number, decibels in seen if number is not None)
    assert seen[0][0] == 0
    assert 3 <= seen[-1][0] < 4


async def test_screenshot_watch(machine, tell_guest, tmp_path):
    path = tmp_path / "screen.png"
    command = [*ATP, "screenshot", machine.uri, str(path), "--watch"]
    async with trio.open_nursery() as nursery:
        # A shell starts what runs in its background with SIGINT ignored, and that is inherited.
        default = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = await nursery.start(_run_watch, command)
        finally:
            signal.signal(signal.SIGINT, default)
        for names, row in (("flat", 259), ("code", 419)):
            await tell_guest(machine, f"draw {names}")
            while not (path.exists() and load(path)[row].any()):  # noqa: ASYNC110 - a file
                await trio.sleep(0.05)
        theirs = await trio.to_thread.run_sync(machine.screendump)
        while not np.array_equal(load(path), theirs):  # noqa: ASYNC110
            await trio.sleep(0.05)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert [one.name for one in tmp_path.iterdir()] == ["screen.png"]


async def _run_watch(command, task_status):
    await trio.run_process(command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, task_status=task_status)
