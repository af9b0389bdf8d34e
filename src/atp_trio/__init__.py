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
    AtpError,
    AuthenticationFailed,
    ChannelNotAvailable,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ImageError,
    LinkError,
    LocalProtocolError,
    MalformedMessage,
    ProtocolError,
    RemoteProtocolError,
    TlsError,
    TransportError,
)

if TYPE_CHECKING:
    from atp_trio.keyboard import Key, Layout, get_layout, layout_names, parse_chord
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
    from atp_trio.spice.messages.display import VideoCodecType
    from atp_trio.spice.messages.geometry import Rect
    from atp_trio.spice.messages.image import ImageCompression
    from atp_trio.spice.messages.inputs import MouseButton
    from atp_trio.spice.messages.link import ChannelType
    from atp_trio.spice.messages.main import MouseMode
    from atp_trio.spice.streams.tls import SpiceTlsConfig
    from atp_trio.spice.streams.uri import SpiceUri

_PLACES: Final = {
    "ChannelStatistics": "spice.channels",
    "ChannelType": "spice.messages.link",
    "CursorChannel": "spice.channels",
    "DamageReceiver": "spice.channels.damage",
    "DisplayChannel": "spice.channels",
    "DisplayStatistics": "spice.channels",
    "Evidence": "spice.channels.watching",
    "ImageCompression": "spice.messages.image",
    "InputsChannel": "spice.channels",
    "Key": "keyboard",
    "Layout": "keyboard",
    "LiveScreen": "spice.channels.watching",
    "MainChannel": "spice.channels",
    "Match": "spice.imaging.search",
    "MessageChannel": "spice.channels",
    "Monitor": "spice.channels",
    "MouseButton": "spice.messages.inputs",
    "MouseMode": "spice.messages.main",
    "Needle": "spice.imaging.search",
    "Recording": "spice.channels.recording",
    "Rect": "spice.messages.geometry",
    "Screenshot": "spice.imaging.screenshot",
    "SpiceChannel": "spice.channels",
    "SpiceLimits": "spice.channels.session",
    "SpiceTlsConfig": "spice.streams.tls",
    "SpiceUri": "spice.streams.uri",
    "SpiceVmConnection": "spice.connection",
    "TextLine": "spice.imaging.ocr",
    "VideoCodecType": "spice.messages.display",
    "get_layout": "keyboard",
    "layout_names": "keyboard",
    "open_spice": "spice.connection",
    "parse_chord": "keyboard",
}

__version__ = "0.1.0"

__all__ = [
    "AtpError",
    "AuthenticationFailed",
    "ChannelNotAvailable",
    "ChannelStatistics",
    "ChannelType",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "CursorChannel",
    "DamageReceiver",
    "DisplayChannel",
    "DisplayStatistics",
    "Evidence",
    "ImageCompression",
    "ImageError",
    "InputsChannel",
    "Key",
    "Layout",
    "LinkError",
    "LiveScreen",
    "LocalProtocolError",
    "MainChannel",
    "MalformedMessage",
    "Match",
    "MessageChannel",
    "Monitor",
    "MouseButton",
    "MouseMode",
    "Needle",
    "ProtocolError",
    "Recording",
    "Rect",
    "RemoteProtocolError",
    "Screenshot",
    "SpiceChannel",
    "SpiceLimits",
    "SpiceTlsConfig",
    "SpiceUri",
    "SpiceVmConnection",
    "TextLine",
    "TlsError",
    "TransportError",
    "VideoCodecType",
    "__version__",
    "get_layout",
    "layout_names",
    "open_spice",
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
