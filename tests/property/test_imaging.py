"""Any message of the display channel, well-formed or hostile, applied to a screen: it is drawn, or counted, and nothing else."""

import tracemalloc

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp_trio.errors import ImageError, MalformedMessage
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.lz import LzType, encode_lz
from atp_trio.spice.codec.quic import QuicType, encode_quic
from atp_trio.spice.imaging.cache import ImageCache, ImagePending
from atp_trio.spice.imaging.cursor import CursorCache
from atp_trio.spice.imaging.screen import HANDLERS, OPERATIONS, Screen
from atp_trio.spice.messages import cursor, display
from atp_trio.spice.messages.display import Brush, BrushType, Pattern, QMask, SurfaceFormat
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageFlag, ImageType, Surface
from atp_trio.testing import strategies

FAR = 2**31 - 1
FORMATS = [one for one in SurfaceFormat if one]
WIDTH, HEIGHT = 24, 18
BUDGET = 4096

coordinates = st.one_of(st.integers(-4, 30), st.sampled_from([-FAR - 1, -(2**16), 2**16, FAR]), st.integers(-FAR - 1, FAR))
near = st.integers(-6, 30)
rects = st.one_of(
    st.builds(Rect.at, near, near, st.integers(-1, 30), st.integers(-1, 30)),
    st.builds(Rect, coordinates, coordinates, coordinates, coordinates),
)
points = st.builds(Point, coordinates, coordinates)
clips = st.one_of(st.just(Clip()), st.lists(rects, max_size=5).map(lambda found: Clip.to(*found)))
bases = st.builds(DisplayBase, st.sampled_from([0, 0, 0, 1, 2, 9, 2**32 - 1]), rects, clips)


