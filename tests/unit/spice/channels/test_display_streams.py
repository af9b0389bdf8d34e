"""Video streams and preferences of the display channel, against the embedded server."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import simplejpeg
import trio

from atp_trio.errors import ConfigError, LocalProtocolError
from atp_trio.spice.codec import lz4
from atp_trio.spice.codec.video import VideoCodec
from atp_trio.spice.imaging import video
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import Brush, DisplayCap, StreamFlag, VideoCodecType
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Rect
from atp_trio.spice.messages.image import ImageCompression
from atp_trio.spice.messages.link import ChannelType

CODECS = {cap for cap in DisplayCap if cap.name.startswith("CODEC_")}


def jpeg(colour, width=64, height=48):
    picture = np.full((height, width), colour, np.uint32)
    return simplejpeg.encode_jpeg(picture.view(np.uint8).reshape(height, width, 4), 95, "BGRX", "444")


def create(id_=0, codec=VideoCodecType.MJPEG, size=(64, 48), clip=None):
    width, height = size
    return display.StreamCreate(
        surface_id=0,
        id=id_,
        flags=StreamFlag.TOP_DOWN,
        codec_type=codec,
        stream_width=width,
        stream_height=height,
        src_width=width,
        src_height=height,
        dest=Rect.at(0, 0, width, height),
        clip=clip or Clip(),
    )


def frame(colour=0x808080, id_=0, mm_time=0, size=(64, 48)):
    return display.StreamData(id=id_, mm_time=mm_time, data=jpeg(colour, *size))


def fill(rect, colour):
    return display.DrawFill(base=DisplayBase(0, rect), brush=Brush.solid(colour))


def activate(id_=0, unique_id=7, max_window_size=2):
    return display.StreamActivateReport(stream_id=id_, unique_id=unique_id, max_window_size=max_window_size, timeout_ms=10**6)


def say(pair, *messages):
    for message in messages:
        pair.server.send(message, ChannelType.DISPLAY)


@pytest.fixture
def reports(pair):
    """The reports that the server has received."""
    received = []
    channel = server_channel(pair)
    channel._handlers[display.StreamReport] = received.append
    return received


def server_channel(pair):
    return pair.server._session.channels[ChannelType.DISPLAY, 0]


async def shown(pair, colour, x=0, y=0):
    """Wait until a pixel is about of that grey."""
    await pair.vm.display.wait_until(lambda screen: abs(int(screen.region(x, y, 1, 1)[0, 0]) - colour) <= 0x020202)


@pytest.mark.parametrize("size", [(64, 48), (400, 300)])
async def test_frames_are_drawn_in_order_with_the_rest(connected, size):
    """Small ones in the channel's task, large ones in a thread: what is said later is drawn later."""
    async with connected(size=size) as pair:
        say(pair, create(size=size))
        for number in range(5):
            say(pair, frame(0x101010 * (number + 1), size=size), fill(Rect.at(2, 2, 5, 5), number + 1))
        await pair.vm.display.wait_until(lambda screen: screen.region(2, 2, 1, 1)[0, 0] == 5)
        pixels = (await pair.vm.display.screenshot()).pixels
        assert (pixels[2:7, 2:7] == 5).all()
        assert abs(int(pixels[20, 20]) - 0x505050) <= 0x020202
        counted = pair.vm.display.display_statistics()
        assert not counted.failed
        (stream,) = counted.streams
        assert (stream.codec, stream.frames, stream.dropped, stream.is_live) == (VideoCodecType.MJPEG, 5, 0, True)
        assert stream.decode_seconds > 0


@pytest.fixture
def drawn(monkeypatch):
    """For every frame that is drawn, whether that was done in the program's own thread."""
    found, draw = [], video.draw_frame

    def note(*arguments, **more):
        found.append(trio.lowlevel.in_trio_task())
        draw(*arguments, **more)

    monkeypatch.setattr(video, "draw_frame", note)
    return found


async def come(pair, frames):
    """Wait until so many frames of the stream have come, without looking at any."""
    channel = pair.vm.display
    await channel._wait_until(lambda: bool(channel.streams) and channel.streams[0].frames == frames)


async def test_frames_that_nobody_sees_are_told_and_not_decoded(pair, drawn):
    async with pair.vm.display.damage() as rects:
        say(pair, create(), *(frame(0x101010 * number) for number in range(1, 6)))
        assert await rects.receive() == Rect.at(0, 0, 64, 48)
        await come(pair, 5)
    assert not drawn
    assert pair.vm.display.display_statistics().updates >= 5
    assert abs(int((await pair.vm.display.screenshot()).pixels[20, 20]) - 0x505050) <= 0x020202
    assert drawn == [True]
    (stream,) = pair.vm.display.display_statistics().streams
    assert (stream.frames, stream.unseen, stream.dropped) == (5, 4, 0)


