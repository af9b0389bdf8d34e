import gc

import attrs
import numpy as np
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.quic import encode_quic
from atp_trio.spice.imaging.cache import ImageCache, ImagePending
from atp_trio.spice.imaging.screen import DAMAGE_RECTS, HANDLERS, OPERATIONS, Damage, Screen
from atp_trio.spice.imaging.surface import MAX_SURFACES, Surfaces
from atp_trio.spice.messages import display, main
from atp_trio.spice.messages.display import Brush, Head, ResourceId, ResourceType, SurfaceFormat
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Rect
from atp_trio.spice.messages.image import (
    BinaryData,
    Bitmap,
    BitmapFlag,
    BitmapFormat,
    Image,
    ImageFlag,
    ImageType,
    Palette,
    Surface,
)

XRGB = SurfaceFormat.FMT_32_xRGB
WIDTH, HEIGHT = 16, 12
PIXELS = np.random.default_rng(3).integers(0, 2**24, (4, 5), np.uint32)


def create(surface_id=0, width=WIDTH, height=HEIGHT, form=XRGB):
    return display.SurfaceCreate(surface_id=surface_id, width=width, height=height, format=form, flags=0)


def fill(rect, colour, *, surface_id=0, clip=None):
    return display.DrawFill(base=DisplayBase(surface_id, rect, clip or Clip()), brush=Brush.solid(colour))


def quic(flags=0, id_=1):
    return Image(id_, ImageType.QUIC, flags, 5, 4, BinaryData(encode_quic(PIXELS)))


def copy(image, x=0, y=0, *, source=None, **more):
    source = source or Rect.at(0, 0, 5, 4)
    return display.DrawCopy(
        base=DisplayBase(0, Rect.at(x, y, source.width, source.height)), src_image=image, src_area=source, **more
    )


FROM_CACHE = Image(1, ImageType.FROM_CACHE, 0, 5, 4)


@pytest.fixture
def screen():
    made = Screen(ImageCache(1000), GlzWindow(1000))
    made.apply(create())
    return made


def test_a_fill_and_its_damage(screen):
    damage = screen.apply(fill(Rect.at(-2, 1, 5, 2), 0xFF112233))
    assert damage == Damage(0, (Rect.at(0, 1, 3, 2),))
    expected = np.zeros((HEIGHT, WIDTH), np.uint32)
    expected[1:3, :3] = 0x112233
    assert (screen.copy() == expected).all()
    assert screen.drawn == {"SurfaceCreate": 1, "DrawFill": 1}


def test_copies_are_the_caller_s_and_cut_to_the_surface(screen):
    screen.apply(fill(Rect.at(0, 0, 1, 1), 1))
    part = screen.copy(Rect.at(-3, -2, 5, 4))
    assert part.tolist() == [[1, 0], [0, 0]]
    part[...] = 9
    assert screen.copy()[0, 0] == 1
    assert screen.copy(Rect.at(90, 90, 5, 5)).size == 0
    with pytest.raises(ImageError, match="no surface 5"):
        screen.copy(surface_id=5)


def test_copies_of_16_bits_are_32(screen):
    screen.apply(create(3, 2, 1, SurfaceFormat.FMT_16_565))
    screen.apply(fill(Rect.at(0, 0, 1, 1), 0xF81F, surface_id=3))
    assert screen.copy(surface_id=3).tolist() == [[0xFF00FF, 0]]


def test_damage_of_many_rectangles_is_their_bounds(screen):
    rects = [Rect.at(x, 1, 1, 1) for x in range(0, 2 * DAMAGE_RECTS, 2)]
    assert screen.apply(fill(Rect.at(0, 0, 16, 12), 1, clip=Clip.to(*rects))).rects == tuple(rects)
    rects.append(Rect.at(3, 9, 1, 1))
    assert screen.apply(fill(Rect.at(0, 0, 16, 12), 1, clip=Clip.to(*rects))).rects == (Rect.at(0, 1, 15, 9),)


