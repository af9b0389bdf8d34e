"""What a part of the guest is, and what the guest does at boot with the parts it has."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

KERNEL_PACKAGE = "linux-image-amd64"
"""A metapackage: the kernel is what it depends on. The cloud kernel would be smaller, but has no graphics drivers."""

READY_MARKER = "ATP-GUEST-READY"
"""The line that the guest writes to its serial port when every part is ready."""

PROMPT = "guest# "
"""The shell's prompt on the screen."""

KERNEL_COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 consoleblank=0 "
    # What costs time under emulation and protects nothing here.
    "mitigations=off tsc=reliable random.trust_cpu=on "
    # A blinking cursor is a display update twice a second in every measurement.
    "vt.global_cursor_default=0"
)


@attrs.frozen(kw_only=True)
class Part:
    """One ability of the guest, with all that it needs."""

    name: str
    packages: tuple[str, ...] = ()
    """Debian packages to take files from. Their dependencies are not followed: name them too."""
    files: tuple[str, ...] = ()
    """Patterns of files in the packages, as in `usr/sbin/qemu-ga`; each lies at the same place in the guest."""
    links: Mapping[str, str] = attrs.field(factory=dict)
    """Symbolic links: path to target."""
    texts: Mapping[str, str] = attrs.field(factory=dict)
    """Files of our own: path to content. What starts with `#!` is executable."""
    programs: Mapping[str, str] = attrs.field(factory=dict)
    """Programs of our own: path to the C file beside this module, which is compiled when the guest is built."""
    modules: tuple[str, ...] = ()
    """Kernel modules that are loaded at boot, in this order, after what they depend on."""
    drivers: tuple[str, ...] = ()
    """Kernel modules that are loaded only where a device of the machine asks for them."""
    setup: str = ""
    """Shell lines that run once at boot, after the modules."""
    services: tuple[str, ...] = ()
    """Commands that are kept running, as in `tty1 /bin/sh -l`: a terminal or `-`, and the command."""
    ready: str = ""
    """A shell condition that holds once the part is ready; the guest waits for it before it says so."""


def inittab(parts: tuple[Part, ...]) -> str:
    """/etc/inittab: set up, say when ready, keep the services running."""
    services = [service.split(" ", 1) for part in parts for service in part.services]
    lines = ["::sysinit:/etc/setup", "::once:/etc/ready"]
    lines += [f"{'' if terminal == '-' else terminal}::respawn:{command}" for terminal, command in services]
    return "\n".join([*lines, "::ctrlaltdel:/usr/bin/busybox reboot -f", "::shutdown:/usr/bin/busybox true", ""])


def setup_script(parts: tuple[Part, ...]) -> str:
    """What init runs first: mounts, drivers of the devices that are there, then each part's own lines."""
    modules = [module for part in parts for module in part.modules]
    lines = [
        "#!/bin/sh",
        "export PATH=/usr/bin",
        "/usr/bin/busybox --install -s /usr/bin",
        "mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys",
        # Large enough for what tests put into it: most of the memory.
        "mount -t tmpfs -o size=90% tmp /tmp; mkdir -p /dev/pts; mount -t devpts pts /dev/pts",
        # Virtio devices are on a bus of their own, which exists once their PCI driver is there.
        "modprobe -abq $(cat /sys/bus/pci/devices/*/modalias /sys/bus/acpi/devices/*/modalias)",
        "modprobe -abq $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null)",
        *([f"modprobe -a {' '.join(modules)}"] if modules else []),
        *(part.setup for part in parts if part.setup),
    ]
    return "\n".join([*lines, ""])


def ready_script(parts: tuple[Part, ...]) -> str:
    """What tells the outside that every part is ready."""
    waits = [f"until {part.ready}; do usleep 20000; done" for part in parts if part.ready]
    return "\n".join(["#!/bin/sh", "export PATH=/usr/bin", *waits, f"echo {READY_MARKER} >/dev/ttyS0", ""])
