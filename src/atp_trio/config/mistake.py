"""What is wrong with a configuration, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from atp_trio.errors import ConfigError

__all__ = ["ConfigMistakes", "Mistake", "Place"]


@attrs.frozen(order=True)
class Place:
    """Where something stands: a line and column of a file, or an environment variable."""

    file: str
    """The file as it was named; or the variable's name, and then there is no line."""
    line: int = 0
    """From 1; 0 where there is none."""
    column: int = 0
    """From 1; 0 where there is none."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@attrs.frozen(order=True)
class Mistake:
    """One thing that is wrong. No value of a secret setting is ever part of it."""

    place: Place
    """Where."""
    key: str
    """Of which setting: `spice.vms[0].port`; empty where it is the whole file."""
    problem: str
    """What is wrong, in a sentence."""

    def __str__(self) -> str:
        return f"{self.place} {self.key}: {self.problem}" if self.key else f"{self.place}: {self.problem}"


class ConfigMistakes(ConfigError):
    """A configuration that cannot be meant.

    Attributes:
        mistakes: All that is wrong, in the order of the file.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))