@st.composite
def images(draw):
    """Images that mostly decode, of every kind that needs no other, and some that do not."""
    width, height = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    pixels = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 2**32, (height, width), np.uint32)
    flags = draw(st.sampled_from([0, 0, *ImageFlag]))
    kind = draw(st.sampled_from(["32", "16", "1", "a", "quic", "rgba", "lz", "surface", "cache", "cut", "lies"]))
    id_ = draw(st.integers(0, 3))
    size = (width, height) if kind != "lies" else (draw(st.integers(0, 2**32 - 1)), height)
    top_down = draw(st.sampled_from([0, BitmapFlag.TOP_DOWN]))
    if kind in ("quic", "rgba", "cut", "lies"):
        data = encode_quic(pixels, type=QuicType.RGBA if kind == "rgba" else QuicType.RGB32)
        return Image(id_, ImageType.QUIC, flags, *size, BinaryData(data[: 24 if kind == "cut" else None]))
    if kind == "lz":
        return Image(id_, ImageType.LZ_RGB, flags, *size, BinaryData(encode_lz(pixels, type=LzType.RGBA)))
    if kind == "surface":
        return Image(id_, ImageType.SURFACE, flags, *size, Surface(draw(st.integers(0, 3))))
    if kind == "cache":
        return Image(id_, draw(st.sampled_from([ImageType.FROM_CACHE, ImageType.FROM_CACHE_LOSSLESS])), flags, *size)
    form, bytes_ = {
        "32": (BitmapFormat.FMT_32BIT, width * 4),
        "16": (BitmapFormat.FMT_16BIT, width * 2),
        "1": (BitmapFormat.FMT_1BIT_BE, (width + 7) // 8),
        "a": (BitmapFormat.FMT_8BIT_A, width),
    }[kind]
    data = np.resize(pixels.view(np.uint8), bytes_ * height).tobytes()
    return Image(id_, ImageType.BITMAP, flags, *size, Bitmap(form, top_down, width, height, bytes_, data=data))


brushes = st.one_of(
    st.just(Brush()),
    st.integers(0, 2**32 - 1).map(Brush.solid),
    st.builds(lambda image, pos: Brush(BrushType.PATTERN, pattern=Pattern(image, pos)), images(), points),
)
masks = st.one_of(st.just(QMask()), st.builds(QMask, st.integers(0, 1), points, images()))
FILLED = {
    "base": bases,
    "src_image": images(),
    "src": images(),
    "src_area": rects,
    "src_pos": points,
    "back_area": rects,
    "brush": brushes,
    "fore_brush": brushes,
    "back_brush": brushes,
}


@st.composite
def drawings(draw):
    """Messages of the display channel whose boxes, images and brushes are mostly worth drawing; the rest is anything."""
    cls = draw(st.sampled_from([*OPERATIONS, display.CopyBits]))
    one = draw(strategies.message(cls))
    names = {field.name for field in attrs.fields(cls)}
    changes = {name: draw(strategy) for name, strategy in FILLED.items() if name in names}
    if isinstance(getattr(one, "mask", None), QMask):
        changes["mask"] = draw(masks)
    return attrs.evolve(one, **changes)


def new_screen(form):
    screen = Screen(ImageCache(BUDGET), GlzWindow(BUDGET), max_pixels=BUDGET)
    for surface_id, kind in enumerate((form, SurfaceFormat.FMT_32_ARGB, SurfaceFormat.FMT_1_A)):
        screen.apply(display.SurfaceCreate(surface_id=surface_id, width=WIDTH, height=HEIGHT, format=kind, flags=0))
    return screen


def apply(screen, message):
    """Apply as a channel does, and check what must hold of every message."""
    counted = screen.drawn.total() + screen.not_drawn.total() + screen.failed.total()
    try:
        damage = screen.apply(message)
    except ImagePending:
        assert screen.drawn.total() + screen.not_drawn.total() + screen.failed.total() == counted
        damage = screen.apply(message, give_up=True)
    assert screen.drawn.total() + screen.not_drawn.total() + screen.failed.total() == counted + 1
    assert screen.surfaces.pixels <= BUDGET
    assert screen._cache.pixels <= 2 * BUDGET
    if damage is not None:
        surface = screen.surfaces[damage.surface_id]
        assert all(
            0 <= rect.left < rect.right <= surface.width and 0 <= rect.top < rect.bottom <= surface.height
            for rect in damage.rects
        )
    return damage


@settings(max_examples=400)
@given(form=st.sampled_from(FORMATS), messages=st.lists(drawings(), min_size=1, max_size=4))
def test_any_drawing_is_drawn_or_counted(form, messages):
    screen = new_screen(form)
    for message in messages:
        before = {number: screen.surfaces[number].pixels.copy() for number in range(3)}
        damage = apply(screen, message)
        # What changed is what the damage says.
        for number, pixels in before.items():
            changed = screen.surfaces[number].pixels != pixels
            for rect in damage.rects if damage and damage.surface_id == number else ():
                changed[rect.top : rect.bottom, rect.left : rect.right] = False
            assert not changed.any()


@pytest.mark.parametrize("cls", sorted(HANDLERS, key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_any_message_is_drawn_or_counted(cls, data):
    screen = new_screen(SurfaceFormat.FMT_32_xRGB)
    apply(screen, data.draw(strategies.message(cls)))


@pytest.mark.parametrize("cls", sorted(OPERATIONS, key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_hostile_bytes_are_refused_or_counted(cls, data):
    try:
        message = cls.decode(data.draw(strategies.malformed(cls)))
    except MalformedMessage:
        return
    apply(new_screen(SurfaceFormat.FMT_16_555), message)


@settings(max_examples=200)
@given(kind=st.integers(0, 8), size=st.tuples(*[st.integers(0, 40)] * 2), flags=st.integers(0, 7), data=st.binary(max_size=400))
def test_any_cursor_is_a_shape_or_an_error(kind, size, flags, data):
    header = None if flags & 1 else cursor.CursorHeader(1, cursor.CursorType(kind), *size, 50, 50)
    try:
        shape = CursorCache().shape(cursor.Cursor(flags, header, data))
    except ImageError:
        return
    if shape is not None:
        assert shape.pixels.shape == size[::-1]
        assert (shape.hot_x < size[0], shape.hot_y < size[1]) == (True, True)


# --- memory

HUGE = Rect(top=-FAR - 1, left=-FAR - 1, bottom=FAR, right=FAR)
PICTURE = Image(1, ImageType.QUIC, 0, 64, 64, BinaryData(encode_quic(np.zeros((64, 64), np.uint32))))
PATTERN = Brush(BrushType.PATTERN, pattern=Pattern(PICTURE, Point(-FAR, FAR)))
LARGE = {
    "fill": lambda clip: display.DrawFill(base=DisplayBase(0, HUGE, clip), brush=PATTERN, rop=display.Ropd.OP_XOR),
    "copy": lambda clip: display.DrawCopy(base=DisplayBase(0, HUGE, clip), src_image=PICTURE, src_area=Rect.at(0, 0, 64, 64)),
    "from afar": lambda clip: display.DrawCopy(
        base=DisplayBase(0, Rect.at(0, 0, 512, 512), clip), src_image=PICTURE, src_area=HUGE
    ),
    "opaque": lambda clip: display.DrawOpaque(
        base=DisplayBase(0, HUGE, clip), src_image=PICTURE, src_area=HUGE, brush=PATTERN, rop=display.Ropd.OP_AND
    ),
    "rop3": lambda clip: display.DrawRop3(
        base=DisplayBase(0, HUGE, clip), src_image=PICTURE, src_area=Rect.at(0, 0, 1, 1), brush=PATTERN, rop3=0x96
    ),
    "blend": lambda clip: display.DrawAlphaBlend(
        base=DisplayBase(0, HUGE, clip), alpha=77, src_image=PICTURE, src_area=Rect.at(0, 0, 2, 2)
    ),
}


@pytest.mark.parametrize("clip", [Clip(), Clip.to(*[HUGE] * 3000)], ids=["whole", "many"])
@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_huge_boxes_cost_no_more_than_the_surface(make, clip):
    screen = Screen(ImageCache(1 << 20), GlzWindow(1 << 20))
    screen.apply(display.SurfaceCreate(surface_id=0, width=1024, height=1024, format=SurfaceFormat.FMT_32_xRGB, flags=0))
    tracemalloc.start()
    try:
        screen.apply(make(clip))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not screen.failed
    # The surface has 4 MiB. A clip of many rectangles takes as much for its plane, and a band takes some temporaries.
    assert peak < 14 << 20
