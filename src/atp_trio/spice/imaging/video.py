"""One video stream: its decoder, what is counted of it, and its newest frame, which waits to be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from atp_trio.errors import ImageError
from atp_trio.spice.codec.raster import Buffer
from atp_trio.spice.codec.video import VideoDecoder
from atp_trio.spice.imaging import rop
from atp_trio.spice.imaging.decode import Unsupported
from atp_trio.spice.imaging.draw import Drawing, put
from atp_trio.spice.imaging.images import Loaded
from atp_trio.spice.imaging.pixel import Argb, Picture, bits_per_pixel
from atp_trio.spice.imaging.place import place
from atp_trio.spice.imaging.region import region
from atp_trio.spice.imaging.surface import Surface
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import SurfaceFormat, VideoCodecType
from atp_trio.spice.messages.geometry import Clip, ClipType, DisplayBase, Rect

if TYPE_CHECKING:
    from atp_trio.spice.imaging.screen import Damage

Frame: TypeAlias = display.StreamData | display.StreamDataSized
FRAMES: Final = (display.StreamData, display.StreamDataSized)


@attrs.frozen
class StreamStatistics:
    """What came of a video stream so far.

    Attributes:
        id: Its number; numbers are used again.
        codec: How it is encoded.
        width: What its creation announced, in pixels.
        height: Likewise.
        frames: Frames that came.
        dropped: Those of them that could not be decoded or drawn.
        unseen: Those of them that were not drawn, as nobody looked before the next one came, or they lay outside of surface or
            clip.
        decode_seconds: Time spent decoding.
        is_live: Whether it has not ended.
    """

    id: int
    codec: VideoCodecType
    width: int
    height: int
    frames: int
    dropped: int
    unseen: int
    decode_seconds: float
    is_live: bool


@attrs.define(eq=False)
class DisplayStream:
    """A video stream.

    Attributes:
        id: Its number, below 64.
        codec: How it is encoded.
        surface_id: The surface that its frames are drawn on.
        width: What its creation announced, in pixels; pictures have a size of their own.
        height: Likewise.
        dest: Where frames go, scaled, unless a frame says otherwise.
        clip: What of them is seen.
        top_down: Whether the pictures' rows begin at the top.
        decoder: What has its newest frame; None where nothing here can decode it.
        mm_time: When the last frame was to be shown, in milliseconds of the machine's multimedia clock (`main.multi_media_time`);
            None before the first. Frames are shown when they come.
        frames: Frames that came.
        dropped: Those of them that could not be decoded or drawn.
        unseen: Those of them that were not drawn: see `StreamStatistics`.
        is_failing: Whether the last one that was to be decoded is among the dropped.
        decode_seconds: Time spent decoding.
    """

    id: int
    codec: VideoCodecType
    surface_id: int
    width: int
    height: int
    dest: Rect
    clip: Clip
    top_down: bool
    _clock: Callable[[], float] = attrs.field(repr=False)
    decoder: VideoDecoder | None = attrs.field(default=None, repr=False)
    mm_time: int | None = None
    frames: int = 0
    dropped: int = 0
    unseen: int = 0
    is_failing: bool = False
    decode_seconds: float = 0.0

    @property
    def is_decodable(self) -> bool:
        """Whether there is a decoder for it here."""
        return self.decoder is not None

    @property
    def is_hidden(self) -> bool:
        """Whether its clip lets nothing through: servers begin and end streams so."""
        return self.clip.type == ClipType.RECTS and not self.clip.rects

    def dest_of(self, frame: Frame) -> Rect:
        """Where a frame goes."""
        return frame.dest if isinstance(frame, display.StreamDataSized) else self.dest

    def pixels(self, dest: Rect) -> int:
        """About how many pixels a frame costs: the larger of what its picture and its place may have."""
        return max(self.width * self.height, dest.width * dest.height)

    def feed(self, data: Buffer) -> None:
        """Take a frame.

        Raises:
            ImageError: It cannot be decoded.
            Unsupported: None can be, here.
        """
        if self.decoder is None:
            raise Unsupported(f"video codec {self.codec.name}")
        started = self._clock()
        try:
            self.decoder.feed(data)
        finally:
            self.decode_seconds += self._clock() - started

    def picture(self, out: Argb | None = None) -> Argb:
        """The picture of the newest frame: see `VideoDecoder.picture`."""
        assert self.decoder is not None
        started = self._clock()
        try:
            return self.decoder.picture(out)
        finally:
            self.decode_seconds += self._clock() - started

    def failed(self) -> None:
        """Count a frame that could not be decoded or drawn."""
        self.dropped += 1
        self.is_failing = True

    def statistics(self, *, is_live: bool = True) -> StreamStatistics:
        """The counters, as they stand."""
        return StreamStatistics(
            self.id, self.codec, self.width, self.height, self.frames, self.dropped, self.unseen, self.decode_seconds, is_live
        )


@attrs.frozen(eq=False)
class DeferredFrame:
    """The newest frame of a stream, which is drawn when somebody looks.

    Attributes:
        name: The name of its message.
        stream: The stream, which has the picture.
        surface: Where it is drawn.
        dest: Where on the surface.
        clip: What of it is seen.
        damage: What of the surface that changes.
    """

    name: str
    stream: DisplayStream
    surface: Surface
    dest: Rect
    clip: Clip
    damage: Damage

    def is_replaced_by(self, frame: Frame) -> bool:
        """Whether nothing of it would be seen after the next frame of its stream, which takes its place."""
        stream = self.stream
        return type(frame).__name__ == self.name and stream.dest_of(frame) == self.dest and stream.clip == self.clip

    @property
    def pixels(self) -> int:
        """About how many pixels drawing it costs."""
        return self.stream.pixels(self.dest)

    def draw(self) -> None:
        """Draw it.

        Raises:
            ImageError: It cannot be decoded. The surface is as it was, or holds a part of it.
        """
        try:
            draw_frame(self.surface, self.stream.picture, self.dest, self.clip, top_down=self.stream.top_down)
        except ImageError:
            self.stream.failed()
            raise
        self.stream.is_failing = False


def draw_frame(surface: Surface, decode: Callable[[Argb | None], Argb], dest: Rect, clip: Clip, *, top_down: bool = True) -> None:
    """Draw a frame, scaled to its place.

    Args:
        surface: Where.
        decode: Gives the frame, shape (height, width), numbers `0xXXRRGGBB`, rows in the order of the stream. If it is offered
            pixels of just that size, it may put it there and give them.
        dest: Where on the surface.
        clip: What of it is seen.
        top_down: Whether the rows begin at the top; otherwise the frame is flipped.
    """
    areas = region(DisplayBase(surface.id, dest, clip), surface.width, surface.height)
    if not areas:
        return
    is_raw = bits_per_pixel(surface.format) == 32
    is_whole = areas[0].coverage is None and areas[0][:4] == (dest.left, dest.top, dest.right, dest.bottom)
    offered = areas[0].of(surface.pixels) if is_raw and is_whole and top_down else None
    pixels = decode(offered)
    if pixels is offered:
        return
    if not top_down:
        pixels = pixels[::-1]
    height, width = pixels.shape
    if is_raw and (width, height) == (dest.width, dest.height):
        for area in areas:
            put(area.of(surface.pixels), area.of(pixels, dest.left, dest.top), area)
        return
    picture = Picture(pixels, SurfaceFormat.FMT_32_xRGB)
    areas, operand = place(picture, Rect.at(0, 0, width, height), dest, surface, areas)
    Drawing(surface, dest, areas, Loaded()).combine(areas, rop.COPY, operand)
