"""Each image type through `Images`: pixels, formats, caches, palettes, and what may be missing."""

import io
import struct
import zlib

import attrs
import lz4.block
import numpy as np
import PIL.Image
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.lz import LzType, encode_lz
from atp_trio.spice.codec.quic import QuicType, encode_quic
from atp_trio.spice.imaging.cache import Awaited, ImageCache, ImagePending
from atp_trio.spice.imaging.decode import Unsupported
from atp_trio.spice.imaging.images import Images
from atp_trio.spice.imaging.surface import Surfaces
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import Brush, BrushType, Pattern, QMask, SurfaceFormat
from atp_trio.spice.messages.geometry import DisplayBase, Point, Rect
from atp_trio.spice.messages.image import (
    BinaryData,
    Bitmap,
    BitmapFlag,
    BitmapFormat,
    Image,
    ImageFlag,
    ImageType,
    JpegAlpha,
    JpegAlphaFlag,
    LzPlt,
    Palette,
    Surface,
    ZlibGlzRgb,
)

XRGB, ARGB = SurfaceFormat.FMT_32_xRGB, SurfaceFormat.FMT_32_ARGB
WIDTH, HEIGHT = 5, 4
ARGB_PIXELS = np.random.default_rng(5).integers(0, 2**32, (HEIGHT, WIDTH), np.uint32)
RGB_PIXELS = ARGB_PIXELS & 0xFFFFFF


@pytest.fixture
def images():
    return Images(ImageCache(1 << 16), GlzWindow(1 << 16), Surfaces())


def image(kind, payload=None, *, flags=0, id_=1, size=(WIDTH, HEIGHT)):
    return Image(id_, kind, flags, *size, payload)


def raw(form, pixels, *, flags=BitmapFlag.TOP_DOWN, palette=None, **more):
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).tobytes()
    bitmap = Bitmap(form, flags, width, height, len(data) // height, palette=palette, data=data)
    return image(ImageType.BITMAP, bitmap, size=(width, height), **more)


def glz(id_, pixels, *, kind=8, back=0, body=None):
    """A GLZ stream of literals, or of a given body."""
    height, width = pixels.shape
    literals = b"".join(b"\0" + number.tobytes()[:3] for number in pixels.ravel())
    if kind == 9:
        literals += b"".join(b"\0" + number.tobytes()[3:] for number in pixels.ravel())
    header = struct.pack(">IIBIIIQI", 0x20205A4C, 0x10001, kind | 0x10, width, height, width * 4, id_, back)
    return header + (literals if body is None else body)


def jpeg_bytes(pixels):
    file = io.BytesIO()
    rgb = np.stack((pixels >> 16 & 255, pixels >> 8 & 255, pixels & 255), axis=2).astype(np.uint8)
    PIL.Image.fromarray(rgb).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def both_ways(images, one, wanted=XRGB):
    """Decode an image twice: to an array of its own, and straight into a part of a surface."""
    picture = images.picture(one, wanted)
    surface = np.full((HEIGHT + 2, WIDTH + 2), 0xDEADBEEF, np.uint32)
    images.decode_into(one, surface[1:-1, 1:-1], XRGB)
    assert (surface[0] == 0xDEADBEEF).all()
    assert (surface[:, 0] == 0xDEADBEEF).all()
    return picture, surface[1:-1, 1:-1]


@pytest.mark.parametrize(
    ("kind", "data", "form"),
    [
        (ImageType.QUIC, encode_quic(RGB_PIXELS), XRGB),
        (ImageType.QUIC, encode_quic(ARGB_PIXELS, type=QuicType.RGBA), ARGB),
        (ImageType.LZ_RGB, encode_lz(RGB_PIXELS, type=LzType.RGB24), XRGB),
        (ImageType.LZ_RGB, encode_lz(RGB_PIXELS, type=LzType.RGB32, top_down=False), XRGB),
        (ImageType.LZ_RGB, encode_lz(ARGB_PIXELS, type=LzType.RGBA), ARGB),
        (ImageType.LZ4, b"\1\x08" + struct.pack(">I", len(b := lz4.block.compress(RGB_PIXELS, store_size=False))) + b, XRGB),
        (ImageType.LZ4, b"\1\x09" + struct.pack(">I", len(b := lz4.block.compress(ARGB_PIXELS, store_size=False))) + b, ARGB),
    ],
)
def test_lossless_codecs(images, kind, data, form):
    picture, placed = both_ways(images, image(kind, BinaryData(data)))
    assert picture.format == form
    assert not picture.lossy
    assert (picture.pixels == (ARGB_PIXELS if form == ARGB else RGB_PIXELS)).all()
    assert (placed == picture.pixels).all()


def test_16_bit_streams_have_no_top_byte(images):
    small = (ARGB_PIXELS & 0x7FFF).astype(np.uint16)
    for kind, data in (
        (ImageType.QUIC, encode_quic(small, type=QuicType.RGB16)),
        (ImageType.LZ_RGB, encode_lz(small, type=LzType.RGB16)),
    ):
        picture, _ = both_ways(images, image(kind, BinaryData(data)))
        assert picture.format == XRGB
        assert picture.pixels[0, 0] >> 24 == 0


def test_16_bit_bitmaps_are_kept_as_they_are_and_opaque_as_32(images):
    small = (ARGB_PIXELS & 0x7FFF).astype(np.uint16)
    picture, placed = both_ways(images, raw(BitmapFormat.FMT_16BIT, small))
    assert picture.format == SurfaceFormat.FMT_16_555
    assert (picture.pixels == small).all()
    assert (placed >> 24 == 255).all()


def test_32_bit_bitmaps_are_not_copied_and_keep_their_top_byte(images):
    one = raw(BitmapFormat.FMT_32BIT, ARGB_PIXELS, flags=0)
    picture, placed = both_ways(images, one)
    assert picture.format == XRGB
    assert not picture.pixels.flags.owndata
    assert (picture.pixels == ARGB_PIXELS[::-1]).all()
    assert (placed == ARGB_PIXELS[::-1]).all()
    assert images.picture(raw(BitmapFormat.RGBA, ARGB_PIXELS), XRGB).format == ARGB


def test_a_stride_may_be_odd_and_its_rest_is_nothing(images):
    rows = np.hstack((ARGB_PIXELS.view(np.uint8), np.full((HEIGHT, 3), 0xEE, np.uint8)))
    bitmap = Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, WIDTH, HEIGHT, WIDTH * 4 + 3, data=rows.tobytes())
    _, placed = both_ways(images, image(ImageType.BITMAP, bitmap))
    assert (placed == ARGB_PIXELS).all()


