"""The one limit on an image's size, for every decoder, checked before anything is allocated."""

from __future__ import annotations

import attrs

from atp_trio.errors import ImageError

__all__ = ["DEFAULT_LIMIT", "SizeLimit", "check_size"]


@attrs.frozen
class SizeLimit:
    """How large an image may be.

    A few bytes can announce 65535 x 65535 pixels and pass every checked multiplication; that is 17 GiB.
    """

    side: int = 16384
    """Pixels in width and in height."""
    pixels: int = 64 * 2**20
    """Pixels in all; 256 MiB of 32-bit ones."""


DEFAULT_LIMIT = SizeLimit()


def check_size(width: int, height: int, limit: SizeLimit = DEFAULT_LIMIT) -> None:
    """See that an image has a size and that the limit allows it.

    Raises:
        ImageError: A side is not positive, or the size is over the limit.
    """
    if width <= 0 or height <= 0:
        raise ImageError(f"an image of {width}x{height} pixels has no size")
    if width > limit.side or height > limit.side or width * height > limit.pixels:
        raise ImageError(f"an image of {width}x{height} pixels is over the limit of {limit.side} a side, {limit.pixels} in all")
