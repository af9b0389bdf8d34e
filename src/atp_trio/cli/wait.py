"""`atp wait`: until a machine shows something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, NotNegative, Uri, connect
from atp_trio.cli.execute import CommandFailed
from atp_trio.cli.looking import Looking
from atp_trio.cli.output import print_line


async def wait(
    uri: Uri,
    /,
    *,
    image: Annotated[
        list[Path] | None, Parameter(help="Until this picture (PNG or PPM) is there; give several for any of them.")
    ] = None,
    text: Annotated[str | None, Parameter(help="Until this text is there. Needs the extra `ocr`.")] = None,
    still: Annotated[float | None, Parameter(help="Until nothing has changed for so many seconds.")] = None,
    change: Annotated[bool, Parameter(help="Until anything changes.")] = False,
    tolerance: Annotated[int, Parameter(help="By how much the colours of an image may differ, 0 to 255."), NotNegative] = 0,
    evidence: Annotated[Path | None, Parameter(help="Where time runs out, write what was seen to this file.")] = None,
    looking: Looking = Looking(),  # noqa: B008 - frozen
    access: Access = Access(),  # noqa: B008
) -> None:
    """Wait until the machine shows something: one of --image, --text, --still and --change. Exits with 1 when time runs out."""
    from atp_trio.spice.imaging.screenshot import check_format
    from atp_trio.spice.imaging.search import Needle

    if (image is not None) + (text is not None) + (still is not None) + change != 1:
        raise atp_trio.ConfigError("say what to wait for: one of --image, --text, --still and --change")
    part, monitor = looking.part, looking.monitor
    if evidence is not None:
        check_format(evidence)
    needles = [await trio.to_thread.run_sync(Needle.load, path) for path in image or ()]
    async with connect(uri, access, atp_trio.ChannelType.DISPLAY) as vm:
        display = looking.of(vm)
        with trio.move_on_after(access.timeout) as scope:
            if needles:
                print_line(str(await display.wait_image(needles, part, monitor=monitor, tolerance=tolerance)))
            elif text is not None:
                print_line(str(await display.wait_text(text, part, monitor=monitor)))
            elif still is not None:
                await display.wait_still(still, part, monitor=monitor)
            else:
                await display.wait_change(part, monitor=monitor)
        if scope.cancelled_caught:
            seen = display.last_wait
            assert seen is not None
            if evidence is not None and seen.picture is not None:
                await trio.to_thread.run_sync(seen.picture.save, evidence)
            raise CommandFailed(f"{seen}, within {access.timeout:g} s")