def test_nothing_seen_is_no_damage_but_the_image_is_kept(screen):
    message = copy(quic(ImageFlag.CACHE_ME), 100, 100)
    assert screen.apply(message) is None
    assert screen.apply(copy(FROM_CACHE, 1, 2)) == Damage(0, (Rect.at(1, 2, 5, 4),))
    assert (screen.copy(Rect.at(1, 2, 5, 4)) == PIXELS).all()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"source": Rect.at(1, 1, 3, 2)},
        {"rop": display.Ropd.OP_OR},
        {"mask": display.QMask()},
        {"scale_mode": display.ImageScaleMode.NEAREST},
    ],
)
@pytest.mark.parametrize(("x", "y"), [(1, 1), (0, 0), (-1, -1), (14, 10)])
@pytest.mark.parametrize("clip", [Clip(), Clip.to(Rect.at(0, 0, 99, 99)), Clip.to(Rect.at(2, 2, 2, 2))])
def test_the_short_way_draws_what_the_long_way_draws(screen, more, x, y, clip):
    message = copy(quic(), x, y, **more)
    message = attrs.evolve(message, base=attrs.evolve(message.base, clip=clip))
    screen.apply(message)
    expected = np.zeros((HEIGHT, WIDTH), np.uint32)
    source = message.src_area
    for row in range(max(y, 0), min(y + source.height, HEIGHT)):
        for column in range(max(x, 0), min(x + source.width, WIDTH)):
            if not clip.rects or (
                clip.rects[0].left <= column < clip.rects[0].right and clip.rects[0].top <= row < clip.rects[0].bottom
            ):
                expected[row, column] = PIXELS[row - y + source.top, column - x + source.left]
    assert (screen.copy() == expected).all()
    assert not screen.failed


def test_bottom_up_bitmaps(screen):
    data = Bitmap(BitmapFormat.FMT_32BIT, 0, 5, 4, 20, data=PIXELS.tobytes())
    screen.apply(copy(Image(1, ImageType.BITMAP, 0, 5, 4, data)))
    assert (screen.copy(Rect.at(0, 0, 5, 4)) == PIXELS[::-1]).all()


def test_a_surface_as_the_source(screen):
    screen.apply(create(7, 5, 4))
    screen.apply(fill(Rect.at(0, 0, 5, 4), 0x123456, surface_id=7))
    screen.apply(copy(Image(0, ImageType.SURFACE, 0, 5, 4, Surface(7)), 3, 3))
    assert (screen.copy(Rect.at(3, 3, 5, 4)) == 0x123456).all()
    screen.apply(create(8, 5, 4, SurfaceFormat.FMT_16_555))
    screen.apply(copy(Image(0, ImageType.SURFACE, 0, 5, 4, Surface(8))))
    assert screen.failed == {"DrawCopy": 1}


@pytest.mark.parametrize("offset", [(1, 0), (-1, 0), (0, 1), (0, -1), (3, 2), (-3, -2)])
@pytest.mark.parametrize("clip", [Clip(), Clip.to(Rect.at(0, 0, 8, 12), Rect.at(8, 0, 8, 12))])
def test_copies_within_a_surface_see_it_as_it_was(screen, offset, clip):
    before = np.arange(WIDTH * HEIGHT, dtype=np.uint32).reshape(HEIGHT, WIDTH)
    dx, dy = offset
    for way in ("bits", "self"):
        screen.primary.pixels[...] = before
        base = DisplayBase(0, Rect.at(0, 0, WIDTH, HEIGHT), clip)
        if way == "bits":
            screen.apply(display.CopyBits(base=base, src_pos=Point(dx, dy)))
        else:
            me = Image(0, ImageType.SURFACE, 0, WIDTH, HEIGHT, Surface(0))
            screen.apply(display.DrawCopy(base=base, src_image=me, src_area=Rect.at(dx, dy, WIDTH, HEIGHT)))
        expected = before.copy()
        for y in range(HEIGHT):
            for x in range(WIDTH):
                if 0 <= x + dx < WIDTH and 0 <= y + dy < HEIGHT:
                    expected[y, x] = before[y + dy, x + dx]
        assert (screen.copy() == expected).all()


def test_a_surface_as_its_own_brush_and_source_scaled(screen):
    before = np.arange(WIDTH * HEIGHT, dtype=np.uint32).reshape(HEIGHT, WIDTH)
    screen.primary.pixels[...] = before
    me = Image(0, ImageType.SURFACE, 0, WIDTH, HEIGHT, Surface(0))
    base = DisplayBase(0, Rect.at(0, 0, WIDTH, HEIGHT))
    mode = display.ImageScaleMode.NEAREST
    screen.apply(display.DrawCopy(base=base, src_image=me, src_area=Rect.at(0, 0, 8, 6), scale_mode=mode))
    assert (screen.copy() == before[:6, :8].repeat(2, axis=0).repeat(2, axis=1)).all()
    screen.primary.pixels[...] = before
    brush = Brush(display.BrushType.PATTERN, pattern=display.Pattern(me, Point(1, 1)))
    screen.apply(display.DrawFill(base=base, brush=brush))
    assert (screen.copy() == np.roll(before, (1, 1), (0, 1))).all()


# --- waiting


def test_a_missing_image_is_pending_and_nothing_was_drawn(screen):
    message = copy(FROM_CACHE)
    with pytest.raises(ImagePending):
        screen.apply(message)
    assert not screen.copy().any()
    assert not screen.failed
    screen.apply(copy(quic(ImageFlag.CACHE_ME), 50, 50))
    assert screen.apply(message).rects == (Rect.at(0, 0, 5, 4),)
    assert screen.drawn["DrawCopy"] == 2


