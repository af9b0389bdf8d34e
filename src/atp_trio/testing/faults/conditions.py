"""What a link is like: delay, jitter, rate, and how finely it cuts what is sent. Pure: time and chance are arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

import attrs

from atp_trio.errors import ConfigError

__all__ = ["LinkConditions", "Wire", "parse_link"]

# How much is sent ahead on a link with a rate, in seconds: what waits longer waits with the sender, as it does before a router
# whose queue is short.
BURST: Final = 0.01
SMALLEST_READ: Final = 1500


def _not_negative(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"link: {attribute.name} is a time of 0 or more")


def _positive(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ConfigError(f"link: {attribute.name} is above 0")


@attrs.frozen(kw_only=True)
class LinkConditions:
    """What a link is like in each of its two directions; the default is one that nothing is to be noticed of.

    Raises:
        ConfigError: A value that cannot be meant.
    """

    delay: float = attrs.field(default=0.0, validator=_not_negative)
    """Seconds one way, so that a round trip takes twice as long; as netem's."""
    jitter: float = attrs.field(default=0.0, validator=_not_negative)
    """Up to so many seconds more, by chance, for each piece; order is kept, as TCP keeps it."""
    rate: float | None = attrs.field(default=None, validator=_positive)
    """Bits a second; None: no limit. Connections of the same conditions share it, as they share a cable."""
    chunk: int | None = attrs.field(default=None, validator=_positive)
    """At most so many bytes are delivered at once; 1 makes the receiver read single bytes."""
    gap: float = attrs.field(default=0.0, validator=_not_negative)
    """Seconds between two such chunks; 0: as soon as other tasks have run."""

    def __str__(self) -> str:
        parts = [f"{name}={_seconds(getattr(self, name))}" for name in ("delay", "jitter", "gap") if getattr(self, name)]
        if self.rate is not None:
            parts.append(f"rate={self.rate:.12g}bit")
        if self.chunk is not None:
            parts.append(f"chunk={self.chunk}")
        return " ".join(parts)


def _seconds(value: float) -> str:
    return f"{value * 1000:.12g}ms"


_TIMES: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATES: Final = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_COUNTS: Final = {"": 1.0, "b": 1.0, "k": 1024.0}


def _reader(name: str, units: dict[str, float], example: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([a-z]*)", text.lower(), re.ASCII)
        if match is None or match[2] not in units:
            known = ", ".join(unit for unit in units if unit)
            raise ConfigError(f"link: {name} is a number and its unit ({known}), as in {name}={example}, not {text!r}")
        return float(match[1]) * units[match[2]]

    return read


_READERS: Final[dict[str, Callable[[str], float]]] = {
    "delay": _reader("delay", _TIMES, "40ms"),
    "jitter": _reader("jitter", _TIMES, "5ms"),
    "rate": _reader("rate", _RATES, "10mbit"),
    "chunk": _reader("chunk", _COUNTS, "1"),
    "gap": _reader("gap", _TIMES, "1ms"),
}


def parse_link(text: str) -> LinkConditions:
    """Read conditions such as `delay=40ms rate=10mbit jitter=5ms`, separated by spaces or commas, each at most once.

    Times have the units us, ms, s; rates bit, kbit, mbit, gbit (a second, by thousands, as tc writes them); `chunk` is in bytes.

    Raises:
        ConfigError: What is wrong, and with which condition.
    """
    found: dict[str, Any] = {}
    for token in re.split(r"[\s,]+", text.strip()):
        name, equals, value = token.partition("=")
        if not equals or name not in _READERS:
            raise ConfigError(f"link: {token!r} is none of {', '.join(f'{known}=' for known in _READERS)}")
        if name in found:
            raise ConfigError(f"link: {name} is there twice")
        found[name] = _READERS[name](value)
    if "chunk" in found:
        found["chunk"] = int(found["chunk"])
    return LinkConditions(**found)


@attrs.define(eq=False)
class Wire:
    """One direction of a link: when what is sent arrives.

    ```python
    arrives_at = wire.send(now, len(data), random.random())
    ```
    """

    conditions: LinkConditions
    """What the link is like."""
    _free_at: float = -math.inf

    def send(self, now: float, size: int, chance: float) -> float:
        """So many bytes are put onto the wire now; gives when the last of them arrives. `chance` is from 0 to 1."""
        rate = self.conditions.rate
        self._free_at = max(self._free_at, now)
        if rate is not None:
            self._free_at += 8 * size / rate
        return self._free_at + self.conditions.delay + self.conditions.jitter * chance

    @property
    def takes_more_at(self) -> float:
        """When the sender may put more onto it."""
        return -math.inf if self.conditions.rate is None else self._free_at - BURST

    @property
    def read_size(self) -> int:
        """How many bytes to put onto it at once, so that those who share it take turns."""
        rate = self.conditions.rate
        return 65536 if rate is None else int(min(65536, max(SMALLEST_READ, rate / 8 * BURST)))
