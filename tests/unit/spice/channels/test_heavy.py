"""Which pictures go to a thread."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from atp_trio.spice.channels.heavy import (
    COPIED_PIXELS,
    LZ_PIXELS,
    MJPEG_PIXELS,
    OTHER_PIXELS,
    QUIC_PIXELS,
    are_heavy,
    is_heavy,
    is_heavy_frame,
)
from atp_trio.spice.imaging.screen import Damage
from atp_trio.spice.imaging.surface import Surface
from atp_trio.spice.imaging.video import DeferredFrame, DisplayStream
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import Brush, SurfaceFormat, VideoCodecType
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Rect
from atp_trio.spice.messages.image import BinaryData, Image, ImageType


def copy(kind, width, height, box=None, message=display.DrawCopy):
    image = Image(1, kind, 0, width, height, BinaryData(b""))
    base = DisplayBase(0, box or Rect.at(0, 0, width, height))
    return message(base=base, src_image=image, src_area=Rect.at(0, 0, width, height))


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [
        (ImageType.QUIC, QUIC_PIXELS),
        (ImageType.LZ_RGB, LZ_PIXELS),
        (ImageType.GLZ_RGB, LZ_PIXELS),
        (ImageType.JPEG, OTHER_PIXELS),
        (ImageType.SURFACE, COPIED_PIXELS),
    ],
)
def test_the_limit_is_the_images_own(kind, pixels):
    assert not is_heavy(copy(kind, 1024, pixels // 1024))
    assert is_heavy(copy(kind, 1024, pixels // 1024 + 1))


def test_what_is_more_than_copied_is_heavy_sooner():
    assert not is_heavy(copy(ImageType.LZ_RGB, 256, 256))
    assert is_heavy(copy(ImageType.LZ_RGB, 256, 256, message=display.DrawBlend))
    assert is_heavy(copy(ImageType.LZ_RGB, 256, 256, Rect.at(0, 0, 255, 256)))  # scaled


def test_the_larger_of_image_and_place_counts():
    assert is_heavy(copy(ImageType.JPEG, 8, 8, Rect.at(0, 0, 1024, 1024)))
    assert is_heavy(copy(ImageType.JPEG, 1024, 1024, Rect.at(0, 0, 8, 8)))


def test_without_an_image_the_place_counts():
    fill = display.DrawFill(base=DisplayBase(0, Rect.at(0, 0, 1024, 1024)), brush=Brush.solid(0))
    assert not is_heavy(fill)
    fill = display.DrawFill(base=DisplayBase(0, Rect.at(0, 0, 1024, COPIED_PIXELS // 1024 + 1)), brush=Brush.solid(0))
    assert is_heavy(fill)


def test_frames_are_judged_by_codec():
    assert not is_heavy_frame(VideoCodecType.MJPEG, MJPEG_PIXELS)
    assert is_heavy_frame(VideoCodecType.MJPEG, MJPEG_PIXELS + 1)
    assert is_heavy_frame(VideoCodecType.VP8, OTHER_PIXELS + 1)


def test_deferred_frames_are_judged_together():
    stream = DisplayStream(
        0, VideoCodecType.MJPEG, 0, 1024, MJPEG_PIXELS // 2048, Rect.at(0, 0, 4, 4), Clip(), top_down=True, clock=float
    )
    surface = Surface(0, SurfaceFormat.FMT_32_xRGB, np.zeros((1, 1), np.uint32))
    half = DeferredFrame("StreamData", stream, surface, Rect.at(0, 0, 4, 4), Clip(), Damage(0, ()))
    assert not are_heavy([])
    assert not are_heavy([half, half])
    assert are_heavy([half, half, half])
    assert are_heavy([attrs.evolve(half, dest=Rect.at(0, 0, 1024, MJPEG_PIXELS // 1024 + 1))])


def test_a_message_that_draws_nothing_is_not_heavy():
    assert not is_heavy(display.Mark())
