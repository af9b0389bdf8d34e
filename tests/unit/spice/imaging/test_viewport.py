"""What is looked at, and where it lies."""

from __future__ import annotations

import numpy as np
import pytest

from atp_trio.errors import ConfigError, ImageError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.imaging.viewport import Monitor, Place, Viewport, monitors
from atp_trio.spice.messages.display import Head, MonitorsConfig, SurfaceCreate, SurfaceFormat
from atp_trio.spice.messages.geometry import Rect


@pytest.fixture
def screen():
    """A primary surface and another, every pixel of which is numbered."""
    screen = Screen(ImageCache(1), GlzWindow(1))
    for number, (width, height) in enumerate([(64, 48), (32, 24)]):
        form = SurfaceFormat.FMT_32_xRGB
        screen.apply(SurfaceCreate(surface_id=number, width=width, height=height, format=form, flags=1 - number))
        screen.surfaces[number].pixels[...] = np.arange(width * height).reshape(height, width) + number * 10000
    return screen


def set_up(screen, *heads):
    screen.apply(MonitorsConfig(max_allowed=4, heads=heads))


def test_without_a_monitor_it_is_the_primary_surface(screen):
    set_up(screen, Head(0, 1, 32, 24, 0, 0))
    view = Viewport(screen, Rect.at(-5, 40, 10, 10))
    assert view.place() == Place(0, view.region)
    assert (view.size, view.origin) == ((5, 8), (0, 40))
    assert np.array_equal(view.copy(), screen.copy()[40:48, :5])
    assert np.array_equal(view.part(None).copy(), screen.copy())


def test_a_monitor_on_another_surface(screen):
    set_up(screen, Head(7, 1, 20, 30, 10, 4))
    assert monitors(screen) == (Monitor(7, 1, 10, 4, 20, 30),)
    whole, part = Viewport(screen, None, 7), Viewport(screen, Rect.at(15, 2, 20, 3), 7)
    assert whole.size == (20, 20)
    assert np.array_equal(whole.copy(), screen.copy(None, 1)[4:24, 10:30])
    assert part.place() == Place(1, Rect.at(25, 6, 5, 3), 10, 4)
    assert (part.size, part.origin) == ((5, 3), (15, 2))
    assert np.array_equal(part.copy(), screen.copy(None, 1)[6:9, 25:30])
    set_up(screen, Head(7, 0, 20, 30, 0, 0))
    assert np.array_equal(whole.copy(), screen.copy()[:30, :20])


def test_where_the_guest_says_nothing_there_is_one_monitor(screen):
    assert monitors(screen) == (Monitor(0, 0, 0, 0, 64, 48),)
    assert np.array_equal(Viewport(screen, None, 0).copy(), screen.copy())
    assert monitors(Screen(ImageCache(1), GlzWindow(1))) == ()


def test_what_is_not_there(screen):
    set_up(screen, Head(1, 0, 5, 5, 0, 0), Head(2, 9, 5, 5, 0, 0))
    assert Viewport(screen, None, 3).place() is None
    for call in (lambda view: view.copy(), lambda view: view.size):
        with pytest.raises(ConfigError, match="there is no monitor 3; there is 1, 2"):
            call(Viewport(screen, None, 3))
        with pytest.raises(ImageError, match="no surface 9"):
            call(Viewport(screen, None, 2))
    assert Viewport(screen, Rect.at(70, 0, 5, 5)).size == (0, 5)
    assert Viewport(screen, Rect.at(5, 0, 5, 5), 1).copy().size == 0
