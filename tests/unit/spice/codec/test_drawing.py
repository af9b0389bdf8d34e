"""What is drawn in C as it lies in the buffer, what is left, and what is told about it."""

import attrs
import numpy as np
import pytest

from atp_trio.errors import ConfigError
from atp_trio.spice.codec.drawing import DrawStatus, FrameDrawer, Shared
from atp_trio.spice.codec.framing import Framer, HeaderKind, pack_mini_header
from atp_trio.spice.codec.glz import GlzType, GlzWindow
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.lz import encode_lz
from atp_trio.spice.codec.pixel_table import PICTURE_COST, PixelTable
from atp_trio.spice.codec.quic import QuicType, encode_quic
from atp_trio.spice.messages import display
from atp_trio.spice.messages.base import SetAck
from atp_trio.spice.messages.display import Brush, BrushType, Ropd
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageFlag, ImageType, Surface
from atp_trio.spice.wire import Role

WIDTH, HEIGHT = 12, 10
PIXELS = np.random.default_rng(1).integers(0, 2**32, (4, 5), np.uint32)
PLACE = Rect.at(3, 2, 5, 4)


def found(*messages):
    """The messages in a buffer, and where they lie."""
    bodies = [(message.number(Role.SERVER), message.encode()) for message in messages]
    data = b"".join(pack_mini_header(number, len(body)) + body for number, body in bodies)
    framer = Framer(HeaderKind.MINI, 2**20, capacity=4096)
    return framer.frames(data, 0, len(data)), data


def new_drawer(*, value=0):
    """A drawer with two surfaces, and their pixels."""
    drawer, surfaces = FrameDrawer(), {number: np.full((HEIGHT, WIDTH), value, np.uint32) for number in (0, 7)}
    drawer.set_surfaces(surfaces)
    return drawer, surfaces[0], surfaces[7]


def fill(*rects, box=PLACE, colour=5, surface_id=0):
    return display.DrawFill(base=DisplayBase(surface_id, box, Clip.to(*rects) if rects else Clip()), brush=Brush.solid(colour))


def copy(image, *rects, surface_id=0, cls=display.DrawCopy):
    base = DisplayBase(surface_id, PLACE, Clip.to(*rects) if rects else Clip())
    return cls(base=base, src_image=image, src_area=Rect.at(0, 0, 5, 4))


def bitmap(pixels=PIXELS, *, flags=0, top_down=True):
    data = (pixels if top_down else pixels[::-1]).tobytes()
    payload = Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN if top_down else 0, 5, 4, 20, data=data)
    return Image(1, ImageType.BITMAP, flags, 5, 4, payload)


def stream(kind, data, flags=0):
    return Image(1, kind, flags, 5, 4, BinaryData(data))


def bitmap24():
    data = PIXELS.view(np.uint8).reshape(4, 5, 4)[:, :, :3].tobytes()
    payload = Bitmap(BitmapFormat.FMT_24BIT, BitmapFlag.TOP_DOWN, 5, 4, 15, data=data)
    return Image(1, ImageType.BITMAP, 0, 5, 4, payload)


def under(surface, rect=PLACE):
    return surface[rect.top : rect.bottom, rect.left : rect.right]


RGB = PIXELS & 0xFFFFFF


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (bitmap(), PIXELS),
        (bitmap(top_down=False), PIXELS),
        (bitmap(flags=ImageFlag.HIGH_BITS_SET), PIXELS | 0xFF000000),
        (bitmap24(), RGB),
        (stream(ImageType.LZ_RGB, encode_lz(PIXELS)), RGB),
        (stream(ImageType.LZ_RGB, encode_lz(PIXELS, top_down=False), ImageFlag.HIGH_BITS_SET), RGB | 0xFF000000),
        (stream(ImageType.QUIC, encode_quic(PIXELS)), RGB),
        (stream(ImageType.QUIC, encode_quic(PIXELS, type=QuicType.RGBA), ImageFlag.HIGH_BITS_SET), PIXELS),
    ],
)
@pytest.mark.parametrize("rects", [(), (Rect.at(4, 3, 2, 1), Rect.at(0, 4, 30, 30))])
@pytest.mark.parametrize("cls", [display.DrawCopy, display.DrawBlend])
def test_images_are_drawn_within_their_clip(image, expected, rects, cls):
    drawer, surface, _ = new_drawer(value=9)
    assert drawer.draw(*args(found(copy(image, *rects, cls=cls)))) == (1, DrawStatus.ALL)
    seen = np.zeros((4, 5), bool)
    for rect in rects or (PLACE,):
        seen[max(rect.top - 2, 0) : max(rect.bottom - 2, 0), max(rect.left - 3, 0) : max(rect.right - 3, 0)] = True
    assert np.array_equal(under(surface), np.where(seen, expected, 9))
    under(surface)[...] = 9
    assert (surface == 9).all()
    assert drawer.take().counts == {cls.__name__: 1}