LARGE = (800, 600)


@pytest.mark.parametrize(("size", "is_inline"), [((64, 48), True), (LARGE, False)])
@pytest.mark.parametrize("look", ["screenshot", "wait_until"])
async def test_large_frames_are_drawn_in_a_thread_for_who_looks(connected, drawn, size, is_inline, look):
    async with connected(size=size) as pair:
        say(pair, create(size=size), frame(0x404040, size=size))
        await come(pair, 1)
        assert not drawn
        if look == "screenshot":
            await pair.vm.display.screenshot(Rect.at(0, 0, 4, 4))
        else:
            await shown(pair, 0x404040)
        assert drawn == [is_inline]


@pytest.mark.parametrize("message", [fill(Rect.at(0, 0, 2, 2), 1), display.StreamDestroy(id=0), display.StreamDestroyAll()])
@pytest.mark.parametrize(("size", "is_inline"), [((64, 48), True), (LARGE, False)])
async def test_large_frames_are_drawn_in_a_thread_for_what_comes_next(connected, drawn, size, is_inline, message):
    async with connected(size=size) as pair:
        channel = pair.vm.display
        say(pair, create(size=size), frame(0x404040, size=size), message)
        await channel._wait_until(lambda: channel.screen.drawn[type(message).__name__] == 1)
        assert drawn == [is_inline]


async def test_no_thread_works_ahead_of_a_frame_that_is_still_to_be_drawn(pair):
    assert not pair.vm.display._is_awaited()
    say(pair, create(), frame())
    await come(pair, 1)
    assert pair.vm.display._is_awaited()
    await pair.vm.display.screenshot()
    assert not pair.vm.display._is_awaited()


async def test_a_stream_whose_pictures_cannot_be_decoded_is_reported_once_that_is_known(pair, reports):
    cut = jpeg(0x404040)[:-30]
    say(pair, create(), activate(max_window_size=4))
    say(pair, display.StreamData(id=0, mm_time=0, data=cut))
    await come(pair, 1)
    await pair.vm.display.screenshot()
    say(pair, *(display.StreamData(id=0, mm_time=0, data=cut) for _ in range(3)))
    await pair.server.wait_until(lambda: bool(reports))
    assert [(one.num_frames, one.num_drops) for one in reports] == [(4, 3)]
    assert pair.vm.display.display_statistics().failed == {"StreamData": 4}


async def test_the_streams_that_live(pair):
    say(pair, create(1), create(2), frame(id_=2, mm_time=4711), display.StreamDestroy(id=1))
    await shown(pair, 0x808080)
    await pair.vm.display._wait_until(lambda: len(pair.vm.display.streams) == 1)
    (stream,) = pair.vm.display.streams
    assert (stream.id, stream.mm_time, stream.frames) == (2, 4711, 1)
    say(pair, display.StreamDestroyAll())
    await pair.vm.display._wait_until(lambda: not pair.vm.display.streams)
    assert [one.id for one in pair.vm.display.display_statistics().streams] == [1, 2]


async def test_reports(pair, reports):
    clock = pair.server.multi_media_time()
    say(pair, create(), activate(), *(frame(mm_time=clock + 5000 + number) for number in range(4)))
    await pair.server.wait_until(lambda: len(reports) == 2)
    first, second = reports
    assert (first.stream_id, first.unique_id, first.num_frames, first.num_drops) == (0, 7, 2, 0)
    assert (first.start_frame_mm_time, first.end_frame_mm_time) == (clock + 5000, clock + 5001)
    assert (second.start_frame_mm_time, second.end_frame_mm_time) == (clock + 5002, clock + 5003)
    assert 0 < second.last_frame_delay <= 5003


async def test_late_frames_are_shown_and_reported(pair, reports):
    past = (pair.server.multi_media_time() - 9000) % 2**32
    say(pair, create(), activate(), frame(0x303030, mm_time=past), frame(0x606060, mm_time=past))
    await shown(pair, 0x606060)
    await pair.server.wait_until(lambda: bool(reports))
    assert (reports[0].num_frames, reports[0].num_drops) == (2, 2)
    assert reports[0].last_frame_delay <= -9000


async def test_streams_that_cannot_be_decoded_are_reported(pair, reports):
    say(pair, create(5, VideoCodecType(99)), activate(5, 1))
    say(pair, create(6), activate(6, 2), *(display.StreamData(id=6, mm_time=0, data=b"no JPEG") for _ in range(2)))
    await pair.server.wait_until(lambda: len(reports) == 2)
    assert [(one.stream_id, one.unique_id, one.num_frames, one.num_drops) for one in reports] == [
        (5, 1, 0, 0xFFFFFFFF),
        (6, 2, 0, 0xFFFFFFFF),
    ]
    counted = pair.vm.display.display_statistics()
    assert counted.failed == {"StreamData": 2}
    assert counted.not_drawn == {"video codec UNKNOWN_99": 1}


