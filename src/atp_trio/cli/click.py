"""`atp click`: a mouse button at a pixel."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

import atp_trio
from atp_trio.cli.access import Access, Uri, connect, within
from atp_trio.cli.execute import CommandFailed

# A position is 32 bits on the wire, a surface 16384 pixels at most.
Coordinate = Annotated[int, Parameter(validator=Number(gte=0, lt=16384))]


async def click(
    uri: Uri,
    x: Annotated[Coordinate, Parameter(help="Pixels from the left edge of the first screen.")],
    y: Annotated[Coordinate, Parameter(help="Pixels from its upper edge.")],
    /,
    *,
    button: Annotated[
        Literal["left", "middle", "right", "up", "down", "side", "extra"], Parameter(help="Which one; up and down are the wheel.")
    ] = "left",
    access: Access = Access(),  # noqa: B008 - frozen
) -> None:
    """Press and release a mouse button at a pixel."""
    async with connect(uri, access, atp_trio.ChannelType.INPUTS) as vm:
        if atp_trio.MouseMode.CLIENT not in vm.main.supported_mouse_modes:
            raise CommandFailed("the machine takes no positions, only motion: it has neither a tablet nor a guest agent")
        with within(access.timeout, "the machine did not change to taking positions"):
            await vm.main.request_mouse_mode(atp_trio.MouseMode.CLIENT)
            await vm.inputs.click(x, y, button=atp_trio.MouseButton[button.upper()])