def args(table_and_buffer, row=0):
    table, buffer = table_and_buffer
    return table, row, buffer


def test_fills_tell_their_damage():
    drawer, surface, other = new_drawer()
    rows = [Rect.at(3, 2 + row, 2, 1) for row in range(3)]
    assert drawer.draw(*args(found(fill(), fill(*rows, colour=0x1234, surface_id=7)))) == (2, DrawStatus.ALL)
    assert (under(surface) == 5).all()
    assert surface.sum() == 5 * 20
    assert other.sum() == 0x1234 * 6
    run = drawer.take()
    assert run.messages == 2
    assert run.counts == {"DrawFill": 2}
    assert run.pixels == 20 + 6
    assert run.damage().tolist() == [[0, 3, 2, 8, 6], *([7, 3, 2 + row, 5, 3 + row] for row in range(3))]
    assert drawer.take().messages == 0


def test_damage_of_many_rectangles_is_their_bounds():
    drawer, surface, _ = new_drawer()
    rects = [Rect.at(row, row, 2, 1) for row in range(9)]
    drawer.draw(*args(found(fill(*rects, box=Rect.at(0, 0, WIDTH, HEIGHT)))))
    assert surface.sum() == 5 * 18
    run = drawer.take()
    assert run.damage().tolist() == [[0, 0, 0, 10, 9]]
    assert run.pixels == 90


@pytest.mark.parametrize("source", [Point(0, 0), Point(5, 4), Point(2, 2), Point(-2, 1), Point(9, 7)])
def test_moves_read_what_was_there_before(source):
    drawer, surface, _ = new_drawer()
    surface[...] = before = np.arange(WIDTH * HEIGHT, dtype=np.uint32).reshape(HEIGHT, WIDTH)
    before = before.copy()
    assert drawer.draw(*args(found(display.CopyBits(base=DisplayBase(0, PLACE), src_pos=source)))) == (1, DrawStatus.ALL)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            from_x, from_y = x - PLACE.left + source.x, y - PLACE.top + source.y
            moved = (
                PLACE.left <= x < PLACE.right and PLACE.top <= y < PLACE.bottom and 0 <= from_x < WIDTH and 0 <= from_y < HEIGHT
            )
            assert surface[y, x] == (before[from_y, from_x] if moved else before[y, x])


def test_another_surface_is_a_source():
    drawer, surface, other = new_drawer()
    other[:4, :5] = PIXELS
    image = Image(1, ImageType.SURFACE, 0, 0, 1, Surface(7))
    assert drawer.draw(*args(found(copy(image)))) == (0, DrawStatus.OTHER)  # of no size, as its descriptor says
    image = Image(1, ImageType.SURFACE, 0, 1, 1, Surface(7))
    assert drawer.draw(*args(found(copy(image)))) == (1, DrawStatus.ALL)
    assert np.array_equal(under(surface), PIXELS)


def new_shared(*, window=1000, room=1000):
    return Shared(GlzWindow(window).images, PixelTable(), room)


def glz(encoder, pixels=PIXELS, flags=0, **options):
    return stream(ImageType.GLZ_RGB, encoder.encode(pixels, **options), flags)


@pytest.mark.parametrize("kind", [GlzType.RGB32, GlzType.RGBA])
@pytest.mark.parametrize("top_down", [True, False])
@pytest.mark.parametrize("rects", [(), (Rect.at(4, 3, 2, 1),)])
def test_glz_images_are_decoded_into_the_dictionary_and_drawn(kind, top_down, rects):
    drawer, surface, _ = new_drawer()
    window, encoder = GlzWindow(1000), GlzEncoder(1000)
    shared = Shared(window.images, PixelTable(), 0)
    images = [glz(encoder, PIXELS ^ bits, ImageFlag.HIGH_BITS_SET, type=kind, top_down=top_down) for bits in (0, 7)]
    assert drawer.draw(*args(found(*(copy(image, *rects) for image in images))), shared) == (2, DrawStatus.ALL)
    assert (len(shared.glz), shared.glz.pixels) == (2, 40)
    expected = PIXELS ^ 7 if kind == GlzType.RGBA else PIXELS ^ 7 | 0xFF000000
    if rects:
        assert surface[3, 4:6].tolist() == expected[1, 1:3].tolist()
        assert np.count_nonzero(surface) == 2
    else:
        assert np.array_equal(under(surface), expected)
    # What C decoded, Python refers to, and the other way round.
    window.decode(images_data(glz(encoder, PIXELS ^ 1, type=kind)), width=5, height=4)
    assert drawer.draw(*args(found(copy(glz(encoder, PIXELS ^ 3, type=kind)))), shared) == (1, DrawStatus.ALL)
    assert np.array_equal(under(surface) & 0xFFFFFF, (PIXELS ^ 3) & 0xFFFFFF)


