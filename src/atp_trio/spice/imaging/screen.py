"""What one display channel shows: its surfaces, kept up to date by applying the channel's messages in order.

Theory of operation. `Screen.apply` looks the message's class up in `HANDLERS`. A drawing message goes through three steps: its
region is found, its images are decoded (and kept, if the server said so, even where nothing of them will be seen), and its
operation draws. The commonest of all, a whole image copied to where it lies wholly inside, is decoded straight into the surface.
Whatever is wrong with a message is counted and the message skipped, as a server never learns of it; only an image that another
channel may still bring stops the work, before anything is drawn.

Frames of video streams are deferred: `deferred` keeps them until somebody looks, or a message comes that has to do with pixels,
and most are replaced by a later frame before. What is seen is the same as if each had been drawn when it came.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from atp_trio.errors import ImageError
from atp_trio.spice.codec.framing import FrameTable
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.imaging import rop
from atp_trio.spice.imaging.cache import ImageCache, ImagePending
from atp_trio.spice.imaging.composite import draw_composite
from atp_trio.spice.imaging.decode import Unsupported
from atp_trio.spice.imaging.draw import DRAWING, Drawing, Operation, is_surface
from atp_trio.spice.imaging.fast import Drawn, FastPath
from atp_trio.spice.imaging.images import Images, Loaded
from atp_trio.spice.imaging.pixel import Argb, Picture
from atp_trio.spice.imaging.place import place
from atp_trio.spice.imaging.region import Area, bounds, region
from atp_trio.spice.imaging.stroke import draw_stroke
from atp_trio.spice.imaging.surface import MAX_PIXELS, Surface, Surfaces
from atp_trio.spice.imaging.text import draw_text
from atp_trio.spice.imaging.video import DeferredFrame
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import Head, ResourceType, Ropd, SurfaceFormat
from atp_trio.spice.messages.geometry import DisplayBase, Rect
from atp_trio.spice.messages.image import Image
from atp_trio.spice.wire import Message

OPERATIONS: dict[type[Message], Operation] = {
    **DRAWING,
    display.DrawText: draw_text,
    display.DrawStroke: draw_stroke,
    display.DrawComposite: draw_composite,
}

# More rectangles than these say no more than their bounds.
DAMAGE_RECTS = 8
REASONS = 16


@attrs.frozen
class Damage:
    """What a message changed, or may have changed.

    Attributes:
        surface_id: The surface; 0 is the primary.
        rects: Rectangles within the surface that hold every changed pixel; they may overlap.
    """

    surface_id: int
    rects: tuple[Rect, ...]

    @classmethod
    def of(cls, surface: Surface, areas: Sequence[Area]) -> Damage | None:
        """The damage that drawing in these areas did; None for none."""
        if not areas:
            return None
        if len(areas) <= DAMAGE_RECTS:
            return cls(surface.id, tuple(area.rect for area in areas))
        return cls(surface.id, (bounds(areas).rect,))


class Screen:
    """The surfaces of one display channel, and what it takes to draw on them.

    One thread at a time may call it; screens that share a cache and a window may each have their own.

    Attributes:
        surfaces: The surfaces by id. Their pixels are up to date after `settle`.
        deferred: Frames that are drawn by the next `settle`, by stream, in the order in which they came.
        lock: Held by the thread that draws.
        marked: Whether the server said that the primary surface is ready to be shown.
        monitors: The monitors as the server last told; empty where it did not, and then the primary is the one monitor.
        drawn: How many messages were drawn, by message name.
        not_drawn: What was skipped because we cannot do it: how often, by message name, or by image type.
        failed: What was skipped because it was wrong: how often, by message name.
        reasons: Why, for the last few of those.
        fast: What applies frequent messages as they lie in a receive buffer.
    """

    def __init__(self, cache: ImageCache, window: GlzWindow, *, max_pixels: int = MAX_PIXELS) -> None:
        """A screen without surfaces.

        Args:
            cache: The image cache that all display channels of the connection share.
            window: The GLZ dictionary that they share.
            max_pixels: How many pixels the surfaces may have together.
        """
        self.surfaces = Surfaces(max_pixels)
        self.deferred: dict[int, DeferredFrame] = {}
        self.lock = threading.RLock()
        self.marked = False
        self.monitors: tuple[Head, ...] = ()
        self.drawn: Counter[str] = Counter()
        self.not_drawn: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.reasons: deque[str] = deque(maxlen=REASONS)
        self._cache = cache
        self._damage: Damage | None = None
        self._images = Images(cache, window, self.surfaces)
        self.fast = FastPath(self.surfaces, cache, window)

    @property
    def primary(self) -> Surface | None:
        """Surface 0, if there is one."""
        return self.surfaces.get(0)

    def copy(self, rect: Rect | None = None, surface_id: int = 0) -> Argb:
        """A copy of a surface, or of what of a rectangle lies in it.

        Returns:
            Shape (height, width), rows top-down, numbers `0x00RRGGBB`.

        Raises:
            ImageError: There is no such surface.
        """
        self.settle()
        surface = self.surfaces[surface_id]
        if rect is None:
            return surface.copy(0, 0, surface.width, surface.height)
        return surface.copy(rect.left, rect.top, rect.right, rect.bottom)

    def settle(self) -> None:
        """Draw the frames that are deferred, for those who look at pixels; `copy` and `apply` do it themselves.

        While another thread draws it does nothing: whoever looks all the same sees what it has drawn so far.
        """
        if self.deferred and self.lock.acquire(blocking=False):
            try:
                while self.deferred:
                    self._draw_deferred(self.deferred.pop(next(iter(self.deferred))))
            finally:
                self.lock.release()

    def apply(self, message: Message, *, give_up: bool = False) -> Damage | None:
        """Do what a message of the display channel says.

        Args:
            message: The message; one that does not concern pixels counts as not drawn.
            give_up: Whether an image that is not there makes the message fail, rather than wait for it.

        Returns:
            What it changed on a surface, or may have changed before it failed; None for nothing.

        Raises:
            ImagePending: An image is not there, but another channel may bring it. Nothing was drawn: call again with the
                same message object then. No message may be applied in between.
        """
        name = type(message).__name__
        self._damage = None
        try:
            with self.lock:
                if type(message) not in PIXELLESS:
                    self.settle()
                HANDLERS.get(type(message), _unsupported)(self, message, give_up)
        except ImagePending as pending:
            if not give_up:
                raise
            self.fail(name, pending)
        except ImageError as error:
            self.fail(name, error)
        except Unsupported as what:
            self.not_drawn[str(what)] += 1
        else:
            self.drawn[name] += 1
        return self._damage

    def apply_found(self, table: FrameTable, row: int, buffer: memoryview) -> Drawn | None:
        """Apply messages as they lie in a receive buffer, until one comes that is not of a frequent and simple form.

        What they do, and what is counted, is what `apply` does; the next message is for `apply`, unless this only paused.

        Args:
            table: Messages that a framer found.
            row: That of the first one to apply.
            buffer: Where they lie.

        Returns:
            What they changed; None if the first one is for `apply` already, which it always is while frames are deferred.
        """
        if self.deferred:
            return None
        drawn = self.fast.draw(table, row, buffer)
        if drawn is not None:
            self.count_found(drawn)
        return drawn

    def count_found(self, drawn: Drawn) -> None:
        """Count what the fast path has drawn."""
        for name, count in drawn.counts.items():
            self.drawn[name] += count

    def fail(self, name: str, error: Exception) -> None:
        """Count a message that could not be drawn because it is wrong, and keep the reason."""
        self.failed[name] += 1
        self.reasons.append(f"{name}: {error}")

    def _draw_deferred(self, frame: DeferredFrame) -> None:
        try:
            frame.draw()
        except ImageError as error:
            # Counted as drawn when it came.
            self.drawn[frame.name] -= 1
            self.fail(frame.name, error)

    def _draw(self, message: Any, give_up: bool) -> None:
        base: DisplayBase = message.base
        surface = self.surfaces.get(base.surface_id)
        if surface is None:
            self._images.load(message, SurfaceFormat.FMT_32_xRGB, give_up=give_up)
            raise ImageError(f"there is no surface {base.surface_id}")
        areas = region(base, surface.width, surface.height)
        if len(areas) == 1 and (image := whole_image(message, areas[0])):
            self._damage = Damage.of(surface, areas)
            try:
                self._images.decode_into(image, areas[0].of(surface.pixels), surface.format, give_up=give_up)
            except (ImagePending, Unsupported):
                self._damage = None
                raise
            return
        loaded = self._images.load(message, surface.format, give_up=give_up)
        if areas:
            self._damage = Damage.of(surface, areas)
            OPERATIONS[type(message)](Drawing(surface, base.box, areas, loaded), message)

    def _copy_bits(self, message: display.CopyBits, give_up: bool) -> None:  # noqa: ARG002 - it has no images
        base = message.base
        surface = self.surfaces[base.surface_id]
        areas = region(base, surface.width, surface.height)
        source = Rect.at(message.src_pos.x, message.src_pos.y, base.box.width, base.box.height)
        areas, operand = place(Picture(surface.pixels, surface.format), source, base.box, surface, areas)
        Drawing(surface, base.box, areas, Loaded()).combine(areas, rop.COPY, operand)
        self._damage = Damage.of(surface, areas)

    def _create(self, message: display.SurfaceCreate, give_up: bool) -> None:  # noqa: ARG002
        self._made(self.surfaces.create(message.surface_id, message.width, message.height, message.format))

    def _destroy(self, message: display.SurfaceDestroy, give_up: bool) -> None:  # noqa: ARG002
        self.surfaces.destroy(message.surface_id)
        if message.surface_id == 0:
            self.marked = False

    def _mode(self, message: display.Mode, give_up: bool) -> None:  # noqa: ARG002
        form = SurfaceFormat.FMT_32_xRGB if message.bits == 32 else SurfaceFormat.FMT_16_555
        self._made(self.surfaces.create(0, message.x_res, message.y_res, form))

    def _made(self, surface: Surface) -> None:
        self._damage = Damage.of(surface, [Area(0, 0, surface.width, surface.height)])

    def _mark(self, message: display.Mark, give_up: bool) -> None:  # noqa: ARG002
        self.marked = True

    def _reset(self, message: display.Reset, give_up: bool) -> None:  # noqa: ARG002
        self.marked = False
        self._images.palettes.clear()
        if self.primary:
            self.primary.pixels[...] = 0
            self._made(self.primary)

    def _monitors(self, message: display.MonitorsConfig, give_up: bool) -> None:  # noqa: ARG002
        if message.heads:
            self.monitors = message.heads

    def _inval_list(self, message: display.InvalList, give_up: bool) -> None:  # noqa: ARG002
        self._cache.discard(resource.id for resource in message.resources if resource.type == ResourceType.PIXMAP)

    def _inval_all_pixmaps(self, message: display.InvalAllPixmaps, give_up: bool) -> None:  # noqa: ARG002
        # The channels it waits for are the driver's business, before.
        self._cache.clear()

    def _inval_palette(self, message: display.InvalPalette, give_up: bool) -> None:  # noqa: ARG002
        self._images.palettes.discard(message.id)

    def _inval_all_palettes(self, message: display.InvalAllPalettes, give_up: bool) -> None:  # noqa: ARG002
        self._images.palettes.clear()


def whole_image(message: Any, area: Area) -> Image | None:
    """The image of a message that copies the whole of it to an area, and does nothing else; None for all other messages."""
    if type(message) is not display.DrawCopy and type(message) is not display.DrawBlend:
        return None
    image, source, box = message.src_image, message.src_area, message.base.box
    if image is None or message.rop != Ropd.OP_PUT or message.mask.bitmap or area.coverage is not None:
        return None
    if (source.left, source.top, source.right, source.bottom) != (0, 0, image.width, image.height):
        return None
    if (box.left, box.top, box.right, box.bottom) != area[:4] or (box.width, box.height) != (image.width, image.height):
        return None
    return None if is_surface(image) else image


def _unsupported(screen: Screen, message: Message, give_up: bool) -> None:  # noqa: ARG001
    raise Unsupported(type(message).__name__)


Handler: TypeAlias = Callable[[Screen, Any, bool], None]

# Messages that leave pixels alone, and need none to be up to date.
PIXELLESS: frozenset[type[Message]] = frozenset(
    {
        display.Mark,
        display.MonitorsConfig,
        display.InvalList,
        display.InvalAllPixmaps,
        display.InvalPalette,
        display.InvalAllPalettes,
    }
)

# What the screen does for each message.
HANDLERS: dict[type[Message], Handler] = {
    **dict.fromkeys(OPERATIONS, Screen._draw),  # noqa: SLF001 - its own table
    display.CopyBits: Screen._copy_bits,  # noqa: SLF001
    display.SurfaceCreate: Screen._create,  # noqa: SLF001
    display.SurfaceDestroy: Screen._destroy,  # noqa: SLF001
    display.Mode: Screen._mode,  # noqa: SLF001
    display.Mark: Screen._mark,  # noqa: SLF001
    display.Reset: Screen._reset,  # noqa: SLF001
    display.MonitorsConfig: Screen._monitors,  # noqa: SLF001
    display.InvalList: Screen._inval_list,  # noqa: SLF001
    display.InvalAllPixmaps: Screen._inval_all_pixmaps,  # noqa: SLF001
    display.InvalPalette: Screen._inval_palette,  # noqa: SLF001
    display.InvalAllPalettes: Screen._inval_all_palettes,  # noqa: SLF001
}