def test_a_missing_image_that_is_given_up_is_a_failure(screen):
    assert screen.apply(copy(FROM_CACHE), give_up=True) is None
    assert screen.failed == {"DrawCopy": 1}
    assert "image 0x1 is not in the image cache" in screen.reasons[0]


def test_two_screens_share_a_cache(screen):
    other = Screen(screen._cache, GlzWindow(1000))
    other.apply(create())
    message = copy(FROM_CACHE)
    with pytest.raises(ImagePending):
        screen.apply(message)
    other.apply(copy(quic(ImageFlag.CACHE_ME)))
    screen.apply(message)
    assert (screen.copy() == other.copy()).all()


# --- what is wrong


def test_a_bad_image_is_counted_and_its_place_may_have_changed(screen):
    bad = attrs.evolve(quic(), payload=BinaryData(encode_quic(PIXELS)[:24]))
    assert screen.apply(copy(bad, 2, 2)).rects == (Rect.at(2, 2, 5, 4),)
    assert screen.failed == {"DrawCopy": 1}
    assert screen.reasons[0].startswith("DrawCopy: a QUIC image cannot be decoded")


def test_unknown_surfaces_are_counted_and_the_image_is_kept(screen):
    message = copy(quic(ImageFlag.CACHE_ME))
    message = attrs.evolve(message, base=attrs.evolve(message.base, surface_id=9))
    assert screen.apply(message) is None
    assert screen.failed == {"DrawCopy": 1}
    assert list(screen.reasons) == ["DrawCopy: there is no surface 9"]
    screen.apply(copy(FROM_CACHE))
    assert (screen.copy(Rect.at(0, 0, 5, 4)) == PIXELS).all()


def test_the_last_reasons_are_kept(screen):
    for number in range(100):
        screen.apply(fill(Rect.at(0, 0, 1, 1), 0, surface_id=100 + number))
    assert screen.failed["DrawFill"] == 100
    assert len(screen.reasons) == 16
    assert screen.reasons[-1].endswith("199")


def test_what_we_cannot_draw_is_counted(screen):
    screen.apply(copy(Image(1, ImageType(200), 0, 5, 4)))
    screen.apply(display.StreamDestroyAll())
    screen.apply(main.MouseModeRequest(mode=1))
    message = display.DrawComposite(
        base=DisplayBase(0, Rect.at(0, 0, 5, 4)),
        flags=50,
        src=quic(),
        src_origin=display.Point16(0, 0),
        mask_origin=display.Point16(0, 0),
    )
    screen.apply(message)
    assert screen.not_drawn == {
        "image type UNKNOWN_200": 1,
        "StreamDestroyAll": 1,
        "MouseModeRequest": 1,
        "composite operator 50": 1,
    }
    assert not screen.failed


def test_every_drawing_message_has_its_operation():
    drawing = {cls for cls in vars(display).values() if isinstance(cls, type) and cls.__name__.startswith("Draw")}
    assert drawing == set(OPERATIONS)
    assert drawing < set(HANDLERS)


def test_a_source_without_an_image_is_a_failure(screen):
    screen.apply(copy(None))
    assert screen.failed == {"DrawCopy": 1}


def rop3(*images):
    bitmap = Bitmap(BitmapFormat.FMT_32BIT, 0, 5, 4, 20, data=PIXELS.tobytes())
    source = Image(1, ImageType.BITMAP, ImageFlag.CACHE_ME, 5, 4, bitmap)
    brush = Brush(display.BrushType.PATTERN, pattern=display.Pattern(images[0], Point(0, 0)))
    area = Rect.at(0, 0, 5, 4)
    return display.DrawRop3(base=DisplayBase(0, area), src_image=source, src_area=area, brush=brush, rop3=0x96)


@pytest.mark.parametrize(
    "message",
    [
        copy(Image(1, ImageType.BITMAP, ImageFlag.CACHE_ME, 5, 4, Bitmap(BitmapFormat.FMT_32BIT, 0, 5, 4, 20, data=bytes(80)))),
        copy(quic(ImageFlag.CACHE_ME)),
        copy(attrs.evolve(quic(), payload=BinaryData(bytes(24)))),
        rop3(quic()),
        rop3(attrs.evolve(quic(), payload=BinaryData(bytes(24)))),
        rop3(attrs.evolve(quic(), type=ImageType.JPEG)),
        rop3(attrs.evolve(quic(), type=ImageType.LZ4)),
        rop3(attrs.evolve(FROM_CACHE, id=99)),
    ],
    ids=["raw", "quic", "bad quic", "two", "one bad", "bad jpeg", "bad lz4", "pending"],
)
def test_nothing_holds_on_to_the_receive_buffer(screen, message):
    received = bytearray(message.encode())
    view = memoryview(received)
    gc.disable()
    try:
        message = type(message).decode(view, copy=False)
        try:
            screen.apply(message)
        except ImagePending:
            screen.apply(message, give_up=True)
        del message
        view.release()
        received += b"more"  # a BufferError if anything still looks at it
    finally:
        gc.enable()


