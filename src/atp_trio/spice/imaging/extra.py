"""Packages that only some programs need: imported late, and missed with a sentence that says what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from atp_trio.errors import ConfigError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional dependency. May take a second: in a thread, from a Trio task.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"this needs the extra `{extra}`: pip install 'atp-trio[{extra}]' ({error})") from error
