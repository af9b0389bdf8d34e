"""Frames of video streams on a surface: where they go, and where they are decoded to."""

from __future__ import annotations

import numpy as np
import pytest

from atp_trio.errors import ImageError
from atp_trio.spice.imaging.surface import Surface
from atp_trio.spice.imaging.video import draw_frame
from atp_trio.spice.messages.display import SurfaceFormat
from atp_trio.spice.messages.geometry import Clip, Rect

WIDTH, HEIGHT = 8, 6
FRAME = np.arange(1, 25, dtype=np.uint32).reshape(4, 6) | 0xFF000000
ALL = Clip()


def blank(form=SurfaceFormat.FMT_32_xRGB):
    return Surface(0, form, np.zeros((HEIGHT, WIDTH), np.uint32 if form & 32 else np.uint16))


class Decoder:
    """Gives a frame, where it is offered a place of its size in that place."""

    def __init__(self, pixels=FRAME):
        self.pixels = pixels
        self.offered = None

    def __call__(self, out):
        self.offered = out
        if out is None or out.shape != self.pixels.shape:
            return self.pixels.copy()
        out[...] = self.pixels
        return out


def drawn(dest, clip=ALL, *, top_down=True, form=SurfaceFormat.FMT_32_xRGB):
    """What is on the surface then, and whether it was offered to the decoder."""
    surface, decoder = blank(form), Decoder()
    draw_frame(surface, decoder, dest, clip, top_down=top_down)
    is_offered = decoder.offered is not None and np.shares_memory(decoder.offered, surface.pixels)
    return surface.pixels, is_offered


def expected(dest, shown, frame=FRAME):
    """A surface with an unscaled frame, of which the rectangle is shown."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint32)
    for y in range(max(dest.top, shown.top, 0), min(dest.bottom, shown.bottom, HEIGHT)):
        for x in range(max(dest.left, shown.left, 0), min(dest.right, shown.right, WIDTH)):
            pixels[y, x] = frame[y - dest.top, x - dest.left]
    return pixels


def test_a_frame_that_is_seen_whole_is_decoded_on_the_surface():
    dest = Rect.at(1, 2, 6, 4)
    pixels, is_offered = drawn(dest)
    assert is_offered
    assert (pixels == expected(dest, dest)).all()


@pytest.mark.parametrize("dest", [Rect.at(3, 2, 6, 4), Rect.at(-1, 0, 6, 4), Rect.at(1, 2, 6, 4)])
@pytest.mark.parametrize("shown", [Rect.at(2, 3, 3, 2), Rect.at(-5, 3, 30, 30)])
@pytest.mark.parametrize("top_down", [True, False])
def test_a_part_of_a_frame(dest, shown, top_down):
    pixels, is_offered = drawn(dest, Clip.to(shown), top_down=top_down)
    assert not is_offered
    assert (pixels == expected(dest, shown, FRAME if top_down else FRAME[::-1])).all()


def test_clip_rectangles_that_overlap():
    dest = Rect.at(1, 1, 6, 4)
    pixels, is_offered = drawn(dest, Clip.to(Rect.at(1, 1, 3, 4), Rect.at(2, 1, 5, 4)))
    assert not is_offered
    assert (pixels == expected(dest, dest)).all()
    pixels, _ = drawn(dest, Clip.to(Rect.at(1, 1, 3, 2), Rect.at(2, 2, 3, 2)))
    first, second = expected(dest, Rect.at(1, 1, 3, 2)), expected(dest, Rect.at(2, 2, 3, 2))
    assert (pixels == np.maximum(first, second)).all()


def test_a_frame_from_the_bottom():
    dest = Rect.at(0, 0, 6, 4)
    pixels, is_offered = drawn(dest, top_down=False)
    assert not is_offered
    assert (pixels == expected(dest, dest, FRAME[::-1])).all()


def test_surfaces_of_other_depths():
    pixels, is_offered = drawn(Rect.at(0, 0, 6, 4), form=SurfaceFormat.FMT_16_555)
    assert not is_offered
    assert pixels[:4, :6].tolist() == (FRAME >> 3 & 31).tolist()


@pytest.mark.parametrize("top_down", [True, False])
def test_frames_are_scaled_and_clipped(top_down):
    surface, frame = blank(), np.array([[1, 2], [3, 4]], np.uint32)
    draw_frame(surface, Decoder(frame), Rect.at(2, 2, 4, 4), Clip.to(Rect.at(0, 0, 99, 5)), top_down=top_down)
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [0, 0, 0, 0]]
    assert (surface.pixels[2:6, 2:6] & 0xFFFFFF).tolist() == (rows if top_down else [rows[2], rows[2], rows[0], rows[3]])


@pytest.mark.parametrize(("dest", "clip"), [(Rect.at(0, 0, 6, 4), Clip.to()), (Rect.at(90, 0, 6, 4), ALL)])
def test_what_nobody_can_see_is_not_decoded(dest, clip):
    surface, decoder = blank(), Decoder(None)  # which could give nothing
    draw_frame(surface, decoder, dest, clip)
    assert not surface.pixels.any()


def test_what_cannot_be_decoded():
    def decode(_):
        raise ImageError("no frame")

    surface = blank()
    with pytest.raises(ImageError, match="no frame"):
        draw_frame(surface, decode, Rect.at(1, 2, 6, 4), ALL)
    assert not surface.pixels.any()
