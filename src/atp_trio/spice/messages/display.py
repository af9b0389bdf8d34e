"""The display channel: surfaces, what is drawn on them, and video streams.

Every draw message begins with `base`: the surface, the area and the clip. Colours are 0x00RRGGBB, on 16-bit surfaces raw pixels.

Source: sections 3.2, 9 and 12 of the protocol reference.
"""

from __future__ import annotations

from collections.abc import Callable

from atp_trio.spice.messages.base import WaitForChannel
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Point16, PointFix, Rect, Transform
from atp_trio.spice.messages.image import Image, ImageCompression
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import (
    Has,
    Is,
    counted,
    counted_bytes,
    elements,
    fixed28_4,
    i32,
    i64,
    length,
    nested,
    pointer,
    sized_bytes,
    switch,
    to_end,
    u8,
    u16,
    u32,
    u64,
)

MAX_STREAMS = 64
"""Ids of streams are below this."""


class DisplayCap(OpenEnum):
    """Capabilities of the display channel."""

    SIZED_STREAM = 0
    MONITORS_CONFIG = 1
    COMPOSITE = 2
    A8_SURFACE = 3
    STREAM_REPORT = 4
    LZ4_COMPRESSION = 5
    PREF_COMPRESSION = 6
    GL_SCANOUT = 7
    MULTI_CODEC = 8
    CODEC_MJPEG = 9
    CODEC_VP8 = 10
    CODEC_H264 = 11
    PREF_VIDEO_CODEC_TYPE = 12
    CODEC_VP9 = 13
    CODEC_H265 = 14


class SurfaceFormat(OpenEnum):
    """The pixels of a surface; little-endian words. Names that would begin with a digit have the prefix FMT."""

    INVALID = 0
    FMT_1_A = 1
    FMT_8_A = 8
    FMT_16_555 = 16
    FMT_32_xRGB = 32
    FMT_16_565 = 80
    FMT_32_ARGB = 96
    """Premultiplied."""


class SurfaceFlag(OpenEnum):
    """Flags of a surface."""

    PRIMARY = 1
    STREAMING_MODE = 2


class VideoCodecType(OpenEnum):
    """Codecs of video streams."""

    MJPEG = 1
    VP8 = 2
    H264 = 3
    VP9 = 4
    H265 = 5


class StreamFlag(OpenEnum):
    """Flags of a stream."""

    TOP_DOWN = 1
    """If clear the decoded frames are bottom-up."""


class ResourceType(OpenEnum):
    """What an entry of `InvalList` is."""

    INVALID = 0
    PIXMAP = 1


class Ropd(OpenEnum):
    """The bits of a raster operation: which operation, and what is inverted."""

    INVERS_SRC = 1
    INVERS_BRUSH = 2
    INVERS_DEST = 4
    OP_PUT = 8
    OP_OR = 16
    OP_AND = 32
    OP_XOR = 64
    OP_BLACKNESS = 128
    OP_WHITENESS = 256
    OP_INVERS = 512
    INVERS_RES = 1024


class ImageScaleMode(OpenEnum):
    """How an image is scaled when source and destination differ in size."""

    INTERPOLATE = 0
    NEAREST = 1


class BrushType(OpenEnum):
    """Kinds of brush."""

    NONE = 0
    SOLID = 1
    PATTERN = 2


class MaskFlag(OpenEnum):
    """Flags of a mask."""

    INVERS = 1
    """Paint where the bit is 0."""


class PathFlag(OpenEnum):
    """Flags of a path's segment."""

    BEGIN = 1
    END = 2
    CLOSE = 8
    BEZIER = 16


class LineFlag(OpenEnum):
    """Flags of a line."""

    START_WITH_GAP = 4
    STYLED = 8


class StringFlag(OpenEnum):
    """Flags of a string; exactly one of A1, A4 and A8 is set."""

    RASTER_A1 = 1
    RASTER_A4 = 2
    RASTER_A8 = 4
    RASTER_TOP_DOWN = 8


class AlphaFlag(OpenEnum):
    """Flags of `DrawAlphaBlend`."""

    DEST_HAS_ALPHA = 1
    SRC_SURFACE_HAS_ALPHA = 2