def images_data(image):
    return image.payload.data


def test_glz_images_that_cannot_be_decoded_leave_nothing():
    drawer, surface, _ = new_drawer()
    shared, encoder = new_shared(window=64), GlzEncoder(1000)
    first, second = glz(encoder), glz(encoder)
    large = GlzEncoder(99).encode(np.zeros((5, 13), np.uint32))
    cases = {
        "missing": second,
        "cut off": stream(ImageType.GLZ_RGB, images_data(first)[:-1]),
        "no header": stream(ImageType.GLZ_RGB, images_data(first)[:30]),
        "of another size": Image(1, ImageType.GLZ_RGB, 0, 6, 4, first.payload),
        "larger than the window": Image(1, ImageType.GLZ_RGB, 0, 13, 5, BinaryData(large)),
    }
    for name, image in cases.items():
        assert drawer.draw(*args(found(copy(image))), shared) == (0, DrawStatus.OTHER), name
        assert not surface.any()
        assert len(shared.glz) == 0
    assert drawer.draw(*args(found(copy(first), copy(first))), shared) == (1, DrawStatus.OTHER)  # the id is used
    assert drawer.draw(*args(found(copy(second))), shared) == (1, DrawStatus.ALL)
    assert drawer.draw(*args(found(copy(second))))[1] is DrawStatus.OTHER  # without a dictionary


def test_cached_images_are_found():
    drawer, surface, _ = new_drawer()
    shared, own = new_shared(), PIXELS.copy()
    shared.pictures.put(99, own)
    shared.pictures.put(98, own + 1, lossy=True)
    for number, kind, expected in (
        (99, ImageType.FROM_CACHE, own),
        (99, ImageType.FROM_CACHE_LOSSLESS, own),
        (98, ImageType.FROM_CACHE, own + 1),
    ):
        image = Image(number, kind, ImageFlag.CACHE_ME | ImageFlag.HIGH_BITS_SET, 5, 4)
        assert drawer.draw(*args(found(copy(image))), shared) == (1, DrawStatus.ALL)
        assert np.array_equal(under(surface), expected)
    assert drawer.take_kept() == []
    for image in (
        Image(97, ImageType.FROM_CACHE, 0, 5, 4),
        Image(98, ImageType.FROM_CACHE_LOSSLESS, 0, 5, 4),
        Image(99, ImageType.FROM_CACHE, 0, 5, 3),
        Image(99, ImageType.FROM_CACHE, 0, 4, 4),
    ):
        assert drawer.draw(*args(found(copy(image))), shared) == (0, DrawStatus.OTHER)
    assert drawer.draw(*args(found(copy(Image(99, ImageType.FROM_CACHE, 0, 5, 4)))))[1] is DrawStatus.OTHER


@pytest.mark.parametrize("flag", [ImageFlag.CACHE_ME, ImageFlag.CACHE_REPLACE_ME])
@pytest.mark.parametrize(
    ("image", "expected", "has_alpha"),
    [
        (bitmap(), PIXELS, False),
        (bitmap(top_down=False), PIXELS, False),
        (bitmap(flags=ImageFlag.HIGH_BITS_SET), PIXELS | 0xFF000000, False),
        (bitmap24(), RGB, False),
        (stream(ImageType.LZ_RGB, encode_lz(PIXELS)), RGB, False),
        (stream(ImageType.LZ_RGB, encode_lz(PIXELS), ImageFlag.HIGH_BITS_SET), RGB | 0xFF000000, False),
        (stream(ImageType.QUIC, encode_quic(PIXELS, type=QuicType.RGBA), ImageFlag.HIGH_BITS_SET), PIXELS, True),
        (stream(ImageType.GLZ_RGB, GlzEncoder(99).encode(PIXELS, top_down=False)), RGB, False),
        (stream(ImageType.GLZ_RGB, GlzEncoder(99).encode(PIXELS, type=GlzType.RGBA)), PIXELS, True),
    ],
)
def test_what_is_to_be_kept_is_put_aside_and_found_there(image, expected, has_alpha, flag):
    drawer, surface, other = new_drawer()
    image = attrs.evolve(image, flags=image.flags | flag)
    again = Image(image.id, ImageType.FROM_CACHE_LOSSLESS, 0, 5, 4)
    shown = found(copy(image, Rect.at(4, 3, 1, 1)), copy(again, surface_id=7))
    assert drawer.draw(*args(shown), new_shared()) == (2, DrawStatus.ALL)
    assert np.count_nonzero(surface) == 1
    assert surface[3, 4] == expected[1, 1]
    assert np.array_equal(under(other), expected)
    (kept,) = drawer.take_kept()
    assert (kept.id, kept.has_alpha) == (image.id, has_alpha)
    assert np.array_equal(kept.pixels, expected)
    assert drawer.take_kept() == []


