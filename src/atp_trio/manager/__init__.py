"""The one door: hosts and machines by id, as the configuration names them, all kept connected."""

from __future__ import annotations

from atp_trio.manager.input import InputReport, InputWay
from atp_trio.manager.outcome import Outcome
from atp_trio.manager.transport import ManagedMachine, ManagerStatistics, TransportManager, open_manager

__all__ = [
    "InputReport",
    "InputWay",
    "ManagedMachine",
    "ManagerStatistics",
    "Outcome",
    "TransportManager",
    "open_manager",
]
