"""Settings from the environment: `ATP_HEARTBEAT__INTERVAL=10`, `ATP_SPICE__VMS__VM1__PORT=5901`.

Two underscores stand between the steps of a setting's key. Items of lists are named by their id, in which every character but
letters and digits counts as an underscore, and upper and lower case as one. Numbers and truth values are read as YAML reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from atp_trio.config.document import Document, KeyPath, parse_value
from atp_trio.config.mistake import Mistake, Place
from atp_trio.config.structure import bare_type, field_types, item_type

__all__ = ["override"]

PREFIX: Final = "ATP_"
_STEP: Final = "__"
_IDS: Final = ("id", "vm_id")


def override(document: Document, kind: type[attrs.AttrsInstance], environ: Mapping[str, str]) -> None:
    """Put what the environment says in the place of what the file says; a variable that names no setting is a mistake.

    Variables without two underscores are other programs', or other parts of this one.
    """
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or _STEP not in variable:
            continue
        steps = variable.removeprefix(PREFIX).split(_STEP)
        found = _find(document.data, kind, steps)
        if found is None:
            document.mistakes.append(Mistake(Place(variable), "", "this environment variable names no setting"))
            continue
        holder, path, wanted = found
        holder[path[-1]] = _read(environ[variable], wanted)
        document.keys[path] = document.values[path] = Place(variable)


def _find(data: dict[str, Any], kind: Any, steps: list[str]) -> tuple[dict[Any, Any], KeyPath, Any] | None:
    """What holds the setting, its path and its type; what is missing on the way is made."""
    holder: Any = data
    path: KeyPath = ()
    name: Any
    for number, step in enumerate(steps, start=1):
        name, kind = _find_list_item(holder, kind, step) if isinstance(holder, list) else _find_field(holder, kind, step)
        if name is None:
            return None
        path = (*path, name)
        if number == len(steps):
            return (holder, path, kind) if isinstance(holder, dict) else None
        if not attrs.has(item_type(kind) or kind):
            return None
        holder = holder[name] if isinstance(holder, list) else holder.setdefault(name, [] if item_type(kind) else {})
    return None


def _find_field(holder: Any, kind: Any, step: str) -> tuple[str | None, Any]:
    if not isinstance(holder, dict) or not attrs.has(kind):
        return None, None
    for name, wanted in field_types(kind).items():
        if _plain(name) == _plain(step):
            return name, bare_type(wanted)
    return None, None


def _find_list_item(holder: list[Any], kind: Any, step: str) -> tuple[int | None, Any]:
    for number, item in enumerate(holder):
        if isinstance(item, dict) and any(_plain(str(item.get(key, ""))) == _plain(step) for key in _IDS):
            return number, item_type(kind)
    return None, None


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _read(text: str, kind: Any) -> Any:
    if kind in {int, float, bool}:
        return parse_value(text)
    if item_type(kind) is str:
        return [part.strip() for part in text.split(",")] if text.strip() else []
    return text
