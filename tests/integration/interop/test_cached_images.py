"""Images that a real server keeps in our cache. A guest's frame buffer makes it do that never; a display of our own does."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.image import ImageType

WITHIN = 60
SOURCE = Path(__file__).with_name("cached_load.c")
LOAD = Path(__file__).parents[3] / "benchmarks"
WIDTH, HEIGHT = 1024, 768
ENOUGH = 30  # dB, of pictures that are drawn with grain
PACKAGES = "apt-get install --no-install-recommends gcc pkg-config libspice-server-dev"


@pytest.fixture(scope="session")
def build(lack, tmp_path_factory):
    """Builds the display; with these flags."""
    if not (shutil.which("gcc") and shutil.which("pkg-config")):
        lack(f"no compiler on this machine: {PACKAGES}")
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "spice-server"], capture_output=True, text=True, check=False)
    if found.returncode:
        lack(f"no headers of libspice-server on this machine: {PACKAGES}")

    @cache
    def run(*flags):
        program = tmp_path_factory.mktemp("load") / "cached_load"
        command = ["gcc", "-O1", f"-I{LOAD}", *flags, "-o", str(program), str(SOURCE), *found.stdout.split(), "-lpthread"]
        subprocess.run(command, check=True)
        return program

    return run


class Load:
    """The running display."""

    def __init__(self, process, port):
        self.uri = f"spice://127.0.0.1:{port}"
        self._process = process
        self._received = b""

    async def answer(self):
        while b"\n" not in self._received:
            data = await self._process.stdout.receive_some()
            if not data:
                pytest.fail("the server has ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        assert line.startswith(b"ok "), line

    async def do(self, command):
        await self._process.stdin.send_all(command.encode() + b"\n")
        await self.answer()

    async def screen(self, path):
        """The server's own rendering."""
        await self.do(f"dump {path}")
        pixels = np.frombuffer(await trio.Path(path).read_bytes(), np.uint32)
        return pixels.reshape(HEIGHT, WIDTH) & 0xFFFFFF


@contextlib.asynccontextmanager
async def serving(program, compression):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, [str(program), str(port), compression], check=False, env=dict(os.environ), **options)
        process = await nursery.start(run)
        load = Load(process, port)
        await load.answer()
        yield load
        await process.stdin.aclose()  # with which it ends


def psnr(ours, theirs):
    levels = [np.ascontiguousarray(each).view(np.uint8).reshape(-1, 4)[:, :3].astype(float) for each in (ours, theirs)]
    error = ((levels[0] - levels[1]) ** 2).mean()
    return 10 * np.log10(255**2 / error) if error else np.inf


async def draw(load, display, seen, kind, expected, count=200):
    """Have it drawn until so many of these images have come; then come to rest."""
    await load.do(f"draw {kind} {30 if kind == 'frames' else 500}")
    await display._wait_until(lambda: sum(one.type in expected for one in seen) >= count)
    await load.do(f"draw {kind} 0")
    await display.wait_still(0.5)


@pytest.mark.parametrize(
    ("compression", "first"),
    [("off", ImageType.BITMAP), ("lz", ImageType.LZ_RGB), ("glz", ImageType.GLZ_RGB), ("quic", ImageType.QUIC)],
)
async def test_what_was_sent_once_is_drawn_from_the_cache(build, note_images, tmp_path, compression, first):
    with trio.fail_after(WITHIN):
        async with serving(build(), compression) as load, open_spice(load.uri) as vm:
            await vm.display.wait_ready()
            seen = note_images(vm.display)
            await draw(load, vm.display, seen, "tiles", {ImageType.FROM_CACHE})
            ours = (await vm.display.screenshot()).pixels
            assert np.array_equal(ours, await load.screen(tmp_path / "screen"))
            # Each of the 32 pictures once, and never again.
            assert sum(one.type == first for one in seen) == 32
            assert {one.type for one in seen} == {first, ImageType.FROM_CACHE}
            counted = vm.display.display_statistics()
            assert (counted.failed, counted.not_drawn) == ({}, {})


@pytest.mark.parametrize(
    ("compression", "kind", "expected"),
    [
        # What a server may send with loss at any time is asked for so that it is without.
        ("lz", "tiles", {ImageType.LZ_RGB, ImageType.FROM_CACHE_LOSSLESS}),
        # What came with loss is shown again with the same loss.
        ("quic", "frames", {ImageType.JPEG, ImageType.FROM_CACHE}),
    ],
)
async def test_with_and_without_loss(build, note_images, tmp_path, compression, kind, expected):
    with trio.fail_after(WITHIN):
        async with serving(build("-DWAN"), compression) as load, open_spice(load.uri) as vm:
            await vm.display.wait_ready()
            seen = note_images(vm.display)
            await draw(load, vm.display, seen, kind, {ImageType.FROM_CACHE_LOSSLESS, ImageType.FROM_CACHE}, 16)
            assert {one.type for one in seen} == expected
            agreement = psnr((await vm.display.screenshot()).pixels, await load.screen(tmp_path / "screen"))
            assert agreement > ENOUGH
            assert np.isinf(agreement) == (ImageType.JPEG not in expected)
            counted = vm.display.display_statistics()
            assert (counted.failed, counted.not_drawn) == ({}, {})
