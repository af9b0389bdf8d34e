"""How QEMU is told to offer SPICE."""

from __future__ import annotations

from pathlib import Path

import attrs

from atp_trio.errors import ConfigError


@attrs.frozen(kw_only=True)
class SpiceOptions:
    """How a machine offers SPICE. Ports are chosen when it starts."""

    plain: bool = True
    """A TCP port without TLS."""
    tls: Path | None = None
    """A TCP port with TLS: the directory that `atp_trio.testing.certificate.make_tls_dir` wrote."""
    unix: bool = False
    """A UNIX socket, instead of TCP ports."""
    password: str | None = attrs.field(default=None, repr=False)
    """The ticket; None lets everyone in, the empty string nobody until `Qemu.set_password`."""
    image_compression: str | None = None
    """off, lz, glz, quic, auto_lz or auto_glz; QEMU's own choice (auto_glz) if None."""
    streaming_video: str | None = None
    """off, all or filter; QEMU's own choice (off) if None."""
    more: tuple[str, ...] = ()
    """Further options as in `-spice`: `tls-channel=main`, `jpeg-wan-compression=always`."""

    def __attrs_post_init__(self) -> None:
        """Refuse what QEMU would refuse less clearly."""
        if self.unix and self.tls:
            raise ConfigError("a machine offers SPICE on a UNIX socket or on TCP ports, not on both")
        if not (self.plain or self.tls or self.unix):
            raise ConfigError("a machine must offer SPICE somewhere: plain, tls or unix")

    def argument(self, port: int, tls_port: int, socket_path: Path) -> str:
        """The value of `-spice`. It is in everybody's process list: no password is in it."""
        parts = ["unix=on", f"addr={escape(socket_path)}"] if self.unix else ["addr=127.0.0.1"]
        if self.plain and not self.unix:
            parts.append(f"port={port}")
        if self.tls:
            parts += [f"tls-port={tls_port}", f"x509-dir={escape(self.tls)}"]
        if self.password is None:
            parts.append("disable-ticketing=on")
        if self.image_compression:
            parts.append(f"image-compression={self.image_compression}")
        if self.streaming_video:
            parts.append(f"streaming-video={self.streaming_video}")
        return ",".join([*parts, *self.more])


def escape(text: Path | str) -> str:
    """A value of an option of QEMU: a comma separates options; doubled, it is a comma."""
    return str(text).replace(",", ",,")
