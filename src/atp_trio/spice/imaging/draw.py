"""The drawing operations, one function a message.

Theory of operation. A `Drawing` is one message's work: its surface, the region it may touch and its images, decoded already. Each
operation turns its images, brush and mask into operands (`imaging.place`), trims the region to where they reach, and then
combines operands and old pixels, band by band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import attrs
import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.imaging import rop
from atp_trio.spice.imaging.images import Loaded
from atp_trio.spice.imaging.pixel import (
    HAVE_ALPHA,
    RGB,
    Picture,
    Pixels,
    bits_per_pixel,
    from_argb,
    multiply,
    over,
    raw_colour,
    require_same_depth,
    to_argb,
)
from atp_trio.spice.imaging.place import Operand, masked, place, tiled
from atp_trio.spice.imaging.region import Area, bands
from atp_trio.spice.imaging.surface import Surface
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import AlphaFlag, Brush, BrushType, ImageScaleMode, MaskFlag, QMask, Ropd, SurfaceFormat
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.image import Image, ImageType
from atp_trio.spice.wire import Message


@attrs.frozen(eq=False)
class Drawing:
    """What a drawing operation is given.

    Attributes:
        surface: Where it draws.
        box: The message's box.
        areas: The region: what of the box lies in the surface and the clip. Not empty.
        loaded: The message's images, decoded.
    """

    surface: Surface
    box: Rect
    areas: list[Area]
    loaded: Loaded

    def picture(self, image: Image | None, *, any_depth: bool = False) -> Picture:
        """The decoded source image.

        Args:
            image: The message's image; there must be one.
            any_depth: Whether a surface may be the source whatever its depth: only for blending.

        Raises:
            ImageError: There is none, or it is a surface of another depth.
        """
        if image is None:
            raise ImageError("a drawing message without its image")
        found = self.loaded.pictures[id(image)]
        if is_surface(image) and not any_depth:
            require_same_depth(found.format, self.surface.format)
        return found

    def masked(self, mask: QMask, areas: Iterable[Area] | None = None) -> list[Area]:
        """What of the areas (the region) the message's mask lets through."""
        areas = self.areas if areas is None else list(areas)
        if mask.bitmap is None:
            return areas
        inverted = bool(mask.flags & MaskFlag.INVERS)
        return masked(self.loaded.masks[id(mask.bitmap)], mask.pos, self.box, areas, inverted=inverted)

    def brush(self, brush: Brush) -> Operand:
        """What a brush puts down; a brush NONE is colour 0."""
        if brush.type == BrushType.PATTERN and brush.pattern:
            return tiled(self.picture(brush.pattern.pat), brush.pattern.pos, self.surface)
        colour = raw_colour(self.surface.format, brush.color or 0)
        return lambda _: colour

    def combine(self, areas: Iterable[Area], code: int, operand: Operand) -> None:
        """Combine the operand with the surface by a binary operation."""
        operation = rop.BINARY[code]
        for area in bands(areas):
            dest = area.of(self.surface.pixels)
            put(dest, operation(operand(area), dest), area)


def is_surface(image: Image | None) -> bool:
    """Whether the image is the live pixels of a surface."""
    return image is not None and image.type == ImageType.SURFACE


def with_alpha(picture: Picture) -> Picture:
    """The picture with its top byte taken as alpha."""
    is_xrgb = picture.format == SurfaceFormat.FMT_32_xRGB
    return attrs.evolve(picture, format=SurfaceFormat.FMT_32_ARGB) if is_xrgb else picture


def put(dest: Pixels, pixels: Any, area: Area) -> None:
    """Write pixels (or one number) to where the area is covered."""
    if area.coverage is None:
        dest[...] = pixels
    else:
        np.copyto(dest, pixels, where=area.coverage)


def draw_fill(drawing: Drawing, message: display.DrawFill) -> None:
    """The brush, combined with the surface."""
    code = rop.binary(message.rop, Ropd.INVERS_BRUSH)
    drawing.combine(drawing.masked(message.mask), code, drawing.brush(message.brush))


def draw_blackness(drawing: Drawing, message: display.DrawBlackness) -> None:
    """All bits 0."""
    drawing.combine(drawing.masked(message.mask), 0, lambda _: 0)


def draw_whiteness(drawing: Drawing, message: display.DrawWhiteness) -> None:
    """All bits 1."""
    drawing.combine(drawing.masked(message.mask), rop.ALL, lambda _: 0)


