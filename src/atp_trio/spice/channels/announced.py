"""What a display channel announces that it can do: no codec but those that are installed."""

from __future__ import annotations

from typing import Final

from atp_trio.spice.codec import lz4
from atp_trio.spice.codec.video import VideoCodec, available_codecs
from atp_trio.spice.messages.display import DisplayCap

# What we can do, whatever is installed. MULTI_CODEC says that the codecs are the ones named, and no other.
CAPS: Final = frozenset(
    {
        DisplayCap.SIZED_STREAM,
        DisplayCap.MONITORS_CONFIG,
        DisplayCap.COMPOSITE,
        DisplayCap.A8_SURFACE,
        DisplayCap.STREAM_REPORT,
        DisplayCap.PREF_COMPRESSION,
        DisplayCap.MULTI_CODEC,
        DisplayCap.PREF_VIDEO_CODEC_TYPE,
    }
)
CODEC_CAPS: Final = {
    VideoCodec.MJPEG: DisplayCap.CODEC_MJPEG,
    VideoCodec.VP8: DisplayCap.CODEC_VP8,
    VideoCodec.H264: DisplayCap.CODEC_H264,
    VideoCodec.VP9: DisplayCap.CODEC_VP9,
    VideoCodec.H265: DisplayCap.CODEC_H265,
}


def announced() -> frozenset[int]:
    """The capabilities of a display, as numbers."""
    codecs = {CODEC_CAPS[codec] for codec in available_codecs()}
    return CAPS | codecs | ({DisplayCap.LZ4_COMPRESSION} if lz4.available() else set())
