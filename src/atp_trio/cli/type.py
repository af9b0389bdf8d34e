"""`atp type`: a text, as keystrokes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, NotNegative, Uri, connect


async def type_text(
    uri: Uri,
    text: Annotated[str, Parameter(help="What to type. Put -- before a text that begins with a dash.")],
    /,
    *,
    layout: Annotated[str, Parameter(help="The keyboard layout that the guest is set to.")] = "us",
    interval: Annotated[float, Parameter(help="Seconds between two keystrokes; a slow guest may need more."), NotNegative] = 0.01,
    access: Access = Access(),  # noqa: B008 - frozen
) -> None:
    """Type a text."""
    keys = atp_trio.get_layout(layout)
    keys.keystrokes(text)  # before anything is connected: can it be typed?
    async with connect(uri, access, atp_trio.ChannelType.INPUTS) as vm:
        await vm.inputs.type_text(text, layout=keys, interval=interval)