def draw_invers(drawing: Drawing, message: display.DrawInvers) -> None:
    """All bits inverted."""
    drawing.combine(drawing.masked(message.mask), rop.D ^ rop.ALL, lambda _: 0)


def draw_copy(drawing: Drawing, message: display.DrawCopy | display.DrawBlend) -> None:
    """An image, combined with the surface."""
    code = rop.binary(message.rop, Ropd.INVERS_SRC)
    areas, operand = place(
        drawing.picture(message.src_image),
        message.src_area,
        drawing.box,
        drawing.surface,
        drawing.areas,
        smooth=message.scale_mode == ImageScaleMode.INTERPOLATE,
        plain=code == rop.COPY,
    )
    drawing.combine(drawing.masked(message.mask, areas), code, operand)


def draw_opaque(drawing: Drawing, message: display.DrawOpaque) -> None:
    """An image, and over it a brush combined with what was just drawn."""
    smooth = message.scale_mode == ImageScaleMode.INTERPOLATE
    picture = drawing.picture(message.src_image)
    areas, operand = place(picture, message.src_area, drawing.box, drawing.surface, drawing.areas, smooth=smooth)
    drawing.combine(drawing.masked(message.mask, areas), rop.COPY, operand)
    code = rop.binary(message.rop, Ropd.INVERS_BRUSH, Ropd.INVERS_SRC)
    drawing.combine(drawing.masked(message.mask), code, drawing.brush(message.brush))


def draw_rop3(drawing: Drawing, message: display.DrawRop3) -> None:
    """Brush, image and surface, combined by a ternary operation."""
    areas, operand = place(
        drawing.picture(message.src_image),
        message.src_area,
        drawing.box,
        drawing.surface,
        drawing.areas,
        smooth=message.scale_mode == ImageScaleMode.INTERPOLATE,
        plain=False,
        whole_pixels=True,
    )
    pattern = drawing.brush(message.brush)
    for area in bands(drawing.masked(message.mask, areas)):
        dest = area.of(drawing.surface.pixels)
        put(dest, rop.ternary(message.rop3, pattern(area), operand(area), dest), area)


def draw_transparent(drawing: Drawing, message: display.DrawTransparent) -> None:
    """An image, less its pixels of one colour."""
    form = drawing.surface.format
    picture = drawing.picture(message.src_image)
    areas, operand = place(picture, message.src_area, drawing.box, drawing.surface, drawing.areas, plain=False)
    key = int(from_argb(np.array([message.true_color], np.uint32), form)[0])
    for area in bands(areas):
        pixels = operand(area)
        wanted = pixels & RGB != key & RGB if bits_per_pixel(form) == 32 else pixels != key
        put(area.of(drawing.surface.pixels), pixels, area.covered(wanted))


def draw_alpha_blend(drawing: Drawing, message: display.DrawAlphaBlend) -> None:
    """An image over the surface, all of it as transparent as `alpha` says."""
    if not message.alpha:
        return
    form = dest_format = drawing.surface.format
    picture = drawing.picture(message.src_image, any_depth=True)
    if message.alpha_flags & AlphaFlag.SRC_SURFACE_HAS_ALPHA and is_surface(message.src_image):
        picture = with_alpha(picture)
    if message.alpha_flags & AlphaFlag.DEST_HAS_ALPHA and form == SurfaceFormat.FMT_32_xRGB:
        dest_format = SurfaceFormat.FMT_32_ARGB
    areas, operand = place(picture, message.src_area, drawing.box, drawing.surface, drawing.areas, blend=True)
    for area in bands(areas):
        dest = area.of(drawing.surface.pixels)
        source = operand(area) if message.alpha == 255 else multiply(operand(area), np.uint32(message.alpha))
        blended = over(source, to_argb(dest, dest_format))
        put(dest, from_argb(blended if dest_format in HAVE_ALPHA else blended & RGB, form), area)


Operation: TypeAlias = Callable[[Drawing, Any], None]

DRAWING: dict[type[Message], Operation] = {
    display.DrawFill: draw_fill,
    display.DrawOpaque: draw_opaque,
    display.DrawCopy: draw_copy,
    display.DrawBlend: draw_copy,
    display.DrawBlackness: draw_blackness,
    display.DrawWhiteness: draw_whiteness,
    display.DrawInvers: draw_invers,
    display.DrawRop3: draw_rop3,
    display.DrawTransparent: draw_transparent,
    display.DrawAlphaBlend: draw_alpha_blend,
}
