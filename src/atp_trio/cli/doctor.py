"""`atp doctor`: what is installed, what can be reached, and what to do about the rest."""

from __future__ import annotations

from typing import Annotated, Any

import trio
from cyclopts import Parameter

from atp_trio.cli.access import Access
from atp_trio.cli.execute import FAILED
from atp_trio.cli.machine import ThisMachine
from atp_trio.cli.output import print_fields, print_json
from atp_trio.cli.part import PARTS, Examined, State, examine
from atp_trio.cli.reach import Reached, find_places, reach_all


async def doctor(
    *places: Annotated[
        str,
        Parameter(
            name="PLACE",
            help="What shall be reached: a SPICE URI, a host's libvirt URI, or a configuration file and all that it names.",
        ),
    ],
    json: Annotated[bool, Parameter(help="Print one JSON document.")] = False,
    access: Access = Access(),  # noqa: B008 - frozen
) -> int:
    """Tell what is installed, what each optional part is needed for, and whether places can be reached; with the remedy.

    Nobody is disturbed: a machine's present client stays connected. Exits with 1 if something is missing without which nothing
    works (then no place is tried), or a place could not be reached.
    """
    examined = await trio.to_thread.run_sync(examine, ThisMachine(), PARTS, abandon_on_cancel=True)
    is_ill = any(one.stops_everything for one in examined)
    reached: list[Reached] = []
    if not is_ill:
        wanted = [place for text in places for place in await trio.to_thread.run_sync(find_places, text, access)]
        reached = await reach_all(wanted, access.timeout)
    if json:
        print_json({"parts": [_part(one) for one in examined], "places": [_place(one) for one in reached]})
    else:
        print_fields([*map(_part_line, examined), *map(_place_line, reached)])
    return 0 if not is_ill and all(one.is_reached for one in reached) else FAILED


def _part(one: Examined) -> dict[str, Any]:
    part = one.part
    return {
        "name": part.name,
        "state": one.state.value,
        "detail": one.detail or None,
        "needed_for": part.needed_for,
        "required": part.is_required,
        "remedy": None if one.state is State.OK else part.remedy,
    }


def _place(one: Reached) -> dict[str, Any]:
    return {"place": one.name, "reached": one.is_reached, "detail": one.detail, "remedy": one.remedy}


def _part_line(one: Examined) -> tuple[str, str]:
    if one.state is State.OK:
        return one.part.name, f"ok: {one.detail}"
    why = f", {one.detail}" if one.detail else ""
    return one.part.name, f"{one.state.value}{why}; needed for {one.part.needed_for}: {one.part.remedy}"


def _place_line(one: Reached) -> tuple[str, str]:
    if one.is_reached:
        return one.name, f"reached: {one.detail}"
    return one.name, f"not reached: {one.detail}" + (f"; {one.remedy}" if one.remedy else "")
