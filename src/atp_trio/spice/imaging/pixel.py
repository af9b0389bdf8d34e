"""Pixels: the formats that surfaces and pictures have, their conversion, and arithmetic on premultiplied ones.

Pixels are numpy arrays of shape (height, width), rows top-down, one number a pixel:

| format | type | number |
|---|---|---|
| 32_xRGB, 32_ARGB | uint32 | `0xAARRGGBB`, alpha premultiplied; the top byte of xRGB says nothing |
| 16_555, 16_565 | uint16 | `0RRRRRGGGGGBBBBB`, `RRRRRGGGGGGBBBBB` |
| 8_A | uint8 | alpha |
| 1_A | uint8 | 0 or 255, so that logical operations and alpha work as on 8_A |
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import ImageError
from atp_trio.spice.messages.display import SurfaceFormat

Pixels: TypeAlias = npt.NDArray[Any]
Argb: TypeAlias = npt.NDArray[np.uint32]

DTYPES: dict[int, type[np.unsignedinteger[Any]]] = {
    SurfaceFormat.FMT_32_xRGB: np.uint32,
    SurfaceFormat.FMT_32_ARGB: np.uint32,
    SurfaceFormat.FMT_16_555: np.uint16,
    SurfaceFormat.FMT_16_565: np.uint16,
    SurfaceFormat.FMT_8_A: np.uint8,
    SurfaceFormat.FMT_1_A: np.uint8,
}
HAVE_ALPHA = frozenset((SurfaceFormat.FMT_32_ARGB, SurfaceFormat.FMT_8_A, SurfaceFormat.FMT_1_A))

RGB = np.uint32(0x00FFFFFF)
OPAQUE = np.uint32(0xFF000000)
# Two channels of a pixel, each with eight bits to spare.
LANES = np.uint32(0x00FF00FF)


@attrs.frozen(eq=False)
class Picture:
    """A decoded image.

    Attributes:
        pixels: Its pixels as `format` has them, shape (height, width), rows top-down.
        format: Their format.
        lossy: Whether JPEG took something away.
    """

    pixels: Pixels
    format: SurfaceFormat
    lossy: bool = False


def bits_per_pixel(surface_format: SurfaceFormat) -> int:
    """1, 8, 16 or 32."""
    return surface_format & 0x3F


def raw_colour(surface_format: SurfaceFormat, colour: int) -> np.unsignedinteger[Any]:
    """A brush's colour as a raw pixel: its low bits, as many as a pixel has."""
    if surface_format == SurfaceFormat.FMT_1_A:
        return np.uint8(255 if colour & 1 else 0)
    return DTYPES[surface_format](colour & ((1 << bits_per_pixel(surface_format)) - 1))


def to_argb(pixels: Pixels, surface_format: SurfaceFormat) -> Argb:
    """The pixels as 32_ARGB numbers; the alpha of formats without is 255."""
    if surface_format == SurfaceFormat.FMT_32_ARGB:
        return pixels
    if surface_format == SurfaceFormat.FMT_32_xRGB:
        return pixels | OPAQUE
    wide: Any = pixels.astype(np.uint32)
    if surface_format == SurfaceFormat.FMT_16_555:
        # Each five bits go to the top of their byte; their upper three fill its lower three.
        wide = (wide & 0x7C00) << 9 | (wide & 0x03E0) << 6 | (wide & 0x001F) << 3
        return cast("Argb", OPAQUE | wide | (wide >> 5 & 0x00070707))
    if surface_format == SurfaceFormat.FMT_16_565:
        red_blue = (wide & 0xF800) << 8 | (wide & 0x001F) << 3
        green = (wide & 0x07E0) << 5
        return cast("Argb", OPAQUE | red_blue | (red_blue >> 5 & 0x00070007) | green | (green >> 6 & 0x00000300))
    return cast("Argb", wide << 24)


def from_argb(argb: Argb, surface_format: SurfaceFormat) -> Pixels:
    """32_ARGB numbers as pixels of a format, channels truncated; the same array where the numbers are the same."""
    if surface_format in (SurfaceFormat.FMT_32_xRGB, SurfaceFormat.FMT_32_ARGB):
        return argb
    if surface_format == SurfaceFormat.FMT_16_555:
        return (argb >> 9 & 0x7C00 | argb >> 6 & 0x03E0 | argb >> 3 & 0x001F).astype(np.uint16)
    if surface_format == SurfaceFormat.FMT_16_565:
        return (argb >> 8 & 0xF800 | argb >> 5 & 0x07E0 | argb >> 3 & 0x001F).astype(np.uint16)
    alpha = (argb >> 24).astype(np.uint8)
    return alpha if surface_format == SurfaceFormat.FMT_8_A else (alpha >> 7) * np.uint8(255)


def converted(pixels: Pixels, source: SurfaceFormat, wanted: SurfaceFormat) -> Pixels:
    """The pixels in another format. Between the two 32-bit formats the numbers stay as they are, whatever the top byte holds."""
    if source == wanted or bits_per_pixel(source) == bits_per_pixel(wanted) == 32:
        return pixels
    return from_argb(to_argb(pixels, source), wanted)


def require_same_depth(source: SurfaceFormat, wanted: SurfaceFormat) -> None:
    """A surface's pixels are drawn raw, so the depths must agree.

    Raises:
        ImageError: They do not.
    """
    if bits_per_pixel(source) != bits_per_pixel(wanted):
        raise ImageError(f"a {source.name} surface as the source of a {wanted.name} one")


def multiply(argb: Any, factor: Any) -> Any:
    """Every channel times factor/255, rounded exactly; `factor` holds 0 to 255, as one number or one a pixel."""
    return _scale_lanes(argb & LANES, factor) | _scale_lanes(argb >> 8 & LANES, factor) << 8


def _scale_lanes(lanes: Any, factor: Any) -> Any:
    product = lanes * factor + np.uint32(0x00800080)
    return product + (product >> 8 & LANES) >> 8 & LANES


def add(one: Any, other: Any) -> Any:
    """The sum of every channel, at most 255."""
    return _add_lanes(one & LANES, other & LANES) | _add_lanes(one >> 8 & LANES, other >> 8 & LANES) << 8


def _add_lanes(one: Any, other: Any) -> Any:
    total = one + other
    # Where a lane carried, 0x100 - 1 fills its eight bits.
    return (total | np.uint32(0x01000100) - (total >> 8 & LANES)) & LANES


def over(source: Any, dest: Any) -> Any:
    """`source` over `dest`: source + dest * (1 - source's alpha)."""
    return add(source, multiply(dest, ~source >> 24))
