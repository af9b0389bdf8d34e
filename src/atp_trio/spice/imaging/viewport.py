"""What of a display somebody looks at: the primary surface, what a monitor shows, or a part of either."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging.screen import Screen
from atp_trio.spice.messages.geometry import Rect


@attrs.frozen
class Monitor:
    """A monitor: which part of which surface it shows."""

    id: int
    surface_id: int
    x: int
    y: int
    width: int
    height: int


@attrs.frozen
class Place:
    """Where something lies.

    Attributes:
        surface_id: The surface.
        rect: The part of the surface, in its pixels; None for all of it.
        x: The column of the surface from which the looker counts.
        y: The row.
    """

    surface_id: int
    rect: Rect | None
    x: int = 0
    y: int = 0


@attrs.frozen(eq=False)
class Viewport:
    """What somebody looks at. A guest may set up its monitors anew at any time, so where it lies is found out at every look.

    Attributes:
        screen: The screen.
        region: The part; with a monitor, in pixels of that monitor. None for all of it.
        monitor: The monitor's id; None for the primary surface.
    """

    screen: Screen
    region: Rect | None = None
    monitor: int | None = None
    _primary: Place = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_primary", Place(0, self.region))

    def part(self, region: Rect | None) -> Viewport:
        """Another part of the same."""
        return Viewport(self.screen, region, self.monitor)

    def place(self) -> Place | None:
        """Where it lies now; None where there is no such monitor."""
        if self.monitor is None:
            return self._primary
        one = next((one for one in monitors(self.screen) if one.id == self.monitor), None)
        if one is None:
            return None
        rect = Rect.at(one.x, one.y, one.width, one.height)
        if self.region is not None:
            part = Rect.at(one.x + self.region.left, one.y + self.region.top, self.region.width, self.region.height)
            rect = rect.intersection(part)
        return Place(one.surface_id, rect, one.x, one.y)

    def checked_place(self) -> Place:
        """Where it lies now.

        Raises:
            ConfigError: There is no such monitor.
        """
        place = self.place()
        if place is None:
            there = ", ".join(str(one.id) for one in monitors(self.screen))
            raise ConfigError(f"there is no monitor {self.monitor}; there is {there or 'none'}")
        return place

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of what is there to be seen.

        Raises:
            ConfigError: There is no such monitor.
            ImageError: There is no such surface.
        """
        place = self.checked_place()
        surface = self.screen.surfaces[place.surface_id]
        whole = Rect.at(0, 0, surface.width, surface.height)
        seen = whole if place.rect is None else whole.intersection(place.rect)
        return max(seen.width, 0), max(seen.height, 0)

    @property
    def origin(self) -> tuple[int, int]:
        """Where the left top corner of a copy lies, in the pixels that the region counts."""
        return (max(self.region.left, 0), max(self.region.top, 0)) if self.region else (0, 0)

    def copy(self) -> npt.NDArray[np.uint32]:
        """A copy of what is seen: shape (height, width), rows top-down, numbers `0x00RRGGBB`.

        Raises:
            ConfigError: There is no such monitor.
            ImageError: There is no such surface.
        """
        place = self.checked_place()
        return self.screen.copy(place.rect, place.surface_id)


def monitors(screen: Screen) -> tuple[Monitor, ...]:
    """The monitors that the guest has set up; one as large as the primary surface where it says nothing."""
    if screen.monitors:
        return tuple(Monitor(one.monitor_id, one.surface_id, one.x, one.y, one.width, one.height) for one in screen.monitors)
    primary = screen.primary
    return (Monitor(0, 0, 0, 0, primary.width, primary.height),) if primary else ()
