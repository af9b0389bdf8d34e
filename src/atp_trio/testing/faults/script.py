"""Faults by the clock: `"2s cut display; 4s stall inputs; 6s heal"`."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import attrs

from atp_trio.errors import ConfigError
from atp_trio.testing.faults.conditions import LinkConditions, parse_link
from atp_trio.testing.faults.treatment import Direction, Selector

__all__ = ["Action", "Step", "parse_script"]


class Action(Enum):
    """What can be done; see the methods of `FaultProxy` of the same names."""

    CUT = "cut"
    HANG_UP = "hang_up"
    HALF_OPEN = "half_open"
    STALL = "stall"
    BLACKHOLE = "blackhole"
    REFUSE = "refuse"
    WITHHOLD_ACKS = "withhold_acks"
    GARBAGE = "garbage"
    SET_LINK = "set_link"
    HEAL = "heal"


_DIRECTED: Final = frozenset({Action.STALL, Action.BLACKHOLE, Action.GARBAGE})
_TIME: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s)", re.ASCII)


@attrs.frozen(kw_only=True)
class Step:
    """One thing that is done, and when."""

    at: float
    """Seconds after the script began."""
    action: Action
    """What."""
    channel: str | None = None
    """To which connections: `display`, `display:0`; None: all."""
    direction: Direction | None = None
    """For STALL and BLACKHOLE: which direction; None: both. For GARBAGE: to whom; None: the client."""
    size: int = 64
    """For GARBAGE: how many bytes."""
    link: LinkConditions | None = None
    """For SET_LINK: the conditions."""


def parse_script(text: str) -> tuple[Step, ...]:
    """Read steps separated by `;` or new lines, each a time, an action, and, where it is not for all, a channel.

    Further words: `to=server` or `to=client` for stall, blackhole and garbage; `bytes=64` for garbage; the conditions of
    `parse_link` for set_link. Steps are given in the order of their times.

    Raises:
        ConfigError: What is wrong, and in which step.
    """
    texts = [part.strip() for part in re.split(r"[;\n]", text)]
    steps = [_parse_step(number, part) for number, part in enumerate(filter(None, texts), start=1)]
    return tuple(sorted(steps, key=lambda step: step.at))


def _parse_step(number: int, text: str) -> Step:
    time, *words = text.split()
    match = _TIME.fullmatch(time)
    if match is None:
        raise ConfigError(f"fault script, step {number}: it begins with a time such as 1.5s or 200ms, not {time!r}")
    try:
        return _parse_action(float(match[1]) * (0.001 if match[2] == "ms" else 1), words)
    except ConfigError as error:
        raise ConfigError(f"fault script, step {number}: {error}") from error


def _parse_action(at: float, words: list[str]) -> Step:
    names = {action.value: action for action in Action}
    action = names.get(words[0].replace("-", "_")) if words else None
    if action is None:
        raise ConfigError(f"the action is one of {', '.join(names)}")
    plain = [word for word in words[1:] if "=" not in word]
    if len(plain) > 1:
        raise ConfigError(f"{plain[1]!r} is one word too many")
    channel = plain[0] if plain else None
    Selector.parse(channel)
    options = [word for word in words[1:] if "=" in word]
    if action is Action.SET_LINK:
        return Step(at=at, action=action, channel=channel, link=parse_link(" ".join(options)))
    direction, size = None, 64
    for option in options:
        name, _, value = option.partition("=")
        if name == "to" and action in _DIRECTED and value in {"server", "client"}:
            direction = Direction(value)
        elif name == "bytes" and action is Action.GARBAGE and value.isascii() and value.isdecimal() and len(value) < 8:
            size = int(value)
        else:
            raise ConfigError(f"{option!r} has no meaning for {action.value}")
    return Step(at=at, action=action, channel=channel, direction=direction, size=size)
