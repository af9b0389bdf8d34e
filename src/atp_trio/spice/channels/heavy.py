"""Which pictures are drawn in a worker thread, so that they do not hold up the other tasks.

A hop to a thread and back costs 60 us of CPU time in a program that is busy anyway, and 300 to 400 us in one that is woken thirty
times a second and finds its caches cold. So what takes up to about a millisecond is drawn where it is: half of the slice after
which a reader lets others have their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from atp_trio.spice.imaging.video import DeferredFrame
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import VideoCodecType
from atp_trio.spice.messages.image import Image, ImageType
from atp_trio.spice.wire import Message

# Pixels that take about a millisecond; measured on one core: photographs for LZ (the slowest pictures there are, but noise) and
# QUIC, 1.4 and 8 ns each, and MJPEG frames, 2.3 ns.
COPIED_PIXELS: Final = 2 * 1024 * 1024
LZ_PIXELS: Final = 768 * 1024
QUIC_PIXELS: Final = 128 * 1024
MJPEG_PIXELS: Final = 384 * 1024
# Whatever was not measured is given to a thread that would be quicker with it than the hop.
OTHER_PIXELS: Final = 16 * 1024

INLINE_PIXELS: Final[Mapping[ImageType, int]] = {
    ImageType.BITMAP: COPIED_PIXELS,
    ImageType.FROM_CACHE: COPIED_PIXELS,
    ImageType.FROM_CACHE_LOSSLESS: COPIED_PIXELS,
    ImageType.SURFACE: COPIED_PIXELS,
    ImageType.LZ_RGB: LZ_PIXELS,
    ImageType.GLZ_RGB: LZ_PIXELS,
    ImageType.QUIC: QUIC_PIXELS,
}


def is_heavy(message: Message) -> bool:
    """Whether drawing what this message says would hold up the other tasks for longer than handing it to a thread."""
    base: Any = getattr(message, "base", None)
    if base is None:
        return False
    image: Image | None = getattr(message, "src_image", None)
    if image is None:
        return bool(base.box.width * base.box.height > COPIED_PIXELS)
    pixels = max(base.box.width * base.box.height, image.width * image.height)
    limit = INLINE_PIXELS.get(image.type, OTHER_PIXELS)
    if limit < COPIED_PIXELS and not _is_plain(message):
        limit = OTHER_PIXELS
    return bool(pixels > limit)


def _is_plain(message: Message) -> bool:
    """Whether an image is shown as it is: what else can be done with it was not measured."""
    if not isinstance(message, display.DrawCopy):
        return False
    area, box = message.src_area, message.base.box
    return (area.width, area.height) == (box.width, box.height)


def are_heavy(frames: Iterable[DeferredFrame]) -> bool:
    """The same for frames that were deferred: JPEGs are decoded then; the others were, and their colours are converted sooner."""
    return sum(one.pixels for one in frames) > MJPEG_PIXELS


def is_heavy_frame(codec: VideoCodecType, pixels: int) -> bool:
    """The same for a frame of a video stream with so many pixels."""
    return pixels > (MJPEG_PIXELS if codec == VideoCodecType.MJPEG else OTHER_PIXELS)