def test_24_bits_and_alpha(images):
    rows = RGB_PIXELS.view(np.uint8).reshape(HEIGHT, WIDTH, 4)[..., :3].reshape(HEIGHT, -1)
    bitmap = Bitmap(BitmapFormat.FMT_24BIT, BitmapFlag.TOP_DOWN, WIDTH, HEIGHT, WIDTH * 3, data=rows.tobytes())
    _, placed = both_ways(images, image(ImageType.BITMAP, bitmap))
    assert (placed == RGB_PIXELS).all()
    alpha = (ARGB_PIXELS >> 24).astype(np.uint8)
    for one in (
        raw(BitmapFormat.FMT_8BIT_A, alpha),
        image(ImageType.LZ_RGB, BinaryData(encode_lz(alpha, type=LzType.A8))),
        image(ImageType.LZ_RGB, BinaryData(encode_lz(ARGB_PIXELS, type=LzType.XXXA))),
    ):
        picture, placed = both_ways(images, one)
        assert picture.format == SurfaceFormat.FMT_8_A
        assert (picture.pixels == alpha).all()
        assert (placed == ARGB_PIXELS & 0xFF000000).all()


def test_jpeg_is_lossy_and_near(images):
    flat = np.full((HEIGHT, WIDTH), 0x405060, np.uint32)
    picture, placed = both_ways(images, image(ImageType.JPEG, BinaryData(jpeg_bytes(flat))))
    assert picture.lossy
    assert picture.format == XRGB
    assert (placed == picture.pixels).all()
    assert abs(placed.view(np.uint8).astype(int) - flat.view(np.uint8)).max() <= 4


def test_jpeg_alpha(images):
    flat = np.full((HEIGHT, WIDTH), 0x405060, np.uint32)
    jpeg, alpha = jpeg_bytes(flat), encode_lz(ARGB_PIXELS, type=LzType.XXXA)
    payload = JpegAlpha(JpegAlphaFlag.TOP_DOWN, len(jpeg), jpeg + alpha)
    picture, placed = both_ways(images, image(ImageType.JPEG_ALPHA, payload))
    assert picture.lossy
    assert picture.format == ARGB
    assert (placed >> 24 == ARGB_PIXELS >> 24).all()
    with pytest.raises(ImageError, match="orientation"):
        images.picture(image(ImageType.JPEG_ALPHA, attrs.evolve(payload, flags=0)), XRGB)


