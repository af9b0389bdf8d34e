"""Video streams: areas of a surface that are sent as frames of a video.

Theory of operation. `DisplayStreams` is the table of a display channel's streams, each with a decoder of its own. Whatever is
wrong with a message is counted on the screen, as it is for drawing messages, and the message skipped; a stream that cannot be
decoded here keeps its place in the table, so that it can be reported.

Frames are shown when they come, as a machine that is looked at by a program has no reason to wait for its multimedia clock; but
mostly nobody looks. So a frame is told as damage at once and put where the screen keeps what is deferred. A later one of its
stream, in the same place, replaces it, and it is never drawn. Before anything else happens to the stream or the screen, it is.

Source:
    Protocol reference, section 12; image codec reference, chapter 9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import DEFAULT_LIMIT, SizeLimit, check_size
from atp_trio.spice.codec.video import VideoCodec, available_codecs, open_decoder
from atp_trio.spice.imaging.decode import Unsupported
from atp_trio.spice.imaging.region import region
from atp_trio.spice.imaging.screen import Damage, Screen
from atp_trio.spice.imaging.video import FRAMES, DeferredFrame, DisplayStream, Frame, StreamStatistics
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import MAX_STREAMS, StreamFlag, VideoCodecType
from atp_trio.spice.messages.geometry import Clip, DisplayBase
from atp_trio.spice.wire import Message

# What the streams of a channel announce, together, in pixels: one of 7680x4320 fits. A decoder of H.264 may keep 16 pictures.
MAX_STREAM_PIXELS: Final = 32 * 2**20
# A picture may be larger than announced: a server that sends a border with it sends up to twice the area, and encoders round
# sides up to blocks of 64.
GROWTH: Final = 2
BLOCK: Final = 64
# Far beyond what windows on a screen leave of an area; 64 streams with this many hold some 30 MiB.
MAX_CLIP_RECTS: Final = 4096


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
        """About how many pixels are decoded when a frame comes: none of a JPEG, unless it is to be known whether it can be."""
        stream = self.live.get(message.id)
        if stream is None or (stream.codec == VideoCodecType.MJPEG and not stream.is_failing):
            return 0
        return stream.pixels(stream.dest_of(message))

    def settles(self, message: Message) -> bool:
        """Whether what is deferred may be drawn before a message is done: for all but frames that replace one, or are new."""
        if not isinstance(message, FRAMES):
            return True
        older = self._screen.deferred.get(message.id)
        return older is not None and not older.is_replaced_by(message)

    def apply(self, message: Message) -> Damage | None:
        """Do what a message about streams says; whatever is wrong with it is counted on the screen, and it is skipped.

        Args:
            message: One of the classes in `HANDLERS`.

        Returns:
            What a frame changes on its surface; None for nothing.
        """
        name = type(message).__name__
        try:
            with self._screen.lock:
                damage = HANDLERS[type(message)](self, message)
        except ImageError as error:
            self._screen.fail(name, error)
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
            clock=self._clock,
        )
        if int(message.codec_type) not in available_codecs():
            raise Unsupported(f"video codec {message.codec_type.name}")
        largest = min(DEFAULT_LIMIT.pixels, GROWTH * (width + BLOCK) * (height + BLOCK))
        stream.decoder = open_decoder(VideoCodec(message.codec_type), SizeLimit(pixels=largest))

    def _frame(self, message: Frame) -> Damage | None:
        stream = self.live.get(message.id)
        if stream is None:
            raise ImageError(f"a frame of stream {message.id}, which there is not")
        stream.frames += 1
        stream.mm_time = message.mm_time
        try:
            return self._defer(stream, message)
        except (ImageError, Unsupported):
            stream.failed()
            raise

    def _defer(self, stream: DisplayStream, message: Frame) -> Damage | None:
        screen = self._screen
        if self.settles(message):
            screen.settle()
        stream.feed(message.data)
        if older := screen.deferred.pop(stream.id, None):
            stream.unseen += 1
        newest = older or self._placed(stream, message)
        if newest is None:
            stream.unseen += 1
            stream.is_failing = False
            return None
        screen.deferred[stream.id] = newest
        if stream.is_failing:
            # Whether it goes on failing is to be known: servers ask.
            screen.settle()
        return newest.damage

    def _placed(self, stream: DisplayStream, message: Frame) -> DeferredFrame | None:
        """The frame where it goes; None where nothing of it would be seen."""
        surface, dest = self._screen.surfaces[stream.surface_id], stream.dest_of(message)
        damage = Damage.of(surface, region(DisplayBase(surface.id, dest, stream.clip), surface.width, surface.height))
        return DeferredFrame(type(message).__name__, stream, surface, dest, stream.clip, damage) if damage else None

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
        if id_ in self._screen.deferred:
            self._screen.settle()
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