# --- what is not drawing


def test_the_life_of_the_primary(screen):
    assert (screen.primary.width, screen.primary.height, screen.marked) == (WIDTH, HEIGHT, False)
    screen.apply(display.Mark())
    assert screen.marked
    screen.apply(fill(Rect.at(0, 0, 1, 1), 1))
    # The same again without a destroy stays as it is; another replaces it.
    screen.apply(create())
    assert screen.copy()[0, 0] == 1
    screen.apply(create(width=8))
    assert not screen.copy().any()
    screen.apply(fill(Rect.at(0, 0, 1, 1), 1))
    assert screen.apply(display.Reset()).rects == (Rect.at(0, 0, 8, HEIGHT),)
    assert not screen.marked
    assert not screen.copy().any()
    screen.apply(display.Mark())
    screen.apply(display.SurfaceDestroy(surface_id=0))
    assert screen.primary is None
    assert not screen.marked
    assert screen.apply(display.Reset()) is None


@pytest.mark.parametrize(("bits", "form"), [(32, XRGB), (16, SurfaceFormat.FMT_16_555)])
def test_mode_makes_the_primary(screen, bits, form):
    screen.apply(display.Mode(x_res=30, y_res=20, bits=bits))
    assert (screen.primary.width, screen.primary.height, screen.primary.format) == (30, 20, form)


def test_monitors(screen):
    heads = (Head(0, 0, 8, 12, 0, 0), Head(1, 0, 8, 12, 8, 0))
    screen.apply(display.MonitorsConfig(max_allowed=2, heads=heads))
    screen.apply(display.MonitorsConfig(max_allowed=2, heads=()))
    assert screen.monitors == heads


def test_invalidations(screen):
    for number in (1, 2, 3):
        screen.apply(copy(quic(ImageFlag.CACHE_ME, number)))
    screen.apply(display.InvalList(resources=(ResourceId(ResourceType.PIXMAP, 1), ResourceId(ResourceType.INVALID, 2))))
    with pytest.raises(ImagePending):
        screen.apply(copy(FROM_CACHE))
    screen.apply(copy(attrs.evolve(FROM_CACHE, id=2)))
    screen.apply(display.InvalAllPixmaps())
    with pytest.raises(ImagePending):
        screen.apply(copy(attrs.evolve(FROM_CACHE, id=2)))


@pytest.mark.parametrize(
    "forget", [display.InvalPalette(id=7), display.InvalAllPalettes(), display.Reset()], ids=lambda one: type(one).__name__
)
def test_palettes_go(screen, forget):
    keep = Bitmap(BitmapFormat.FMT_8BIT, BitmapFlag.PAL_CACHE_ME, 5, 4, 5, palette=Palette(7, (1, 2)), data=bytes(20))
    find = Bitmap(BitmapFormat.FMT_8BIT, BitmapFlag.PAL_FROM_CACHE, 5, 4, 5, palette_id=7, data=bytes(20))
    screen.apply(copy(Image(1, ImageType.BITMAP, 0, 5, 4, keep)))
    screen.apply(copy(Image(1, ImageType.BITMAP, 0, 5, 4, find)))
    assert not screen.failed
    screen.apply(forget)
    screen.apply(copy(Image(1, ImageType.BITMAP, 0, 5, 4, find)))
    assert screen.failed == {"DrawCopy": 1}


# --- limits


def test_surfaces_have_limits():
    surfaces = Surfaces(max_pixels=1000)
    surfaces.create(0, 30, 30, XRGB)
    for bad in (
        (MAX_SURFACES, 1, 1, XRGB),
        (1, 1, 1, SurfaceFormat.INVALID),
        (1, 0, 5, XRGB),
        (1, 65535, 65535, XRGB),
        (1, 20, 20, XRGB),
    ):
        with pytest.raises(ImageError):
            surfaces.create(*bad)
    assert (len(surfaces), surfaces.pixels) == (1, 900)
    surfaces.create(0, 10, 20, XRGB)
    surfaces.create(1, 20, 20, XRGB)
    assert surfaces.pixels == 600
    surfaces.destroy(0)
    surfaces.destroy(0)
    assert (len(surfaces), surfaces.pixels) == (1, 400)


def test_a_surface_that_cannot_be_is_counted(screen):
    screen.apply(create(1, 65535, 65535))
    assert screen.failed == {"SurfaceCreate": 1}