class CompositeFlag(OpenEnum):
    """Bits of `DrawComposite`: five small numbers (operator, filters, repeats) bit by bit, then single flags."""

    OP0 = 1 << 0
    OP1 = 1 << 1
    OP2 = 1 << 2
    OP3 = 1 << 3
    OP4 = 1 << 4
    OP5 = 1 << 5
    OP6 = 1 << 6
    OP7 = 1 << 7
    SRC_FILTER0 = 1 << 8
    SRC_FILTER1 = 1 << 9
    SRC_FILTER2 = 1 << 10
    MASK_FILTER0 = 1 << 11
    MASK_FILTER1 = 1 << 12
    MASK_FILTER2 = 1 << 13
    SRC_REPEAT0 = 1 << 14
    SRC_REPEAT1 = 1 << 15
    MASK_REPEAT0 = 1 << 16
    MASK_REPEAT1 = 1 << 17
    COMPONENT_ALPHA = 1 << 18
    HAS_MASK = 1 << 19
    HAS_SRC_TRANSFORM = 1 << 20
    HAS_MASK_TRANSFORM = 1 << 21
    SOURCE_OPAQUE = 1 << 22
    MASK_OPAQUE = 1 << 23
    DEST_OPAQUE = 1 << 24


class GlScanoutFlag(OpenEnum):
    """Flags of a GL scanout."""

    Y0TOP = 1
    """Row 0 is the top."""


@record
class Pattern(Record):
    """An image that is tiled."""

    pat: Image | None = pointer(Image)
    pos: Point = nested(Point)
    """Where its first pixel lies in the destination."""


@record
class Brush(Record):
    """What paints: nothing (colour 0), a colour or a pattern."""

    type: BrushType = u8(BrushType, default=BrushType.NONE)
    color: int | None = u32(when=Is("type", BrushType.SOLID), default=None)
    pattern: Pattern | None = nested(Pattern, when=Is("type", BrushType.PATTERN), default=None)

    @classmethod
    def solid(cls, color: int) -> Brush:
        """The brush of one colour, 0x00RRGGBB."""
        return cls(BrushType.SOLID, color)


@record
class QMask(Record):
    """A bitmap of one bit a pixel that says where to paint; none paints everywhere."""

    flags: int = u8(flags=MaskFlag, default=0)
    pos: Point = nested(Point, default=Point(0, 0))
    """The mask's pixel that lies on the box's left top corner."""
    bitmap: Image | None = pointer(Image, default=None)


@record
class LineAttr(Record):
    """How a line is dashed."""

    flags: int = u8(flags=LineFlag, default=0)
    style_nseg = length("style", u8(), when=Has("flags", LineFlag.STYLED))
    style: tuple[float, ...] | None = pointer(
        elements(fixed28_4(), "style_nseg"), when=Has("flags", LineFlag.STYLED), default=None
    )
    """Lengths of dashes and gaps in turn, in pixels."""


@record
class PathSegment(Record):
    """A run of points: lines, or with BEZIER curves of three points each."""

    flags: int = u8(flags=PathFlag)
    points: tuple[PointFix, ...] = counted(u32(), PointFix)


@record
class Path(Record):
    """The segments of one or more figures."""

    segments: tuple[PathSegment, ...] = counted(u32(), PathSegment)


def _raster_size(bits: int) -> Callable[[int, int], int]:
    """The bytes of a glyph of so many bits a pixel, its rows padded to bytes."""
    return lambda width, height: (bits * width + 7) // 8 * height


@record
class RasterGlyphA1(Record):
    """A glyph of 1 bit a pixel, bit 7 leftmost; rows bottom-up, padded to bytes."""

    render_pos: Point = nested(Point)
    glyph_origin: Point = nested(Point)
    """Added to `render_pos` it is the left top corner."""
    width: int = u16()
    height: int = u16()
    data: bytes = sized_bytes("width", "height", rule=_raster_size(1))


@record
class RasterGlyphA4(Record):
    """A glyph of 4 bits a pixel, high nibble left; rows bottom-up, padded to bytes."""

    render_pos: Point = nested(Point)
    glyph_origin: Point = nested(Point)
    width: int = u16()
    height: int = u16()
    data: bytes = sized_bytes("width", "height", rule=_raster_size(4))


@record
class RasterGlyphA8(Record):
    """A glyph of 8 bits a pixel; rows bottom-up."""

    render_pos: Point = nested(Point)
    glyph_origin: Point = nested(Point)
    width: int = u16()
    height: int = u16()
    data: bytes = sized_bytes("width", "height", rule=_raster_size(8))


RasterGlyph = RasterGlyphA1 | RasterGlyphA4 | RasterGlyphA8