def test_what_was_kept_last_is_found():
    drawer, surface, _ = new_drawer()
    shared = new_shared()
    shared.pictures.put(1, PIXELS.copy())
    images = [bitmap(PIXELS ^ 1, flags=ImageFlag.CACHE_ME), bitmap(PIXELS ^ 2, flags=ImageFlag.CACHE_REPLACE_ME)]
    cached = copy(Image(1, ImageType.FROM_CACHE, 0, 5, 4))
    assert drawer.draw(*args(found(*map(copy, images), cached)), shared) == (3, DrawStatus.ALL)
    assert np.array_equal(under(surface), PIXELS ^ 2)


def test_keeping_ends_a_call_when_there_is_no_room_to_put_aside():
    drawer = FrameDrawer()
    drawer.set_surfaces({0: np.zeros((128, 128), np.uint32)})
    whole, data = Rect.at(0, 0, 128, 128), BinaryData(encode_lz(np.zeros((128, 128), np.uint32)))
    images = [Image(i, ImageType.LZ_RGB, ImageFlag.CACHE_ME, 128, 128, data) for i in range(5)]
    shared = new_shared(room=10**6)
    table = found(*(display.DrawCopy(base=DisplayBase(0, whole), src_image=image, src_area=whole) for image in images))
    assert drawer.draw(*args(table), shared) == (4, DrawStatus.FULL)
    assert drawer.draw(*args(table, 4), shared) == (4, DrawStatus.FULL)
    assert [kept.id for kept in drawer.take_kept()] == [0, 1, 2, 3]
    assert drawer.draw(*args(table, 4), shared) == (5, DrawStatus.ALL)
    drawer, _, _ = new_drawer()
    table = found(*(copy(attrs.evolve(bitmap(flags=ImageFlag.CACHE_ME), id=i)) for i in range(70)))
    assert drawer.draw(*args(table), new_shared(room=10**6)) == (64, DrawStatus.FULL)


def test_what_the_cache_has_no_room_for_is_left():
    drawer, _, _ = new_drawer()
    table = found(*(copy(bitmap(flags=ImageFlag.CACHE_ME)) for _ in range(3)))
    assert drawer.draw(*args(table), new_shared(room=2 * (20 + PICTURE_COST))) == (2, DrawStatus.OTHER)
    large = np.zeros((257, 257), np.uint32)
    drawer.set_surfaces({0: large})
    whole = Rect.at(0, 0, 257, 257)
    data = Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, 257, 257, 257 * 4, data=large.tobytes())
    image = Image(1, ImageType.BITMAP, ImageFlag.CACHE_ME, 257, 257, data)
    message = display.DrawCopy(base=DisplayBase(0, whole), src_image=image, src_area=whole)
    assert drawer.draw(*args(found(message)), new_shared(room=10**6)) == (0, DrawStatus.OTHER)


def cut(message, size):
    body = message.encode()
    return type("Cut", (), {"number": lambda _, role: message.number(role), "encode": lambda _: body[:size]})()


