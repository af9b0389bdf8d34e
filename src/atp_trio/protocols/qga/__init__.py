"""QGA: commands to the agent of QEMU's that runs in a guest, through libvirt or on the agent's own socket."""

from __future__ import annotations

from atp_trio.protocols.qga.fact import AgentCommand, AgentInfo, GuestUser, NetworkInterface, OsInfo
from atp_trio.protocols.qga.file import GuestFile
from atp_trio.protocols.qga.message import QgaCommand, QgaReply
from atp_trio.protocols.qga.process import Completed, ExitStatus, GuestProcess
from atp_trio.protocols.qga.protocol import QgaProtocol, open_qga
from atp_trio.protocols.qga.transfer import Progress

__all__ = [
    "AgentCommand",
    "AgentInfo",
    "Completed",
    "ExitStatus",
    "GuestFile",
    "GuestProcess",
    "GuestUser",
    "NetworkInterface",
    "OsInfo",
    "Progress",
    "QgaCommand",
    "QgaProtocol",
    "QgaReply",
    "open_qga",
]
