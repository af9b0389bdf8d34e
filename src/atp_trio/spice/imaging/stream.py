"""Video streams: areas of a surface that are sent as frames of a video.

Theory of operation. `DisplayStreams` is the table of a display channel's streams, each with a decoder of its own. Whatever is
wrong with a message is counted on the screen, as it is for drawing messages, and the message skipped; a stream that cannot be
decoded here keeps its place in the table, so that it can be reported. Frames are shown when they come: they are drawn in order
with the channel's other messages, and a machine that is looked at by a program has no reason to wait for its multimedia clock.

Source:
    Protocol reference, section 12; image codec reference, chapter 9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.video import VideoCodec, VideoDecoder, available_codecs, open_decoder
from atp_trio.spice.imaging.decode import Unsupported
from atp_trio.spice.imaging.screen import Damage, Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import MAX_STREAMS, StreamFlag, VideoCodecType
from atp_trio.spice.messages.geometry import Clip, ClipType, Rect
from atp_trio.spice.wire import Message

# What the streams of a channel announce, together, in pixels: one of 7680x4320 fits. A decoder of H.264 may keep 16 pictures.
MAX_STREAM_PIXELS: Final = 32 * 2**20
# A picture may be larger than announced: a server that sends a border with it sends up to twice the area, and encoders round
# sides up to blocks of 64.
GROWTH: Final = 2
BLOCK: Final = 64
# Far beyond what windows on a screen leave of an area; 64 streams with this many hold some 30 MiB.
MAX_CLIP_RECTS: Final = 4096

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
        decode_seconds: Time spent decoding.
        is_live: Whether it has not ended.
    """

    id: int
    codec: VideoCodecType
    width: int
    height: int
    frames: int
    dropped: int
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
        mm_time: When the last frame was to be shown, in milliseconds of the machine's multimedia clock (`main.multi_media_time`);
            None before the first. Frames are shown when they come.
        frames: Frames that came.
        dropped: Those of them that could not be decoded or drawn.
        is_failing: Whether the last one was among those.
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
    mm_time: int | None = None
    frames: int = 0
    dropped: int = 0
    is_failing: bool = False
    decode_seconds: float = 0.0
    _decoder: VideoDecoder | None = attrs.field(default=None, repr=False)

    @property
    def is_decodable(self) -> bool:
        """Whether there is a decoder for it here."""
        return self._decoder is not None

    @property
    def is_hidden(self) -> bool:
        """Whether its clip lets nothing through: servers begin and end streams so."""
        return self.clip.type == ClipType.RECTS and not self.clip.rects

    def statistics(self, *, is_live: bool = True) -> StreamStatistics:
        """The counters, as they stand."""
        return StreamStatistics(
            self.id, self.codec, self.width, self.height, self.frames, self.dropped, self.decode_seconds, is_live
        )