@pytest.mark.parametrize(("kind", "form"), [(8, XRGB), (9, ARGB)])
def test_glz(images, kind, form):
    pixels = ARGB_PIXELS if kind == 9 else RGB_PIXELS
    picture = images.picture(image(ImageType.GLZ_RGB, BinaryData(glz(0, pixels, kind=kind))), XRGB)
    assert picture.format == form
    assert (picture.pixels == pixels).all()
    stream = glz(1, pixels, kind=kind)
    packed = image(ImageType.ZLIB_GLZ_RGB, ZlibGlzRgb(len(stream), zlib.compress(stream)))
    surface = np.zeros((HEIGHT, WIDTH), np.uint32)
    images.decode_into(packed, surface, XRGB)
    assert (surface == pixels).all()


REFERENCE = bytes([7 << 5, 13, 0, 1])  # twenty pixels from the start of the image before


def test_a_glz_image_waits_for_what_it_refers_to(images):
    later = image(ImageType.GLZ_RGB, BinaryData(glz(1, RGB_PIXELS, back=1, body=REFERENCE)))
    with pytest.raises(ImagePending) as caught:
        images.picture(later, XRGB)
    assert caught.value.awaited == Awaited(0, glz=True)
    images.picture(image(ImageType.GLZ_RGB, BinaryData(glz(0, RGB_PIXELS))), XRGB)
    assert (images.picture(later, XRGB).pixels == RGB_PIXELS).all()


def test_a_glz_image_that_is_given_up_holds_up_no_other(images):
    later = image(ImageType.GLZ_RGB, BinaryData(glz(1, RGB_PIXELS, back=1, body=REFERENCE)))
    with pytest.raises(ImageError, match="not in the window"):
        images.picture(later, XRGB, give_up=True)
    last = image(ImageType.GLZ_RGB, BinaryData(glz(2, RGB_PIXELS, back=2, body=REFERENCE)))
    assert images.picture(last, XRGB).pixels.shape == (HEIGHT, WIDTH)


def test_high_bits_set(images):
    plain = raw(BitmapFormat.FMT_32BIT, RGB_PIXELS, flags=BitmapFlag.TOP_DOWN)
    high = attrs.evolve(plain, flags=ImageFlag.HIGH_BITS_SET)
    picture, placed = both_ways(images, high)
    assert (picture.pixels == RGB_PIXELS | 0xFF000000).all()
    assert (placed == picture.pixels).all()
    assert picture.format == XRGB
    quic = image(ImageType.QUIC, BinaryData(encode_quic(RGB_PIXELS)), flags=ImageFlag.HIGH_BITS_SET)
    assert (both_ways(images, quic)[1] == picture.pixels).all()
    rgba = image(ImageType.QUIC, BinaryData(encode_quic(ARGB_PIXELS, type=QuicType.RGBA)), flags=ImageFlag.HIGH_BITS_SET)
    assert (both_ways(images, rgba)[1] == ARGB_PIXELS).all()
    # The dictionary's own copy stays as it was.
    images.picture(image(ImageType.GLZ_RGB, BinaryData(glz(0, RGB_PIXELS)), flags=ImageFlag.HIGH_BITS_SET), XRGB)
    later = image(ImageType.GLZ_RGB, BinaryData(glz(1, RGB_PIXELS, back=1, body=REFERENCE)))
    assert (images.picture(later, XRGB).pixels == RGB_PIXELS).all()


# --- palettes

COLOURS = (0x112233, 0x445566, 0x778899)
INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
SEEN = [[COLOURS[index] for index in row] for row in INDICES.tolist()]


def test_palettes_are_kept_and_found(images):
    keep = raw(BitmapFormat.FMT_8BIT, INDICES, flags=BitmapFlag.TOP_DOWN | BitmapFlag.PAL_CACHE_ME, palette=Palette(77, COLOURS))
    assert images.picture(keep, XRGB).pixels.tolist() == SEEN
    lz = encode_lz(INDICES, type=LzType.PLT8)
    found = image(ImageType.LZ_PLT, LzPlt(BitmapFlag.PAL_FROM_CACHE, 77, None, lz), size=(3, 2))
    assert images.picture(found, XRGB).pixels.tolist() == SEEN
    images.palettes.clear()
    with pytest.raises(ImageError, match="palette 0x4d"):
        images.picture(found, XRGB)


