"""`atp record`: what a machine shows, as a film."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, Positive, Uri, connect, within
from atp_trio.cli.looking import Looking


async def record(
    uri: Uri,
    file: Annotated[Path, Parameter(help="Where to write it: a name that ends in .mp4 or .webm.")],
    /,
    *,
    seconds: Annotated[float, Parameter(help="How long."), Positive],
    fps: Annotated[float | None, Parameter(help="At most so many frames a second."), Positive] = None,
    looking: Looking = Looking(),  # noqa: B008 - frozen
    access: Access = Access(),  # noqa: B008
) -> None:
    """Film what the machine shows; every change is a frame, shown as long as it was. Needs the extra `video`."""
    from atp_trio.spice.imaging.movie import check_movie_format

    check_movie_format(file)
    part = looking.part
    async with connect(uri, access, atp_trio.ChannelType.DISPLAY) as vm:
        with within(access.timeout, "no complete picture came"):
            await looking.of(vm).wait_ready()
        async with looking.of(vm).record(file, part, monitor=looking.monitor, fps=fps):
            await trio.sleep(seconds)
