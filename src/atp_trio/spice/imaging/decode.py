"""From an image as a message carries it to a picture: one row of `DECODERS` an image type."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, cast

import attrs
import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec import lz4
from atp_trio.spice.codec.bitmap import decode_bitmap
from atp_trio.spice.codec.glz import GlzImageMissing, GlzType, GlzWindow
from atp_trio.spice.codec.jpeg import decode_jpeg, decode_jpeg_alpha
from atp_trio.spice.codec.limit import check_size
from atp_trio.spice.codec.lz import LzType, decode_lz, read_lz_header
from atp_trio.spice.codec.quic import QuicType, decode_quic
from atp_trio.spice.codec.zlib_glz import decode_zlib_glz
from atp_trio.spice.imaging.cache import Awaited, ImagePending, PaletteCache
from atp_trio.spice.imaging.pixel import Argb, Picture, Pixels, to_argb
from atp_trio.spice.imaging.surface import Surfaces
from atp_trio.spice.messages.display import SurfaceFormat
from atp_trio.spice.messages.image import (
    BinaryData,
    Bitmap,
    BitmapFlag,
    BitmapFormat,
    Image,
    ImageType,
    JpegAlpha,
    JpegAlphaFlag,
    LzPlt,
    Surface,
    ZlibGlzRgb,
)

XRGB, ARGB, A8, A1 = SurfaceFormat.FMT_32_xRGB, SurfaceFormat.FMT_32_ARGB, SurfaceFormat.FMT_8_A, SurfaceFormat.FMT_1_A
SIXTEEN_BITS = (SurfaceFormat.FMT_16_555, SurfaceFormat.FMT_16_565)
BITS = {BitmapFormat.FMT_1BIT_LE: "little", BitmapFormat.FMT_1BIT_BE: "big"}
# The low byte of the type in a stream's header.
QUIC_GRAY, QUIC_RGBA = bytes((QuicType.GRAY,)), bytes((QuicType.RGBA,))
LZ_ALPHA, LZ_RGBA = (bytes((LzType.XXXA,)), bytes((LzType.A8,))), bytes((LzType.RGBA,))


class Unsupported(Exception):
    """Something that we cannot draw; the text says what. No error of the caller's: it ends as a count."""


@attrs.frozen
class Sources:
    """What an image may refer to.

    Attributes:
        palettes: The display channel's palettes.
        surfaces: Its surfaces.
        window: The GLZ dictionary of the connection.
        lock: Held while the dictionary decodes: other channels may draw in threads of their own.
    """

    palettes: PaletteCache
    surfaces: Surfaces
    window: GlzWindow
    lock: AbstractContextManager[bool]

    @contextmanager
    def glz(self) -> Iterator[GlzWindow]:
        """The dictionary, for one decode.

        Raises:
            ImagePending: The image that is decoded refers to one that is not there yet.
        """
        with self.lock:
            try:
                yield self.window
            except GlzImageMissing as missing:
                raise ImagePending(Awaited(missing.id, glz=True)) from None


@attrs.frozen
class Request:
    """An image to decode.

    Attributes:
        image: The image.
        wanted: The format of the surface it is for, which tells what palettes mean.
        out: Where its pixels may be put, of its size, if they are of 32 bits.
        give_up: Whether a GLZ image that refers to a missing one fails for good.
        sources: What it may refer to.
    """

    image: Image
    wanted: SurfaceFormat
    out: Argb | None
    give_up: bool
    sources: Sources

    @property
    def data(self) -> bytes:
        """The stream of a codec that has nothing else."""
        return cast("BinaryData", self.image.payload).data

    @property
    def target(self) -> dict[str, Any]:
        """What every codec is told."""
        return {"width": self.image.width, "height": self.image.height, "out": self.out}

    def palette(self) -> Sequence[int] | None:
        """The colours `0x00RRGGBB` of an image of indices; None where it has none.

        Raises:
            ImageError: The palette is not in the cache.
        """
        payload = cast("Bitmap | LzPlt", self.image.payload)
        if payload.flags & BitmapFlag.PAL_FROM_CACHE:
            entries = self.sources.palettes.get(payload.palette_id or 0)
        elif payload.palette is None:
            return None
        else:
            entries = payload.palette.ents
            if payload.flags & BitmapFlag.PAL_CACHE_ME:
                self.sources.palettes.put(payload.palette.unique, entries)
        if self.wanted not in SIXTEEN_BITS:
            return entries
        raw = np.array(entries, np.uint32).astype(np.uint16)
        return cast("list[int]", to_argb(raw, SurfaceFormat.FMT_16_555).tolist())


def bits(payload: Bitmap) -> Pixels:
    """The pixels of a bitmap of one bit a pixel: 0 and 255.

    Raises:
        ImageError: It is of another format, or its size is over the limit or beyond its data.
    """
    order = BITS.get(payload.format)
    if order is None:
        raise ImageError(f"a mask of format {payload.format.name}")
    check_size(payload.x, payload.y)
    rows = raw_rows(payload, 1)
    ones = np.unpackbits(rows, axis=1, count=payload.x, bitorder=cast("Any", order))
    return ones * np.uint8(255)


