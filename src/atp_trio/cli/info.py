"""`atp info`: what a machine is and offers."""

from __future__ import annotations

from typing import Annotated, Any

import trio
from cyclopts import Parameter

import atp_trio
from atp_trio.cli.access import Access, Uri, connect
from atp_trio.cli.output import print_fields, print_json

# A machine need not ever show a picture; what it is can be told all the same.
SETTLE_SECONDS = 2.0


async def info(
    uri: Uri,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print one JSON document.")] = False,
    access: Access = Access(),  # noqa: B008 - frozen
) -> None:
    """Tell what the machine is: its channels, their capabilities, mouse mode, agent, surfaces and monitors."""
    kinds = atp_trio.ChannelType
    async with connect(uri, access, kinds.DISPLAY, kinds.INPUTS, kinds.CURSOR) as vm:
        with trio.move_on_after(min(SETTLE_SECONDS, access.timeout)):
            await _wait_settled(vm)
        document = {"uri": str(vm.uri or uri), **describe(vm)}
    if json:
        print_json(document)
    else:
        print_fields(_fields(document))


async def _wait_settled(vm: atp_trio.SpiceVmConnection) -> None:
    """Wait for what comes after the link: the mouse mode asked for, and the displays' first picture."""
    if atp_trio.MouseMode.CLIENT in vm.main.supported_mouse_modes:
        await vm.main.request_mouse_mode(atp_trio.MouseMode.CLIENT)
    for display in _displays(vm):
        await display.wait_ready()


def _displays(vm: atp_trio.SpiceVmConnection) -> list[atp_trio.DisplayChannel]:
    return [channel for channel in vm.channels if isinstance(channel, atp_trio.DisplayChannel)]


def describe(vm: atp_trio.SpiceVmConnection) -> dict[str, Any]:
    """What is known of a machine, as a JSON document."""
    main = vm.main
    displays = _displays(vm)
    opened = {channel.name: channel for channel in vm.channels}
    names = [main.name, *(f"{one.type.name.lower()}:{one.id}" for one in main.offered)]
    return {
        "name": vm.name,
        "uuid": str(vm.uuid) if vm.uuid else None,
        "mouse_mode": vm.mouse_mode.name.lower(),
        "supported_mouse_modes": sorted(mode.name.lower() for mode in main.supported_mouse_modes),
        "agent": {"connected": main.agent.is_connected, "tokens": main.agent.tokens},
        "channels": [_channel(name, opened.get(name)) for name in dict.fromkeys(names)],
        "surfaces": [surface for display in displays for surface in _surfaces(display)],
        "monitors": [
            {
                "display": display.channel_id,
                "id": monitor.id,
                "surface": monitor.surface_id,
                "x": monitor.x,
                "y": monitor.y,
                "width": monitor.width,
                "height": monitor.height,
            }
            for display in displays
            for monitor in display.monitors
        ],
    }


def _channel(name: str, channel: atp_trio.SpiceChannel | None) -> dict[str, Any]:
    if channel is None:
        return {"name": name, "open": False}
    timings = channel.link_timings
    return {
        "name": name,
        "open": True,
        "link_ms": round(timings.total * 1000, 3) if timings else None,
        "capabilities": [_cap_name(channel, number) for number in sorted(channel.server_caps)],
    }


def _cap_name(channel: atp_trio.SpiceChannel, number: int) -> str:

    from atp_trio.spice.messages.display import DisplayCap
    from atp_trio.spice.messages.inputs import InputsCap
    from atp_trio.spice.messages.main import MainCap

    kinds = atp_trio.ChannelType
    caps = {kinds.MAIN: MainCap, kinds.DISPLAY: DisplayCap, kinds.INPUTS: InputsCap}.get(channel.channel_type)
    return str(number) if caps is None else caps(number).name


def _surfaces(display: atp_trio.DisplayChannel) -> list[dict[str, Any]]:
    from atp_trio.spice.imaging.surface import MAX_SURFACES

    surfaces = (display.screen.surfaces.get(number) for number in range(MAX_SURFACES))
    return [
        {
            "display": display.channel_id,
            "id": surface.id,
            "width": surface.width,
            "height": surface.height,
            "format": surface.format.name,
        }
        for surface in surfaces
        if surface is not None
    ]


def _fields(document: dict[str, Any]) -> list[tuple[str, object]]:
    """The same for people."""
    agent = document["agent"]
    fields: list[tuple[str, object]] = [
        ("server", document["uri"]),
        ("name", document["name"] or "not told"),
        ("uuid", document["uuid"] or "not told"),
        ("mouse mode", f"{document['mouse_mode']} (supported: {', '.join(document['supported_mouse_modes'])})"),
        ("agent", f"connected, {agent['tokens']} tokens" if agent["connected"] else "not connected"),
    ]
    for channel in document["channels"]:
        told = f"{channel['link_ms']:.1f} ms to link; {', '.join(channel['capabilities'])}" if channel["open"] else "not opened"
        fields.append((f"channel {channel['name']}", told.removesuffix("; ")))
    fields += [
        (f"surface {one['display']}:{one['id']}", f"{one['width']}x{one['height']} {one['format']}")
        for one in document["surfaces"]
    ]
    fields += [
        (
            f"monitor {one['display']}:{one['id']}",
            f"{one['width']}x{one['height']}+{one['x']}+{one['y']} of surface {one['surface']}",
        )
        for one in document["monitors"]
    ]
    return fields
