"""What happens to domains, as libvirt tells it; and how libvirt's callbacks are read.

Source:
    libvirt, virConnectDomainEventRegisterAny (event ids, the arguments of their callbacks),
    virConnectDomainQemuMonitorEventRegister.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final, TypeVar

import attrs

__all__ = [
    "AgentLifecycle",
    "AgentState",
    "BlockJob",
    "BlockThreshold",
    "ControlError",
    "DeviceAdded",
    "DeviceRemovalFailed",
    "DeviceRemoved",
    "DomainEvent",
    "DomainLifecycle",
    "DomainReboot",
    "EventsMissed",
    "HostEvent",
    "IoError",
    "Lifecycle",
    "QemuMonitorEvent",
]

E = TypeVar("E", bound=IntEnum)


class Lifecycle(IntEnum):
    """`virDomainEventType`."""

    DEFINED = 0
    UNDEFINED = 1
    STARTED = 2
    SUSPENDED = 3
    RESUMED = 4
    STOPPED = 5
    SHUTDOWN = 6
    PMSUSPENDED = 7
    CRASHED = 8


class AgentState(IntEnum):
    """`virConnectDomainEventAgentLifecycleState`."""

    CONNECTED = 1
    DISCONNECTED = 2


@attrs.frozen(kw_only=True)
class DomainEvent:
    """Something happened to a domain."""

    name: str
    """The domain's name."""
    uuid: str
    """Its UUID, as libvirt writes it."""


@attrs.frozen(kw_only=True)
class DomainLifecycle(DomainEvent):
    """The domain was defined, started, suspended, stopped, ..."""

    kind: Lifecycle | int
    """What; a number where a newer libvirt says what is not known here."""
    detail: int
    """Why: a number of libvirt's, another list for each kind."""


@attrs.frozen(kw_only=True)
class DomainReboot(DomainEvent):
    """The guest restarted itself, or was reset."""


@attrs.frozen(kw_only=True)
class AgentLifecycle(DomainEvent):
    """The guest agent came or went, as QEMU sees it."""

    state: AgentState | int
    """Which."""
    reason: int
    """0 unknown, 1 the domain was started, 2 the agent opened or closed its port."""


@attrs.frozen(kw_only=True)
class ControlError(DomainEvent):
    """libvirt lost the connection to the domain's monitor, or does not understand it: the domain can no longer be controlled."""


@attrs.frozen(kw_only=True)
class IoError(DomainEvent):
    """A disk could not be read or written."""

    path: str
    """The disk's file or device on the host."""
    alias: str
    """The device."""
    action: int
    """What was done: 0 nothing, 1 the domain was paused, 2 the guest was told."""
    reason: str
    """`enospc`, or empty."""


@attrs.frozen(kw_only=True)
class BlockJob(DomainEvent):
    """A job on a disk (copy, commit, pull, backup) changed its state."""

    disk: str
    """The disk's target, such as `vda`."""
    kind: int
    """`virDomainBlockJobType`."""
    status: int
    """0 completed, 1 failed, 2 canceled, 3 ready to be finished."""


@attrs.frozen(kw_only=True)
class BlockThreshold(DomainEvent):
    """A disk was written beyond the threshold that was set for it."""

    disk: str
    """The disk's target."""
    path: str | None
    """Its file, if it has one."""
    threshold: int
    """In bytes."""
    excess: int
    """By how many bytes it was exceeded."""


@attrs.frozen(kw_only=True)
class DeviceAdded(DomainEvent):
    """A device was plugged in."""

    alias: str
    """Its name."""


@attrs.frozen(kw_only=True)
class DeviceRemoved(DomainEvent):
    """The guest let go of a device that was to be unplugged."""

    alias: str
    """Its name."""


@attrs.frozen(kw_only=True)
class DeviceRemovalFailed(DomainEvent):
    """The guest refused to let a device go."""

    alias: str
    """Its name."""


@attrs.frozen(kw_only=True)
class QemuMonitorEvent(DomainEvent):
    """A QMP event of the domain's QEMU."""

    event: str
    """Its name, such as `RESET`."""
    seconds: int
    """When, since 1970 on the host."""
    microseconds: int
    """The rest of it."""
    data: Mapping[str, Any] | None
    """What it brings, if anything."""


@attrs.frozen(kw_only=True)
class EventsMissed:
    """Events are missing here, between the one before and the one after this."""

    count: int | None
    """How many; None where nobody knows, as the host was not connected meanwhile."""


HostEvent = DomainEvent | EventsMissed
"""What a receiver of events gets."""


def _known(kind: type[E], value: int) -> E | int:
    try:
        return kind(value)
    except ValueError:
        return value


def _parse(details: str | None) -> Mapping[str, Any] | None:
    try:
        data = json.loads(details or "null")
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


EVENT_IDS: Final[Mapping[type[DomainEvent], int]] = {
    DomainLifecycle: 0,
    DomainReboot: 1,
    IoError: 6,
    ControlError: 7,
    DeviceRemoved: 15,
    BlockJob: 16,
    AgentLifecycle: 18,
    DeviceAdded: 19,
    DeviceRemovalFailed: 22,
    BlockThreshold: 24,
}
"""libvirt's number of each event; `QemuMonitorEvent` has none, as it comes by another function."""

READERS: Final[Mapping[type[DomainEvent], Callable[..., Mapping[str, Any]]]] = {
    DomainLifecycle: lambda kind, detail: {"kind": _known(Lifecycle, kind), "detail": detail},
    DomainReboot: dict,
    IoError: lambda path, alias, action, reason: {"path": path, "alias": alias, "action": action, "reason": reason},
    ControlError: dict,
    BlockJob: lambda disk, kind, status: {"disk": disk, "kind": kind, "status": status},
    DeviceRemoved: lambda alias: {"alias": alias},
    AgentLifecycle: lambda state, reason: {"state": _known(AgentState, state), "reason": reason},
    DeviceAdded: lambda alias: {"alias": alias},
    DeviceRemovalFailed: lambda alias: {"alias": alias},
    BlockThreshold: lambda disk, path, threshold, excess: {
        "disk": disk,
        "path": path,
        "threshold": threshold,
        "excess": excess,
    },
    QemuMonitorEvent: lambda event, seconds, micros, details: {
        "event": event,
        "seconds": seconds,
        "microseconds": micros,
        "data": _parse(details),
    },
}
"""What an event's own fields are, from the arguments of its callback between the domain and the last."""
