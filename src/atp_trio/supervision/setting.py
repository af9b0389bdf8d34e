"""Rules for a setting's value, as attrs validators. Each looks at its own value alone: so all mistakes can be told at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from atp_trio.errors import ConfigError

__all__ = ["Number", "Optional", "Rule", "number", "optional", "share"]

Rule = Callable[[Any, "attrs.Attribute[Any]", Any], None]


@attrs.frozen
class Number:
    """A finite number within bounds."""

    above: float | None
    """It is above this."""
    minimum: float | None
    """It is this or more."""
    maximum: float | None
    """It is this or less."""
    whole: bool
    """It is an integer."""

    def __str__(self) -> str:
        words = ["a whole number" if self.whole else "a number"]
        if self.above is not None:
            words.append(f"above {self.above:g}")
        if self.minimum is not None:
            words.append(f"of at least {self.minimum:g}")
        if self.maximum is not None:
            words.append(f"up to {self.maximum:g}")
        return " ".join(words)

    def __call__(self, _: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Check a value.

        Raises:
            ConfigError: It is not such a number.
        """
        kinds = int if self.whole else (int, float)
        # An integer may be too large for `isfinite`.
        is_number = isinstance(value, kinds) and not isinstance(value, bool) and (isinstance(value, int) or math.isfinite(value))
        if (
            not is_number
            or (self.above is not None and value <= self.above)
            or (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
        ):
            raise ConfigError(f"{attribute.name} is {self}, not {value!r}")


@attrs.frozen
class Optional:
    """None, or what a rule takes."""

    rule: Rule
    """The rule."""

    def __call__(self, instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Check a value; raises what the rule raises."""
        if value is not None:
            self.rule(instance, attribute, value)


def number(
    *, above: float | None = None, minimum: float | None = None, maximum: float | None = None, whole: bool = False
) -> Rule:
    """A finite number within these bounds; `whole` takes integers only."""
    return Number(above, minimum, maximum, whole)


def share() -> Rule:
    """A number from 0 to 1."""
    return number(minimum=0, maximum=1)


def optional(rule: Rule) -> Rule:
    """None, or what the rule takes."""
    return Optional(rule)
