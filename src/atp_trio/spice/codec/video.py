"""Video: frames of MJPEG, and with the `video` extra of VP8, VP9, H.264 and H.265.

Source:
    Image codec reference, chapter 9.
"""

from __future__ import annotations

import importlib.util
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec.limit import SizeLimit, check_size
from atp_trio.spice.codec.raster import Buffer, Pixels

if TYPE_CHECKING:
    import av

__all__ = ["VideoCodec", "VideoDecoder", "available_codecs", "is_imported", "open_decoder"]


class VideoCodec(IntEnum):
    """Codecs, by the numbers of the protocol's video codec type."""

    MJPEG = 1
    VP8 = 2
    H264 = 3
    VP9 = 4
    H265 = 5


# What libavcodec calls them.
_NAMES: Final = {VideoCodec.VP8: "vp8", VideoCodec.H264: "h264", VideoCodec.VP9: "vp9", VideoCodec.H265: "hevc"}

# SPICE servers encode with GStreamer, which uses BT.709 for pictures of more rows than these and BT.601 for others. H.264 tells
# so, VP9 does not, and VP8 cannot: libavcodec then says BT.601 whatever it is.
_BT601_HEIGHT: Final = 576
_BT709, _UNSPECIFIED, _BT601 = 1, 2, 6

# libswscale's fast conversion, four times as fast as the accurate one, leaves out the last columns of widths that are no multiple
# of this, and what memory held is seen there.
_FAST_WIDTH: Final = 8
_BILINEAR, _ACCURATE = 0x2, 0x40002

# A JPEG is kept until its picture is asked for: one that is larger than its pixels is none that a server would send.
_PIXEL_BYTES, _HEADER_BYTES = 4, 65536


class VideoDecoder(Protocol):
    """The decoder of one stream: it is given every frame, in order, and asked for those pictures that are wanted.

    One thread at a time may call it.
    """

    def feed(self, data: Buffer) -> None:
        """Take a frame, whose picture is then the newest. What no other frame needs is not decoded before it is asked for.

        Args:
            data: One access unit: a JPEG; a raw frame of VP8 or VP9; H.264 or H.265 as an Annex B byte stream. It is not kept.

        Raises:
            ImageError: It cannot be decoded, holds no picture, or one over the limit. The newest picture is still the one before.
        """
        ...

    def picture(self, out: Pixels | None = None) -> Pixels:
        """The newest picture. There must have been one.

        Args:
            out: uint32 pixels, where it is decoded to if that can be done without a copy. After an error its contents are
                undefined.

        Returns:
            (height, width) uint32 of the picture's own size, rows in the order of the stream, BGRX; what X is says nothing. It is
            `out`, or the decoder's and valid until the next call.

        Raises:
            ImageError: It cannot be decoded after all.
        """
        ...


def is_imported() -> bool:
    """Whether `available_codecs` answers at once; otherwise it first imports `av`, which takes a tenth of a second."""
    return "av" in sys.modules or importlib.util.find_spec("av") is None


def available_codecs() -> frozenset[VideoCodec]:
    """The codecs that can be decoded here: MJPEG, and those that `av` has if it is installed."""
    try:
        import av
    except ImportError:
        return frozenset({VideoCodec.MJPEG})
    # A build of FFmpeg may lack some, for the sake of patents.
    return frozenset({VideoCodec.MJPEG, *(codec for codec, name in _NAMES.items() if name in av.codecs_available)})


def open_decoder(codec: VideoCodec, limit: SizeLimit) -> VideoDecoder:
    """A decoder for one stream.

    Args:
        codec: One of `available_codecs()`.
        limit: How large a picture may be.

    Raises:
        ImageError: There is no decoder for it.
    """
    if codec not in available_codecs():
        raise ImageError(f"video of the codec {codec.name} cannot be decoded: the extra `video` is not installed, or lacks it")
    return _Mjpeg(limit) if codec is VideoCodec.MJPEG else _Libav(_NAMES[codec], limit)


class _Mjpeg:
    """JPEG images, one a frame."""

    def __init__(self, limit: SizeLimit) -> None:
        import simplejpeg

        self._library: Any = simplejpeg
        self._limit = limit
        self._data = b""
        self._shape = 0, 0
        # Frames are of one size, and fresh memory costs a page fault every kilopixel.
        self._pixels: Pixels = np.empty(self._shape, np.uint32)

    def feed(self, data: Buffer) -> None:
        try:
            height, width, _, _ = self._library.decode_jpeg_header(data)
        except ValueError as error:
            raise ImageError(f"a frame of MJPEG cannot be decoded: {error}") from error
        check_size(width, height, self._limit)
        if len(data) > _PIXEL_BYTES * width * height + _HEADER_BYTES:
            raise ImageError(f"a frame of MJPEG of {width}x{height} has {len(data)} bytes")
        self._data, self._shape = bytes(data), (height, width)

    def picture(self, out: Pixels | None = None) -> Pixels:
        # The library writes contiguous rows only.
        if out is None or out.shape != self._shape or not out.flags.c_contiguous:
            if self._pixels.shape != self._shape:
                self._pixels = np.empty(self._shape, np.uint32)
            out = self._pixels
        try:
            # As other clients do it: a tenth faster, and not to be seen behind the encoder's own loss.
            self._library.decode_jpeg(self._data, "BGRX", fastdct=True, fastupsample=True, buffer=out)
        except ValueError as error:
            raise ImageError(f"a frame of MJPEG cannot be decoded: {error}") from error
        return out


class _Libav:
    """What libavcodec decodes."""

    def __init__(self, name: str, limit: SizeLimit) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._name, self._limit = name, limit
        context = av.CodecContext.create(name, "r")
        assert isinstance(context, av.VideoCodecContext)
        # Frames in parallel would come frames later, and so would frames in another order than the stream's.
        context.thread_count = 1
        context.options = {"flags": "+low_delay", "max_pixels": str(limit.pixels)}
        self._context = context
        self._reformatter = VideoReformatter()
        self._newest: av.VideoFrame | None = None

    def feed(self, data: Buffer) -> None:
        import av

        if not data:
            # To libavcodec this is the end, after which it decodes nothing more.
            raise ImageError(f"a frame of {self._name} is empty")
        try:
            # A copy: the packet may live longer than the data, which are a view of a receive buffer.
            frames = self._context.decode(av.Packet(bytes(data)))
        except av.FFmpegError as error:
            raise ImageError(f"a frame of {self._name} cannot be decoded: {error}") from error
        if not frames:
            raise ImageError(f"a frame of {self._name} holds no picture")
        check_size(frames[-1].width, frames[-1].height, self._limit)
        self._newest = frames[-1]

    def picture(self, out: Pixels | None = None) -> Pixels:  # noqa: ARG002 - the library converts to frames of its own only
        import av

        frame = self._newest
        assert frame is not None
        colours = _UNSPECIFIED if self._name == "vp8" else frame.colorspace
        if colours == _UNSPECIFIED:
            colours = _BT709 if frame.height > _BT601_HEIGHT else _BT601
        try:
            bgrx = self._reformatter.reformat(
                frame,
                format="bgra",
                src_colorspace=colours,
                dst_colorspace=colours,
                interpolation=_ACCURATE if frame.width % _FAST_WIDTH else _BILINEAR,
                threads=1,
            )
        except av.FFmpegError as error:
            raise ImageError(f"a frame of {self._name} cannot be decoded: {error}") from error
        plane: Any = bgrx.planes[0]
        rows = np.frombuffer(plane, np.uint32).reshape(bgrx.height, plane.line_size // 4)
        return rows[:, : bgrx.width]