@pytest.mark.parametrize(
    "message",
    [
        SetAck(generation=1, window=1),
        display.Mark(),
        fill(surface_id=3),
        fill(box=Rect.at(WIDTH, 0, 5, 5)),
        fill(Rect.at(0, 0, 2, 2)),
        fill(Rect.at(3, 3, 2, 2), Rect.at(4, 4, 2, 2)),
        fill(*(Rect.at(0, 0, 1, 1) for _ in range(33))),
        display.DrawFill(base=DisplayBase(0, PLACE), brush=Brush(BrushType.NONE)),
        display.DrawFill(base=DisplayBase(0, PLACE), brush=Brush.solid(1), rop=Ropd.OP_XOR),
        display.CopyBits(base=DisplayBase(0, PLACE), src_pos=Point(WIDTH, 0)),
        display.CopyBits(base=DisplayBase(0, PLACE, Clip.to(Rect.at(3, 2, 1, 1), Rect.at(5, 2, 1, 1))), src_pos=Point(0, 0)),
        display.DrawCopy(base=DisplayBase(0, PLACE), src_image=bitmap(), src_area=Rect.at(0, 0, 2, 2)),
        display.DrawCopy(base=DisplayBase(0, PLACE), src_image=bitmap(), src_area=Rect.at(1, 0, 5, 4)),
        display.DrawCopy(base=DisplayBase(0, PLACE), src_image=None, src_area=Rect.at(0, 0, 5, 4)),
        copy(bitmap(flags=ImageFlag.CACHE_ME)),
        copy(Image(1, ImageType.SURFACE, 0, 5, 4, Surface(0))),
        copy(Image(1, ImageType.SURFACE, 0, 5, 4, Surface(5))),
        copy(stream(ImageType.JPEG, b"")),
        copy(bitmap(flags=8)),
        copy(stream(ImageType.QUIC, encode_quic(PIXELS[:, :1]))),
        copy(stream(ImageType.QUIC, b"")),
        copy(stream(ImageType.LZ_RGB, encode_lz(PIXELS)[:30])),
        copy(stream(ImageType.GLZ_RGB, b"12345678")),
        copy(Image(1, ImageType.QUIC, 0, 0, 4, BinaryData(b""))),
        cut(fill(), -1),
        cut(copy(bitmap()), -1),
        cut(copy(bitmap()), 30),
        cut(fill(Rect.at(3, 3, 2, 2)), 30),
    ],
    ids=str,
)
def test_all_else_is_left_and_nothing_done(message):
    drawer, surface, _ = new_drawer(value=3)
    table, buffer = found(fill(colour=4), message, fill(colour=5))
    assert drawer.draw(table, 0, buffer) == (1, DrawStatus.OTHER)
    assert set(surface.ravel().tolist()) <= {3, 4}
    assert drawer.draw(table, 2, buffer) == (3, DrawStatus.ALL)
    assert drawer.take().messages == 2


def test_large_images_are_left():
    drawer = FrameDrawer()
    drawer.set_surfaces({0: np.zeros((200, 200), np.uint32)})
    for side, expected in ((128, DrawStatus.ALL), (129, DrawStatus.OTHER)):
        whole = Rect.at(0, 0, side, side)
        data = BinaryData(encode_lz(np.zeros((side, side), np.uint32)))
        message = display.DrawCopy(
            base=DisplayBase(0, whole), src_image=Image(1, ImageType.LZ_RGB, 0, side, side, data), src_area=whole
        )
        assert drawer.draw(*args(found(message)))[1] is expected


def test_work_and_damage_end_a_call():
    drawer = FrameDrawer()
    drawer.set_surfaces({0: np.zeros((1024, 1024), np.uint32)})
    whole = fill(box=Rect.at(0, 0, 1024, 1024))
    table, buffer = found(*[whole] * 6)
    assert drawer.draw(table, 0, buffer) == (4, DrawStatus.PAUSED)
    assert drawer.draw(table, 4, buffer) == (4, DrawStatus.PAUSED)
    assert drawer.take().messages == 4
    assert drawer.draw(table, 4, buffer) == (6, DrawStatus.ALL)
    drawer.take()
    small = fill(box=Rect.at(0, 0, 1, 1))
    table, buffer = found(*[small] * 2000)
    row, status = drawer.draw(table, 0, buffer)
    assert status is DrawStatus.PAUSED
    assert row == len(drawer.take().damage()) == 1017
    assert drawer.draw(table, row, buffer) == (2000, DrawStatus.ALL)


def test_a_row_that_is_not_there_is_refused():
    drawer, _, _ = new_drawer()
    table, buffer = found(fill())
    assert drawer.draw(table, 1, buffer) == (1, DrawStatus.ALL)
    for row in (-1, 2):
        with pytest.raises(ConfigError):
            drawer.draw(table, row, buffer)
    # Nor is anything read beyond the buffer.
    assert drawer.draw(table, 0, buffer[:-1]) == (0, DrawStatus.OTHER)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint16), np.zeros((4, 8), np.uint32)[:, ::2], np.zeros(4, np.uint32)])
def test_surfaces_of_another_kind_are_refused(pixels):
    with pytest.raises(ConfigError):
        FrameDrawer().set_surfaces({0: pixels})
