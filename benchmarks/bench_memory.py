"""Memory over 100 000 updates: it must not grow.

    python benchmarks/bench_memory.py [--updates N] [WORD ...]

For each case whose name has one of the words, in a process of its own, the resident memory in MB at the start (everything is
connected and drawn once), after a tenth of the updates and at the end. What grows from the tenth to the end by more than
`ALLOWED` fails.

`text` is the embedded server's console, received by our client over a socket. The others are images of changing sizes and
contents, from one core to another and to a screen, without a socket; those of `cached` go into the cache and leave it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import trio

import atp_trio
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.lz import encode_lz
from atp_trio.spice.codec.quic import encode_quic
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import ResourceId, ResourceType, SurfaceFormat
from atp_trio.spice.messages.geometry import DisplayBase, Rect
from atp_trio.spice.messages.image import BinaryData, Image, ImageFlag, ImageType
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Message, Role
from atp_trio.testing.server import run_server_in_process

WIDTH, HEIGHT = 1024, 768
# Messages that go through together.
BATCH: Final = 50
# The cache and the dictionary are full before a tenth of the updates is over.
PIXELS: Final = 1 << 20
# Images that the server keeps in the cache.
CACHED: Final = 500
# MB. The allocator's own movements are 2 or 3; one small object that is kept for each update would be 5 and more.
ALLOWED: Final = 4.0
Pixels = npt.NDArray[np.uint32]


def resident() -> float:
    """The process's resident memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


# --- messages, from one core to another and to a screen


def pieces(total: int) -> Iterator[tuple[Rect, Pixels]]:
    """Pieces of a picture, of every size up to 64 x 64, each in other colours."""
    dice = np.random.default_rng(5)
    down, across = np.indices((HEIGHT, WIDTH))
    ground = np.asarray((across >> 2) << 16 | (down >> 2) << 8 | (across + down) & 255, np.uint32)
    for number in range(total):
        width, height = (int(side) for side in dice.integers(1, 65, 2))
        x, y = int(dice.integers(WIDTH - width)), int(dice.integers(HEIGHT - height))
        yield Rect.at(x, y, width, height), ground[y : y + height, x : x + width] ^ np.uint32(number & 0xFFFF)


def updates(kind: str, total: int) -> Iterator[list[Message]]:
    """The messages of each update."""
    codecs: dict[str, tuple[ImageType, Callable[[Pixels], bytes], int]] = {
        "quic": (ImageType.QUIC, encode_quic, 0),
        "lz": (ImageType.LZ_RGB, encode_lz, 0),
        "glz": (ImageType.GLZ_RGB, GlzEncoder(PIXELS).encode, 0),
        "cached": (ImageType.LZ_RGB, encode_lz, ImageFlag.CACHE_ME),
    }
    image_type, encode, flags = codecs[kind]
    for number, (box, pixels) in enumerate(pieces(total)):
        image = Image(number, image_type, flags, box.width, box.height, BinaryData(encode(pixels)))
        area = Rect.at(0, 0, box.width, box.height)
        messages: list[Message] = [display.DrawCopy(base=DisplayBase(0, box), src_image=image, src_area=area)]
        if flags and number >= CACHED:
            messages.append(display.InvalList(resources=(ResourceId(ResourceType.PIXMAP, number - CACHED),)))
        yield messages


def take(core: ChannelCore, screen: Screen, *, fast: bool) -> None:
    """Draw what the core has received, as it lies or message by message."""
    while True:
        found = core.peek() if fast else None
        drawn = screen.apply_found(found.table, found.row, found.buffer) if found else None
        if drawn:
            core.skip(drawn.messages)
        elif (message := core.next_message()) is not None:
            screen.apply(message)
        else:
            return


def draw(kind: str, total: int) -> list[float]:
    server = ChannelCore(Role.SERVER, ChannelType.DISPLAY, mini_header=True)
    client = ChannelCore(Role.CLIENT, ChannelType.DISPLAY, mini_header=True)
    screen, found = Screen(ImageCache(PIXELS), GlzWindow(PIXELS)), []
    server.send(display.SurfaceCreate(surface_id=0, width=WIDTH, height=HEIGHT, format=SurfaceFormat.FMT_32_xRGB, flags=0))
    for number, messages in enumerate(updates(kind, total), 1):
        server.send(*messages)
        if number % BATCH == 0:
            data = b"".join(server.data_to_send())
            client.free_space(len(data))[: len(data)] = data
            client.received(len(data))
            # In turns, so that both ways are seen.
            take(client, screen, fast=bool(number // BATCH % 2))
        if number in milestones(total):
            found.append(resident())
    assert not screen.failed, screen.reasons
    assert screen.drawn["DrawCopy"] == total
    return found


# --- our client


async def watch(uri: str, total: int) -> list[float]:
    async with atp_trio.open_spice(uri) as vm:
        await vm.display.wait_ready()
        found = []
        for milestone in milestones(total):
            while vm.display.display_statistics().updates < milestone:  # noqa: ASYNC110 - to be woken by each would be a load
                await trio.sleep(0.01)
            found.append(resident())
        counted = vm.display.display_statistics()
        assert not counted.failed
        assert not counted.not_drawn
        return found


def text(total: int) -> list[float]:
    with run_server_in_process(scene="text", size=(WIDTH, HEIGHT)) as server:
        return trio.run(watch, server.uri, total)


CASES: Final[dict[str, Callable[[int], list[float]]]] = {
    "text": text,
    **{kind: partial(draw, kind) for kind in ("quic", "lz", "glz", "cached")},
}


def milestones(total: int) -> tuple[int, int, int]:
    """Start, a tenth, end."""
    return BATCH, total // 10, total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"a part of one of {', '.join(CASES)}")
    parser.add_argument("--updates", type=int, default=100_000, help=f"for each case, a multiple of {10 * BATCH}")
    options = parser.parse_args()
    total, grown = options.updates // (10 * BATCH) * 10 * BATCH, []
    print(f"{'':8}{'start':>10}{'10 %':>10}{'end':>10}  MB resident, over {total} updates")
    for name, case in CASES.items():
        if options.words and not any(word in name for word in options.words):
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            start, tenth, end = pool.apply(case, (total,))
        print(f"{name:8}{start:10.1f}{tenth:10.1f}{end:10.1f}  {end - tenth:+.1f} from the tenth on", flush=True)
        grown += [name] if end - tenth > ALLOWED else []
    if grown:
        print(f"memory grew: {', '.join(grown)}")
    return bool(grown)


if __name__ == "__main__":
    sys.exit(main())
