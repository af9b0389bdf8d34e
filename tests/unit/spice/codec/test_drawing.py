"""What is drawn in C as it lies in the buffer, what is left, and what is told about it."""

import numpy as np
import pytest

from atp_trio.errors import ConfigError
from atp_trio.spice.codec.drawing import DrawStatus, FrameDrawer, WantedImage
from atp_trio.spice.codec.framing import Framer, HeaderKind, pack_mini_header
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.lz import encode_lz
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


@pytest.mark.parametrize(("kind", "data"), [(ImageType.FROM_CACHE, b""), (ImageType.GLZ_RGB, GlzEncoder(99).encode(PIXELS))])
@pytest.mark.parametrize("step", [1, -1])
def test_an_image_that_is_the_callers_is_asked_for(kind, data, step):
    drawer, surface, _ = new_drawer()
    image = stream(kind, data) if data else Image(99, kind, ImageFlag.CACHE_ME, 5, 4)
    table, buffer = found(fill(colour=1), copy(image), fill(colour=2, box=Rect.at(0, 0, 1, 1)))
    assert drawer.draw(table, 0, buffer) == (1, DrawStatus.IMAGE)
    assert drawer.wanted == WantedImage(image.id, kind, 5, 4, drawer.wanted.offset, len(data))
    assert buffer[drawer.wanted.offset :][: len(data)] == data
    assert drawer.draw(table, 1, buffer, PIXELS[::step]) == (3, DrawStatus.ALL)
    assert drawer.wanted is None
    assert np.array_equal(under(surface), PIXELS[::step])
    assert surface[0, 0] == 2


@pytest.mark.parametrize("picture", [PIXELS.T, PIXELS.astype(np.uint64), np.zeros((4, 10), np.uint32)[:, ::2]])
def test_a_picture_must_be_what_was_asked_for(picture):
    drawer, _, _ = new_drawer()
    table, buffer = found(copy(Image(99, ImageType.FROM_CACHE, 0, 5, 4)))
    with pytest.raises(ConfigError):
        drawer.draw(table, 0, buffer, PIXELS)
    drawer.draw(table, 0, buffer)
    with pytest.raises(ConfigError):
        drawer.draw(table, 0, buffer, picture)


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
