"""The options of the commands that look at a screen: which screen, and what of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Group, Parameter

import atp_trio
from atp_trio.cli.access import NotNegative

if TYPE_CHECKING:
    from atp_trio.spice.messages.geometry import Rect

GROUP: Final = Group("Screen", sort_key=5)


@Parameter(name="*", group=GROUP)
@attrs.frozen(kw_only=True)
class Looking:
    """What to look at; by default all of the first screen."""

    display: Annotated[int, Parameter(help="The screen of this graphics device, from 0."), NotNegative] = 0
    monitor: Annotated[int | None, Parameter(help="What the monitor of this id shows.")] = None
    region: Annotated[str | None, Parameter(help="This part only: X,Y,WxH in pixels.")] = None

    @property
    def part(self) -> Rect | None:
        """The region.

        Raises:
            ConfigError: It cannot be meant.
        """
        return None if self.region is None else parse_region(self.region)

    def of(self, vm: atp_trio.SpiceVmConnection) -> atp_trio.DisplayChannel:
        """The screen that is meant.

        Raises:
            ChannelNotAvailable: There is none of that number.
        """
        return vm.get_display(self.display)


def parse_region(text: str) -> Rect:
    """Read X,Y,WxH.

    Raises:
        ConfigError: It cannot be meant.
    """
    from atp_trio.spice.messages.geometry import Rect

    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5})x(\d{1,5})", text, re.ASCII)
    x, y, width, height = map(int, match.groups()) if match else (0, 0, 0, 0)
    if not width or not height:
        raise atp_trio.ConfigError(f"{text} is no region: X,Y,WxH in pixels, such as 10,20,300x200")
    return Rect.at(x, y, width, height)
