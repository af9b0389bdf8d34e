"""The channels of a machine, one module a type; a type without a module is served by `MessageChannel`."""

from __future__ import annotations

from collections.abc import Mapping

from atp_trio.spice.channels.base import SpiceChannel
from atp_trio.spice.channels.cursor import CursorChannel
from atp_trio.spice.channels.display import DisplayChannel, DisplayStatistics
from atp_trio.spice.channels.inputs import InputsChannel
from atp_trio.spice.channels.main import MainChannel, OfferedChannel
from atp_trio.spice.channels.message import MessageChannel
from atp_trio.spice.channels.state import ChannelStatistics, LinkTimings
from atp_trio.spice.channels.watching import Monitor
from atp_trio.spice.messages.link import ChannelType

CHANNELS: Mapping[ChannelType, type[SpiceChannel]] = {
    ChannelType.MAIN: MainChannel,
    ChannelType.DISPLAY: DisplayChannel,
    ChannelType.INPUTS: InputsChannel,
    ChannelType.CURSOR: CursorChannel,
}

__all__ = [
    "CHANNELS",
    "ChannelStatistics",
    "CursorChannel",
    "DisplayChannel",
    "DisplayStatistics",
    "InputsChannel",
    "LinkTimings",
    "MainChannel",
    "MessageChannel",
    "Monitor",
    "OfferedChannel",
    "SpiceChannel",
]
