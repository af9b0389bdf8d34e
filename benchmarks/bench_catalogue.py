"""What the catalogue costs: reading and writing frequent messages, beside `struct` calls written by hand for the same fields.

Run it alone: `python benchmarks/bench_catalogue.py`. Both sides of a ratio run in turn, so that a busy machine slows both; the
figures are the smallest of the runs, in microseconds a message. By hand there are no objects, no optional parts and no bounds but
those of `struct`: what the ratio shows is the price of messages as values.
"""

from __future__ import annotations

import struct
import timeit
from collections.abc import Callable
from typing import Any

import attrs

from atp_trio.spice.messages import base, display, inputs
from atp_trio.spice.messages.geometry import DisplayBase, Point, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageType
from atp_trio.spice.wire import Message

RUNS = 15
NUMBER = 2000

KEY = struct.Struct("<I")
POSITION = struct.Struct("<IIHB")
PING = struct.Struct("<IQ")
BASE = struct.Struct("<I4iB")
FILL = struct.Struct("<I4iBBIHBiiI")
COPY = struct.Struct("<I4iBI4iHBBiiI")
COPY_BITS = struct.Struct("<I4iBii")
DESCRIPTOR = struct.Struct("<QBBII")
BINARY = struct.Struct("<I")
BITMAP = struct.Struct("<BBIIII")
STREAM = struct.Struct("<III")

AREA = Rect.at(100, 200, 64, 32)
BOX = DisplayBase(0, AREA)
BOX_VALUES = (0, 200, 100, 232, 164, 0)


def copy_of(kind: ImageType, payload: BinaryData | Bitmap) -> display.DrawCopy:
    """A small update."""
    return display.DrawCopy(base=BOX, src_image=Image(7, kind, 0, 64, 32, payload), src_area=Rect.at(0, 0, 64, 32))


PIXELS = bytes(64 * 32 * 4)
QUIC = copy_of(ImageType.QUIC, BinaryData(bytes(900)))
BITMAP_COPY = copy_of(
    ImageType.BITMAP, Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, 64, 32, 256, palette=None, data=PIXELS)
)


def read_copy(payload: struct.Struct, sized: Callable[[Any], int]) -> Callable[[bytes], Any]:
    """A reader by hand of a copy whose image has this payload."""

    def read(body: bytes) -> Any:
        fixed = COPY.unpack_from(body)
        descriptor = DESCRIPTOR.unpack_from(body, fixed[6])
        head = payload.unpack_from(body, fixed[6] + 18)
        at = fixed[6] + 18 + payload.size
        return fixed, descriptor, head, body[at : at + sized(head)]

    return read


def write_copy(kind: int, head: bytes, data: bytes) -> Callable[[], bytes]:
    """A writer by hand."""
    return lambda: b"".join(
        (
            COPY.pack(*BOX_VALUES, 57, 0, 0, 32, 64, 8, 0, 0, 0, 0, 0),
            DESCRIPTOR.pack(7, kind, 0, 64, 32),
            head,
            data,
        )
    )


@attrs.frozen
class Case:
    """A message, and what reads and writes it by hand."""

    name: str
    message: Message
    read: Callable[[bytes], Any]
    write: Callable[[], bytes]


CASES = [
    Case("inputs.KeyDown", inputs.KeyDown(code=0x1E), KEY.unpack, lambda: KEY.pack(0x1E)),
    Case(
        "inputs.MousePosition",
        inputs.MousePosition(x=10, y=20, buttons_state=1, display_id=0),
        POSITION.unpack,
        lambda: POSITION.pack(10, 20, 1, 0),
    ),
    Case("base.Ping", base.Ping(id=1, timestamp=2), PING.unpack_from, lambda: PING.pack(1, 2)),
    Case("base.Pong", base.Pong(id=1, timestamp=2), PING.unpack, lambda: PING.pack(1, 2)),
    Case(
        "display.DrawFill",
        display.DrawFill(base=BOX, brush=display.Brush.solid(0xFF)),
        FILL.unpack,
        lambda: FILL.pack(*BOX_VALUES, 1, 0xFF, 8, 0, 0, 0, 0),
    ),
    Case(
        "display.CopyBits",
        display.CopyBits(base=BOX, src_pos=Point(5, 6)),
        COPY_BITS.unpack,
        lambda: COPY_BITS.pack(*BOX_VALUES, 5, 6),
    ),
    Case(
        "display.DrawCopy QUIC",
        QUIC,
        read_copy(BINARY, lambda head: head[0]),
        write_copy(ImageType.QUIC, BINARY.pack(900), bytes(900)),
    ),
    Case(
        "display.DrawCopy BITMAP",
        BITMAP_COPY,
        read_copy(BITMAP, lambda head: head[3] * head[4]),
        write_copy(ImageType.BITMAP, BITMAP.pack(8, 4, 64, 32, 256, 0), PIXELS),
    ),
    Case(
        "display.StreamData",
        display.StreamData(id=1, mm_time=2, data=bytes(4000)),
        lambda body: (STREAM.unpack_from(body), body[12:]),
        lambda: STREAM.pack(1, 2, 4000) + bytes(4000),
    ),
]


def in_turn(ours: Callable[[], object], by_hand: Callable[[], object]) -> tuple[float, float]:
    """The smallest times of both, in microseconds a call."""
    runs = [[timeit.timeit(one, number=NUMBER) / NUMBER * 1e6 for one in (ours, by_hand)] for _ in range(RUNS)]
    return min(run[0] for run in runs), min(run[1] for run in runs)


def main() -> None:
    """Print the table."""
    print(f"{'':26}{'decode':>8}{'by hand':>9}{'ratio':>7}{'encode':>10}{'by hand':>9}{'ratio':>7}")
    for case in CASES:
        cls, body = type(case.message), case.message.encode()
        assert cls.decode(body) == case.message
        assert case.write() == body, f"{case.name} is written otherwise by hand"
        decode = in_turn(lambda cls=cls, body=body: cls.decode(body, copy=False), lambda read=case.read, body=body: read(body))  # type: ignore[misc]
        encode = in_turn(case.message.encode, case.write)
        print(
            f"{case.name:26}{decode[0]:8.2f}{decode[1]:9.2f}{decode[0] / decode[1]:7.1f}"
            f"{encode[0]:10.2f}{encode[1]:9.2f}{encode[0] / encode[1]:7.1f}"
        )


if __name__ == "__main__":
    main()
