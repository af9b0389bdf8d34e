import numpy as np
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.cache import MAX_PALETTES, Awaited, ImageCache, ImagePending, PaletteCache
from atp_trio.spice.imaging.pixel import Picture
from atp_trio.spice.messages.display import SurfaceFormat


def picture(width=10, height=10, *, lossy=False):
    return Picture(np.zeros((height, width), np.uint32), SurfaceFormat.FMT_32_xRGB, lossy)


def test_what_is_put_is_there_and_does_not_change():
    cache, one = ImageCache(1000), picture()
    cache.put(7, one)
    assert cache.get(7) is one
    assert len(cache) == 1
    with pytest.raises(ValueError, match="read-only"):
        one.pixels[0, 0] = 1


def test_what_is_not_there_is_pending():
    with pytest.raises(ImagePending, match="0x7 ") as caught:
        ImageCache(1000).get(7)
    assert caught.value.awaited == Awaited(7)


def test_lossy_is_good_enough_unless_lossless_is_asked_for():
    cache = ImageCache(1000)
    cache.put(7, picture(lossy=True))
    assert cache.get(7).lossy
    with pytest.raises(ImagePending) as caught:
        cache.get(7, lossless=True)
    assert caught.value.awaited == Awaited(7, lossless=True)
    cache.put(7, picture())
    assert not cache.get(7, lossless=True).lossy
    assert len(cache) == 1


def test_the_budget_counts_what_is_held():
    cache = ImageCache(1000)
    cache.put(1, picture(30, 30))
    cache.put(2, picture(30, 30))
    with pytest.raises(ImageError, match="fills the cache of 1000"):
        cache.put(3, picture(30, 30))
    cache.put(2, picture(20, 30))  # in place of the larger one
    cache.discard([1, 99])
    cache.put(3, picture(30, 30))
    cache.clear()
    assert (cache.pixels, len(cache)) == (0, 0)


def test_tiny_pictures_are_bounded_too():
    cache = ImageCache(1000)
    for id_ in range(30):
        cache.put(id_, picture(1, 1))
    with pytest.raises(ImageError, match="fills the cache"):
        cache.put(30, picture(1, 1))


def test_palettes():
    palettes = PaletteCache()
    for id_ in range(MAX_PALETTES + 2):
        palettes.put(id_, (id_,))
    assert len(palettes) == MAX_PALETTES
    assert palettes.get(2) == (2,)
    with pytest.raises(ImageError, match="palette 0x1 "):
        palettes.get(1)
    palettes.put(2, (22,))
    assert palettes.get(2) == (22,)
    palettes.discard(2)
    palettes.discard(2)
    with pytest.raises(ImageError):
        palettes.get(2)
    palettes.clear()
    assert not len(palettes)
