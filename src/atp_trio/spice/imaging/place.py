"""Operands of drawing operations: for an area of the destination, the pixels that an image, a brush or a mask puts there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.pixel import RGB, Argb, Picture, Pixels, bits_per_pixel, converted, from_argb, to_argb
from atp_trio.spice.imaging.region import Area, bounds
from atp_trio.spice.imaging.scale import Scaling
from atp_trio.spice.imaging.surface import Surface
from atp_trio.spice.messages.display import SurfaceFormat
from atp_trio.spice.messages.geometry import Point, Rect

# Gives the raw pixels, in the destination's format, for an area: an array of its shape, or one number for all of it.
Operand: TypeAlias = Callable[[Area], Any]


def place(
    picture: Picture,
    src_area: Rect,
    box: Rect,
    surface: Surface,
    areas: Sequence[Area],
    *,
    smooth: bool = False,
    plain: bool = True,
    blend: bool = False,
    whole_pixels: bool = False,
) -> tuple[list[Area], Operand]:
    """An image's area laid into a box.

    Args:
        picture: The image; it may be the surface itself, whose old pixels are then kept for the operation.
        src_area: What of it to show.
        box: Where.
        surface: The destination.
        areas: The region.
        smooth: Whether to interpolate when the sizes differ.
        plain: Whether the operation copies colours. Then a scaled xRGB image is opaque; for logical operations and
            colour keys, which see raw pixels, its top byte is 0.
        blend: Whether the operand is to be 32_ARGB, whatever the surface's format is.
        whole_pixels: See `scale.Axis.of`.

    Returns:
        What of the region the image reaches, and the operand. A scaled image reaches all of it.

    Raises:
        ImageError: The source area is empty.
    """
    form = SurfaceFormat.FMT_32_ARGB if blend else surface.format
    if (src_area.right - src_area.left, src_area.bottom - src_area.top) == (box.right - box.left, box.bottom - box.top):
        x, y = box.left - src_area.left, box.top - src_area.top
        height, width = picture.pixels.shape
        reached = [inner for area in areas if (inner := area.within(x, y, x + width, y + height))]
        pixels, x, y = _kept(picture.pixels, surface, reached, x, y)
        if blend:
            return reached, lambda area: to_argb(area.of(pixels, x, y), picture.format)
        return reached, lambda area: converted(area.of(pixels, x, y), picture.format, form)

    scaling = Scaling.of(src_area, box, smooth=smooth, whole_pixels=whole_pixels)
    source = picture.pixels.copy() if picture.pixels is surface.pixels else picture.pixels
    clear_top = not plain and picture.format == SurfaceFormat.FMT_32_xRGB

    def scaled(area: Area) -> Pixels:
        argb = scaling.sample(source, lambda raw: seen(raw, picture.format, form), area)
        return from_argb(argb & RGB if clear_top else argb, form)

    return list(areas), scaled


def _kept(pixels: Pixels, surface: Surface, areas: Sequence[Area], x: int, y: int) -> tuple[Pixels, int, int]:
    """The pixels under the areas, and where the first lies: a copy of them if drawing would change them."""
    if pixels is not surface.pixels or not areas:
        return pixels, x, y
    kept = bounds(areas)
    return kept.of(pixels, x, y).copy(), kept.left, kept.top


def seen(raw: Pixels, source: SurfaceFormat, wanted: SurfaceFormat) -> Argb:
    """A picture's pixels as 32_ARGB, coarsened first when the destination has fewer bits."""
    argb = to_argb(raw, source)
    return argb if bits_per_pixel(wanted) == 32 else to_argb(from_argb(argb, wanted), wanted)


def tiled(picture: Picture, anchor: Point, surface: Surface) -> Operand:
    """A pattern brush: the picture repeated in both directions, its first pixel at `anchor` of the surface."""
    tile = converted(picture.pixels, picture.format, surface.format)
    if picture.pixels is surface.pixels:
        tile = tile.copy()
    height, width = tile.shape

    def pixels(area: Area) -> Pixels:
        rows = np.arange(area.top - anchor.y, area.bottom - anchor.y) % height
        columns = np.arange(area.left - anchor.x, area.right - anchor.x) % width
        return tile[np.ix_(rows, columns)]

    return pixels


def masked(picture: Picture, pos: Point, box: Rect, areas: Sequence[Area], *, inverted: bool) -> list[Area]:
    """What of the areas a mask lets through: where its bit is 1, or 0 when `inverted`; never outside of the mask.

    Raises:
        ImageError: The picture is no mask.
    """
    if picture.format != SurfaceFormat.FMT_1_A:
        raise ImageError(f"a {picture.format.name} image as a mask")
    x, y = box.left - pos.x, box.top - pos.y
    height, width = picture.pixels.shape
    inside = (area.within(x, y, x + width, y + height) for area in areas)
    wanted = 0 if inverted else 255
    return [area.covered(area.of(picture.pixels, x, y) == wanted) for area in inside if area]
