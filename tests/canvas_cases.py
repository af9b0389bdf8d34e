"""The canvas vectors: each case as the message a server would send, applied to a `Screen`, and its surface compared.

`run_case(case, folder)` is also what `tests/run_vectors.py` calls.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.pixel import DTYPES
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import (
    Brush,
    BrushType,
    LineAttr,
    LineFlag,
    PathSegment,
    Pattern,
    QMask,
    SurfaceFormat,
)
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Point16, PointFix, Rect, Transform
from atp_trio.spice.messages.image import Bitmap, Image, ImageType, Surface
from atp_trio.spice.wire import Message

GLYPHS = {1: display.RasterGlyphA1, 2: display.RasterGlyphA4, 4: display.RasterGlyphA8}
SIMPLE = {"blackness": display.DrawBlackness, "whiteness": display.DrawWhiteness, "invers": display.DrawInvers}
SECOND_SURFACE = 7


def load_cases(folder: Path) -> list[dict[str, Any]]:
    """All cases of a canvas folder, each with the name of its group."""
    cases = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        cases += [{**case, "group": path.stem} for case in (found["cases"] if isinstance(found, dict) else found)]
    return cases


def new_screen(**options: Any) -> Screen:
    return Screen(ImageCache(1 << 22), GlzWindow(1 << 22), **options)


@cache
def _data(path: Path) -> bytes:
    return zlib.decompress(path.read_bytes())


class Case:
    """One case: its data, and its parts as records of messages."""

    def __init__(self, case: dict[str, Any], folder: Path) -> None:
        self.case = case
        self._bytes = _data(folder / f"{case['group']}.bin.zlib")
        self.screen = new_screen()

    def data(self, place: list[int]) -> bytes:
        return self._bytes[place[0] : place[0] + place[1]]

    def surface(self, number: int, size: dict[str, Any], form: int, place: list[int]) -> None:
        """Create a surface of these pixels."""
        self.screen.apply(surface_create(number, size["width"], size["height"], SurfaceFormat(form)))
        surface = self.screen.surfaces[number]
        raw = np.frombuffer(self.data(place), np.uint8)
        if form == SurfaceFormat.FMT_1_A:
            rows = raw.reshape(size["height"], -1)
            surface.pixels[...] = np.unpackbits(rows, axis=1, count=size["width"], bitorder="little") * 255
        else:
            surface.pixels[...] = raw.view(DTYPES[form]).reshape(surface.pixels.shape)

    def image(self, spec: dict[str, Any] | None) -> Image | None:
        if spec is None:
            return None
        size = spec["width"], spec["height"]
        if spec["type"] == "SURFACE":
            self.surface(SECOND_SURFACE, spec, spec["surface_format"], spec["data"])
            return Image(1, ImageType.SURFACE, 0, *size, Surface(SECOND_SURFACE))
        assert spec["type"] == "BITMAP"
        bitmap = Bitmap(spec["format"], spec["flags"], *size, spec["stride"], data=self.data(spec["data"]))
        return Image(2, ImageType.BITMAP, 0, *size, bitmap)

    def brush(self, spec: dict[str, Any]) -> Brush:
        if spec["type"] == "pattern":
            return Brush(BrushType.PATTERN, pattern=Pattern(self.image(spec["image"]), Point(*spec["pos"])))
        return Brush.solid(spec["color"]) if spec["type"] == "solid" else Brush()

    def mask(self) -> QMask:
        spec = self.case.get("mask")
        return QMask(spec["flags"], Point(*spec["pos"]), self.image(spec["image"])) if spec else QMask()

    def base(self) -> DisplayBase:
        clip = self.case["clip"]
        return DisplayBase(0, rect(self.case["box"]), Clip() if clip is None else Clip.to(*map(rect, clip)))

    def message(self) -> Message:
        """The message that draws the case."""
        case, base = self.case, self.base()
        op = case["op"]
        if op in SIMPLE:
            return SIMPLE[op](base=base, mask=self.mask())
        if op == "fill":
            return display.DrawFill(base=base, brush=self.brush(case["brush"]), rop=case["rop"], mask=self.mask())
        if op == "copy_bits":
            return display.CopyBits(base=base, src_pos=Point(case["src_x"], case["src_y"]))
        if op == "text":
            return self._text(base)
        if op == "stroke":
            return self._stroke(base)
        if op == "composite":
            return self._composite(base)
        source = {"base": base, "src_image": self.image(case["image"]), "src_area": rect(case["src_area"])}
        if op == "transparent":
            return display.DrawTransparent(**source, true_color=case["true_color"])
        if op == "alpha_blend":
            return display.DrawAlphaBlend(**source, alpha_flags=case["alpha_flags"], alpha=case["alpha"])
        source |= {"scale_mode": display.ImageScaleMode(case["scale_mode"]), "mask": self.mask()}
        if op == "rop3":
            return display.DrawRop3(**source, brush=self.brush(case["brush"]), rop3=case["rop3"])
        if op == "opaque":
            return display.DrawOpaque(**source, brush=self.brush(case["brush"]), rop=case["rop"])
        return {"copy": display.DrawCopy, "blend": display.DrawBlend}[op](**source, rop=case["rop"])

    def _text(self, base: DisplayBase) -> Message:
        case = self.case
        kind = GLYPHS[case["string_flags"] & 7]
        glyphs = tuple(
            kind(
                Point(*glyph["render_pos"]),
                Point(*glyph["glyph_origin"]),
                glyph["width"],
                glyph["height"],
                self.data(glyph["data"]),
            )
            for glyph in case["glyphs"]
        )
        string = display.String(case["string_flags"], glyphs)
        return display.DrawText(
            base=base,
            str=string,
            back_area=rect(case["back_area"]),
            fore_brush=self.brush(case["fore_brush"]),
            back_brush=self.brush(case["back_brush"]),
            fore_mode=case["fore_mode"],
            back_mode=case["back_mode"],
        )

    def _stroke(self, base: DisplayBase) -> Message:
        case = self.case
        path = display.Path(
            tuple(
                PathSegment(segment["flags"], tuple(PointFix(x / 16, y / 16) for x, y in segment["points"]))
                for segment in case["path"]
            )
        )
        flags = case["line_flags"]
        attr = LineAttr(flags, tuple(length / 16 for length in case["style"]) if flags & LineFlag.STYLED else None)
        brush = self.brush(case["brush"])
        return display.DrawStroke(
            base=base, path=path, attr=attr, brush=brush, fore_mode=case["fore_mode"], back_mode=case["back_mode"]
        )

    def _composite(self, base: DisplayBase) -> Message:
        case = self.case
        source, mask = (
            Transform(*(number / 65536 for number in matrix)) if matrix else None
            for matrix in (case["src_transform"], case["mask_transform"])
        )
        return display.DrawComposite(
            base=base,
            flags=case["flags"],
            src=self.image(case["src"]),
            mask=self.image(case["mask_image"]),
            src_transform=source,
            mask_transform=mask,
            src_origin=Point16(*case["src_origin"]),
            mask_origin=Point16(*case["mask_origin"]),
        )


def surface_create(number: int, width: int, height: int, form: SurfaceFormat) -> display.SurfaceCreate:
    return display.SurfaceCreate(surface_id=number, width=width, height=height, format=form, flags=0)


def rect(edges: list[int]) -> Rect:
    left, top, right, bottom = edges
    return Rect(top=top, left=left, bottom=bottom, right=right)


def run_case(case: dict[str, Any], folder: Path) -> None:
    """Draw a case, as decoded from the bytes of its message.

    Raises:
        AssertionError: It was not drawn, or another picture came of it.
    """
    this = Case(case, folder)
    size = case["surface"]
    this.surface(0, size, size["format"], case["initial"])
    made = this.message()
    message = type(made).decode(made.encode())
    this.screen.apply(message)
    assert not this.screen.not_drawn, f"{case['group']} {case['id']}: not drawn"
    assert not this.screen.failed, f"{case['group']} {case['id']}: {list(this.screen.reasons)}"
    surface = this.screen.surfaces[0]
    expected = np.frombuffer(this.data(case["expected"]), surface.pixels.dtype).reshape(surface.pixels.shape)
    seen = 0xFFFFFF if size["format"] == SurfaceFormat.FMT_32_xRGB else -1 & np.iinfo(surface.pixels.dtype).max
    different = np.argwhere((surface.pixels ^ expected) & seen)
    if len(different):
        row, column = different[0]
        raise AssertionError(
            f"{case['group']} {case['id']} ({case['op']}): {len(different)} pixels differ, the first at ({column}, {row}): "
            f"{surface.pixels[row, column]:#x} instead of {expected[row, column]:#x}"
        )
