"""The images of drawing messages: decoded once, found in the caches, and kept in them as the server says."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache, ImagePending, PaletteCache
from atp_trio.spice.imaging.decode import DECODERS, Request, Sources, Unsupported, bits
from atp_trio.spice.imaging.pixel import OPAQUE, Argb, Picture, Pixels, converted
from atp_trio.spice.imaging.surface import Surfaces
from atp_trio.spice.messages.display import Brush, QMask, SurfaceFormat
from atp_trio.spice.messages.image import Bitmap, Image, ImageFlag, ImageType
from atp_trio.spice.wire import Message


@attrs.define
class Loaded:
    """The decoded images of one message, by the identity of the `Image`: sources and patterns, and masks."""

    pictures: dict[int, Picture] = attrs.field(factory=dict)
    masks: dict[int, Picture] = attrs.field(factory=dict)


def images_of(message: Message) -> Iterator[tuple[Image, bool]]:
    """The images of a drawing message, and whether each is a mask of bits."""
    for name in ("src_image", "src", "brush", "fore_brush", "back_brush", "mask"):
        match getattr(message, name, None):
            case Image() as image:
                yield image, False
            case Brush(pattern=pattern) if pattern is not None and pattern.pat is not None:
                yield pattern.pat, False
            case QMask(bitmap=image) if image is not None:
                yield image, True


class Images:
    """The way from a display channel's images to pictures.

    Attributes:
        palettes: The channel's palettes.
    """

    def __init__(self, cache: ImageCache, window: GlzWindow, surfaces: Surfaces) -> None:
        self.palettes = PaletteCache()
        self._cache = cache
        self._sources = Sources(self.palettes, surfaces, window, cache.lock)
        self._message: Message | None = None
        self._loaded = Loaded()

    def load(self, message: Message, wanted: SurfaceFormat, *, give_up: bool = False) -> Loaded:
        """Decode all images of a message, and keep what is to be kept. What was decoded before a wait is not decoded again.

        Args:
            message: The drawing message.
            wanted: The format of the surface it draws on, which tells what palettes mean.
            give_up: Whether an image that is not there counts as an error.

        Raises:
            ImagePending: An image is not there, and `give_up` is not set.
            ImageError: An image cannot be decoded; the others were, and kept.
            Unsupported: An image of a type that we cannot decode; likewise.
        """
        if message is not self._message:
            self._message, self._loaded = message, Loaded()
        problem: Exception | None = None
        for image, is_mask in images_of(message):
            done = self._loaded.masks if is_mask else self._loaded.pictures
            if id(image) in done:
                continue
            try:
                done[id(image)] = self.mask(image) if is_mask else self.picture(image, wanted, give_up=give_up)
            except ImagePending as pending:
                if not give_up:
                    raise
                problem = problem or pending
            except (ImageError, Unsupported) as error:
                problem = problem or error
        loaded, self._message, self._loaded = self._loaded, None, Loaded()
        try:
            if problem:
                raise problem
            return loaded
        finally:
            # An error that its own frame refers to is a cycle, and would keep views of the receive buffer alive.
            del problem

    def picture(self, image: Image, wanted: SurfaceFormat, *, out: Argb | None = None, give_up: bool = False) -> Picture:
        """Decode one image, or find it, and keep it if it says so.

        Args:
            image: The image.
            wanted: See `load`.
            out: Where its pixels may be put, of its size; they are there only if the picture's pixels are this array.
            give_up: Whether a GLZ image that cannot be decoded yet is replaced, so that no later one waits for it.

        Raises:
            ImagePending: It is not there yet, or needs one that is not.
            ImageError: It cannot be decoded.
            Unsupported: Its type cannot be.
        """
        if image.type in (ImageType.FROM_CACHE, ImageType.FROM_CACHE_LOSSLESS):
            return self._cache.get(image.id, lossless=image.type == ImageType.FROM_CACHE_LOSSLESS)
        decoder = DECODERS.get(image.type)
        if decoder is None:
            raise Unsupported(f"image type {image.type.name}")
        picture = decoder(Request(image, wanted, out, give_up, self._sources))
        if picture.pixels.shape != (image.height, image.width) and image.type != ImageType.SURFACE:
            raise ImageError(f"an image of {image.width}x{image.height} whose data are {picture.pixels.shape[::-1]}")
        if image.flags & ImageFlag.HIGH_BITS_SET and picture.format == SurfaceFormat.FMT_32_xRGB:
            pixels = np.bitwise_or(picture.pixels, OPAQUE, out=out if picture.pixels is out else None)
            picture = attrs.evolve(picture, pixels=pixels)
        self._keep(image, picture, out)
        return picture

    def mask(self, image: Image) -> Picture:
        """Decode or find a mask: a 1_A picture, whatever palette may come with it.

        Raises:
            ImagePending: It is not there yet.
            ImageError: It is none.
        """
        if not isinstance(image.payload, Bitmap):
            return self.picture(image, SurfaceFormat.FMT_1_A)
        picture = Picture(bits(image.payload), SurfaceFormat.FMT_1_A)
        self._keep(image, picture)
        return picture

    def decode_into(self, image: Image, out: Pixels, wanted: SurfaceFormat, *, give_up: bool = False) -> None:
        """Decode one image to where it is wanted, in the format wanted; without a copy where the formats allow.

        Args:
            image: The image.
            out: The place: an array of the image's size.
            wanted: Its format.
            give_up: See `picture`.

        Raises:
            ImagePending: See `picture`; `out` is as it was.
            ImageError: See `picture`; `out` may hold a part of the image.
            Unsupported: See `picture`.
        """
        picture = self.picture(image, wanted, out=out if out.dtype == np.uint32 else None, give_up=give_up)
        if picture.pixels is not out:
            if picture.pixels.shape != out.shape:
                raise ImageError(f"image {image.id:#x} is {picture.pixels.shape[::-1]} in the cache, not {out.shape[::-1]}")
            out[...] = converted(picture.pixels, picture.format, wanted)

    def _keep(self, image: Image, picture: Picture, out: Argb | None = None) -> None:
        if not image.flags & (ImageFlag.CACHE_ME | ImageFlag.CACHE_REPLACE_ME):
            return
        # A view would keep what it is a view of alive, or change with it; and a surface changes.
        if not picture.pixels.flags.owndata or picture.pixels is out or image.type == ImageType.SURFACE:
            picture = attrs.evolve(picture, pixels=picture.pixels.copy())
        self._cache.put(image.id, picture)