@record
class String(Record):
    """Glyphs, all of one depth."""

    count = length("glyphs", u16())
    flags: int = u8(flags=StringFlag)
    glyphs: tuple[RasterGlyph, ...] | None = switch(
        {
            Has("flags", StringFlag.RASTER_A1): elements(RasterGlyphA1, "count"),
            Has("flags", StringFlag.RASTER_A4): elements(RasterGlyphA4, "count"),
            Has("flags", StringFlag.RASTER_A8): elements(RasterGlyphA8, "count"),
        },
        default=None,
    )


@message(ChannelType.DISPLAY, from_server=101)
class Mode(Message):
    """A primary surface of this size, as servers without surfaces said it."""

    x_res: int = u32()
    y_res: int = u32()
    bits: int = u32()
    """32 is FMT_32_xRGB, anything else FMT_16_555."""


@message(ChannelType.DISPLAY, from_server=102)
class Mark(Message):
    """The primary surface is ready to be shown."""


@message(ChannelType.DISPLAY, from_server=103)
class Reset(Message):
    """Clear the primary surface and the palette cache, and hide the picture until `Mark`."""


@message(ChannelType.DISPLAY, from_server=104)
class CopyBits(Message):
    """Copy within a surface; source and destination may overlap."""

    base: DisplayBase = nested(DisplayBase)
    src_pos: Point = nested(Point)


@record
class ResourceId(Record):
    """A thing in a cache."""

    type: ResourceType = u8(ResourceType)
    id: int = u64()


@message(ChannelType.DISPLAY, from_server=105)
class InvalList(Message):
    """Drop these images of the cache."""

    resources: tuple[ResourceId, ...] = counted(u16(), ResourceId)


@message(ChannelType.DISPLAY, from_server=106)
class InvalAllPixmaps(Message):
    """Wait as for `WaitForChannels`, then drop all images of the cache."""

    wait_list: tuple[WaitForChannel, ...] = counted(u8(), WaitForChannel, default=())


@message(ChannelType.DISPLAY, from_server=107)
class InvalPalette(Message):
    """Drop one palette of the cache."""

    id: int = u64()


@message(ChannelType.DISPLAY, from_server=108)
class InvalAllPalettes(Message):
    """Drop all palettes of the cache."""


@message(ChannelType.DISPLAY, from_server=122)
class StreamCreate(Message):
    """A video stream begins."""

    surface_id: int = u32()
    id: int = u32()
    """0 to 63."""
    flags: int = u8(flags=StreamFlag, default=0)
    codec_type: VideoCodecType = u8(VideoCodecType)
    stamp: int = u64(default=0)
    """Unused."""
    stream_width: int = u32()
    stream_height: int = u32()
    src_width: int = u32()
    src_height: int = u32()
    dest: Rect = nested(Rect)
    clip: Clip = nested(Clip, default=Clip())


@message(ChannelType.DISPLAY, from_server=123)
class StreamData(Message):
    """A frame of the stream's size."""

    id: int = u32()
    mm_time: int = u32()
    """When to show it: milliseconds of the multimedia clock."""
    data: bytes = counted_bytes(u32())


@message(ChannelType.DISPLAY, from_server=124)
class StreamClip(Message):
    """What of the stream is visible from now on."""

    id: int = u32()
    clip: Clip = nested(Clip)


@message(ChannelType.DISPLAY, from_server=125)
class StreamDestroy(Message):
    """A stream ends."""

    id: int = u32()


@message(ChannelType.DISPLAY, from_server=126)
class StreamDestroyAll(Message):
    """All streams end."""


@message(ChannelType.DISPLAY, from_server=302)
class DrawFill(Message):
    """Paint the brush."""

    base: DisplayBase = nested(DisplayBase)
    brush: Brush = nested(Brush)
    rop: int = u16(flags=Ropd, default=Ropd.OP_PUT)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=303)
class DrawOpaque(Message):
    """Copy the image, then paint the brush over it."""

    base: DisplayBase = nested(DisplayBase)
    src_image: Image | None = pointer(Image)
    src_area: Rect = nested(Rect)
    brush: Brush = nested(Brush)
    rop: int = u16(flags=Ropd, default=Ropd.OP_PUT)
    scale_mode: ImageScaleMode = u8(ImageScaleMode, default=ImageScaleMode.INTERPOLATE)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=304)
