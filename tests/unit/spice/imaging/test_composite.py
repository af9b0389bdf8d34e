"""What the canvas vectors do not have: the operator SATURATE, component alpha, opaque flags, composing a surface with itself."""

import numpy as np
import pytest

from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.composite import OPERATORS, composed
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import CompositeFlag, SurfaceFormat
from atp_trio.spice.messages.geometry import DisplayBase, Point16, Rect
from atp_trio.spice.messages.image import Bitmap, BitmapFlag, BitmapFormat, Image, ImageType, Surface

RNG = np.random.default_rng(11)


def premultiplied(size):
    alpha = RNG.integers(0, 256, size)
    colours = RNG.integers(0, alpha[..., None] + 1, (*size, 3))
    return (alpha << 24 | colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]).astype(np.uint32)


def channels(pixels):
    return np.stack([pixels >> shift & 255 for shift in (16, 8, 0, 24)], axis=-1) / 255


# The factors as fractions, straight from the definition.
DEFINED = [
    lambda sa, da: (0, 0),
    lambda sa, da: (1, 0),
    lambda sa, da: (0, 1),
    lambda sa, da: (1, 1 - sa),
    lambda sa, da: (1 - da, 1),
    lambda sa, da: (da, 0),
    lambda sa, da: (0, sa),
    lambda sa, da: (1 - da, 0),
    lambda sa, da: (0, 1 - sa),
    lambda sa, da: (da, 1 - sa),
    lambda sa, da: (1 - da, sa),
    lambda sa, da: (1 - da, 1 - sa),
    lambda sa, da: (1, 1),
    lambda sa, da: (np.minimum(1, (1 - da) / np.maximum(sa, 1 / 255)), 1),
]


@pytest.mark.parametrize("operator", range(len(OPERATORS)))
@pytest.mark.parametrize("component_alpha", [False, True])
def test_operators(operator, component_alpha):
    source, mask, dest = (premultiplied((20, 20)) for _ in range(3))
    got = composed(OPERATORS[operator], source, mask, dest, component_alpha=component_alpha)
    s, m, d = channels(source), channels(mask), channels(dest)
    through = m if component_alpha else m[..., 3:]
    fa, fb = DEFINED[operator](s[..., 3:] * through, d[..., 3:])
    expected = np.minimum(1, s * through * fa + d * fb)
    # Each product is rounded by itself; with SATURATE a small alpha makes its own rounding large.
    tolerance = 0.9 if operator == 13 else 2.1 / 255
    close = abs(channels(got) - expected) <= tolerance
    assert close.all()
    if operator == 13:
        steady = (s[..., 3:] * through > 0.2) & np.ones(4, bool)
        assert abs(channels(got) - expected)[steady].max() < 8 / 255


def bitmap(pixels, form=BitmapFormat.RGBA):
    height, width = pixels.shape
    payload = Bitmap(form, BitmapFlag.TOP_DOWN, width, height, width * 4, data=pixels.tobytes())
    return Image(1, ImageType.BITMAP, 0, width, height, payload)


def compose(flags, src, mask=None, *, form=SurfaceFormat.FMT_32_ARGB, dest=0xFF0000FF, origin=(0, 0)):
    screen = Screen(ImageCache(1000), GlzWindow(1000))
    screen.apply(display.SurfaceCreate(surface_id=0, width=4, height=2, format=form, flags=0))
    screen.primary.pixels[...] = dest
    message = display.DrawComposite(
        base=DisplayBase(0, Rect.at(0, 0, 4, 2)),
        flags=flags,
        src=src,
        mask=mask,
        src_origin=Point16(*origin),
        mask_origin=Point16(0, 0),
    )
    screen.apply(message)
    assert not screen.failed
    return screen


def test_opaque_flags():
    half = np.full((2, 4), 0x80400000, np.uint32)
    plain = compose(3, bitmap(half)).primary.pixels
    assert (plain == 0xFF40007F).all()
    opaque = compose(3 | CompositeFlag.SOURCE_OPAQUE, bitmap(half)).primary.pixels
    assert (opaque == 0xFF400000).all()
    masked = compose(1 | CompositeFlag.HAS_MASK, bitmap(half), bitmap(np.zeros((2, 4), np.uint32)))
    assert not masked.primary.pixels.any()
    through = compose(1 | CompositeFlag.HAS_MASK | CompositeFlag.MASK_OPAQUE, bitmap(half), bitmap(np.zeros((2, 4), np.uint32)))
    assert (through.primary.pixels == half).all()
    # OVER_REVERSE on what is to be taken as opaque changes nothing.
    kept = compose(4 | CompositeFlag.DEST_OPAQUE, bitmap(half), dest=0x000000FF)
    assert (kept.copy() == 0xFF).all()


def test_a_surface_composed_with_itself_is_read_as_it_was():
    screen = Screen(ImageCache(1000), GlzWindow(1000))
    screen.apply(display.SurfaceCreate(surface_id=0, width=4, height=2, format=SurfaceFormat.FMT_32_ARGB, flags=0))
    screen.primary.pixels[...] = before = premultiplied((2, 4))
    message = display.DrawComposite(
        base=DisplayBase(0, Rect.at(0, 0, 4, 2)),
        flags=1,
        src=Image(0, ImageType.SURFACE, 0, 4, 2, Surface(0)),
        src_origin=Point16(-1, -1),
        mask_origin=Point16(0, 0),
    )
    screen.apply(message)
    assert (screen.primary.pixels[1:, 1:] == before[:-1, :-1]).all()
    assert not screen.primary.pixels[0].any()
    assert not screen.primary.pixels[:, 0].any()


def test_convolutions_are_not_drawn():
    screen = compose(3 | 5 << 8, bitmap(premultiplied((2, 4))))
    assert screen.not_drawn == {"composite filter 5": 1}
