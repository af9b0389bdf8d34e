"""Images and palettes as they lie in draw messages.

Source: section 10.1 and 10.2 of the protocol reference.
"""

from __future__ import annotations

from operator import mul

from atp_trio.spice.wire import OpenEnum, Record, record
from atp_trio.spice.wire.field import Has, Is, Lacks, counted, length, pointer, sized_bytes, switch, u8, u16, u32, u64


class ImageType(OpenEnum):
    """How an image's pixels are given."""

    BITMAP = 0
    QUIC = 1
    RESERVED = 2
    LZ_PLT = 100
    LZ_RGB = 101
    GLZ_RGB = 102
    FROM_CACHE = 103
    SURFACE = 104
    JPEG = 105
    FROM_CACHE_LOSSLESS = 106
    ZLIB_GLZ_RGB = 107
    JPEG_ALPHA = 108
    LZ4 = 109


class ImageFlag(OpenEnum):
    """Flags of an image."""

    CACHE_ME = 1
    HIGH_BITS_SET = 2
    CACHE_REPLACE_ME = 4


class ImageCompression(OpenEnum):
    """What a client may ask the server to compress images with."""

    INVALID = 0
    OFF = 1
    AUTO_GLZ = 2
    AUTO_LZ = 3
    QUIC = 4
    GLZ = 5
    LZ = 6
    LZ4 = 7


class BitmapFormat(OpenEnum):
    """The memory layout of a bitmap's pixels. Names that begin with a digit keep the prefix FMT."""

    INVALID = 0
    FMT_1BIT_LE = 1
    """Bit 0 is the leftmost pixel."""
    FMT_1BIT_BE = 2
    """Bit 7 is the leftmost pixel."""
    FMT_4BIT_LE = 3
    FMT_4BIT_BE = 4
    FMT_8BIT = 5
    """An index of the palette."""
    FMT_16BIT = 6
    """x1r5g5b5, little-endian."""
    FMT_24BIT = 7
    """B, G, R."""
    FMT_32BIT = 8
    """B, G, R, unused."""
    RGBA = 9
    """B, G, R, A; premultiplied."""
    FMT_8BIT_A = 10
    """Alpha only."""


class BitmapFlag(OpenEnum):
    """Flags of a bitmap and of an LZ image with a palette."""

    PAL_CACHE_ME = 1
    PAL_FROM_CACHE = 2
    TOP_DOWN = 4


class JpegAlphaFlag(OpenEnum):
    """Flags of a JPEG with an alpha plane."""

    TOP_DOWN = 1
    """Of the alpha plane: the JPEG is top-down always."""


@record
class Palette(Record):
    """The colours of an image of indices."""

    unique: int = u64()
    """Its key in the palette cache."""
    ents: tuple[int, ...] = counted(u16(), u32())
    """Colours 0x00RRGGBB; the raw pixels of 16-bit surfaces."""


@record
class Bitmap(Record):
    """Pixels as they are, `stride` bytes a row, bottom-up unless TOP_DOWN is set."""

    format: BitmapFormat = u8(BitmapFormat)
    flags: int = u8(flags=BitmapFlag)
    x: int = u32()
    """The width in pixels."""
    y: int = u32()
    """The height in pixels."""
    stride: int = u32()
    """Bytes a row."""
    palette_id: int | None = u64(when=Has("flags", BitmapFlag.PAL_FROM_CACHE), default=None)
    palette: Palette | None = pointer(Palette, when=Lacks("flags", BitmapFlag.PAL_FROM_CACHE), default=None)
    data: bytes = sized_bytes("stride", "y", rule=mul, default=b"")


@record
class BinaryData(Record):
    """The bytes of an image codec: QUIC, LZ_RGB, GLZ_RGB, JPEG and LZ4 lie in this one layout."""

    data_size = length("data", u32())
    data: bytes = sized_bytes("data_size")


@record
class LzPlt(Record):
    """LZ-compressed indices of a palette."""

    flags: int = u8(flags=BitmapFlag)
    data_size = length("data", u32())
    palette_id: int | None = u64(when=Has("flags", BitmapFlag.PAL_FROM_CACHE), default=None)
    palette: Palette | None = pointer(Palette, when=Lacks("flags", BitmapFlag.PAL_FROM_CACHE), default=None)
    data: bytes = sized_bytes("data_size", default=b"")


@record
class Surface(Record):
    """The pixels of another surface, as they are now."""

    surface_id: int = u32()


@record
class ZlibGlzRgb(Record):
    """GLZ in a zlib stream."""

    glz_data_size: int = u32()
    """The size of the GLZ data once inflated."""
    data_size = length("data", u32())
    data: bytes = sized_bytes("data_size")


@record
class JpegAlpha(Record):
    """A JPEG and behind it an LZ-compressed alpha plane."""

    flags: int = u8(flags=JpegAlphaFlag)
    jpeg_size: int = u32()
    """How many bytes of `data` are the JPEG; the rest is the alpha plane."""
    data_size = length("data", u32())
    data: bytes = sized_bytes("data_size")


Payload = Bitmap | BinaryData | LzPlt | Surface | ZlibGlzRgb | JpegAlpha


@record
class Image(Record):
    """An image: its descriptor and the payload that the type calls for."""

    id: int = u64()
    """Its key in the image cache."""
    type: ImageType = u8(ImageType)
    flags: int = u8(flags=ImageFlag)
    width: int = u32()
    height: int = u32()
    payload: Payload | None = switch(
        {
            Is("type", ImageType.BITMAP): Bitmap,
            Is("type", ImageType.QUIC, ImageType.LZ_RGB, ImageType.GLZ_RGB, ImageType.JPEG, ImageType.LZ4): BinaryData,
            Is("type", ImageType.LZ_PLT): LzPlt,
            Is("type", ImageType.SURFACE): Surface,
            Is("type", ImageType.ZLIB_GLZ_RGB): ZlibGlzRgb,
            Is("type", ImageType.JPEG_ALPHA): JpegAlpha,
        },
        default=None,
    )
    """None for FROM_CACHE and FROM_CACHE_LOSSLESS, and for a type that is unknown here."""
