"""`atp screenshot`: what a machine shows, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, Uri, connect, within


async def screenshot(
    uri: Uri,
    file: Annotated[Path, Parameter(help="Where to write it: a name that ends in .png or .ppm.")],
    /,
    *,
    access: Access = Access(),  # noqa: B008 - frozen
) -> None:
    """Save what the machine shows, as soon as there is a complete picture."""
    from atp_trio.spice.imaging.screenshot import check_format

    check_format(file)
    async with connect(uri, access, atp_trio.ChannelType.DISPLAY) as vm:
        with within(access.timeout, "no complete picture came"):
            picture = await vm.display.screenshot()
    await trio.to_thread.run_sync(picture.save, file)