def test_palettes_of_16_bit_surfaces_hold_555_numbers(images):
    one = raw(BitmapFormat.FMT_8BIT, INDICES, palette=Palette(1, (0x7C00, 0x03E0, 0x001F)))
    assert images.picture(one, SurfaceFormat.FMT_16_555).pixels[0].tolist() == [0xFF0000, 0xFF00, 0xFF]


@pytest.mark.parametrize(
    "bad",
    [
        raw(BitmapFormat.FMT_8BIT, INDICES),
        image(ImageType.LZ_PLT, LzPlt(0, None, None, encode_lz(INDICES, type=LzType.PLT8)), size=(3, 2)),
        image(ImageType.LZ_PLT, LzPlt(0, None, Palette(1, COLOURS), encode_lz(RGB_PIXELS))),
        image(ImageType.LZ_RGB, BinaryData(encode_lz(INDICES, type=LzType.PLT8)), size=(3, 2)),
        image(ImageType.QUIC, BinaryData(encode_quic(INDICES, type=QuicType.GRAY)), size=(3, 2)),
        image(ImageType.QUIC, BinaryData(encode_quic(RGB_PIXELS)), size=(4, 5)),
        image(ImageType.QUIC, BinaryData(b"")),
        image(ImageType.LZ_RGB, BinaryData(b"")),
        image(ImageType.GLZ_RGB, BinaryData(b"")),
        image(ImageType.ZLIB_GLZ_RGB, ZlibGlzRgb(40, b"")),
        image(ImageType.JPEG, BinaryData(b"")),
        image(ImageType.JPEG_ALPHA, JpegAlpha(0, 0, b"")),
        image(ImageType.LZ4, BinaryData(b"")),
        image(ImageType.SURFACE, Surface(3)),
        image(ImageType.BITMAP, Bitmap(BitmapFormat.FMT_32BIT, 0, 5, 4, 19, data=bytes(76))),
        image(ImageType.BITMAP, Bitmap(BitmapFormat.FMT_32BIT, 0, 5, 4, 20, data=bytes(79))),
        image(ImageType.BITMAP, Bitmap(BitmapFormat(99), 0, 5, 4, 20, data=bytes(80))),
        image(ImageType.BITMAP, Bitmap(BitmapFormat.FMT_24BIT, 0, 5, 4, 20, data=bytes(80)), size=(50, 40)),
        image(ImageType.BITMAP, Bitmap(BitmapFormat.FMT_1BIT_BE, 0, 2**31, 2**31, 0)),
        image(ImageType.BITMAP, Bitmap(BitmapFormat.FMT_32BIT, 0, 0, 0, 0)),
    ],
)
def test_what_is_no_image_is_refused(images, bad):
    with pytest.raises(ImageError):
        images.picture(bad, XRGB)
    with pytest.raises(ImageError):
        images.decode_into(bad, np.zeros((bad.height, bad.width), np.uint32), XRGB)


def test_unknown_types_are_unsupported(images):
    with pytest.raises(Unsupported, match="UNKNOWN_200"):
        images.picture(image(ImageType(200)), XRGB)


def test_lz4_without_its_package_is_unsupported(images, monkeypatch):
    monkeypatch.setattr("atp_trio.spice.codec.lz4.available", lambda: False)
    with pytest.raises(Unsupported, match="LZ4"):
        images.picture(image(ImageType.LZ4, BinaryData(b"")), XRGB)


# --- the cache


def test_the_cache_keeps_a_copy(images):
    surface = np.zeros((HEIGHT, WIDTH), np.uint32)
    images.decode_into(image(ImageType.QUIC, BinaryData(encode_quic(RGB_PIXELS)), flags=ImageFlag.CACHE_ME, id_=5), surface, XRGB)
    surface[...] = 0
    assert (images.picture(image(ImageType.FROM_CACHE, id_=5), XRGB).pixels == RGB_PIXELS).all()
    images.decode_into(image(ImageType.FROM_CACHE, id_=5), surface, XRGB)
    assert (surface == RGB_PIXELS).all()


def test_a_cached_surface_is_a_copy(images):
    live = images._sources.surfaces.create(3, WIDTH, HEIGHT, XRGB)
    images.picture(image(ImageType.SURFACE, Surface(3), flags=ImageFlag.CACHE_ME, id_=5), XRGB)
    live.pixels[...] = 7
    assert not images.picture(image(ImageType.FROM_CACHE, id_=5), XRGB).pixels.any()


