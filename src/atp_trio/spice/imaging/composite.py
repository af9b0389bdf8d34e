"""DRAW_COMPOSITE: composition as X's Render extension has it, on premultiplied pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from atp_trio.spice.imaging.decode import Unsupported
from atp_trio.spice.imaging.draw import Drawing, is_surface, put
from atp_trio.spice.imaging.pixel import HAVE_ALPHA, OPAQUE, RGB, Argb, Pixels, from_argb, to_argb
from atp_trio.spice.imaging.place import seen
from atp_trio.spice.imaging.region import Area, bands
from atp_trio.spice.imaging.scale import ONE, Repeat, bilinear, nearest
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import CompositeFlag, SurfaceFormat
from atp_trio.spice.messages.geometry import Point16, Rect, Transform
from atp_trio.spice.messages.image import Image

# An operand's factor, 0 to 255, of the source's and the destination's alpha.
Factor: TypeAlias = Callable[[Any, Any], Any]


def _zero(sa: Any, da: Any) -> Any:  # noqa: ARG001 - as all factors
    return np.uint32(0)


def _full(sa: Any, da: Any) -> Any:  # noqa: ARG001
    return np.uint32(255)


def _source(sa: Any, da: Any) -> Any:  # noqa: ARG001
    return sa


def _dest(sa: Any, da: Any) -> Any:  # noqa: ARG001
    return da


def _no_source(sa: Any, da: Any) -> Any:  # noqa: ARG001
    return 255 - sa


def _no_dest(sa: Any, da: Any) -> Any:  # noqa: ARG001
    return 255 - da


def _room(sa: Any, da: Any) -> Any:
    """As much of the source as the destination has room for."""
    room, divisor = 255 - da, np.maximum(sa, 1)
    return np.where(sa <= room, 255, (room * 255 + divisor // 2) // divisor).astype(np.uint32)


# The source's factor and the destination's, by operator: CLEAR, SRC, DST, OVER, OVER_REVERSE, IN, IN_REVERSE, OUT, OUT_REVERSE,
# ATOP, ATOP_REVERSE, XOR, ADD, SATURATE. X drivers use no others.
OPERATORS: tuple[tuple[Factor, Factor], ...] = (
    (_zero, _zero),
    (_full, _zero),
    (_zero, _full),
    (_full, _no_source),
    (_no_dest, _full),
    (_dest, _zero),
    (_zero, _source),
    (_no_dest, _zero),
    (_zero, _no_source),
    (_dest, _no_source),
    (_no_dest, _source),
    (_no_dest, _no_source),
    (_full, _full),
    (_room, _full),
)

# Filters 0 (fast) and 3 take the nearest pixel, 1 (good), 2 (best) and 4 interpolate; the others are convolutions.
FILTERS = {0: nearest, 1: bilinear, 2: bilinear, 3: nearest, 4: bilinear}


@attrs.frozen(eq=False)
class Sampler:
    """An operand of a composition.

    Attributes:
        pixels: The picture.
        format: What its pixels are.
        wanted: The format they are converted to first; this one or the destination's.
        origin: What is added to a position in the box.
        transform: What maps the sum to the picture, if anything.
        filter: How a position between pixels is read; a key of `FILTERS`.
        repeat: What lies outside of the picture.
        opaque: Whether its alpha is to be ignored.
    """

    pixels: Pixels
    format: SurfaceFormat
    wanted: SurfaceFormat
    origin: Point16
    transform: Transform | None
    filter: int
    repeat: Repeat
    opaque: bool

    def sample(self, area: Area, box: Rect) -> Argb:
        """What the pixels of `area` show, as 32_ARGB."""
        x = np.arange(area.left - box.left + self.origin.x, area.right - box.left + self.origin.x, dtype=np.int64)[None, :]
        y = np.arange(area.top - box.top + self.origin.y, area.bottom - box.top + self.origin.y, dtype=np.int64)[:, None]
        if self.transform is None:
            columns, rows = x * ONE + ONE // 2, y * ONE + ONE // 2
        else:
            matrix = self.transform
            columns = _mapped(matrix.t00, matrix.t01, matrix.t02, x, y)
            rows = _mapped(matrix.t10, matrix.t11, matrix.t12, x, y)
        return FILTERS[self.filter](self.pixels, self._argb, columns, rows, self.repeat)

    def _argb(self, raw: Pixels) -> Argb:
        argb = seen(raw, self.format, self.wanted)
        return argb | OPAQUE if self.opaque else argb


def _mapped(a: float, b: float, c: float, x: Any, y: Any) -> Any:
    """One row of the matrix, in 16.16 numbers, applied to the pixels' centres."""
    a, b, c = (round(value * ONE) for value in (a, b, c))
    return a * x + b * y + (c + (a + b + 1 >> 1))


