"""What happens to the connections of one channel, or of all, and which words choose them."""

from __future__ import annotations

from enum import Enum
from typing import Self

import attrs

from atp_trio.errors import ConfigError
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.faults.conditions import LinkConditions

__all__ = ["Direction", "Flow", "Selector", "Treatment", "Treatments"]


class Direction(Enum):
    """Where bytes go."""

    TO_SERVER = "server"
    TO_CLIENT = "client"


class Flow(Enum):
    """What happens to bytes."""

    FORWARD = "forward"
    """They go on."""
    STALL = "stall"
    """They are not read: the sender's buffers fill, nothing is lost."""
    DISCARD = "discard"
    """They are read and thrown away."""


@attrs.frozen
class Selector:
    """Some of the connections: all of them, those of a type of channel, or one channel's."""

    channel_type: int | None = None
    channel_id: int | None = None

    @classmethod
    def parse(cls, channel: ChannelType | str | None) -> Self:
        """Read `display`, `display:0` or a type of channel; None is all connections.

        Raises:
            ConfigError: There is no such type of channel.
        """
        if channel is None:
            return cls()
        if isinstance(channel, ChannelType):
            return cls(int(channel))
        name, colon, number = channel.partition(":")
        kind = ChannelType.__members__.get(name.upper())
        if kind is None or (colon and not (number.isascii() and number.isdecimal() and int(number) < 256)):
            raise ConfigError(f"{channel!r} is no channel, such as display or display:0")
        return cls(int(kind), int(number) if colon else None)

    def covers(self, other: Selector) -> bool:
        """Whether all that `other` chooses is chosen by this too."""
        return self.channel_type in {None, other.channel_type} and self.channel_id in {None, other.channel_id}


@attrs.frozen
class Treatment:
    """What happens to a connection."""

    link: LinkConditions = attrs.field(factory=LinkConditions)
    to_server: Flow = Flow.FORWARD
    to_client: Flow = Flow.FORWARD
    withholds_acks: bool = False
    refuses: bool = False

    def flow(self, direction: Direction) -> Flow:
        """What happens to the bytes of one direction."""
        return self.to_server if direction is Direction.TO_SERVER else self.to_client


class Treatments:
    """The treatments in force; the most specific one counts."""

    def __init__(self, link: LinkConditions) -> None:
        self._chosen = {Selector(): Treatment(link)}

    def of(self, channel: tuple[int, int] | None) -> Treatment:
        """What happens to a connection of this channel; None: it is not known which it is."""
        if channel is not None:
            for selector in (Selector(*channel), Selector(channel[0])):
                if selector in self._chosen:
                    return self._chosen[selector]
        return self._chosen[Selector()]

    def change(self, selector: Selector, **changes: object) -> None:
        """Change what happens to these connections; what was said of some of them alone is changed as well."""
        if selector not in self._chosen:
            general = Selector(selector.channel_type) if selector.channel_id is not None else Selector()
            self._chosen[selector] = self._chosen.get(general, self._chosen[Selector()])
        for known in list(self._chosen):
            if selector.covers(known):
                self._chosen[known] = attrs.evolve(self._chosen[known], **changes)  # type: ignore[arg-type] # by name
