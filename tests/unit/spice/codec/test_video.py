"""Frames as FFmpeg's encoders make them, and what else may come in their place."""

from __future__ import annotations

import sys
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
import simplejpeg
from av.video.reformatter import VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import SizeLimit
from atp_trio.spice.codec.video import VideoCodec, available_codecs, is_imported, open_decoder

from .pictures import damaged

WIDTH, HEIGHT, COUNT = 66, 50, 6
LIMIT = SizeLimit(pixels=10_000)
QUIET = "log-level=none"
# An encoder and the options with which it gives a frame for a frame, as a server needs it.
ENCODERS = {
    VideoCodec.VP8: ("libvpx", {"deadline": "realtime", "lag-in-frames": "0", "b": "4M"}),
    VideoCodec.VP9: ("libvpx-vp9", {"deadline": "realtime", "lag-in-frames": "0", "b": "4M"}),
    VideoCodec.H264: ("libx264", {"tune": "zerolatency"}),
    VideoCodec.H265: ("libx265", {"tune": "zerolatency", "x265-params": QUIET}),
}
BT601, BT709 = 5, 1


def smooth(number, width=WIDTH, height=HEIGHT):
    """A picture that moves with its number: (height, width) uint32."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint32)
    wave = (127 + 100 * np.sin((x + 3 * number) / 9)).astype(np.uint32)
    return wave << 16 | (y * 255 // height) << 8 | (x * 200 // width)


def encode_av(codec, pictures, colours=BT601):
    name, options = ENCODERS[codec]
    height, width = pictures[0].shape
    context = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", Fraction(1, 30)
    context.options = options
    reformatter, packets = VideoReformatter(), []
    for number, picture in enumerate(pictures):
        bgra = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture).view(np.uint8).reshape(height, width, 4), format="bgra")
        frame = reformatter.reformat(bgra, format="yuv420p", src_colorspace=colours, dst_colorspace=colours)
        frame.pts = number
        packets += context.encode(frame)
    return [bytes(packet) for packet in [*packets, *context.encode(None)]]


def encode_jpeg(picture, quality=95):
    height, width = picture.shape
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture).view(np.uint8).reshape(height, width, 4), quality, "BGRX", "420")


@cache
def frames(codec):
    """`COUNT` frames of the moving picture."""
    pictures = [smooth(number) for number in range(COUNT)]
    encoded = [*map(encode_jpeg, pictures)] if codec is VideoCodec.MJPEG else encode_av(codec, pictures)
    assert len(encoded) == COUNT
    return encoded


def decode(decoder, data):
    """The picture of a frame."""
    decoder.feed(data)
    return decoder.picture()


def psnr(one, other):
    channels = [np.ascontiguousarray(each & 0xFFFFFF).view(np.uint8).astype(float) for each in (one, other)]
    return 10 * np.log10(255**2 / ((channels[0] - channels[1]) ** 2).mean())


ALL = pytest.mark.parametrize("codec", VideoCodec)
INTER = pytest.mark.parametrize("codec", ENCODERS)


@ALL
def test_every_frame_is_a_picture_at_once(codec):
    decoder = open_decoder(codec, LIMIT)
    for number, data in enumerate(frames(codec)):
        pixels = decode(decoder, memoryview(data))
        assert pixels.dtype == np.uint32
        assert pixels.shape == (HEIGHT, WIDTH)
        assert psnr(pixels, smooth(number)) > 33


@INTER
@pytest.mark.parametrize("width", range(64, 74, 2))
def test_the_last_columns_are_there(codec, width):
    """Of a picture as light as no memory is by chance."""
    (data,) = encode_av(codec, [np.full((16, width), 0xF0F0F0, np.uint32)])
    pixels = decode(open_decoder(codec, LIMIT), data)
    assert abs((pixels & 0xFF).astype(int) - 0xF0).max() <= 3


@INTER
def test_frames_refer_to_those_before(codec):
    """So the decoder does keep state: the second frame alone is nothing."""
    with pytest.raises(ImageError, match=r"cannot be decoded|no picture"):
        decode(open_decoder(codec, LIMIT), frames(codec)[1])


@INTER
@pytest.mark.parametrize(("height", "colours"), [(576, BT601), (578, BT709)])
def test_colours_are_what_servers_mean_when_they_do_not_say(codec, height, colours):
    picture = np.full((height, 64), 0x2040C0, np.uint32)
    (data,) = encode_av(codec, [picture], colours)
    pixels = decode(open_decoder(codec, SizeLimit()), data)
    channels = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, 64, 4)[..., :3].astype(int)
    assert abs(channels - [0xC0, 0x40, 0x20]).max() <= 4


def test_colours_that_the_stream_tells_are_as_told():
    picture = np.full((48, 64), 0x2040C0, np.uint32)
    context_options = {"tune": "zerolatency", "x264-params": "colormatrix=bt709"}
    name, options = ENCODERS[VideoCodec.H264]
    ENCODERS[VideoCodec.H264] = (name, context_options)
    try:
        (data,) = encode_av(VideoCodec.H264, [picture], BT709)
    finally:
        ENCODERS[VideoCodec.H264] = (name, options)
    pixels = decode(open_decoder(VideoCodec.H264, LIMIT), data)
    channels = np.ascontiguousarray(pixels).view(np.uint8).reshape(48, 64, 4)[..., :3].astype(int)
    assert abs(channels - [0xC0, 0x40, 0x20]).max() <= 4


def test_jpegs_may_change_their_size_and_be_grey():
    decoder = open_decoder(VideoCodec.MJPEG, LIMIT)
    first = decode(decoder, frames(VideoCodec.MJPEG)[0])
    assert decode(decoder, frames(VideoCodec.MJPEG)[1]) is first
    assert decode(decoder, encode_jpeg(smooth(0, 30, 20))).shape == (20, 30)
    grey = simplejpeg.encode_jpeg(np.full((4, 5, 1), 77, np.uint8), 95, "GRAY")
    assert (decode(decoder, grey) & 0xFFFFFF == 0x4D4D4D).all()


def test_a_jpeg_is_decoded_to_where_it_is_wanted_if_it_fits_there():
    decoder, (data, other) = open_decoder(VideoCodec.MJPEG, LIMIT), frames(VideoCodec.MJPEG)[:2]
    place = np.zeros((HEIGHT, WIDTH), np.uint32)
    decoder.feed(data)
    assert decoder.picture(place) is place
    own = decoder.picture()
    assert own is not place
    assert (own == place).all()
    decoder.feed(other)
    for unfit in (np.zeros((HEIGHT, WIDTH + 1), np.uint32), np.zeros((HEIGHT, WIDTH + 1), np.uint32)[:, 1:]):
        assert decoder.picture(unfit) is own
        assert not unfit.any()
    assert psnr(own, smooth(1)) > 33


@INTER
def test_pictures_of_other_codecs_are_their_own(codec):
    decoder, place = open_decoder(codec, LIMIT), np.zeros((HEIGHT, WIDTH), np.uint32)
    decoder.feed(frames(codec)[0])
    assert psnr(decoder.picture(place), smooth(0)) > 33
    assert not place.any()


@ALL
def test_only_the_newest_picture_need_be_asked_for(codec):
    decoder = open_decoder(codec, LIMIT)
    for data in frames(codec):
        decoder.feed(data)
    assert psnr(decoder.picture(), smooth(COUNT - 1)) > 33
    assert psnr(decoder.picture(), smooth(COUNT - 1)) > 33


@ALL
@pytest.mark.parametrize("bad", [b"", b"\xff" * 300])
def test_what_is_no_frame_leaves_the_picture_before(codec, bad):
    decoder = open_decoder(codec, LIMIT)
    decoder.feed(frames(codec)[0])
    with pytest.raises(ImageError):
        decoder.feed(bad)
    assert psnr(decoder.picture(), smooth(0)) > 33


def test_a_jpeg_that_ends_early_is_found_when_its_picture_is_asked_for():
    decoder, data = open_decoder(VideoCodec.MJPEG, LIMIT), frames(VideoCodec.MJPEG)[0]
    decoder.feed(data[: len(data) // 2])
    with pytest.raises(ImageError, match="cannot be decoded"):
        decoder.picture()
    assert psnr(decode(decoder, data), smooth(0)) > 33


def test_a_jpeg_larger_than_its_pixels_is_not_kept():
    decoder, data = open_decoder(VideoCodec.MJPEG, LIMIT), frames(VideoCodec.MJPEG)[0]
    room = 4 * WIDTH * HEIGHT + 65536 - len(data)
    assert psnr(decode(decoder, data + bytes(room)), smooth(0)) > 33
    with pytest.raises(ImageError, match=f"of {WIDTH}x{HEIGHT} has {len(data) + room + 1} bytes"):
        decoder.feed(data + bytes(room + 1))


@INTER
def test_a_stream_may_change_its_size(codec):
    decoder = open_decoder(codec, LIMIT)
    assert decode(decoder, frames(codec)[0]).shape == (HEIGHT, WIDTH)
    (other,) = encode_av(codec, [smooth(0, 96, 64)])
    assert decode(decoder, other).shape == (64, 96)


@ALL
def test_pictures_over_the_limit_are_refused(codec):
    with pytest.raises(ImageError):
        decode(open_decoder(codec, SizeLimit(pixels=WIDTH * HEIGHT - 1)), frames(codec)[0])
    with pytest.raises(ImageError, match="over the limit"):
        decode(open_decoder(codec, SizeLimit(side=WIDTH - 1)), frames(codec)[0])
    assert decode(open_decoder(codec, SizeLimit(side=WIDTH)), frames(codec)[0]).shape == (HEIGHT, WIDTH)


@ALL
@pytest.mark.parametrize("bad", [b"", b"\0", b"\0\0\0\1", bytes(500), b"\xff\xd8\xff", b"\xff" * 300])
def test_what_is_no_frame_is_an_error_and_nothing_more(codec, bad):
    decoder = open_decoder(codec, LIMIT)
    decode(decoder, frames(codec)[0])
    with pytest.raises(ImageError):
        decode(decoder, bad)
    assert psnr(decode(decoder, frames(codec)[0]), smooth(0)) > 33


@ALL
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_frames_give_pixels_or_an_error(codec, data):
    decoder = open_decoder(codec, LIMIT)
    for frame in frames(codec)[:3]:
        try:
            pixels = decode(decoder, data.draw(damaged(st.just(frame))))
        except ImageError:
            continue
        assert pixels.dtype == np.uint32
        assert pixels.size <= LIMIT.pixels


@ALL
@pytest.mark.parametrize("cut", [None, 30])
def test_the_receive_buffer_is_let_go(codec, cut):
    buffer = bytearray(frames(codec)[0])
    decoder = open_decoder(codec, LIMIT)
    try:
        pixels = decode(decoder, memoryview(buffer)[:cut])
    except ImageError:
        assert cut
    else:
        assert pixels.shape
    buffer.extend(b"x")  # raises where anything still looks at it


def test_what_is_available():
    assert available_codecs() == frozenset(VideoCodec)
    assert is_imported()


def test_without_av_there_is_mjpeg(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert available_codecs() == {VideoCodec.MJPEG}
    with pytest.raises(ImageError, match="H264 cannot be decoded: the extra `video`"):
        open_decoder(VideoCodec.H264, LIMIT)
    assert decode(open_decoder(VideoCodec.MJPEG, LIMIT), frames(VideoCodec.MJPEG)[0]).shape == (HEIGHT, WIDTH)


def test_a_library_may_lack_codecs(monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"vp8", "vp9"})
    assert available_codecs() == {VideoCodec.MJPEG, VideoCodec.VP8, VideoCodec.VP9}


def test_whether_it_takes_an_import_to_tell(monkeypatch):
    monkeypatch.delitem(sys.modules, "av")
    assert not is_imported()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert is_imported()
