"""QUIC and LZ pictures of 1920x1080: how long each takes to decode, into memory that is there, on one core.

    python benchmarks/bench_codecs.py [--repeats N]

QUIC is beside a JPEG of quality 85, 4:4:4, of the same picture, decoded by `simplejpeg` to BGRX; LZ beside a `numpy` copy of its
pixels. All are decoded in turns, and the best of the repeats counts. Photos are smooth shading with grain of several strengths,
in standard deviations of a channel; the more grain, the more bits a pixel has.

Aims: QUIC photos at most 1.5 times as long, desktops and texts 0.9; LZ at most 6 times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import simplejpeg
from bench_desktop import HEIGHT, WIDTH, desktop

from atp_trio.spice.codec.lz import decode_lz, encode_lz
from atp_trio.spice.codec.quic import decode_quic, encode_quic

GRAINS = (0.5, 1, 2, 3, 4, 6, 9)
Pixels = npt.NDArray[np.uint32]


def photo(grain: float) -> Pixels:
    """Soft colours with grain of this standard deviation."""
    across, down = np.arange(WIDTH) / 90, (np.arange(HEIGHT) / 70)[:, None]
    waves = np.stack([110 + 60 * np.sin(across * turn) + 50 * np.cos(down / turn) for turn in (1.0, 0.6, 1.7)], axis=-1)
    noise = np.random.default_rng(7).normal(0, grain, waves.shape)
    channels = np.clip(np.rint(waves + noise), 0, 255).astype(np.uint32)
    return np.asarray(channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2], np.uint32)


def text() -> Pixels:
    """Lines of dark marks, like letters, on paper."""
    x, y = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    ink = (np.random.default_rng(1).integers(0, 4, (HEIGHT, WIDTH)) == 0) & (x % 7 < 5) & (y % 14 < 9)
    return np.where(ink, np.uint32(0x202020), np.uint32(0xF4F4F0))


def pictures() -> Iterator[tuple[str, Pixels]]:
    """What is decoded, by name."""
    for grain in GRAINS:
        yield f"photo, grain {grain}", photo(grain)
    yield "desktop", np.ascontiguousarray(desktop(0))
    yield "text", text()


def best(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """The shortest run of each, in milliseconds; in turns, so that a busy moment hits all of them."""
    times = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            times[i] = min(times[i], time.perf_counter() - start)
    return [seconds * 1000 for seconds in times]


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12)
    repeats = parser.parse_args().repeats
    print(f"{'':18} bits/pixel  QUIC ms  JPEG ms  QUIC/JPEG    LZ ms  copy ms  LZ/copy")
    for name, picture in pictures():
        quic, lz, out = encode_quic(picture), encode_lz(picture), np.zeros_like(picture)
        channels = picture.view(np.uint8).reshape(HEIGHT, WIDTH, 4).copy()
        jpeg = simplejpeg.encode_jpeg(channels, 85, "BGRX", "444")
        quic_ms, jpeg_ms, lz_ms, copy_ms = best(
            repeats,
            partial(decode_quic, quic, width=WIDTH, height=HEIGHT, out=out),
            partial(simplejpeg.decode_jpeg, jpeg, "BGRX", buffer=channels),
            partial(decode_lz, lz, width=WIDTH, height=HEIGHT, out=out),
            partial(np.copyto, out, picture),
        )
        print(
            f"{name:18} {8 * len(quic) / picture.size:10.1f} {quic_ms:8.2f} {jpeg_ms:8.2f} {quic_ms / jpeg_ms:10.2f}"
            f" {lz_ms:8.2f} {copy_ms:8.2f} {lz_ms / copy_ms:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
