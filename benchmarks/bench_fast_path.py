"""The display's fast path beside the ordinary one: small updates from a stream of bytes to the surface, without a socket.

    python benchmarks/bench_fast_path.py [WORD ...]

For each case whose name has one of the words: the updates a second that one core takes, through the channel's core and the
screen, in blocks of 256 KiB as a reader receives them; the best of several runs. Both paths must end with the same pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np

from atp_trio.spice.codec.glz import GlzType, GlzWindow
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.lz import encode_lz
from atp_trio.spice.codec.quic import encode_quic
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.base import SetAck
from atp_trio.spice.messages.display import Brush, SurfaceFormat
from atp_trio.spice.messages.geometry import DisplayBase, Point, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageFlag, ImageType
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Message, Role

WIDTH, HEIGHT, SIDE = 1024, 768, 64
COLUMNS, ROWS = WIDTH // SIDE, HEIGHT // SIDE
SECONDS = 1.0
BLOCK = 256 * 1024


def picture(number: int) -> np.ndarray:
    """A piece of a user interface: a title bar, and marks like text on a flat ground."""
    rows, columns = np.indices((SIDE, SIDE))
    dark = np.random.default_rng(number).random((SIDE, SIDE)) < 0.25
    text = (rows >= 22) & (rows % 14 < 9) & (columns % 7 < 5) & dark
    return np.where(rows < 18, 0x2D5D9E, np.where(text, 0x202020, 0xF4F4F0)).astype(np.uint32)


def image(kind: str, number: int, encoder: GlzEncoder) -> Image:
    """Picture `number` as an image of a kind."""
    pixels = picture(number)
    if kind == "off":
        data = Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, SIDE, SIDE, SIDE * 4, data=pixels.tobytes())
        return Image(number, ImageType.BITMAP, 0, SIDE, SIDE, data)
    if kind == "quic":
        return Image(number, ImageType.QUIC, 0, SIDE, SIDE, BinaryData(encode_quic(pixels)))
    if kind == "glz":
        return Image(number, ImageType.GLZ_RGB, 0, SIDE, SIDE, BinaryData(encoder.encode(pixels, type=GlzType.RGB32)))
    if kind == "cached" and number >= 2 * COLUMNS:
        return Image(number % (2 * COLUMNS), ImageType.FROM_CACHE, 0, SIDE, SIDE)
    flags = ImageFlag.CACHE_ME if kind in ("cached", "kept") else 0
    return Image(number, ImageType.LZ_RGB, flags, SIDE, SIDE, BinaryData(encode_lz(pixels)))


def messages(kind: str, count: int) -> Iterator[Message]:
    """The surface, a window of acknowledgement as servers set it, and so many updates in turn all over the surface."""
    yield SetAck(generation=1, window=20)
    yield display.SurfaceCreate(surface_id=0, width=WIDTH, height=HEIGHT, format=SurfaceFormat.FMT_32_xRGB, flags=0)
    encoder, kept = GlzEncoder(1 << 20), dict[int, Image]()
    for number in range(count):
        box = Rect.at(number % COLUMNS * SIDE, number // COLUMNS % ROWS * SIDE, SIDE, SIDE)
        base = DisplayBase(0, box)
        if kind == "fill":
            yield display.DrawFill(base=base, brush=Brush.solid(number * 2654435761 % 2**24))
        elif kind == "scroll":
            whole = Rect.at(0, 0, WIDTH, HEIGHT - 16)
            yield display.CopyBits(base=DisplayBase(0, whole), src_pos=Point(0, 16))
        else:
            # Servers that are driven hard send pictures anew; what an encoder must not see twice is made anew.
            key = number if kind in ("glz", "cached") else number % 32
            kept[key] = kept.get(key) or image(kind, key, encoder)
            yield display.DrawCopy(base=base, src_image=kept[key], src_area=Rect.at(0, 0, SIDE, SIDE))


def stream(kind: str, count: int) -> bytes:
    """What a server would send."""
    core = ChannelCore(Role.SERVER, ChannelType.DISPLAY, mini_header=True)
    for message in messages(kind, count):
        core.send(message)
    return b"".join(core.data_to_send())


def ordinary(core: ChannelCore, screen: Screen) -> None:
    while (message := core.next_message()) is not None:
        screen.apply(message)


def fast(core: ChannelCore, screen: Screen) -> None:
    while True:
        found = core.peek()
        drawn = screen.apply_found(found.table, found.row, found.buffer) if found else None
        if drawn:
            core.skip(drawn.messages)
            continue
        message = core.next_message()
        if message is None:
            return
        screen.apply(message)


def run(data: bytes, take: Callable[[ChannelCore, Screen], None]) -> tuple[float, Screen]:
    """Take the whole stream; gives the seconds."""
    core = ChannelCore(Role.CLIENT, ChannelType.DISPLAY, mini_header=True)
    screen = Screen(ImageCache(1 << 22), GlzWindow(1 << 20))
    started = perf_counter()
    view = memoryview(data)
    while view:
        space = core.free_space()
        size = min(len(space), BLOCK, len(view))
        space[:size] = view[:size]
        core.received(size)
        take(core, screen)
        core.data_to_send()
        view = view[size:]
    return perf_counter() - started, screen


def best(data: bytes, take: Callable[[ChannelCore, Screen], None]) -> tuple[float, Screen]:
    """The shortest of the runs."""
    shortest, screen = run(data, take)
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        shortest = min(shortest, run(data, take)[0])
    return shortest, screen


def main() -> None:
    words = sys.argv[1:]
    print(f"{'':10}{'bytes each':>12}{'ordinary/s':>12}{'fast/s':>12}{'times':>8}")
    for kind, count in (
        ("fill", 8000),
        ("off", 2000),
        ("lz", 4000),
        ("quic", 4000),
        ("glz", 4000),
        ("cached", 8000),
        ("kept", 4000),
        ("scroll", 400),
    ):
        if words and not any(word in kind for word in words):
            continue
        data = stream(kind, count)
        slow, expected = best(data, ordinary)
        quick, screen = best(data, fast)
        assert np.array_equal(screen.copy(), expected.copy()), kind
        assert screen.drawn == expected.drawn, (screen.drawn, expected.drawn)
        assert not screen.failed, list(screen.reasons)
        print(f"{kind:10}{len(data) / count:12.0f}{count / slow:12.0f}{count / quick:12.0f}{slow / quick:8.1f}", flush=True)


if __name__ == "__main__":
    main()