class DisplayStreams:
    """The video streams of one display channel; one thread at a time may call it.

    Attributes:
        live: The streams by id.
        ended: Statistics of the last 64 that have ended.
    """

    def __init__(self, screen: Screen, clock: Callable[[], float], *, max_pixels: int = MAX_STREAM_PIXELS) -> None:
        """No streams.

        Args:
            screen: Where frames are drawn, and where is counted what was and what could not be.
            clock: Gives seconds; decoding is measured with it.
            max_pixels: How many pixels the streams may announce together.
        """
        self.live: dict[int, DisplayStream] = {}
        self.ended: deque[StreamStatistics] = deque(maxlen=MAX_STREAMS)
        self._screen = screen
        self._clock = clock
        self._max_pixels = max_pixels

    def statistics(self) -> tuple[StreamStatistics, ...]:
        """The counters of the streams that ended last, and of those that live."""
        return (*self.ended, *(stream.statistics() for stream in self.live.values()))

    def pixels(self, message: Frame) -> int:
        """About how many pixels a frame costs: the larger of what its picture and its place may have."""
        stream = self.live.get(message.id)
        if stream is None:
            return 0
        dest = message.dest if isinstance(message, display.StreamDataSized) else stream.dest
        return max(stream.width * stream.height, dest.width * dest.height)

    def apply(self, message: Message) -> Damage | None:
        """Do what a message about streams says; whatever is wrong with it is counted on the screen, and it is skipped.

        Args:
            message: One of the classes in `HANDLERS`.

        Returns:
            What a frame changed on its surface; None for nothing.
        """
        name = type(message).__name__
        try:
            damage = HANDLERS[type(message)](self, message)
        except ImageError as error:
            self._screen.failed[name] += 1
            self._screen.reasons.append(f"{name}: {error}")
        except Unsupported as what:
            self._screen.not_drawn[str(what)] += 1
        else:
            self._screen.drawn[name] += 1
            return damage
        return None

    def _create(self, message: display.StreamCreate) -> None:
        self._end(message.id)
        if message.id >= MAX_STREAMS:
            raise ImageError(f"stream {message.id}, when there can be {MAX_STREAMS}")
        width, height = message.stream_width, message.stream_height
        check_size(width, height)
        pixels = sum(stream.width * stream.height for stream in self.live.values()) + width * height
        if pixels > self._max_pixels:
            raise ImageError(
                f"stream {message.id} of {width}x{height}: with it all would have more than {self._max_pixels} pixels"
            )
        stream = self.live[message.id] = DisplayStream(
            id=message.id,
            codec=message.codec_type,
            surface_id=message.surface_id,
            width=width,
            height=height,
            dest=message.dest,
            clip=_checked(message.clip),
            top_down=bool(message.flags & StreamFlag.TOP_DOWN),
        )
        if int(message.codec_type) not in available_codecs():
            raise Unsupported(f"video codec {message.codec_type.name}")
        largest = min(DEFAULT_LIMIT.pixels, GROWTH * (width + BLOCK) * (height + BLOCK))
        stream._decoder = open_decoder(VideoCodec(message.codec_type), SizeLimit(pixels=largest))  # noqa: SLF001

    def _frame(self, message: Frame) -> Damage | None:
        stream = self.live.get(message.id)
        if stream is None:
            raise ImageError(f"a frame of stream {message.id}, which there is not")
        stream.frames += 1
        stream.mm_time, stream.is_failing = message.mm_time, False
        if stream.is_hidden and stream.codec == VideoCodecType.MJPEG:
            # Nobody sees it, and no other frame needs it.
            return None
        try:
            return self._show(stream, message)
        except (ImageError, Unsupported):
            stream.dropped += 1
            stream.is_failing = True
            raise

    def _show(self, stream: DisplayStream, message: Frame) -> Damage | None:
        if stream._decoder is None:  # noqa: SLF001 - its only user
            raise Unsupported(f"video codec {stream.codec.name}")
        started = self._clock()
        try:
            picture = stream._decoder.decode(message.data)  # noqa: SLF001
        finally:
            stream.decode_seconds += self._clock() - started
        dest = message.dest if isinstance(message, display.StreamDataSized) else stream.dest
        return self._screen.draw_frame(stream.surface_id, picture, dest, stream.clip, top_down=stream.top_down)

    def _clip(self, message: display.StreamClip) -> None:
        # Servers also name streams that they never created, when no codec suited both.
        stream = self.live.get(message.id)
        if stream is not None:
            stream.clip = _checked(message.clip)

    def _destroy(self, message: display.StreamDestroy) -> None:
        self._end(message.id)

    def _destroy_all(self, message: display.StreamDestroyAll) -> None:  # noqa: ARG002
        for id_ in list(self.live):
            self._end(id_)

    def _end(self, id_: int) -> None:
        stream = self.live.pop(id_, None)
        if stream is not None:
            self.ended.append(stream.statistics(is_live=False))


def _checked(clip: Clip) -> Clip:
    if len(clip.rects or ()) > MAX_CLIP_RECTS:
        raise ImageError(f"a stream clipped to {len(clip.rects or ())} rectangles")
    return clip


Handler: TypeAlias = Callable[[DisplayStreams, Any], Damage | None]

# What the table does for each message.
HANDLERS: Final[dict[type[Message], Handler]] = {
    display.StreamCreate: DisplayStreams._create,  # noqa: SLF001 - its own table
    display.StreamData: DisplayStreams._frame,  # noqa: SLF001
    display.StreamDataSized: DisplayStreams._frame,  # noqa: SLF001
    display.StreamClip: DisplayStreams._clip,  # noqa: SLF001
    display.StreamDestroy: DisplayStreams._destroy,  # noqa: SLF001
    display.StreamDestroyAll: DisplayStreams._destroy_all,  # noqa: SLF001
}
