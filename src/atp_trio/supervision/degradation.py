"""What a machine is worth without some of its channels: pure.

A machine without sound is degraded and can be used; one without its display or inputs is degraded too, and what is missing is
said; one without main is not connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from atp_trio.errors import ConfigError
from atp_trio.supervision.state import ConnectionState

__all__ = ["ChannelsConfig", "Verdict", "judge", "priority"]

KNOWN = ("main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir", "port", "webdav")


def _channel_names(_: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for name in value:
        if name not in KNOWN:
            raise ConfigError(f"{attribute.name}: there is no channel type {name!r}; there are {', '.join(KNOWN)}")
    if len(set(value)) < len(value):
        raise ConfigError(f"{attribute.name}: a channel type stands there twice")


def _settable(_: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    _channel_names(_, attribute, value)
    if "main" not in value:
        raise ConfigError(f"{attribute.name}: main cannot be left out, there is no machine without it")


@attrs.frozen(kw_only=True)
class ChannelsConfig:
    """Which channels of a machine are opened, and what they are worth; types by their names, `display`.

    Raises:
        ConfigError: A type that is not there, or stands there twice; main is left out of `required`.
    """

    open: tuple[str, ...] = attrs.field(default=("display", "inputs", "cursor"), validator=_channel_names)
    """The types to open, as far as the machine offers them; main always is."""
    priority: tuple[str, ...] = attrs.field(default=("main", "display", "inputs", "cursor"), validator=_channel_names)
    """Which come first when channels are opened, the first type first; the rest comes after them."""
    required: tuple[str, ...] = attrs.field(default=("main", "display", "inputs"), validator=_settable)
    """Without which the machine cannot do its work: it is reported as not usable when one of them is down."""


@attrs.frozen
class Verdict:
    """What a machine is worth now."""

    state: ConnectionState
    """Of the machine: as main's, and DEGRADED where main works and something else does not."""
    down: tuple[str, ...] = ()
    """The channels that are down, by priority: `display:0`."""
    missing: tuple[str, ...] = ()
    """Those of them that are required."""

    @property
    def is_usable(self) -> bool:
        """Whether everything that is required works."""
        return self.state.is_usable and not self.missing


def priority(config: ChannelsConfig, names: Iterable[str]) -> tuple[str, ...]:
    """These channels (`display:0`) in the order in which they are to be opened: by the type's place, then by id."""

    def place(name: str) -> tuple[int, str, int]:
        kind, _, number = name.partition(":")
        rank = config.priority.index(kind) if kind in config.priority else len(config.priority)
        return 0 if kind == "main" else rank + 1, kind, int(number or 0)

    return tuple(sorted(names, key=place))


def judge(config: ChannelsConfig, channels: Mapping[str, ConnectionState]) -> Verdict:
    """What a machine is worth whose channels (`display:0`) are in these states; those that nobody wants are left out."""
    main = channels.get("main:0", ConnectionState.DISCONNECTED)
    down = priority(config, [name for name, state in channels.items() if not state.is_usable])
    missing = tuple(name for name in down if name.partition(":")[0] in config.required)
    if not main.is_usable:
        return Verdict(main, down, missing)
    is_whole = not down and all(state is ConnectionState.CONNECTED for state in channels.values())
    return Verdict(ConnectionState.CONNECTED if is_whole else ConnectionState.DEGRADED, down, missing)
