"""What it costs to draw: messages applied to a screen, in microseconds, beside a numpy copy of the same pixels.

    python benchmarks/bench_drawing.py [WORD ...]

Prints the best of many runs of each case whose name has one of the words. `decode` is the message's own decoding, for comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import perf_counter

import numpy as np

from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.lz import encode_lz
from atp_trio.spice.codec.quic import encode_quic
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import AlphaFlag, Brush, ImageScaleMode, Ropd, SurfaceFormat
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageType
from atp_trio.spice.wire import Message

WIDTH, HEIGHT = 1920, 1080
SECONDS = 0.3


def picture(width: int, height: int) -> np.ndarray:
    """Something like a desktop: flat areas, edges and a little noise."""
    rows, columns = np.indices((height, width))
    pixels = ((columns // 40 + rows // 25) % 7 * 0x1A2B3C).astype(np.uint32)
    noise = np.random.default_rng(1).integers(0, 2**24, (height, width), np.uint32)
    return np.where((rows // 16 + columns // 64) % 9 == 0, noise, pixels)


def images(width: int, height: int) -> dict[str, Image]:
    pixels = picture(width, height)

    def bitmap(flags: int) -> Bitmap:
        return Bitmap(BitmapFormat.FMT_32BIT, flags, width, height, width * 4, data=pixels.tobytes())

    return {
        "raw": Image(1, ImageType.BITMAP, 0, width, height, bitmap(BitmapFlag.TOP_DOWN)),
        "raw bottom-up": Image(1, ImageType.BITMAP, 0, width, height, bitmap(0)),
        "quic": Image(1, ImageType.QUIC, 0, width, height, BinaryData(encode_quic(pixels))),
        "lz": Image(1, ImageType.LZ_RGB, 0, width, height, BinaryData(encode_lz(pixels))),
    }


def cases() -> Iterator[tuple[str, Message]]:
    for width, height in ((16, 16), (64, 64), (400, 300), (WIDTH, HEIGHT)):
        box = Rect.at(0 if width == WIDTH else 100, 0 if width == WIDTH else 100, width, height)
        base, size = DisplayBase(0, box), f"{width}x{height}"
        clipped = DisplayBase(
            0, box, Clip.to(Rect.at(box.left, box.top, width // 2, height), Rect.at(box.right - 4, box.top, 4, 4))
        )
        source = Rect.at(0, 0, width, height)
        made = images(width, height)
        yield f"fill {size}", display.DrawFill(base=base, brush=Brush.solid(0x123456))
        for name, image in made.items():
            yield f"copy {name} {size}", display.DrawCopy(base=base, src_image=image, src_area=source)
        raw = made["raw"]
        yield f"copy raw clipped {size}", display.DrawCopy(base=clipped, src_image=raw, src_area=source)
        yield f"copy raw xor {size}", display.DrawCopy(base=base, src_image=raw, src_area=source, rop=Ropd.OP_XOR)
        for mode in ImageScaleMode:
            half = Rect.at(0, 0, width // 2, height // 2)
            message = display.DrawCopy(base=base, src_image=raw, src_area=half, scale_mode=mode)
            yield f"copy raw scaled {mode.name.lower()} {size}", message
        blend = display.DrawAlphaBlend(base=base, alpha_flags=AlphaFlag.DEST_HAS_ALPHA, alpha=128, src_image=raw, src_area=source)
        yield f"alpha blend {size}", blend
        yield f"copy bits {size}", display.CopyBits(base=base, src_pos=Point(box.left + 3, box.top + 5))


def best(function: object, *arguments: object) -> float:
    """The shortest time of a call, in microseconds."""
    assert callable(function)
    shortest, end = float("inf"), perf_counter() + SECONDS
    while (started := perf_counter()) < end:
        function(*arguments)
        shortest = min(shortest, perf_counter() - started)
    return shortest * 1e6


def main() -> None:
    words = sys.argv[1:]
    screen = Screen(ImageCache(1 << 22), GlzWindow(1 << 22))
    screen.apply(display.SurfaceCreate(surface_id=0, width=WIDTH, height=HEIGHT, format=SurfaceFormat.FMT_32_xRGB, flags=0))
    print(f"{'':42}{'apply':>10}{'decode':>10}{'copy':>10}  us, best of {SECONDS} s")
    for name, message in cases():
        if words and not any(word in name for word in words):
            continue
        damage = screen.apply(message)
        assert damage is not None, list(screen.reasons)
        rect = damage.rects[0]
        view = np.zeros((HEIGHT, WIDTH), np.uint32)[: rect.height, : rect.width]
        same = np.zeros((rect.height, rect.width), np.uint32)
        decode = best(type(message).decode, message.encode())
        print(f"{name:42}{best(screen.apply, message):10.1f}{decode:10.1f}{best(np.copyto, view, same):10.1f}", flush=True)
    assert not screen.failed


if __name__ == "__main__":
    main()