def test_lossless_replaces_lossy(images):
    flat = np.full((HEIGHT, WIDTH), 0x405060, np.uint32)
    images.picture(image(ImageType.JPEG, BinaryData(jpeg_bytes(flat)), flags=ImageFlag.CACHE_ME, id_=5), XRGB)
    assert images.picture(image(ImageType.FROM_CACHE, id_=5), XRGB).lossy
    lossless = image(ImageType.FROM_CACHE_LOSSLESS, id_=5)
    with pytest.raises(ImagePending) as caught:
        images.picture(lossless, XRGB)
    assert caught.value.awaited == Awaited(5, lossless=True)
    images.picture(image(ImageType.QUIC, BinaryData(encode_quic(flat)), flags=ImageFlag.CACHE_REPLACE_ME, id_=5), XRGB)
    assert (images.picture(lossless, XRGB).pixels == flat).all()


def test_a_cached_image_of_another_size_is_refused_where_it_would_not_fit(images):
    images.picture(image(ImageType.QUIC, BinaryData(encode_quic(RGB_PIXELS)), flags=ImageFlag.CACHE_ME, id_=5), XRGB)
    with pytest.raises(ImageError, match="in the cache"):
        images.decode_into(image(ImageType.FROM_CACHE, id_=5, size=(3, 3)), np.zeros((3, 3), np.uint32), XRGB)


def test_masks_are_bits_and_kept_so(images):
    packed = np.array([[0b10110000]], np.uint8)
    bitmap = Bitmap(BitmapFormat.FMT_1BIT_BE, 0, 5, 1, 1, palette=Palette(1, (1, 2)), data=packed.tobytes())
    mask = image(ImageType.BITMAP, bitmap, flags=ImageFlag.CACHE_ME, id_=8, size=(5, 1))
    assert images.mask(mask).pixels.tolist() == [[255, 0, 255, 255, 0]]
    assert images.mask(image(ImageType.FROM_CACHE, id_=8)).format == SurfaceFormat.FMT_1_A
    little = attrs.evolve(mask, payload=attrs.evolve(bitmap, format=BitmapFormat.FMT_1BIT_LE))
    assert images.mask(little).pixels.tolist() == [[0, 0, 0, 0, 255]]
    with pytest.raises(ImageError, match="mask of format"):
        images.mask(raw(BitmapFormat.FMT_32BIT, ARGB_PIXELS))


# --- all images of a message


def message_of_three(first, second, third):
    return display.DrawRop3(
        base=DisplayBase(0, Rect.at(0, 0, 1, 1)),
        src_image=first,
        src_area=Rect.at(0, 0, 1, 1),
        brush=Brush(BrushType.PATTERN, pattern=Pattern(second, Point(0, 0))),
        rop3=0,
        mask=QMask(bitmap=third),
    )


def test_what_was_decoded_before_a_wait_is_not_decoded_again(images):
    # A GLZ image decoded twice would be an error, as its id would come twice.
    first = image(ImageType.GLZ_RGB, BinaryData(glz(0, RGB_PIXELS)))
    mask = raw(BitmapFormat.FMT_1BIT_BE, np.zeros((2, 1), np.uint8))
    mask = attrs.evolve(mask, payload=attrs.evolve(mask.payload, x=8))
    message = message_of_three(first, image(ImageType.FROM_CACHE, id_=5), mask)
    with pytest.raises(ImagePending):
        images.load(message, XRGB)
    images.picture(image(ImageType.QUIC, BinaryData(encode_quic(RGB_PIXELS)), flags=ImageFlag.CACHE_ME, id_=5), XRGB)
    loaded = images.load(message, XRGB)
    assert set(loaded.pictures) == {id(message.src_image), id(message.brush.pattern.pat)}
    assert set(loaded.masks) == {id(message.mask.bitmap)}


def test_one_bad_image_keeps_no_other_from_being_kept(images):
    keep = image(ImageType.QUIC, BinaryData(encode_quic(RGB_PIXELS)), flags=ImageFlag.CACHE_ME, id_=5)
    with pytest.raises(ImageError):
        images.load(message_of_three(image(ImageType.QUIC, BinaryData(b"")), keep, None), XRGB)
    assert images.picture(image(ImageType.FROM_CACHE, id_=5), XRGB)
    keep = attrs.evolve(keep, id=6)
    with pytest.raises(ImagePending, match="0x63"):
        images.load(message_of_three(image(ImageType.FROM_CACHE, id_=99), keep, None), XRGB, give_up=True)
    assert images.picture(image(ImageType.FROM_CACHE, id_=6), XRGB)
