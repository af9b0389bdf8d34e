"""The libvirt definition of a test machine: what `atp_trio.testing.qemu.Qemu` is, as a domain."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from xml.sax.saxutils import escape, quoteattr

from atp_trio.errors import ConfigError
from atp_trio.testing.guest import AGENT_PORT, Guest

SpiceListen = Literal["tcp", "tls", "unix"]

_LISTEN: Final = "<listen type='address' address='127.0.0.1'/>"
_GRAPHICS: Final[dict[SpiceListen, tuple[str, str]]] = {
    "tcp": ("autoport='yes' defaultMode='insecure'", _LISTEN),
    "tls": ("autoport='yes' defaultMode='secure'", _LISTEN),
    "unix": ("", "<listen type='socket'/>"),
}


def domain_xml(
    name: str,
    guest: Guest | None = None,
    *,
    ports: tuple[str, ...] = (),
    agent: bool = True,
    console: bool = True,
    spice: SpiceListen | Path | None = "tcp",
    password: str | None = None,
    display: str = "qxl",
    tablet: bool = True,
    memory_mib: int = 256,
    serial_log: Path | None = None,
) -> str:
    """A domain without disks, for an emulated CPU.

    Args:
        name: The domain's name.
        guest: What it boots; None stays in the firmware.
        ports: Virtio-serial ports, by name, as UNIX channels: they are opened with `virDomainOpenChannel`.
        agent: Whether it has the port of the guest agent.
        console: Whether it has a virtio console (`console1`) beside the serial port (`serial0`).
        spice: Where SPICE is offered: a plain port, a TLS port, both on 127.0.0.1, or a UNIX socket; None for nowhere. Ports, and
            the path of a socket that is not given by its own, are libvirt's choice. A TLS port needs a `Libvirtd` with `tls`.
        password: SPICE's ticket. It is in the definition: libvirt shows it to those who ask for `VIR_DOMAIN_XML_SECURE`.
        display: libvirt's model of a video device: qxl, vga, virtio, bochs, cirrus; empty for none.
        tablet: Whether there is a USB tablet beside the PS/2 mouse.
        memory_mib: The guest needs 128 at least.
        serial_log: A file that keeps what the guest writes to its serial port.

    Raises:
        ConfigError: SPICE without a display.
    """
    if spice and not display:
        raise ConfigError("libvirt gives a domain with SPICE a display device: name one, or take away SPICE")
    devices = [
        "<controller type='usb' model='qemu-xhci'/>" if tablet else "<controller type='usb' model='none'/>",
        "<memballoon model='none'/>",
        _serial(serial_log),
        "<console type='pty'><target type='serial'/></console>",
        "<console type='pty'><target type='virtio'/></console>" if console else "",
        *(_channel(port) for port in ((AGENT_PORT,) if agent else ()) + ports),
        "<input type='tablet' bus='usb'/>" if tablet else "",
        _graphics(spice, password) if spice else "",
        f"<video><model type={_quoted(display or 'none')}/></video>",
    ]
    return "\n".join(
        [
            "<domain type='qemu'>",
            f"<name>{escape(name)}</name>",
            f"<memory unit='MiB'>{memory_mib}</memory>",
            "<vcpu>1</vcpu>",
            f"<os><type arch='x86_64' machine='q35'>hvm</type>{_boot(guest)}</os>",
            "<features><acpi/></features>",
            "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>",
            "<devices>",
            *(device for device in devices if device),
            "</devices>",
            "</domain>",
        ]
    )


def _boot(guest: Guest | None) -> str:
    if guest is None:
        return ""
    kernel, initramfs = escape(str(guest.kernel)), escape(str(guest.initramfs))
    return f"<kernel>{kernel}</kernel><initrd>{initramfs}</initrd><cmdline>{escape(guest.command_line)}</cmdline>"


def _serial(log: Path | None) -> str:
    keep = f"<log file={_quoted(log)} append='off'/>" if log else ""
    return f"<serial type='pty'>{keep}<target port='0'/></serial>"


def _channel(port: str) -> str:
    return f"<channel type='unix'><target type='virtio' name={_quoted(port)}/></channel>"


def _graphics(spice: SpiceListen | Path, password: str | None) -> str:
    attributes, listen = ("", f"<listen type='socket' socket={_quoted(spice)}/>") if isinstance(spice, Path) else _GRAPHICS[spice]
    ticket = "" if password is None else f" passwd={_quoted(password)}"
    return f"<graphics type='spice' {attributes}{ticket}>{listen}</graphics>"


def _quoted(text: Path | str) -> str:
    return quoteattr(str(text))
