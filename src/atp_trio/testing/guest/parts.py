"""What is in the guest. A new ability is one more `Part` in `STANDARD_PARTS`; nothing else needs to know of it."""

from __future__ import annotations

from typing import Final

from atp_trio.testing.guest.recipe import PROMPT, Part

AGENT_PORT: Final = "org.qemu.guest_agent.0"
"""The virtio-serial port of the guest agent; the name is what QEMU, libvirt and the agent agreed on."""

ECHO_PORT: Final = "org.atp.echo.0"
"""Sends back what comes."""

EVENTS_PORT: Final = "org.atp.events.0"
"""Reports input events, as events.c beside this module says."""

DRAW_PORT: Final = "org.atp.draw.0"
"""Draws what it is told, as draw.c beside this module says."""

BASE = Part(
    name="base",
    packages=("busybox-static",),
    files=("usr/bin/busybox",),
    links={f"usr/bin/{applet}": "busybox" for applet in ("sh", "mount", "modprobe")} | {"init": "usr/bin/busybox"},
)

VIRTIO = Part(name="virtio", drivers=("virtio_pci",))

INPUT = Part(
    name="input",
    # USB devices appear some time after their controller: usbhid waits for them.
    modules=("evdev", "psmouse", "usbhid", "hid_generic"),
    drivers=("uhci_hcd", "ehci_pci", "xhci_pci", "virtio_input", "button"),
)

DISPLAY = Part(
    name="display",
    drivers=("qxl", "bochs", "virtio_gpu", "cirrus"),
    # Drivers are loaded without waiting for their device; a machine may also have no display at all.
    ready="[ -e /dev/fb0 ] || ! grep -q ^0x03 /sys/bus/pci/devices/*/class",
)

CONSOLE = Part(
    name="console",
    texts={"etc/profile": f"export PATH=/usr/bin HOME=/ TERM=linux PS1='{PROMPT}'\n"},
    services=("tty1 /bin/sh -l",),
    ready=f"grep -q '{PROMPT.strip()}' /dev/vcs1",
)

POWER = Part(
    name="power",
    # The guest agent runs `shutdown` with -P, -H or -r; the button of ACPI is a key, for which a daemon listens.
    texts={
        "usr/sbin/shutdown": """#!/usr/bin/busybox sh
case "$*" in
*-r*) exec /usr/bin/busybox reboot -f ;;
*-H*) exec /usr/bin/busybox halt -f ;;
*) exec /usr/bin/busybox poweroff -f ;;
esac
""",
        "etc/acpi/PWRF/00000080": "#!/bin/sh\nexec /sbin/shutdown -P\n",
    },
    services=("- /usr/bin/acpid -d -c /etc/acpi -p /tmp/acpid.pid",),
)

STORAGE = Part(
    name="storage",
    drivers=("loop", "crc32c_generic", "ext4"),
    # The guest agent freezes file systems with a device behind them. To have one takes a second: who wants it says `disk`.
    texts={
        "usr/bin/disk": """#!/bin/sh
# disk: a file system of 4 MiB on /mnt
set -e
modprobe -a loop crc32c_generic ext4
mkdir -p /mnt
truncate -s 4M /tmp/.disk
mke2fs -F /tmp/.disk >/dev/null
mount /tmp/.disk /mnt
""",
    },
)

PORTS = Part(
    name="ports",
    drivers=("virtio_console",),
    texts={
        # The kernel learns the ports' names a little after their device. Elsewhere udev makes these links.
        "etc/ports": """#!/bin/sh
cd /sys/class/virtio-ports 2>/dev/null && [ -n "$(ls)" ] || exit 0
mkdir -p /dev/virtio-ports
for try in 1 2 3 4 5 6 7 8 9; do
    for port in *; do
        name=$(cat $port/name 2>/dev/null) && [ -n "$name" ] && ln -sf /dev/$port "/dev/virtio-ports/$name"
    done
    [ $(ls /dev/virtio-ports | wc -l) -ge $(ls -d vport* | wc -l) ] && exit
    usleep 20000
done
""",
        "etc/port": """#!/bin/sh
# port COMMAND PATH: run it where the machine has the port
[ -e "$2" ] || exec sleep 2147483647
exec "$@"
""",
    },
    setup="/etc/ports",
)

ECHO = Part(
    name="echo",
    programs={"usr/bin/port-echo": "echo.c"},
    services=(f"- /etc/port /usr/bin/port-echo /dev/virtio-ports/{ECHO_PORT}",),
)

EVENTS = Part(
    name="events",
    programs={"usr/bin/port-events": "events.c"},
    services=(f"- /etc/port /usr/bin/port-events /dev/virtio-ports/{EVENTS_PORT}",),
)

DRAW = Part(
    name="draw",
    programs={"usr/bin/port-draw": "draw.c"},
    services=(f"- /etc/port /usr/bin/port-draw /dev/virtio-ports/{DRAW_PORT}",),
)

AGENT = Part(
    name="agent",
    packages=("qemu-guest-agent", "libc6", "libglib2.0-0", "libnuma1", "libpcre2-8-0", "libudev1", "liburing2"),
    files=(
        "usr/sbin/qemu-ga",
        "usr/lib64/ld-linux-x86-64.so.2",
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        *(
            f"usr/lib/x86_64-linux-gnu/lib{name}.so.*"
            for name in ("c", "m", "glib-2.0", "gmodule-2.0", "numa", "pcre2-8", "udev", "uring")
        ),
    ),
    links={"usr/sbin/hwclock": "../bin/busybox"},  # the agent sets the clock of the machine with it
    texts={
        "etc/agent": """#!/bin/sh
# agent PATH: the guest agent, unless `agent stop` was said
while [ -e /tmp/.agent-stopped ]; do usleep 50000; done
exec /usr/sbin/qemu-ga --method virtio-serial --path "$1" --statedir /tmp
""",
        "usr/bin/agent": """#!/bin/sh
case "$1" in
stop) touch /tmp/.agent-stopped; killall qemu-ga ;;
start) rm -f /tmp/.agent-stopped ;;
restart) killall qemu-ga ;;
*) echo "agent stop | start | restart"; exit 2 ;;
esac
""",
    },
    setup="ip link set lo up; mkdir -p /var; ln -s /tmp /var/run",
    services=(f"- /etc/port /etc/agent /dev/virtio-ports/{AGENT_PORT}",),
    ready=f"[ ! -e /dev/virtio-ports/{AGENT_PORT} ] || pidof qemu-ga >/dev/null",
)

VIRTIO_CONSOLE = Part(
    name="virtio console",
    # The nodes are there with or without a console behind them.
    texts={
        "etc/hvc": """#!/bin/sh
(: </dev/hvc0) 2>/dev/null || exec sleep 2147483647
exec /bin/sh -l </dev/hvc0 >/dev/hvc0 2>&1
"""
    },
    services=("- /etc/hvc",),
)

STANDARD_PARTS = (BASE, VIRTIO, INPUT, DISPLAY, CONSOLE, POWER, STORAGE, PORTS, ECHO, EVENTS, DRAW, AGENT, VIRTIO_CONSOLE)
"""A shell on the screen and on a virtio console, keyboards, mice and tablets of every kind, QEMU's display devices, QEMU's guest
agent, and what serves `ECHO_PORT`, `EVENTS_PORT` and `DRAW_PORT`. What the machine has no port for costs nothing."""
