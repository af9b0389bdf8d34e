"""A small Linux guest for tests, built in seconds from Debian packages, without root and without a disk image.

```
parts.py      what is in the guest: a list of `Part`s. A new ability of the guest is one more part, here
recipe.py     what a part is, and the scripts that boot makes of them
*.c           programs of ours in the guest: what serves its virtio-serial ports
program.py    compiles them
packages.py   apt-get download and dpkg-deb -x
kernel.py     the ELF kernel out of the bzImage
modules.py    kernel modules: what depends on what, what drives which device
image.py      the initramfs: directories, files and links in a cpio archive
build.py      all of it together, cached
```

`build_guest` gives the files that QEMU's `-kernel` and `-initrd` want; `atp_trio.testing.qemu.Qemu` takes the guest whole.
"""

from __future__ import annotations

from atp_trio.testing.guest.build import Guest, build_guest
from atp_trio.testing.guest.packages import GuestUnavailable
from atp_trio.testing.guest.parts import AGENT_PORT, DRAW_PORT, ECHO_PORT, EVENTS_PORT, STANDARD_PARTS
from atp_trio.testing.guest.recipe import READY_MARKER, Part

__all__ = [
    "AGENT_PORT",
    "DRAW_PORT",
    "ECHO_PORT",
    "EVENTS_PORT",
    "READY_MARKER",
    "STANDARD_PARTS",
    "Guest",
    "GuestUnavailable",
    "Part",
    "build_guest",
]