def raw_rows(payload: Bitmap, bits_per_pixel: int) -> Pixels:
    """The bytes of a raw bitmap's rows, top-down, without what pads them.

    Raises:
        ImageError: The stride or the data are too short.
    """
    size = (payload.x * bits_per_pixel + 7) // 8
    if payload.stride < size or len(payload.data) < payload.stride * payload.y:
        raise ImageError(f"a bitmap of {payload.x}x{payload.y} in {len(payload.data)} bytes, {payload.stride} a row")
    rows = np.frombuffer(payload.data, np.uint8, payload.stride * payload.y).reshape(payload.y, payload.stride)
    return rows[:: 1 if payload.flags & BitmapFlag.TOP_DOWN else -1, :size]


def _bitmap(request: Request) -> Picture:
    payload = cast("Bitmap", request.image.payload)
    form = payload.format
    check_size(payload.x, payload.y)
    if form in (BitmapFormat.FMT_32BIT, BitmapFormat.RGBA):
        # No copy: a view of the message, from where a drawing operation takes what it needs.
        return Picture(raw_rows(payload, 32).view("<u4"), XRGB if form == BitmapFormat.FMT_32BIT else ARGB)
    if form == BitmapFormat.FMT_16BIT:
        return Picture(raw_rows(payload, 16).view("<u2"), SurfaceFormat.FMT_16_555)
    palette = request.palette()
    if form in BITS and palette is None:
        return Picture(bits(payload), A1)
    is_alpha = form == BitmapFormat.FMT_8BIT_A
    pixels = decode_bitmap(
        payload.data,
        format=form,
        width=payload.x,
        height=payload.y,
        stride=payload.stride,
        top_down=bool(payload.flags & BitmapFlag.TOP_DOWN),
        palette=palette,
        out=None if is_alpha or (payload.x, payload.y) != (request.image.width, request.image.height) else request.out,
    )
    return Picture(pixels, A8 if is_alpha else XRGB)


def _quic(request: Request) -> Picture:
    kind = request.data[8:9]
    if kind == QUIC_GRAY:
        raise ImageError("a QUIC image of grey samples")
    return Picture(decode_quic(request.data, **request.target), ARGB if kind == QUIC_RGBA else XRGB)


def _lz_rgb(request: Request) -> Picture:
    kind = request.data[11:12]
    if kind in LZ_ALPHA:
        return Picture(decode_lz(request.data, **request.target | {"out": None}), A8)
    return Picture(decode_lz(request.data, **request.target), ARGB if kind == LZ_RGBA else XRGB)


def _lz_plt(request: Request) -> Picture:
    data = cast("LzPlt", request.image.payload).data
    palette = request.palette()
    if not read_lz_header(data).type.has_palette:
        raise ImageError("an LZ_PLT image that has no indices")
    return Picture(decode_lz(data, palette=palette, **request.target), XRGB)


def _glz_rgb(request: Request) -> Picture:
    with request.sources.glz() as window:
        pixels = window.decode(request.data, give_up=request.give_up, **request.target)
    return Picture(pixels, _glz_format(request.data))


def _zlib_glz_rgb(request: Request) -> Picture:
    payload = cast("ZlibGlzRgb", request.image.payload)
    with request.sources.glz() as window:
        pixels = decode_zlib_glz(
            payload.data, glz_size=payload.glz_data_size, window=window, give_up=request.give_up, **request.target
        )
    return Picture(pixels, _glz_format(zlib.decompressobj().decompress(payload.data, 9)))


def _glz_format(data: bytes) -> SurfaceFormat:
    """What a GLZ image's pixels are, by the low half of the ninth byte."""
    return ARGB if data[8] & 15 == GlzType.RGBA else XRGB


def _surface(request: Request) -> Picture:
    found = request.sources.surfaces[cast("Surface", request.image.payload).surface_id]
    return Picture(found.pixels, found.format)


def _jpeg(request: Request) -> Picture:
    return Picture(decode_jpeg(request.data, **request.target), XRGB, lossy=True)


def _jpeg_alpha(request: Request) -> Picture:
    payload = cast("JpegAlpha", request.image.payload)
    top_down = bool(payload.flags & JpegAlphaFlag.TOP_DOWN)
    pixels = decode_jpeg_alpha(payload.data, jpeg_size=payload.jpeg_size, top_down=top_down, **request.target)
    return Picture(pixels, ARGB, lossy=True)


def _lz4(request: Request) -> Picture:
    if not lz4.available():
        raise Unsupported("image type LZ4 without the lz4 package")
    is_rgba = request.data[1:2] == bytes((BitmapFormat.RGBA,))
    return Picture(lz4.decode_lz4(request.data, **request.target), ARGB if is_rgba else XRGB)


Decoder: TypeAlias = Callable[[Request], Picture]

DECODERS: dict[int, Decoder] = {
    ImageType.BITMAP: _bitmap,
    ImageType.QUIC: _quic,
    ImageType.LZ_PLT: _lz_plt,
    ImageType.LZ_RGB: _lz_rgb,
    ImageType.GLZ_RGB: _glz_rgb,
    ImageType.SURFACE: _surface,
    ImageType.JPEG: _jpeg,
    ImageType.ZLIB_GLZ_RGB: _zlib_glz_rgb,
    ImageType.JPEG_ALPHA: _jpeg_alpha,
    ImageType.LZ4: _lz4,
}
