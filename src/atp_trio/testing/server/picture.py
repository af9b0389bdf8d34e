"""Pictures, encoded ahead of time, as the server's displays put them on the wire: one row of `CODECS` a codec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.spice.messages import display
from atp_trio.spice.messages.geometry import DisplayBase, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageType
from atp_trio.spice.wire import Role
from atp_trio.spice.wire.kind import Buffer

DRAW_COPY: Final = display.DrawCopy.number(Role.SERVER)
JPEG_QUALITY: Final = 85

Pixels = npt.NDArray[np.uint32]


@attrs.frozen(eq=False)
class Picture:
    """An encoded picture.

    Attributes:
        pixels: What a client makes of it: shape (height, width), rows top-down, numbers `0x00RRGGBB`. Not to be changed.
        type: The image type it is sent as.
        data: The image's bytes behind the fixed part of its payload.
    """

    pixels: Pixels = attrs.field(repr=False)
    type: ImageType
    data: Buffer = attrs.field(repr=False)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    def head(self, x: int, y: int) -> bytes:
        """The body of the DRAW_COPY that puts the picture at (x, y) of surface 0, up to `data`."""
        return _head(self.type, x, y, self.width, self.height, len(self.data))


@lru_cache(maxsize=8192)
def _head(kind: ImageType, x: int, y: int, width: int, height: int, size: int) -> bytes:
    """Encoded with zeros for the data, which come last and are cut off again: the layout stays the catalogue's business."""
    blank = bytes(size)
    payload: Bitmap | BinaryData = BinaryData(blank)
    if kind is ImageType.BITMAP:
        payload = Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, width, height, 4 * width, data=blank)
    draw = display.DrawCopy(
        base=DisplayBase(0, Rect.at(x, y, width, height)),
        src_image=Image(0, kind, 0, width, height, payload),
        src_area=Rect.at(0, 0, width, height),
    )
    return draw.encode()[:-size]


def encode_raw(pixels: Pixels) -> Picture:
    """As a BITMAP of 32 bits a pixel."""
    copied = np.array(pixels, np.uint32, order="C")
    # The picture's bytes are its pixels: nothing is copied, here or when it is sent.
    return Picture(copied, ImageType.BITMAP, copied.data.cast("B"))


def encode_lz(pixels: Pixels) -> Picture:
    """As LZ_RGB, type RGB32."""
    from atp_trio.spice.codec.lz import encode_lz as compress

    return Picture(np.array(pixels), ImageType.LZ_RGB, compress(pixels))


def encode_quic(pixels: Pixels) -> Picture:
    """As QUIC, type RGB32."""
    from atp_trio.spice.codec.quic import encode_quic as compress

    return Picture(np.array(pixels), ImageType.QUIC, compress(pixels))


def encode_jpeg(pixels: Pixels) -> Picture:
    """As JPEG, of which the picture has the pixels that decoding gives."""
    import simplejpeg

    from atp_trio.spice.codec.jpeg import decode_jpeg

    height, width = pixels.shape
    channels = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, width, 4)
    data: bytes = simplejpeg.encode_jpeg(channels, quality=JPEG_QUALITY, colorspace="BGRX", colorsubsampling="444")
    return Picture(decode_jpeg(data, width=width, height=height) & np.uint32(0xFFFFFF), ImageType.JPEG, data)


CODECS: Final[Mapping[str, Callable[[Pixels], Picture]]] = {
    "raw": encode_raw,
    "lz": encode_lz,
    "quic": encode_quic,
    "jpeg": encode_jpeg,
}
