"""Decode test vectors and compare: `python tests/run_vectors.py DIR`, or measure: `python tests/run_vectors.py --perf DIR`.

DIR holds `index.json` and what it lists, and may hold `canvas/`. Prints what passed and failed by codec; exits 1 on a failure.
`--perf` prints one line of JSON for each stream, with times in milliseconds, the best of 12.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from atp_trio.errors import ImageError
from atp_trio.spice.codec.bitmap import decode_bitmap
from atp_trio.spice.codec.glz import GlzImageMissing, GlzWindow, read_glz_header
from atp_trio.spice.codec.jpeg import decode_jpeg, decode_jpeg_alpha
from atp_trio.spice.codec.limit import SizeLimit
from atp_trio.spice.codec.lz import decode_lz, read_lz_header
from atp_trio.spice.codec.lz4 import decode_lz4
from atp_trio.spice.codec.quic import decode_quic, read_quic_header
from atp_trio.spice.codec.zlib_glz import decode_zlib_glz

# Some streams are wider than any screen, to reach long runs.
WIDE = SizeLimit(side=1 << 17)
DTYPES = {"GRAY8": np.uint8, "A8": np.uint8, "RGB555LE": np.uint16}
FOR_MALFORMED = (40, 30)  # what a stream without a header of its own is said to be
REPEATS = 12

Entry = dict[str, Any]


class Mismatch(Exception):
    """A stream that decoded to other pixels than expected, or did not fail as it should."""


def load_index(folder: Path) -> list[Entry]:
    return json.loads((folder / "index.json").read_text())["vectors"] if (folder / "index.json").exists() else []


def run_entry(entry: Entry, folder: Path) -> None:
    """Decode what an entry of the index lists.

    Raises:
        Mismatch: It came out wrong.
        ImageError: It could not be decoded.
    """
    data = (folder / entry["file"]).read_bytes()
    if entry["codec"] == "malformed":
        run_malformed(entry, data)
        return
    raw = zlib.decompress((folder / entry["raw"]).read_bytes())
    if hashlib.sha256(raw).hexdigest() != entry["sha256"]:
        raise Mismatch("the expected pixels are not those of the index")
    if entry["codec"] in ("glz", "zlib_glz"):
        run_sequence(entry, data, raw)
    else:
        compare(decoder(entry, data)(None), raw, entry)


def decoder(entry: Entry, data: bytes) -> Callable[[np.ndarray | None], np.ndarray]:
    """What decodes the stream, into a given array or a new one."""
    size = {"width": entry["width"], "height": entry["height"], "limit": WIDE}
    expand = entry["expected_format"] != "RGB555LE"
    match entry["codec"]:
        case "quic":
            return lambda out: decode_quic(data, **size, expand=expand, out=out)
        case "lz":
            return lambda out: decode_lz(data, **size, expand=expand, palette=entry.get("palette"), out=out)
        case "lz4":
            return lambda out: decode_lz4(data, **size, expand=expand, out=out)
        case "jpeg":
            return lambda out: decode_jpeg(data, **size, out=out)
        case "jpeg_alpha":
            flags = {"jpeg_size": entry["jpeg_size"], "top_down": bool(entry["flags"] & 1)}
            return lambda out: decode_jpeg_alpha(data, **size, **flags, out=out)
        case "bitmap":
            layout = {"format": entry["type_code"], "stride": entry["stride"], "top_down": entry["top_down"]}
            return lambda out: decode_bitmap(data, **size, **layout, expand=expand, palette=entry.get("palette"), out=out)
    raise Mismatch(f"there is no codec {entry['codec']}")


def run_sequence(entry: Entry, data: bytes, raw: bytes) -> None:
    """Decode the images of a sequence in the order of their arrival, those that must wait as soon as they can."""
    for image, pixels in decode_sequence(entry, data):
        compare(pixels, raw[image["raw_offset"] :][: image["raw_length"]], image)


def decode_sequence(entry: Entry, data: bytes) -> Iterator[tuple[Entry, np.ndarray]]:
    window = GlzWindow(entry.get("window_pixels", 1 << 24))
    waiting = list(entry["images"])
    while waiting:
        for image in waiting:
            stream = data[image["offset"] :][: image["length"]]
            try:
                pixels = decode_image(image, stream, window)
            except GlzImageMissing:
                continue
            yield image, pixels
            waiting.remove(image)
            break
        else:
            raise Mismatch(f"{len(waiting)} images wait for ones that do not come")


def decode_image(image: Entry, stream: bytes, window: GlzWindow) -> np.ndarray:
    size = {"width": image["width"], "height": image["height"], "limit": WIDE}
    if "glz_data_size" in image:
        return decode_zlib_glz(stream, glz_size=image["glz_data_size"], window=window, **size)
    header = read_glz_header(stream)
    if (header.id, header.head_distance) != (image["id"], image["win_head_dist"]):
        raise Mismatch("the header has another id or head distance")
    return window.decode(stream, **size)


def run_malformed(entry: Entry, data: bytes) -> None:
    """See that each way to decode it ends in an ImageError, whatever size the message had."""
    target = entry["target_codec"]
    first, rest = data[: entry.get("split", 0)], data[entry.get("split", 0) :]
    sizes = {FOR_MALFORMED, claimed_size(target, rest)}
    for width, height in sizes:
        window = GlzWindow(1 << 24)
        size = {"width": width, "height": height}
        try:
            if target == "glz":
                if first:
                    header = read_glz_header(first)
                    window.decode(first, width=header.width, height=header.height)
                window.decode(rest, **size, give_up=True)
            else:
                {"quic": decode_quic, "lz": decode_lz, "lz_rgba": decode_lz, "lz4": decode_lz4}[target](rest, **size)
        except ImageError:
            continue
        raise Mismatch("it decoded, and is malformed")


def claimed_size(target: str, data: bytes) -> tuple[int, int]:
    """The size that the stream says it has."""
    readers = {"quic": read_quic_header, "lz": read_lz_header, "lz_rgba": read_lz_header, "glz": read_glz_header}
    try:
        header = readers[target](data)
    except (KeyError, ImageError):
        return FOR_MALFORMED
    return header.width, header.height


def compare(pixels: np.ndarray, raw: bytes, entry: Entry) -> None:
    """Compare with the expected pixels, which are tight rows, top row first.

    Raises:
        Mismatch: They differ.
    """
    shape = (entry["height"], entry["width"])
    form = entry["expected_format"]
    if form == "BGR888":
        channels = np.frombuffer(raw, np.uint8).reshape(*shape, 3).astype(np.uint32)
        expected = channels[..., 0] | channels[..., 1] << 8 | channels[..., 2] << 16
    else:
        expected = np.frombuffer(raw, DTYPES.get(form, np.uint32)).reshape(shape)
    if form == "BGRX8888":
        expected = expected & 0xFFFFFF
    if form == "RGB555LE":
        pixels, expected = pixels & 0x7FFF, expected & 0x7FFF
    if pixels.shape != shape or pixels.dtype != expected.dtype:
        raise Mismatch(f"it is {pixels.shape} {pixels.dtype}, and not {shape} {expected.dtype}")
    tolerance = np.array([entry.get("tolerance", 0)] * 3 + [entry.get("alpha_tolerance", 0)])
    if tolerance.any():
        channels = [np.ascontiguousarray(array).view(np.uint8).reshape(*shape, 4).astype(int) for array in (pixels, expected)]
        wrong = (abs(channels[0] - channels[1]) > tolerance).any(axis=2)
    else:
        wrong = pixels != expected
    if wrong.any():
        raise Mismatch(f"{np.count_nonzero(wrong)} of {wrong.size} pixels are wrong")


def run_canvas(folder: Path, passed: Counter[str], failed: Counter[str]) -> None:
    """Draw the cases of a canvas folder."""
    from canvas_cases import load_cases, run_case

    for case in load_cases(folder):
        name = f"canvas {case['group']}"
        try:
            run_case(case, folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are drawn too
            failed[name] += 1
            print(f"FAILED {name} {case.get('id', '')}: {type(error).__name__}: {error}")
        else:
            passed[name] += 1


def run_all(folder: Path) -> int:
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for entry in load_index(folder):
        try:
            run_entry(entry, folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are decoded too
            failed[entry["codec"]] += 1
            print(f"FAILED {entry['file']}: {type(error).__name__}: {error}")
        else:
            passed[entry["codec"]] += 1
    if (folder / "canvas").is_dir():
        if importlib.util.find_spec("atp_trio.spice.imaging"):
            run_canvas(folder / "canvas", passed, failed)
        else:
            print("canvas: not run, there is no atp_trio.spice.imaging")
    for codec in sorted(passed | failed):
        print(f"{codec}: {passed[codec]} passed, {failed[codec]} failed")
    if not passed and not failed:
        print(f"there are no vectors in {folder}")
        return 1
    return 1 if failed else 0


def best(*functions: Callable[[], object]) -> list[float]:
    """The shortest of some runs of each, in milliseconds; in turns, so that a busy moment hits all of them."""
    times = [float("inf")] * len(functions)
    for _ in range(REPEATS):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            times[i] = min(times[i], time.perf_counter() - start)
    return [seconds * 1000 for seconds in times]


def measure(entry: Entry, folder: Path) -> None:
    """Check a stream, and print what decoding it costs beside a copy of its pixels and beside JPEG's decoding of them."""
    run_entry(entry, folder)
    data = (folder / entry["file"]).read_bytes()
    if "images" in entry:
        images = [np.array(pixels) for _, pixels in decode_sequence(entry, data)]
        decode: Callable[[], object] = lambda: [None for _ in decode_sequence(entry, data)]  # noqa: E731
    else:
        run = decoder(entry, data)
        images = [np.array(run(None))]
        # Into memory that is there, as JPEG below and a surface in use.
        decode = lambda: run(images[0])  # noqa: E731
    copies = [np.empty_like(image) for image in images]
    pictures = [as_picture(image) for image in images]
    jpegs = [simplejpeg.encode_jpeg(picture, 85, "BGRX", "444") for picture in pictures]
    ms, copy, jpeg = best(
        decode,
        lambda: [np.copyto(copied, image) for copied, image in zip(copies, images, strict=True)],
        lambda: [simplejpeg.decode_jpeg(j, "BGRX", buffer=picture) for j, picture in zip(jpegs, pictures, strict=True)],
    )
    result = {"ms": round(ms, 4), "ratio_copy": round(ms / copy, 3), "ratio_jpeg": round(ms / jpeg, 3)}
    print(json.dumps({"file": entry["file"], "codec": entry["codec"], **result}))


def as_picture(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any kind as (height, width, 4) bytes B, G, R, X."""
    wide = np.ascontiguousarray(pixels, np.uint32)
    if pixels.dtype == np.uint16:
        wide = (wide & 0x7C00) << 9 | (wide & 0x3E0) << 6 | (wide & 0x1F) << 3
    elif pixels.dtype == np.uint8:
        wide = wide * 0x010101
    return wide.view(np.uint8).reshape(*pixels.shape, 4)


def run_perf(folder: Path) -> int:
    status = 0
    for entry in load_index(folder):
        if entry["codec"] == "malformed":
            continue
        try:
            measure(entry, folder)
        except (Mismatch, ImageError) as error:
            print(f"FAILED {entry['file']}: {error}", file=sys.stderr)
            status = 1
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with index.json")
    parser.add_argument("--perf", action="store_true", help="measure instead")
    arguments = parser.parse_args()
    return run_perf(arguments.folder) if arguments.perf else run_all(arguments.folder)


if __name__ == "__main__":
    sys.exit(main())
