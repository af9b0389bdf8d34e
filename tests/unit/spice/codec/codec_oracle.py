"""Plain decoders, straight from the image codec reference: what those in C must agree with."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np


class Bad(Exception):
    """The stream is malformed."""


# --- QUIC, chapter 2 ---

TRIGGERS = (110, 550, 900, 800, 550, 400, 350)
RUN_BITS = (0,) * 4 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15)
DRAWS = bytes.fromhex("""
    02 17 13 15 07 12 28 0e 0c 20 2f 2c 24 06 12 0b 04 13 2a 1d 10 3f 39 33 10 03 05 0e 0f 1e 14 09
    24 2d 03 39 3d 00 08 05 29 0e 2b 1b 2b 3b 1f 23 27 3c 2a 26 0d 36 3e 01 1a 03 0b 3d 34 22 07 30
    04 3b 16 0c 16 08 32 04 0a 06 2c 08 0b 2e 1f 33 35 11 01 2b 2e 3c 24 36 0a 1b 27 2c 16 29 17 02
    2c 00 28 35 28 30 10 2b 20 1c 21 0c 14 02 38 3e 37 3a 12 14 0d 37 26 1d 39 13 31 21 2f 3f 3b 00
    23 3d 13 19 2e 26 3c 04 23 01 1a 28 1c 0a 05 0e 19 12 30 31 14 3b 3e 22 2e 07 21 34 22 3a 09 1d
    08 37 3e 3c 25 24 25 32 06 03 0a 1c 30 18 1a 3d 39 1e 0b 36 02 06 32 2f 07 11 23 35 20 0c 17 11
    05 15 31 37 33 2d 34 1b 27 19 27 3f 16 18 2a 34 38 26 29 29 38 20 0d 18 1a 33 1b 38 3a 25 18 2a
    0f 1c 11 1e 1f 0f 10 17 19 36 21 22 01 1d 1f 32 35 15 31 0f 2f 09 00 3a 25 2d 1e 0d 09 2d 3f 15
""")


def code_parameters(depth: int, k: int) -> tuple[int, int, int]:
    """Zeros before the escape, first escaped value, bits of an escape's suffix."""
    prefix = min(26 - depth, 2 ** (depth - k) - 1)
    first = prefix << k
    return prefix, first, (2**depth - first - 1).bit_length()


def code_length(depth: int, k: int, n: int) -> int:
    prefix, first, suffix = code_parameters(depth, k)
    return (n >> k) + 1 + k if n < first else prefix + suffix


