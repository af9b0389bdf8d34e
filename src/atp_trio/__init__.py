r"""Drive QEMU/KVM virtual machines from Trio programs.

```python
async with atp_trio.open_spice("spice://127.0.0.1:5900", password="secret") as vm:
    await vm.inputs.type_text("root\n")
    (await vm.display.screenshot()).save("screen.png")
```

The names here are the public ones. Each is imported when it is first used, so that `import atp_trio` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from atp_trio.errors import (
    AgentLost,
    AgentNotConfigured,
    AgentNotConnected,
    AgentUnavailable,
    AgentUnresponsive,
    AtpError,
    AuthenticationFailed,
    ChannelNotAvailable,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    DomainNotFound,
    DomainNotRunning,
    HostNotFound,
    HypervisorError,
    ImageError,
    LinkError,
    LocalProtocolError,
    MalformedMessage,
    NotConnected,
    ProtocolError,
    QgaError,
    QmpError,
    RemoteProtocolError,
    TlsError,
    TransportError,
)

if TYPE_CHECKING:
    from atp_trio.config import TransportConfig, load_config
    from atp_trio.hypervisor.channel import LibvirtStream
    from atp_trio.hypervisor.credentials import Credentials
    from atp_trio.hypervisor.domain import Domain, DomainState
    from atp_trio.hypervisor.event import (
        AgentLifecycle,
        DomainEvent,
        DomainLifecycle,
        DomainReboot,
        EventsMissed,
        QemuMonitorEvent,
    )
    from atp_trio.hypervisor.host import HostConnection, open_host
    from atp_trio.hypervisor.info import HostInfo
    from atp_trio.hypervisor.lanes import LaneConfig
    from atp_trio.hypervisor.pool import ConnectionPool, open_pool
    from atp_trio.hypervisor.pool_core import PoolConfig
    from atp_trio.hypervisor.uri import HostUri
    from atp_trio.keyboard import Key, Layout, get_layout, layout_names, parse_chord
    from atp_trio.manager import InputReport, ManagedMachine, Outcome, TransportManager, open_manager
    from atp_trio.protocols.base import Protocol
    from atp_trio.protocols.framing import Framing, JsonFraming, LengthFraming, LineFraming
    from atp_trio.protocols.qga import QgaProtocol, open_qga
    from atp_trio.protocols.qmp import QmpProtocol, open_qmp
    from atp_trio.protocols.spice import KeyPress, MouseClick, SpiceProtocol, TypedText
    from atp_trio.protocols.virtio_serial import VirtioSerialProtocol
    from atp_trio.spice.channels import (
        ChannelStatistics,
        CursorChannel,
        DisplayChannel,
        DisplayStatistics,
        InputsChannel,
        MainChannel,
        MessageChannel,
        Monitor,
        SpiceChannel,
    )
    from atp_trio.spice.channels.damage import DamageReceiver
    from atp_trio.spice.channels.recording import Recording
    from atp_trio.spice.channels.session import SpiceLimits
    from atp_trio.spice.channels.watching import Evidence, LiveScreen
    from atp_trio.spice.connection import SpiceVmConnection, open_spice
    from atp_trio.spice.imaging.ocr import TextLine
    from atp_trio.spice.imaging.screenshot import Screenshot
    from atp_trio.spice.imaging.search import Match, Needle
    from atp_trio.spice.manager import MachineStatistics, SpiceConnectionManager, open_spice_manager
    from atp_trio.spice.messages.display import VideoCodecType
    from atp_trio.spice.messages.geometry import Rect
    from atp_trio.spice.messages.image import ImageCompression
    from atp_trio.spice.messages.inputs import MouseButton
    from atp_trio.spice.messages.link import ChannelType
    from atp_trio.spice.messages.main import MouseMode
    from atp_trio.spice.streams.tls import SpiceTlsConfig
    from atp_trio.spice.streams.uri import SpiceUri
    from atp_trio.supervision.backoff import ReconnectConfig
    from atp_trio.supervision.degradation import ChannelsConfig, Verdict
    from atp_trio.supervision.heartbeat import HeartbeatConfig
    from atp_trio.supervision.state import ConnectionState, StateChange
    from atp_trio.supervision.watch import StateBoard

_PLACES: Final = {
    "AgentLifecycle": "hypervisor.event",
    "ChannelStatistics": "spice.channels",
    "ChannelType": "spice.messages.link",
    "ChannelsConfig": "supervision.degradation",
    "ConnectionPool": "hypervisor.pool",
    "ConnectionState": "supervision.state",
    "Credentials": "hypervisor.credentials",
    "CursorChannel": "spice.channels",
    "DamageReceiver": "spice.channels.damage",
    "DisplayChannel": "spice.channels",
    "DisplayStatistics": "spice.channels",
    "Domain": "hypervisor.domain",
    "DomainEvent": "hypervisor.event",
    "DomainLifecycle": "hypervisor.event",
    "DomainReboot": "hypervisor.event",
    "DomainState": "hypervisor.domain",
    "EventsMissed": "hypervisor.event",
    "Evidence": "spice.channels.watching",
    "Framing": "protocols.framing",
    "HeartbeatConfig": "supervision.heartbeat",
    "HostConnection": "hypervisor.host",
    "HostInfo": "hypervisor.info",
    "HostUri": "hypervisor.uri",
    "ImageCompression": "spice.messages.image",
    "InputReport": "manager",
    "InputsChannel": "spice.channels",
    "JsonFraming": "protocols.framing",
    "Key": "keyboard",
    "KeyPress": "protocols.spice",
    "LaneConfig": "hypervisor.lanes",
    "Layout": "keyboard",
    "LengthFraming": "protocols.framing",
    "LibvirtStream": "hypervisor.channel",
    "LineFraming": "protocols.framing",
    "LiveScreen": "spice.channels.watching",
    "MachineStatistics": "spice.manager",
    "MainChannel": "spice.channels",
    "ManagedMachine": "manager",
    "Match": "spice.imaging.search",
    "MessageChannel": "spice.channels",
    "Monitor": "spice.channels",
    "MouseButton": "spice.messages.inputs",
    "MouseClick": "protocols.spice",
    "MouseMode": "spice.messages.main",
    "Needle": "spice.imaging.search",
    "Outcome": "manager",
    "PoolConfig": "hypervisor.pool_core",
    "Protocol": "protocols.base",
    "QemuMonitorEvent": "hypervisor.event",
    "QgaProtocol": "protocols.qga",
    "QmpProtocol": "protocols.qmp",
    "ReconnectConfig": "supervision.backoff",
    "Recording": "spice.channels.recording",
    "Rect": "spice.messages.geometry",
    "Screenshot": "spice.imaging.screenshot",
    "SpiceChannel": "spice.channels",
    "SpiceConnectionManager": "spice.manager",
    "SpiceLimits": "spice.channels.session",
    "SpiceProtocol": "protocols.spice",
    "SpiceTlsConfig": "spice.streams.tls",
    "SpiceUri": "spice.streams.uri",
    "SpiceVmConnection": "spice.connection",
    "StateBoard": "supervision.watch",
    "StateChange": "supervision.state",
    "TextLine": "spice.imaging.ocr",
    "TransportConfig": "config",
    "TransportManager": "manager",
    "TypedText": "protocols.spice",
    "Verdict": "supervision.degradation",
    "VideoCodecType": "spice.messages.display",
    "VirtioSerialProtocol": "protocols.virtio_serial",
    "get_layout": "keyboard",
    "layout_names": "keyboard",
    "load_config": "config",
    "open_host": "hypervisor.host",
    "open_manager": "manager",
    "open_pool": "hypervisor.pool",
    "open_qga": "protocols.qga",
    "open_qmp": "protocols.qmp",
    "open_spice": "spice.connection",
    "open_spice_manager": "spice.manager",
    "parse_chord": "keyboard",
}

__version__ = "0.1.0"

__all__ = [
    "AgentLifecycle",
    "AgentLost",
    "AgentNotConfigured",
    "AgentNotConnected",
    "AgentUnavailable",
    "AgentUnresponsive",
    "AtpError",
    "AuthenticationFailed",
    "ChannelNotAvailable",
    "ChannelStatistics",
    "ChannelType",
    "ChannelsConfig",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionPool",
    "ConnectionState",
    "Credentials",
    "CursorChannel",
    "DamageReceiver",
    "DisplayChannel",
    "DisplayStatistics",
    "Domain",
    "DomainEvent",
    "DomainLifecycle",
    "DomainNotFound",
    "DomainNotRunning",
    "DomainReboot",
    "DomainState",
    "EventsMissed",
    "Evidence",
    "Framing",
    "HeartbeatConfig",
    "HostConnection",
    "HostInfo",
    "HostNotFound",
    "HostUri",
    "HypervisorError",
    "ImageCompression",
    "ImageError",
    "InputReport",
    "InputsChannel",
    "JsonFraming",
    "Key",
    "KeyPress",
    "LaneConfig",
    "Layout",
    "LengthFraming",
    "LibvirtStream",
    "LineFraming",
    "LinkError",
    "LiveScreen",
    "LocalProtocolError",
    "MachineStatistics",
    "MainChannel",
    "MalformedMessage",
    "ManagedMachine",
    "Match",
    "MessageChannel",
    "Monitor",
    "MouseButton",
    "MouseClick",
    "MouseMode",
    "Needle",
    "NotConnected",
    "Outcome",
    "PoolConfig",
    "Protocol",
    "ProtocolError",
    "QemuMonitorEvent",
    "QgaError",
    "QgaProtocol",
    "QmpError",
    "QmpProtocol",
    "ReconnectConfig",
    "Recording",
    "Rect",
    "RemoteProtocolError",
    "Screenshot",
    "SpiceChannel",
    "SpiceConnectionManager",
    "SpiceLimits",
    "SpiceProtocol",
    "SpiceTlsConfig",
    "SpiceUri",
    "SpiceVmConnection",
    "StateBoard",
    "StateChange",
    "TextLine",
    "TlsError",
    "TransportConfig",
    "TransportError",
    "TransportManager",
    "TypedText",
    "Verdict",
    "VideoCodecType",
    "VirtioSerialProtocol",
    "__version__",
    "get_layout",
    "layout_names",
    "load_config",
    "open_host",
    "open_manager",
    "open_pool",
    "open_qga",
    "open_qmp",
    "open_spice",
    "open_spice_manager",
    "parse_chord",
]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{place}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
