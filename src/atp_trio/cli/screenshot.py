"""`atp screenshot`: what a machine shows, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import trio
from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, Uri, connect, within
from atp_trio.cli.looking import Looking

if TYPE_CHECKING:
    from atp_trio.spice.imaging.screenshot import Screenshot


async def screenshot(
    uri: Uri,
    file: Annotated[Path, Parameter(help="Where to write it: a name that ends in .png or .ppm.")],
    /,
    *,
    watch: Annotated[bool, Parameter(help="Go on, and write the file anew whenever the screen changes.")] = False,
    looking: Looking = Looking(),  # noqa: B008 - frozen
    access: Access = Access(),  # noqa: B008
) -> None:
    """Save what the machine shows, as soon as there is a complete picture."""
    from atp_trio.spice.imaging.screenshot import check_format

    check_format(file)
    part, monitor = looking.part, looking.monitor
    async with connect(uri, access, atp_trio.ChannelType.DISPLAY) as vm:
        with within(access.timeout, "no complete picture came"):
            picture = await looking.of(vm).screenshot(part, monitor=monitor)
        if not watch:
            await trio.to_thread.run_sync(picture.save, file)
        while watch:
            await trio.to_thread.run_sync(_replace, picture, file)
            picture = await looking.of(vm).wait_change(part, monitor=monitor, since=picture)


def _replace(picture: Screenshot, file: Path) -> None:
    """Write the file so that who reads it meanwhile finds the old picture or the new one, whole."""
    part = file.with_name(f".{file.stem}.part{file.suffix}")
    try:
        picture.save(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
