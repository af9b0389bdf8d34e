"""Rules for a setting's value, as attrs validators. Each looks at its own value alone: so all mistakes can be told at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from atp_trio.errors import ConfigError

__all__ = ["Rule", "number", "optional", "share"]

Rule = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def number(
    *, above: float | None = None, minimum: float | None = None, maximum: float | None = None, whole: bool = False
) -> Rule:
    """A finite number within these bounds; `whole` takes integers only."""
    words = ["a whole number" if whole else "a number"]
    if above is not None:
        words.append(f"above {above:g}")
    if minimum is not None:
        words.append(f"of at least {minimum:g}")
    if maximum is not None:
        words.append(f"up to {maximum:g}")
    wanted = " ".join(words)

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if (
            not is_number
            or (above is not None and value <= above)
            or (minimum is not None and value < minimum)
            or (maximum is not None and value > maximum)
        ):
            raise ConfigError(f"{attribute.name} is {wanted}, not {value!r}")

    return check


def share() -> Rule:
    """A number from 0 to 1."""
    return number(minimum=0, maximum=1)


def optional(rule: Rule) -> Rule:
    """None, or what the rule takes."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None:
            rule(instance, attribute, value)

    return check