class DrawCopy(Message):
    """Copy `src_area` of the image to the box, scaled where they differ in size."""

    base: DisplayBase = nested(DisplayBase)
    src_image: Image | None = pointer(Image)
    src_area: Rect = nested(Rect)
    rop: int = u16(flags=Ropd, default=Ropd.OP_PUT)
    scale_mode: ImageScaleMode = u8(ImageScaleMode, default=ImageScaleMode.INTERPOLATE)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=305)
class DrawBlend(Message):
    """The same as `DrawCopy`."""

    base: DisplayBase = nested(DisplayBase)
    src_image: Image | None = pointer(Image)
    src_area: Rect = nested(Rect)
    rop: int = u16(flags=Ropd, default=Ropd.OP_PUT)
    scale_mode: ImageScaleMode = u8(ImageScaleMode, default=ImageScaleMode.INTERPOLATE)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=306)
class DrawBlackness(Message):
    """All bits 0."""

    base: DisplayBase = nested(DisplayBase)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=307)
class DrawWhiteness(Message):
    """All bits 1."""

    base: DisplayBase = nested(DisplayBase)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=308)
class DrawInvers(Message):
    """Every bit the other way."""

    base: DisplayBase = nested(DisplayBase)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=309)
class DrawRop3(Message):
    """A raster operation of brush, image and destination."""

    base: DisplayBase = nested(DisplayBase)
    src_image: Image | None = pointer(Image)
    src_area: Rect = nested(Rect)
    brush: Brush = nested(Brush)
    rop3: int = u8()
    """The result's bit for brush, image and destination is bit (brush << 2 | image << 1 | destination) of this."""
    scale_mode: ImageScaleMode = u8(ImageScaleMode, default=ImageScaleMode.INTERPOLATE)
    mask: QMask = nested(QMask, default=QMask())


@message(ChannelType.DISPLAY, from_server=310)
class DrawStroke(Message):
    """Lines and curves of one pixel's width."""

    base: DisplayBase = nested(DisplayBase)
    path: Path | None = pointer(Path)
    attr: LineAttr = nested(LineAttr, default=LineAttr())
    brush: Brush = nested(Brush)
    fore_mode: int = u16(flags=Ropd, default=Ropd.OP_PUT)
    back_mode: int = u16(flags=Ropd, default=0)
    """Unused."""


@message(ChannelType.DISPLAY, from_server=311)
class DrawText(Message):
    """A filled rectangle, and glyphs on it."""

    base: DisplayBase = nested(DisplayBase)
    str: String | None = pointer(String)
    back_area: Rect = nested(Rect)
    fore_brush: Brush = nested(Brush)
    back_brush: Brush = nested(Brush)
    fore_mode: int = u16(flags=Ropd, default=Ropd.OP_PUT)
    back_mode: int = u16(flags=Ropd, default=0)


@message(ChannelType.DISPLAY, from_server=312)
class DrawTransparent(Message):
    """Copy the image but for the pixels of one colour."""

    base: DisplayBase = nested(DisplayBase)
    src_image: Image | None = pointer(Image)
    src_area: Rect = nested(Rect)
    src_color: int = u32(default=0)
    """The colour in the guest's own format; unused."""
    true_color: int = u32()
    """The colour that is not copied."""


@message(ChannelType.DISPLAY, from_server=313)
class DrawAlphaBlend(Message):
    """Blend the image over the destination."""

    base: DisplayBase = nested(DisplayBase)
    alpha_flags: int = u8(flags=AlphaFlag, default=0)
    alpha: int = u8(default=255)
    """For the whole image, besides its pixels' own alpha."""
    src_image: Image | None = pointer(Image)
    src_area: Rect = nested(Rect)


@message(ChannelType.DISPLAY, from_server=314)
class SurfaceCreate(Message):
    """A surface comes to be; its pixels are undefined."""

    surface_id: int = u32()
    width: int = u32()
    height: int = u32()
    format: SurfaceFormat = u32(SurfaceFormat)
    flags: int = u32(flags=SurfaceFlag)


@message(ChannelType.DISPLAY, from_server=315)
class SurfaceDestroy(Message):
    """A surface is no more."""

    surface_id: int = u32()


@message(ChannelType.DISPLAY, from_server=316)
class StreamDataSized(Message):
    """A frame of its own size and destination (needs SIZED_STREAM)."""

    id: int = u32()
    mm_time: int = u32()
    """When to show it: milliseconds of the multimedia clock."""
    width: int = u32()
    height: int = u32()
    dest: Rect = nested(Rect)
    data: bytes = counted_bytes(u32())