async def test_ids_that_were_never_created(pair, reports):
    """Servers say so where no codec suited both: no report, and the channel goes on."""
    say(pair, activate(9), display.StreamClip(id=9, clip=Clip.to()), display.StreamDestroy(id=9), frame(id_=9))
    say(pair, create(), activate(), frame(), frame())
    await pair.server.wait_until(lambda: bool(reports))
    assert [one.stream_id for one in reports] == [0]
    assert pair.vm.display.display_statistics().failed == {"StreamData": 1}
    assert not pair.vm.display.statistics().unhandled


async def test_an_id_that_is_used_again_has_no_reports_before_it_is_asked_for(pair, reports):
    say(pair, create(), activate(), frame(), create(), frame(0x404040), frame(0x505050))
    await shown(pair, 0x505050)
    assert not reports
    say(pair, activate(), display.StreamDestroyAll(), create(), frame(0x606060), frame(0x707070))
    await shown(pair, 0x707070)
    assert not reports


# --- what is announced, and asked for


async def test_what_is_announced(pair):
    caps = server_channel(pair).linked.client_caps
    assert caps == pair.vm.display.caps
    assert {DisplayCap.SIZED_STREAM, DisplayCap.STREAM_REPORT, DisplayCap.MULTI_CODEC} <= caps
    assert {DisplayCap.PREF_COMPRESSION, DisplayCap.PREF_VIDEO_CODEC_TYPE} <= caps
    assert caps & CODECS == CODECS
    assert (DisplayCap.LZ4_COMPRESSION in caps) == lz4.available()


async def test_only_what_is_installed_is_announced(connected, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(lz4, "available", lambda: False)
    async with connected() as pair:
        caps = server_channel(pair).linked.client_caps
        assert caps & CODECS == {DisplayCap.CODEC_MJPEG}
        assert DisplayCap.LZ4_COMPRESSION not in caps
        with pytest.raises(ConfigError, match="VP8, H265 cannot be decoded: the extra `video`"):
            await pair.vm.display.set_preferred_video_codecs([VideoCodecType.VP8, VideoCodecType.MJPEG, VideoCodecType.H265])
        with pytest.raises(ConfigError, match="the extra `lz4`"):
            await pair.vm.display.set_preferred_compression(ImageCompression.LZ4)


async def test_av_is_imported_beside_the_loop(connected, monkeypatch):
    threads = []

    def look():
        threads.append(trio.lowlevel.in_trio_task())
        return frozenset({VideoCodec.MJPEG})

    monkeypatch.setattr("atp_trio.spice.channels.display.is_imported", lambda: False)
    monkeypatch.setattr("atp_trio.spice.channels.display.available_codecs", look)
    async with connected():
        assert threads[0] is False


async def test_preferences(pair):
    channel, received = pair.vm.display, []
    handlers = server_channel(pair)._handlers
    handlers[display.PreferredCompression] = handlers[display.PreferredVideoCodecType] = received.append
    channel.server_caps |= {DisplayCap.PREF_COMPRESSION, DisplayCap.PREF_VIDEO_CODEC_TYPE}
    await channel.set_preferred_compression(ImageCompression.QUIC)
    await channel.set_preferred_video_codecs([VideoCodecType.VP9, VideoCodecType.MJPEG, VideoCodecType.VP9])
    await pair.server.wait_until(lambda: len(received) == 2)
    assert received[0].image_compression == ImageCompression.QUIC
    assert received[1].codecs == (VideoCodecType.VP9, VideoCodecType.MJPEG)


async def test_a_server_that_lets_nobody_choose(pair):
    with pytest.raises(LocalProtocolError, match="display:0: the server has no PREF_COMPRESSION"):
        await pair.vm.display.set_preferred_compression(ImageCompression.LZ)
    with pytest.raises(LocalProtocolError, match="PREF_VIDEO_CODEC_TYPE"):
        await pair.vm.display.set_preferred_video_codecs([VideoCodecType.MJPEG])


@pytest.mark.parametrize("compression", [ImageCompression.INVALID, 99])
async def test_compressions_that_there_are_not(pair, compression):
    with pytest.raises(ConfigError, match="no image compression"):
        await pair.vm.display.set_preferred_compression(compression)


@pytest.mark.parametrize(("codecs", "sentence"), [([], "no video codecs"), ([77], "UNKNOWN_77 cannot be decoded")])
async def test_video_codecs_that_there_are_not(pair, codecs, sentence):
    with pytest.raises(ConfigError, match=sentence):
        await pair.vm.display.set_preferred_video_codecs(codecs)
