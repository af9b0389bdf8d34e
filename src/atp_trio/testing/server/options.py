"""What an embedded server is to be like."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import attrs

from atp_trio.errors import ConfigError
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.protocol.ticket import check_password
from atp_trio.testing.server.picture import CODECS
from atp_trio.testing.server.scenes import SCENES

MAX_SIDE: Final = 16384
MAX_PIXELS: Final = 64 * 1024 * 1024
REGIONS: Final = ("key", "click")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _uuid(value: str | UUID | None) -> UUID | None:
    return UUID(value) if isinstance(value, str) else value


def _size(value: Sequence[int]) -> tuple[int, int]:
    width, height = value
    return int(width), int(height)


def _channels(value: Iterable[Sequence[int]]) -> tuple[tuple[ChannelType, int], ...]:
    return tuple((ChannelType(kind), int(number)) for kind, number in value)


def _types(value: Iterable[int]) -> frozenset[ChannelType]:
    return frozenset(ChannelType(kind) for kind in value)


def _modes(value: Iterable[int]) -> frozenset[MouseMode]:
    return frozenset(MouseMode(mode) for mode in value)


def _regions(value: Mapping[str, Rect | Sequence[int]]) -> dict[str, Rect]:
    return {name: rect if isinstance(rect, Rect) else Rect.at(*rect) for name, rect in value.items()}


@attrs.frozen(kw_only=True)
class ServerOptions:
    """The options of `open_spice_server`; every one has a default that suits a test.

    Numbers and sequences in place of enumerations, rectangles and paths are taken too, as JSON gives them.
    """

    host: str = "127.0.0.1"
    """Where to listen."""
    port: int | None = 0
    """The plain port; 0 for any that is free, None for none: all channels over TLS."""
    tls_port: int = 0
    """The TLS port, where there is a certificate; 0 for any that is free."""
    unix_path: Path | None = attrs.field(default=None, converter=_path)
    """Listen on this UNIX socket instead of TCP."""
    cert_file: Path | None = attrs.field(default=None, converter=_path)
    """The server's certificate and its chain, PEM."""
    key_file: Path | None = attrs.field(default=None, converter=_path)
    """Its key, PEM; None when `cert_file` holds it too."""
    tls_context: ssl.SSLContext | None = None
    """In place of the files."""
    secure_channels: frozenset[ChannelType] = attrs.field(default=frozenset(), converter=_types)
    """Channels that are refused with NEED_SECURED unless they come over TLS."""
    password: str | None = attrs.field(default=None, repr=False)
    """The ticket; None takes any."""
    fresh_keys: bool = False
    """Whether to make an RSA key for every link, as other servers do; it takes tens of milliseconds."""
    name: str | None = "atp-trio"
    """The machine's name; None tells none."""
    uuid: UUID | None = attrs.field(default=UUID("2f6bd5c2-9a53-4d0f-a7a1-6d1f5f6f0c11"), converter=_uuid)
    """The machine's UUID; None tells none."""
    channels: tuple[tuple[ChannelType, int], ...] = attrs.field(
        default=((ChannelType.DISPLAY, 0), (ChannelType.INPUTS, 0), (ChannelType.CURSOR, 0)), converter=_channels
    )
    """The channels offered beside main, as (type, id), in this order."""
    size: tuple[int, int] = attrs.field(default=(1024, 768), converter=_size)
    """Width and height of every display in pixels."""
    scene: str = "still"
    """What the displays show; one of `scenes.SCENES`."""
    rate: float = 0.0
    """Updates, or frames of a video, in a second; 0 for as fast as the client takes them."""
    codec: str = "raw"
    """How the scene's images are sent; one of `picture.CODECS`."""
    regions: Mapping[str, Rect] = attrs.field(factory=dict, converter=_regions)
    """Parts of display 0 that change colour at once: "key" when a key, "click" when a button goes down. As `Rect`, or as
    (x, y, width, height). Use a quiet scene: others draw over them."""
    mouse_modes: frozenset[MouseMode] = attrs.field(default=frozenset({MouseMode.SERVER, MouseMode.CLIENT}), converter=_modes)
    """The mouse modes that clients may ask for. Every client begins in SERVER."""
    agent: bool = False
    """Whether a guest agent is connected."""
    ack_window: int = 20
    """The window of display and cursor; 0 for none."""
    network_test: bool = True
    """Whether main begins with the network test of three PINGs; never on a UNIX socket."""

    def __attrs_post_init__(self) -> None:
        width, height = self.size
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
            raise ConfigError(f"a display of {width}x{height} pixels")
        if self.scene not in SCENES:
            raise ConfigError(f"there is no scene {self.scene!r}; there are {', '.join(SCENES)}")
        if self.codec not in CODECS:
            raise ConfigError(f"there is no codec {self.codec!r}; there are {', '.join(CODECS)}")
        if self.rate < 0:
            raise ConfigError(f"a rate of {self.rate} updates a second")
        if self.ack_window < 0:
            raise ConfigError(f"an ACK window of {self.ack_window} messages")
        if self.password is not None:
            check_password(self.password)
        if self.unix_path is None and self.port is None and not self.has_tls:
            raise ConfigError("a server without a plain port needs a certificate")
        if (ChannelType.MAIN, 0) in self.channels:
            raise ConfigError("the main channel is always there: channels are the others")
        for name, rect in self.regions.items():
            self._check_region(name, rect)

    def _check_region(self, name: str, rect: Rect) -> None:
        if name not in REGIONS:
            raise ConfigError(f"there is no region {name!r}; there are {', '.join(REGIONS)}")
        if rect.is_empty or rect.intersection(Rect.at(0, 0, *self.size)) != rect:
            raise ConfigError(f"the region {name!r} does not lie on the display")

    @property
    def has_tls(self) -> bool:
        """Whether there is a TLS port."""
        return self.unix_path is None and (self.tls_context is not None or self.cert_file is not None)

    def make_tls_context(self) -> ssl.SSLContext:
        """The context for the TLS port; reads files.

        Raises:
            ConfigError: A file cannot be read, or is not what it should be.
        """
        if self.tls_context is not None:
            return self.tls_context
        assert self.cert_file is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise ConfigError(f"cannot load the certificate {self.cert_file}: {error.strerror or error}") from error
        return context

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The options of these names and values.

        Raises:
            ConfigError: A name or a value that cannot be meant.
        """
        known = attrs.fields_dict(cls)
        for name in options:
            if name not in known:
                raise ConfigError(f"a server has no option {name!r}; there are {', '.join(known)}")
        try:
            return cls(**options)
        except (TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"the server's options cannot be meant: {error}") from error
