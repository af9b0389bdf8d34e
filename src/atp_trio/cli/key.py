"""`atp key`: keys pressed together."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, Uri, connect


async def key(
    uri: Uri,
    chord: Annotated[str, Parameter(help="The keys, such as ctrl+alt+f2 or enter.")],
    /,
    *,
    access: Access = Access(),  # noqa: B008 - frozen
) -> None:
    """Press keys together and release them."""
    keys = atp_trio.parse_chord(chord)
    async with connect(uri, access, atp_trio.ChannelType.INPUTS) as vm:
        await vm.inputs.press(keys)