class Bits:
    """The words of the stream as one number, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
        self.bits = "".join(f"{word:032b}" for word in words)
        self.at = 0

    def take(self, count: int) -> int:
        if self.at + count > len(self.bits):
            raise Bad
        taken = self.bits[self.at : self.at + count]
        self.at += count
        return int(taken, 2) if count else 0


class Model:
    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.counts = [[0] * depth for _ in range(depth)]
        self.best = [depth - 1] * depth

    def bucket(self, context: int) -> int:
        return min((context + 1).bit_length() - 1, self.depth - 1)

    def read(self, bits: Bits, context: int) -> int:
        k = self.best[self.bucket(context)]
        prefix, first, suffix = code_parameters(self.depth, k)
        zeros = 0
        while zeros < prefix and not bits.take(1):
            zeros += 1
        if zeros == prefix:
            return (first + bits.take(suffix)) % 2**self.depth
        return zeros << k | bits.take(k)

    def learn(self, context: int, n: int, trigger: int) -> None:
        bucket = self.bucket(context)
        counts = self.counts[bucket]
        for k in range(self.depth):
            counts[k] += code_length(self.depth, k, n)
        best = min(range(self.depth), key=lambda k: (counts[k], -k))
        self.best[bucket] = best
        if counts[best] > trigger:
            self.counts[bucket] = [count >> 1 for count in counts]


class Group:
    """Channels that are coded together: rows of tuples of samples."""

    def __init__(self, depth: int, channels: int, width: int) -> None:
        self.depth, self.width = depth, width
        self.models = [Model(depth) for _ in range(channels)]
        self.errors = [[0] * width for _ in range(channels)]
        self.level, self.left, self.skip, self.draw, self.run_state = 0, 2048, 0, 255, 0

    def unfold(self, n: int) -> int:
        return 2**self.depth - 1 - (n >> 1) if n & 1 else n >> 1

    def advance(self, count: int) -> bool:
        """Whether a segment ended with this."""
        if self.level == 6:
            return False
        self.left -= count
        if self.left:
            return False
        self.level, self.left = self.level + 1, 2048
        return True

    def read_run(self, bits: Bits) -> int:
        n = 0
        while bits.take(1):
            n += 1 << RUN_BITS[self.run_state]
            self.run_state = min(31, self.run_state + 1)
        n += bits.take(RUN_BITS[self.run_state])
        self.run_state = max(0, self.run_state - 1)
        return n

    def read_row(self, bits: Bits, above: list[tuple[int, ...]] | None) -> list[tuple[int, ...]]:
        row: list[tuple[int, ...]] = []
        mark = -1
        while (i := len(row)) < self.width:
            if above and i > 2 and i != mark and above[i] == above[i - 1] and row[i - 1] == row[i - 2]:
                mark = i
                run = self.read_run(bits)
                if run > min(self.width - i, self.left if self.level < 6 else self.width):
                    raise Bad
                row += [row[-1]] * run
                if run and self.advance(run):
                    mark = -1
                continue
            contexts = [errors[i - 1] if i else errors[0] if above else 0 for errors in self.errors]
            errors = [model.read(bits, context) for model, context in zip(self.models, contexts, strict=True)]
            row.append(tuple(self.sample(c, n, i, row, above) for c, n in enumerate(errors)))
            for channel, n in zip(self.errors, errors, strict=True):
                channel[i] = n
            if self.skip == 0:
                for model, context, n in zip(self.models, contexts, errors, strict=True):
                    model.learn(context, n, TRIGGERS[self.level])
                self.draw = (self.draw + 1) % 256
                self.skip = DRAWS[self.draw] & (1 << self.level) - 1
            else:
                self.skip -= 1
            if self.advance(1):
                mark = -1
        return row

    def sample(self, c: int, n: int, i: int, row: list[tuple[int, ...]], above: list[tuple[int, ...]] | None) -> int:
        left = row[i - 1][c] if i else above[0][c] if above else 0
        prediction = (left + above[i][c]) >> 1 if above and i else left
        return (prediction + self.unfold(n)) % 2**self.depth


def quic(data: bytes) -> np.ndarray:
    """Pixels as `decode_quic` gives them with `expand=False`."""
    if len(data) < 20:
        raise Bad
    magic, version, kind, width, height = struct.unpack_from("<5I", data)
    if magic != 0x43495551 or version or kind not in range(1, 6) or not 0 < width * height < 1 << 29:
        raise Bad
    bits = Bits(data[20:])
    colours = Group(5 if kind == 2 else 8, 3, width)
    single = Group(8, 1, width)
    out = np.zeros((height, width), {1: np.uint8, 2: np.uint16}.get(kind, np.uint32))
    above = above_single = None
    for y in range(height):
        if kind != 1:
            above = colours.read_row(bits, above)
            shift = 5 if kind == 2 else 8
            out[y] = [r << 2 * shift | g << shift | b for r, g, b in above]
        if kind in (1, 5):
            above_single = single.read_row(bits, above_single)
            out[y] |= np.array([a << (24 if kind == 5 else 0) for (a,) in above_single], out.dtype)
    return out


# --- LZ and GLZ, chapters 3 and 4 ---


def expand(v: int) -> int:
    parts = [v >> shift & 31 for shift in (10, 5, 0)]
    red, green, blue = (part << 3 | part >> 2 for part in parts)
    return red << 16 | green << 8 | blue


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = iter(data)

    def take(self) -> int:
        byte = next(self.data, None)
        if byte is None:
            raise Bad
        return byte

    def length(self, c: int) -> int:
        length = c >> 5
        if length == 7:
            while (more := self.take()) == 255:
                length += 255
            length += more
        return length


def literal(source: Bytes, size: int) -> int:
    taken = [source.take() for _ in range(size)]
    if size == 2:
        return taken[0] << 8 | taken[1]
    return sum(byte << 8 * i for i, byte in enumerate(taken))


def lz_units(source: Bytes, size: int, extra: int, total: int) -> list[int]:
    units: list[int] = []
    while len(units) < total:
        c = source.take()
        if c < 32:
            units += [literal(source, size) for _ in range(c + 1)]
        else:
            length = source.length(c) + extra
            distance = (c & 31) << 8 | source.take()
            if distance == 0x1FFF:
                distance += source.take() << 8 | source.take()
            if distance + 1 > len(units) or len(units) + length > total:
                raise Bad
            for _ in range(length):
                units.append(units[-distance - 1])
    if len(units) > total:
        raise Bad
    return units


def lz(data: bytes, palette: list[int] | None = None) -> np.ndarray:
    """Pixels as `decode_lz` gives them with `expand=False`, bit 15 of 555 as it comes."""
    if len(data) < 28:
        raise Bad
    magic, version, kind, width, height, stride, top_down = struct.unpack_from(">7I", data)
    bits = {1: 1, 2: 1, 3: 4, 4: 4, 5: 8, 6: 16, 7: 24, 8: 32, 9: 32, 10: 32, 11: 8}.get(kind)
    if (
        magic != 0x20205A4C
        or version != 0x10001
        or not bits
        or not width * height
        or stride * height >= 1 << 30
        or stride != (width * bits + 7) // 8
    ):
        raise Bad
    source = Bytes(data[28:])
    if kind <= 5:
        units = lz_units(source, 1, 2, stride * height)
        rows = [look_up(units[y * stride : (y + 1) * stride], kind, width, palette or []) for y in range(height)]
        out = np.array(rows, np.uint32)
    else:
        size, extra = {6: (2, 1), 10: (1, 2), 11: (1, 2)}.get(kind, (3, 0))
        units = lz_units(source, size, extra, width * height)
        if kind == 9:
            units = [u | a << 24 for u, a in zip(units, lz_units(source, 1, 2, width * height), strict=True)]
        out = np.array(units, {6: np.uint16, 10: np.uint8, 11: np.uint8}.get(kind, np.uint32)).reshape(height, width)
    return out if top_down else out[::-1]


def look_up(row: list[int], kind: int, width: int, palette: list[int]) -> list[int]:
    size = {1: 1, 2: 1, 3: 4, 4: 4, 5: 8}[kind]
    pixels = []
    for byte in row:
        values = [byte >> shift & (1 << size) - 1 for shift in range(0, 8, size)]
        pixels += values[::-1] if kind in (2, 4) else values
    if not palette:
        raise Bad
    return [palette[v % len(palette)] & 0xFFFFFF for v in pixels[:width]]


def glz_copies(source: Bytes, size: int, extra: int, total: int, image_id: int, window: Mapping[int, list[int]]) -> Iterator[int]:
    """The units of one pass; those of the window are masked by the caller's choice of it."""
    units: list[int] = []
    while len(units) < total:
        c = source.take()
        if c < 32:
            new = [literal(source, size) for _ in range(c + 1)]
            units += [expand(v) for v in new] if size == 2 else new
            continue
        length = source.length(c) + extra
        pixel = c & 15 | source.take() << 4
        flags = source.take()
        image = 0 if c & 16 else flags & 63
        for j in range(flags >> 6):
            image |= source.take() << (8 * j if c & 16 else 6 + 8 * j)
        if c & 16:
            pixel |= (flags & 31) << 12
            if flags & 32:
                pixel |= source.take() << 17
        if len(units) + length > total:
            raise Bad
        if image == 0:
            if pixel + 1 > len(units):
                raise Bad
            for _ in range(length):
                units.append(units[-pixel - 1])
        else:
            other = window.get(image_id - image)
            if other is None or pixel + length > len(other):
                raise Bad
            units += other[pixel : pixel + length]
    if len(units) > total:
        raise Bad
    yield from units


def glz(data: bytes, window: dict[int, list[int]]) -> np.ndarray:
    """Pixels as `GlzWindow.decode` gives them; `window` holds earlier images as 32-bit numbers and gets this one."""
    if len(data) < 33:
        raise Bad
    magic, version, flags, width, height, _, image_id, _ = struct.unpack_from(">IIBIIIQI", data)
    kind = flags & 15
    if magic != 0x20205A4C or version != 0x10001 or kind not in (6, 7, 8, 9) or not 0 < width * height < 1 << 30:
        raise Bad
    source, total = Bytes(data[33:]), width * height
    colours = {key: [v & 0xFFFFFF for v in image] for key, image in window.items()}
    units = list(glz_copies(source, 2 if kind == 6 else 3, int(kind == 6), total, image_id, colours))
    if kind == 9:
        alphas = {key: [v >> 24 for v in image] for key, image in window.items()}
        units = [u | a << 24 for u, a in zip(units, glz_copies(source, 1, 2, total, image_id, alphas), strict=True)]
    window[image_id] = units
    out = np.array(units, np.uint32).reshape(height, width)
    return out if flags >> 4 else out[::-1]