def draw_composite(drawing: Drawing, message: display.DrawComposite) -> None:
    """Source and mask, both perhaps transformed, combined with the surface by an operator."""
    flags = message.flags
    operator = flags & 0xFF
    if operator >= len(OPERATORS):
        raise Unsupported(f"composite operator {operator}")
    source = _sampler(drawing, message.src, message.src_origin, message.src_transform, flags >> 8, flags >> 14)
    mask = None
    if message.mask is not None:
        mask = _sampler(drawing, message.mask, message.mask_origin, message.mask_transform, flags >> 11, flags >> 16)
    if flags & CompositeFlag.SOURCE_OPAQUE:
        source = attrs.evolve(source, opaque=True)
    if mask and flags & CompositeFlag.MASK_OPAQUE:
        mask = attrs.evolve(mask, opaque=True)
    form = drawing.surface.format
    opaque = flags & CompositeFlag.DEST_OPAQUE or form not in HAVE_ALPHA
    for area in bands(drawing.areas):
        dest = area.of(drawing.surface.pixels)
        argb = to_argb(dest, form)
        result = composed(
            OPERATORS[operator],
            source.sample(area, drawing.box),
            mask.sample(area, drawing.box) if mask else None,
            argb | OPAQUE if opaque else argb,
            component_alpha=bool(flags & CompositeFlag.COMPONENT_ALPHA),
        )
        put(dest, from_argb(result & RGB if opaque else result, form), area)


def _sampler(
    drawing: Drawing, image: Image | None, origin: Point16, transform: Transform | None, filtering: int, repeat: int
) -> Sampler:
    picture = drawing.picture(image, any_depth=True)
    if filtering & 7 not in FILTERS:
        raise Unsupported(f"composite filter {filtering & 7}")
    # The surface as it was, when it is composed with itself.
    pixels = picture.pixels.copy() if picture.pixels is drawing.surface.pixels else picture.pixels
    # As for plain copies, images are made what the surface is, so that on 16 bits they lose their alpha; surfaces are not.
    wanted = picture.format if is_surface(image) else drawing.surface.format
    return Sampler(pixels, picture.format, wanted, origin, transform, filtering & 7, Repeat(repeat & 3), opaque=False)


def composed(
    factors: tuple[Factor, Factor], source: Argb, mask: Argb | None, dest: Argb, *, component_alpha: bool = False
) -> Argb:
    """The pixels that an operator makes of source, mask and destination.

    Args:
        factors: The operator, of `OPERATORS`.
        source: 32_ARGB.
        mask: 32_ARGB, of which the alpha counts.
        dest: 32_ARGB.
        component_alpha: Whether every channel of the mask acts on its own channel of the source instead.
    """
    result = np.zeros_like(dest)
    da = dest >> 24
    for shift in (0, 8, 16, 24):
        s, d, sa = source >> shift & 255, dest >> shift & 255, source >> 24
        if mask is not None:
            through = mask >> shift & 255 if component_alpha else mask >> 24
            s, sa = _product(s, through), _product(sa, through)
        total = _product(s, factors[0](sa, da)) + _product(d, factors[1](sa, da))
        result |= np.minimum(total, 255) << shift
    return result


def _product(a: Any, b: Any) -> Any:
    """Two fractions of 255 multiplied, rounded exactly."""
    product = a * b + 128
    return product + (product >> 8) >> 8
