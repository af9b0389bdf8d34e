"""QUIC pictures of 1920x1080 beside JPEG: how long each takes to decode, into memory that is there, on one core.

    python benchmarks/bench_quic.py [--repeats N]

Photos are smooth shading with grain of several strengths, in standard deviations of a channel; the more grain, the more bits a
pixel has. The JPEG is of quality 85, 4:4:4, of the same picture, decoded by `simplejpeg` to BGRX. Both are decoded in turns, and
the best of the repeats counts. Aims: photos at most 1.5 times as long, desktops 0.9.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import simplejpeg
from bench_desktop import HEIGHT, WIDTH, desktop

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


def pictures() -> Iterator[tuple[str, Pixels]]:
    """What is decoded, by name."""
    for grain in GRAINS:
        yield f"photo, grain {grain}", photo(grain)
    yield "desktop", np.ascontiguousarray(desktop(0))


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
    print(f"{'':20} bits/pixel  QUIC ms  JPEG ms  QUIC/JPEG")
    for name, picture in pictures():
        stream, out = encode_quic(picture), np.zeros_like(picture)
        channels = picture.view(np.uint8).reshape(HEIGHT, WIDTH, 4).copy()
        jpeg = simplejpeg.encode_jpeg(channels, 85, "BGRX", "444")
        quic_ms, jpeg_ms = best(
            repeats,
            lambda stream=stream, out=out: decode_quic(stream, width=WIDTH, height=HEIGHT, out=out),  # type: ignore[misc]
            lambda jpeg=jpeg, channels=channels: simplejpeg.decode_jpeg(jpeg, "BGRX", buffer=channels),  # type: ignore[misc]
        )
        bits = 8 * len(stream) / picture.size
        print(f"{name:20} {bits:10.1f} {quic_ms:8.2f} {jpeg_ms:8.2f} {quic_ms / jpeg_ms:10.2f}", flush=True)


if __name__ == "__main__":
    main()
