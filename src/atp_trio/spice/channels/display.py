"""The display channel: what a screen shows. Looking at it and waiting for it are in `watching`.

Source: SPICE protocol reference, sections 9 to 12.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Final

import attrs
import trio

from atp_trio.errors import ConfigError, ConnectionLost, LocalProtocolError
from atp_trio.spice.channels.announced import announced
from atp_trio.spice.channels.base import Connect, SpiceChannel
from atp_trio.spice.channels.following import Following
from atp_trio.spice.channels.heavy import are_heavy, is_heavy, is_heavy_frame
from atp_trio.spice.channels.inbox import log
from atp_trio.spice.channels.main import MainChannel
from atp_trio.spice.channels.pace import Pace
from atp_trio.spice.channels.session import Session
from atp_trio.spice.channels.state import ChannelStatistics, Link
from atp_trio.spice.channels.watching import WatchedChannel
from atp_trio.spice.codec import lz4
from atp_trio.spice.codec.following import ACK_BYTES, Followed
from atp_trio.spice.codec.video import available_codecs, is_imported
from atp_trio.spice.imaging.cache import ImagePending
from atp_trio.spice.imaging.fast import Drawn
from atp_trio.spice.imaging.screen import Damage
from atp_trio.spice.imaging.stream import HANDLERS as STREAM_HANDLERS
from atp_trio.spice.imaging.stream import DisplayStreams
from atp_trio.spice.imaging.video import FRAMES, DisplayStream, StreamStatistics
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import DisplayCap, VideoCodecType
from atp_trio.spice.messages.image import ImageCompression
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.protocol.stream_report import StreamReports
from atp_trio.spice.wire import Message

# How many of the newest latencies are kept.
LATENCIES: Final = 65536


@attrs.frozen
class DisplayStatistics:
    """What a display channel did so far.

    Attributes:
        updates: Messages that changed a surface.
        ahead: Those of them that a thread received and drew while nobody waited for what is drawn.
        pixels: Pixels of the rectangles they touched.
        drawing_seconds: Time spent decoding and drawing, but for frames of a video that are drawn when somebody looks.
        drawn: Drawing operations by name.
        not_drawn: Operations and image types that this version cannot draw, by name: what they would show is missing.
        failed: Operations that could not be drawn because what the server sent was wrong, by name.
        streams: The video streams that live, and the last 64 that ended.
    """

    updates: int
    ahead: int
    pixels: int
    drawing_seconds: float
    drawn: Mapping[str, int]
    not_drawn: Mapping[str, int]
    failed: Mapping[str, int]
    streams: tuple[StreamStatistics, ...]


class DisplayChannel(WatchedChannel):
    """The screen of one graphics device."""

    # DISPLAY_INIT goes out as soon as the channel is open; a server may die when it closes before its first message was read.
    needs_first_message = True

    def __init__(self, session: Session, channel_type: ChannelType, channel_id: int) -> None:
        super().__init__(session, channel_type, channel_id)
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._updates = 0
        self._ahead = 0
        self._pixels = 0
        self._drawing_seconds = 0.0
        self._streams = DisplayStreams(self.screen, time.perf_counter)
        self._reports = StreamReports()
        self._following = Following(self.screen.fast, time.perf_counter)
        self._preferences: dict[type[Message], Message] = {}
        self._handlers |= {
            display.InvalAllPixmaps: self._inval_all_pixmaps,
            display.StreamActivateReport: self._activate_report,
        }

    @property
    def caps(self) -> frozenset[int]:  # type: ignore[override] # for other channels it is a constant
        """What is announced when the channel is linked: no codec but those that are installed."""
        return announced()

    async def run(self, connect: Connect) -> None:
        """As for every channel; what can be decoded is found out first."""

        async def look_and_connect(channel: SpiceChannel) -> Link:
            if not is_imported():
                # Not in the loop: a server takes a client that is slow to answer now for one behind a slow line.
                await trio.to_thread.run_sync(available_codecs)
            return await connect(channel)

        for other in self._other_displays():
            other.recall()  # we share its caches
        try:
            await super().run(look_and_connect)
        finally:
            self._following.close()
        if self.closed_by is not None and self._others_with_my_caches():
            self.session.part_caches()

    # --- for callers

    @property
    def streams(self) -> tuple[DisplayStream, ...]:
        """The video streams that live; to be looked at only."""
        return tuple(self._streams.live.values())

    @property
    def latencies(self) -> tuple[float, ...]:
        """Seconds from receiving to the surface, of the last 65536 updates; frames of a video are drawn when somebody looks."""
        return tuple(self._latencies)

    def statistics(self) -> ChannelStatistics:
        """The counters of the channel, as they stand."""
        told = super().statistics()
        ahead = self._following.ahead
        return attrs.evolve(
            told,
            messages_received=told.messages_received + ahead.messages,
            bytes_received=told.bytes_received + ahead.received,
            messages_sent=told.messages_sent + ahead.acks,
            bytes_sent=told.bytes_sent + ahead.acks * ACK_BYTES,
            acks_sent=told.acks_sent + ahead.acks,
        )

    def display_statistics(self) -> DisplayStatistics:
        """The counters of drawing; `statistics()` gives those of the channel."""
        ahead = self._following.ahead
        return DisplayStatistics(
            updates=self._updates + ahead.messages,
            ahead=self._ahead + ahead.messages,
            pixels=self._pixels + ahead.pixels,
            drawing_seconds=self._drawing_seconds,
            drawn=self.screen.drawn + Counter(ahead.counts),
            not_drawn=dict(self.screen.not_drawn),
            failed=dict(self.screen.failed),
            streams=self._streams.statistics(),
        )

    async def set_preferred_compression(self, compression: ImageCompression) -> None:
        """Ask the server to compress images so, from now on.

        Raises:
            ConfigError: It is no compression, or one that cannot be read here: LZ4 needs the extra `lz4`.
            LocalProtocolError: The server does not let clients choose (it lacks PREF_COMPRESSION).
            ConnectionLost: The channel has ended.

        Cancellation: the wish is queued whole, or not at all.
        """
        compression = ImageCompression(compression)
        if not compression.is_known or compression == ImageCompression.INVALID:
            raise ConfigError(f"there is no image compression {compression}")
        if compression == ImageCompression.LZ4 and not lz4.available():
            raise ConfigError("images in LZ4 cannot be read: the extra `lz4` is not installed")
        self._require(DisplayCap.PREF_COMPRESSION)
        await self._prefer(display.PreferredCompression(image_compression=compression))

    async def set_preferred_video_codecs(self, codecs: Sequence[VideoCodecType]) -> None:
        """Ask the server to use these codecs for video streams, the most wanted first; the streams that there are end.

        Raises:
            ConfigError: There are none, or one that cannot be decoded here: all but MJPEG need the extra `video`.
            LocalProtocolError: The server does not let clients choose (it lacks PREF_VIDEO_CODEC_TYPE).
            ConnectionLost: The channel has ended.

        Cancellation: the wish is queued whole, or not at all.
        """
        wanted = tuple(map(VideoCodecType, codecs))
        if not wanted:
            raise ConfigError("no video codecs: a server would not heed that")
        missing = [codec.name for codec in wanted if int(codec) not in available_codecs()]
        if missing:
            raise ConfigError(f"video in {', '.join(missing)} cannot be decoded: the extra `video` is not installed, or lacks it")
        self._require(DisplayCap.PREF_VIDEO_CODEC_TYPE)
        await self._prefer(display.PreferredVideoCodecType(codecs=tuple(dict.fromkeys(wanted))))

    async def _prefer(self, wish: Message) -> None:
        await self.send(wish)
        self._preferences[type(wish)] = wish

    def _require(self, cap: DisplayCap) -> None:
        self._open_parts()
        if cap not in self.server_caps:
            raise LocalProtocolError(f"{self.name}: the server has no {cap.name}")

    # --- what the server says

    def _opened(self) -> None:
        # Display channels that are open at the same time name the same cache and dictionary, so that they share them.
        if not self._others_with_my_caches():
            self.session.begin_caches()
        self._put(
            display.Init(
                pixmap_cache_id=self.session.cache_id,
                pixmap_cache_size=self.session.limits.image_cache_pixels,
                glz_dictionary_id=self.session.cache_id,
                glz_dictionary_window_size=self.session.limits.glz_window_pixels,
            )
        )
        self._put(*self._preferences.values())

    def leave_legacy(self) -> object:
        """What the server was asked to prefer."""
        return self._preferences

    def inherit(self, legacy: object) -> None:
        """Ask for it again."""
        assert isinstance(legacy, dict)
        self._preferences = legacy

    def _other_displays(self) -> list[DisplayChannel]:
        return [one for one in self.session.channels.values() if isinstance(one, DisplayChannel) and one is not self]

    def _others_with_my_caches(self) -> bool:
        return any(one.is_open and one.caches is self.caches for one in self._other_displays())

    def _pace(self) -> Pace:
        return Pace()

    def recall(self) -> None:
        """Let the thread that works ahead come back, if there is one."""
        self._following.recall()

    def _follow(self, pace: Pace) -> Awaitable[None] | None:
        assert self._core is not None
        assert self._outbox is not None
        if not self._following.is_worth(self._outbox) or self._is_awaited():
            return None
        following = self._following.begin(self._core, self._outbox, pace)
        return None if following is None else self._be_followed(following)

    def _is_awaited(self) -> bool:
        """Whether anybody waits for what comes, or may need what a thread would have for itself."""
        return bool(
            self._watches
            or self._changed
            or self._closing
            or self._drawing.locked()
            or self.screen.deferred  # to be drawn before whatever a thread would draw
            or self.session.is_awaited
            or self._other_displays()
        )

    async def _be_followed(self, following: Awaitable[tuple[Followed, Drawn]]) -> None:
        assert self._inbox is not None
        self._drawing.acquire_nowait()
        try:
            followed, drawn = await following
        finally:
            self._drawing.release()
        for messages, seconds in followed.batches:
            self._drawing_seconds += seconds
            self._inbox.handling_seconds += seconds
            self._latencies.extend(repeat(seconds, messages))
        self._ahead += drawn.messages
        self.screen.count_found(drawn)
        self._count_found(drawn)
        if followed.error is not None:
            raise ConnectionLost(f"the connection was lost: {followed.error.strerror}") from followed.error

    def _handle_found(self, core: ChannelCore) -> bool:
        if self._drawing.locked() or (found := core.peek()) is None:
            return False
        started = time.perf_counter()
        drawn = self.screen.apply_found(found.table, found.row, found.buffer)
        if drawn is None:
            return False
        core.skip(drawn.messages)
        self._drawn_found(drawn, started)
        return True

    def _handle(self, message: Message) -> Awaitable[None] | None:
        if type(message) in self._handlers:
            return super()._handle(message)
        if self._drawing.locked() or self._is_heavy(message):
            return self._draw_in_thread(message)
        started = time.perf_counter()
        try:
            damage = self._apply(message)
        except ImagePending:
            return self._draw_in_thread(message)
        self._drawn(message, damage, started)
        return None

    def _apply(self, message: Message, *, give_up: bool = False) -> Damage | None:
        if type(message) in STREAM_HANDLERS:
            return self._streams.apply(message)
        return self.screen.apply(message, give_up=give_up)

    def _is_heavy(self, message: Message) -> bool:
        """Whether drawing this would hold up the other tasks for longer than handing it to a thread."""
        if self._streams.settles(message) and are_heavy(self.screen.deferred.values()):
            return True
        if isinstance(message, FRAMES):
            stream = self._streams.live.get(message.id)
            return stream is not None and is_heavy_frame(stream.codec, self._streams.pixels(message))
        return is_heavy(message)

    async def _draw_in_thread(self, message: Message) -> None:
        """Draw without holding up the other tasks, once whatever the message refers to is there."""
        give_up = False
        while True:
            # How far they are, before we look: what they bring meanwhile counts.
            seen = {other: other.last_serial for other in self._other_displays()}
            async with self._drawing:
                started = time.perf_counter()
                try:
                    # Waited for to the end, as the pixels are ours and the message is a view of the receive buffer.
                    damage = await trio.to_thread.run_sync(partial(self._apply, message, give_up=give_up))
                except ImagePending as pending:
                    log.debug("%s: waits: %s", self.name, pending)
                else:
                    self._drawn(message, damage, started)
                    return
            give_up = not await self._wait_for_others(seen)

    async def _wait_for_others(self, seen: Mapping[DisplayChannel, int]) -> bool:
        """Wait until another display channel is further than it was; False where there is none that could be."""
        if not seen or self._closing:
            return False
        await self.session.wait_until(
            lambda: self._closing or any(other.last_serial > serial or not other.is_open for other, serial in seen.items())
        )
        return True

    def _drawn(self, message: Message, damage: Damage | None, started: float) -> None:
        assert self._inbox is not None
        now = time.perf_counter()
        self._drawing_seconds += now - started
        if damage is not None:
            self._updates += 1
            self._pixels += sum(rect.width * rect.height for rect in damage.rects)
            self._latencies.append(now - self._inbox.received_at)
            for watch in self._watches:
                watch.touch(damage)
        if type(message) in STREAM_HANDLERS:
            self._report(message, now)
        self._changed.unpark_all()

    def _drawn_found(self, drawn: Drawn, started: float) -> None:
        assert self._inbox is not None
        now = time.perf_counter()
        self._drawing_seconds += now - started
        self._latencies.extend(repeat(now - self._inbox.received_at, drawn.messages))
        self._count_found(drawn)

    def _count_found(self, drawn: Drawn) -> None:
        self._updates += drawn.messages
        self._pixels += drawn.pixels
        for watch in self._watches:
            watch.touch_all(drawn)
        if self._changed:  # mostly nobody waits
            self._changed.unpark_all()

    # --- video streams

    def _activate_report(self, message: display.StreamActivateReport) -> None:
        # Servers also ask about streams that they never created, when no codec suited both.
        stream = self._streams.live.get(message.stream_id)
        if stream is not None:
            self._put_report(self._reports.activate(message, is_decodable=stream.is_decodable))

    def _report(self, message: Message, now: float) -> None:
        if isinstance(message, display.StreamCreate | display.StreamDestroy):
            self._reports.forget(message.id)
        elif isinstance(message, display.StreamDestroyAll):
            self._reports.clear()
        elif isinstance(message, FRAMES):
            stream = self._streams.live.get(message.id)
            main = self.session.channels.get((ChannelType.MAIN, 0))
            if stream is not None and isinstance(main, MainChannel):
                clock, is_shown = main.multi_media_time, not stream.is_failing
                self._put_report(self._reports.count(message.id, message.mm_time, clock=clock, now=now, is_shown=is_shown))

    def _put_report(self, report: display.StreamReport | None) -> None:
        if report is not None:
            self._put(report)

    # --- caches

    async def _inval_all_pixmaps(self, message: display.InvalAllPixmaps) -> None:
        await self._wait_for_channels(message)
        self.screen.apply(message)
