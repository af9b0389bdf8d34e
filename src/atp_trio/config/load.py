"""A configuration from a file and the environment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from atp_trio.config.document import Document, KeyPath, format_key, parse_document, read_file
from atp_trio.config.environment import override
from atp_trio.config.mistake import ConfigMistakes, Mistake
from atp_trio.config.model import TransportConfig
from atp_trio.config.structure import structure

__all__ = ["Loaded", "load_config", "read_config"]


@attrs.frozen
class Loaded:
    """A configuration, and what is not wrong with it but better done otherwise."""

    config: TransportConfig
    """The settings."""
    warnings: tuple[Mistake, ...]
    """Such as passwords that stand in the file."""


def load_config(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> TransportConfig:
    """Read a configuration. Blocks for as long as reading a file does; no password is fetched yet.

    Args:
        path: The YAML file. Relative paths in it start from its directory.
        environ: Whose `ATP_SECTION__SETTING` variables take the place of what the file says; by default this process's.

    Raises:
        ConfigMistakes: All that is wrong, each with file, line and column, or the variable's name.
    """
    return read_config(path, environ).config


def read_config(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Loaded:
    """The same, with what else there is to say.

    Raises:
        ConfigMistakes: As for `load_config`.
    """
    file = Path(path)
    document = parse_document(read_file(file), str(file))
    override(document, TransportConfig, os.environ if environ is None else environ)
    config = structure(document, TransportConfig, file.absolute().parent)
    _check_names(document)
    if config is None or document.mistakes:
        raise ConfigMistakes(document.mistakes)
    return Loaded(config, tuple(_warnings(document)))


def _items(document: Document, *path: str) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """The items of a list, as far as they are there; what is wrong with it is told elsewhere."""
    found: Any = document.data
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    for number, item in enumerate(found if isinstance(found, list) else ()):
        if isinstance(item, dict):
            yield (*path, number), item


def _check_names(document: Document) -> None:
    """Ids are there once, and who is referred to is there: also where other things are wrong."""
    hosts, vms = list(_items(document, "hosts")), list(_items(document, "spice", "vms"))
    for items, key in ((hosts, "id"), (vms, "vm_id")):
        seen: Counter[str] = Counter()
        for path, item in items:
            name = item.get(key)
            if isinstance(name, str):
                seen[name] += 1
                if seen[name] > 1:
                    document.wrong((*path, key), f"{name!r} is there already")
    known = {item.get("id") for _, item in hosts if isinstance(item.get("id"), str)}
    for path, item in vms:
        host = item.get("host")
        if isinstance(host, str) and host not in known:
            document.wrong((*path, "host"), f"there is no host {host!r}")


def _warnings(document: Document) -> Iterator[Mistake]:
    for path, item in (*_items(document, "hosts"), *_items(document, "spice", "vms")):
        key = (*path, "password")
        place = document.place(key)
        if isinstance(item.get("password"), str) and place.line:
            advice = "the password stands in the file: better name an env, file or command that has it"
            yield Mistake(place, format_key(key), advice)
    key = ("spice", "tls", "key_password")
    if key in document.values and document.values[key].line:
        yield Mistake(document.values[key], format_key(key), "the key's password stands in the file: the environment is better")