@record
class Head(Record):
    """A monitor: a rectangle of a surface."""

    monitor_id: int = u32()
    surface_id: int = u32()
    width: int = u32()
    height: int = u32()
    x: int = u32()
    y: int = u32()
    flags: int = u32(default=0)


@message(ChannelType.DISPLAY, from_server=317)
class MonitorsConfig(Message):
    """Which monitors there are (needs MONITORS_CONFIG)."""

    count = length("heads", u16())
    max_allowed: int = u16()
    """0 for no limit known."""
    heads: tuple[Head, ...] = elements(Head, "count")


@message(ChannelType.DISPLAY, from_server=318)
class DrawComposite(Message):
    """Composition as X's Render extension has it (needs COMPOSITE)."""

    base: DisplayBase = nested(DisplayBase)
    flags: int = u32(flags=CompositeFlag)
    src: Image | None = pointer(Image)
    mask: Image | None = pointer(Image, when=Has("flags", CompositeFlag.HAS_MASK), default=None)
    src_transform: Transform | None = nested(Transform, when=Has("flags", CompositeFlag.HAS_SRC_TRANSFORM), default=None)
    mask_transform: Transform | None = nested(Transform, when=Has("flags", CompositeFlag.HAS_MASK_TRANSFORM), default=None)
    src_origin: Point16 = nested(Point16)
    mask_origin: Point16 = nested(Point16)


@message(ChannelType.DISPLAY, from_server=319)
class StreamActivateReport(Message):
    """Report on a stream from now on (needs STREAM_REPORT)."""

    stream_id: int = u32()
    unique_id: int = u32()
    max_window_size: int = u32()
    """Frames until a report is due."""
    timeout_ms: int = u32()
    """Milliseconds until a report is due."""


@message(ChannelType.DISPLAY, from_server=320)
class GlScanoutUnix(Message):
    """The picture is a DMA buffer; its descriptor comes with one byte behind this message (needs GL_SCANOUT)."""

    width: int = u32()
    height: int = u32()
    stride: int = u32()
    drm_fourcc: int = u32()
    flags: int = u32(flags=GlScanoutFlag)


@message(ChannelType.DISPLAY, from_server=321)
class GlDraw(Message):
    """A rectangle of the scanout changed; to be answered with `GlDrawDone`."""

    x: int = u32()
    y: int = u32()
    w: int = u32()
    h: int = u32()


@message(ChannelType.DISPLAY, from_server=322)
class QualityIndicator(Message):
    """What a streaming device says of its quality; to be ignored."""

    data: bytes = to_end()


@message(ChannelType.DISPLAY, from_client=101)
class Init(Message):
    """The client's first message, and needed before the server draws anything."""

    pixmap_cache_id: int = u8()
    """Names the image cache; display channels that give the same id share it."""
    pixmap_cache_size: int = i64()
    """Pixels."""
    glz_dictionary_id: int = u8()
    """Names the GLZ dictionary; display channels that give the same id share it."""
    glz_dictionary_window_size: int = i32()
    """Pixels."""


@message(ChannelType.DISPLAY, from_client=102)
class StreamReport(Message):
    """How a stream was received; num_frames 0 with num_drops 0xffffffff: it cannot be decoded."""

    stream_id: int = u32()
    unique_id: int = u32()
    start_frame_mm_time: int = u32()
    end_frame_mm_time: int = u32()
    num_frames: int = u32()
    num_drops: int = u32()
    last_frame_delay: int = i32()
    """Milliseconds from the last frame's arrival until it is due; negative when it came late."""
    audio_delay: int = u32(default=0xFFFFFFFF)
    """Milliseconds of playback latency; 0xffffffff when there is no sound."""


@message(ChannelType.DISPLAY, from_client=103)
class PreferredCompression(Message):
    """Compress images so (needs PREF_COMPRESSION)."""

    image_compression: ImageCompression = u8(ImageCompression)


@message(ChannelType.DISPLAY, from_client=104)
class GlDrawDone(Message):
    """The answer to `GlDraw`: the buffer is free."""


@message(ChannelType.DISPLAY, from_client=105)
class PreferredVideoCodecType(Message):
    """Codecs for new streams, the most wanted first (needs PREF_VIDEO_CODEC_TYPE)."""

    codecs: tuple[VideoCodecType, ...] = counted(u8(), u8(VideoCodecType))
