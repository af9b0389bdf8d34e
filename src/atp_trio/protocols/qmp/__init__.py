"""QMP: commands to QEMU, its answers and its events, through libvirt or on a monitor's own socket."""

from __future__ import annotations

from atp_trio.protocols.qmp.listening import QmpEvents
from atp_trio.protocols.qmp.message import Greeting, QmpCommand, QmpEvent, QmpReply
from atp_trio.protocols.qmp.protocol import QmpProtocol, open_qmp

__all__ = [
    "Greeting",
    "QmpCommand",
    "QmpEvent",
    "QmpEvents",
    "QmpProtocol",
    "QmpReply",
    "open_qmp",
]
