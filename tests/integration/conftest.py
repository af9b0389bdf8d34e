"""Real machines for every integration test.

They live as long as the test run, so these fixtures are plain: an async fixture would live as long as one test.
What is missing on the machine skips a test at a desk, and fails it in CI.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
import pytest
import trio

from atp_trio.spice.channels import DisplayChannel
from atp_trio.spice.connection import SpiceVmConnection
from atp_trio.spice.messages.display import DrawCopy
from atp_trio.spice.messages.image import ImageType
from atp_trio.spice.wire import Role
from atp_trio.testing.certificate import TlsFiles, make_tls_dir
from atp_trio.testing.guest import STANDARD_PARTS, Guest, GuestUnavailable, Part, build_guest
from atp_trio.testing.qemu import Qemu, SpiceOptions, missing

HERE = Path(__file__).parent
DRAW_COPY = DrawCopy.number(Role.SERVER)
WITHIN = 20.0  # seconds; an emulated machine on a busy host

# `draw`: one below the other, a flat colour, a machine's code, noise, smooth colours; and text over all of it. In blocks of
# several rows of the frame buffer, as the kernel loses a write of exactly one. `listen`: keeps the input events of a device.
# `obey`: runs what comes on the second serial port, where there is one.
# `film COUNT`: so many numbered pictures in turn in rows 256 to 511, away from the console's text, and the last one for a while,
# as a server may drop any frame. Above, 16 blocks of 64x32 are the number in binary, white for 1, and its complement; below are
# ramps that go to the right from one picture to the next, in bands of another colour. With `film COUNT larger`, every fourth is
# followed by one of 320 rows.
TOOLS = Part(
    name="tools",
    texts={
        "usr/bin/draw": r"""#!/bin/sh
fb() { dd of=/dev/fb0 bs=16k iflag=fullblock seek=$1 count=40 2>/dev/null; }
flat() { tr '\0' '\125' </dev/zero | fb 25; }
code() { fb 65 </usr/bin/busybox; }
noise() { fb 105 </dev/urandom; }
smooth() { awk 'BEGIN{for(;x<1024;x++)s=s sprintf("%c%c%c%c",x/5+1,255-x/9,x/4%99+1,9);while(y++<160)printf"%s",s}' | fb 145; }
text() { dmesg | head -40 >/dev/tty1; }
nothing() { clear >/dev/tty1; }
for name; do $name; done
""",
        "usr/bin/film": r"""#!/bin/sh
[ -s /tmp/p7 ] || awk 'BEGIN{for(k=0;k<8;k++){for(b=0;b<7;b++){s="";for(x=0;x<1024;x++){d=(x+1015*k)%256;if(d>127)d=255-d
s=s sprintf("%c%c%c%c",b*14+9,d*0.9+9,120-d/2,9)}for(y=0;y<32;y++)printf"%s",s>("/tmp/p" k)}}}'
[ -s /tmp/m99 ] || awk 'BEGIN{for(x=0;x<64;x++){w=w"\376\376\376\011";z=z"\001\001\001\011"}
for(n=0;n<100;n++){s="";for(b=128;b>=1;b/=2)s=s (int(n/b)%2?w:z);for(b=128;b>=1;b/=2)s=s (int(n/b)%2?z:w)
for(y=0;y<32;y++)printf"%s",s>("/tmp/m" n);close("/tmp/m" n)}}'
fb() { dd of=/dev/fb0 bs=$(($1*4096)) iflag=fullblock seek=$(($2*4096)) oflag=seek_bytes count=1 2>/dev/null; usleep 30000; }
put() { cat /tmp/m$n /tmp/p$((n%8)) | fb 256 256; }
more() { [ -z "$2" ] || [ $((n%4)) != 3 ] || cat /tmp/m$n /tmp/p$((n%8)) /tmp/p0 | fb 320 224; }
clear >/dev/tty1
n=0; while [ $n -lt $1 ]; do put; more $*; n=$((n+1)); done
n=$((n-1)); for i in $(seq 15); do put; done
""",
        "usr/bin/obey": """#!/bin/sh
export PATH=/usr/bin HOME=/
wait() { touch /tmp/obeying; exec sleep 1000000; }
grep -q '^1: uart:1' /proc/tty/driver/serial || wait
exec </dev/ttyS1
stty -echo
touch /tmp/obeying
exec sh >/dev/null 2>&1
""",
        "usr/bin/listen": """#!/bin/sh
for device in /sys/class/input/event*; do
    [ "$(cat $device/device/name)" = "$*" ] || continue
    exec 3</dev/input/${device##*/}
    echo listening >/dev/ttyS0
    exec cat <&3 >/tmp/events
done
""",
    },
    services=("- /usr/bin/obey",),
    ready="[ -e /tmp/obeying ]",
)

SettleScreen = Callable[[SpiceVmConnection, Qemu], Awaitable[npt.NDArray[np.uint32]]]
RunInGuest = Callable[..., Awaitable[str]]
TellGuest = Callable[[Qemu, str], Awaitable[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Called with the items of the whole run.
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def lack() -> Callable[[str], None]:
    """What a fixture calls when this machine lacks something: its argument says what to do about it."""

    def skip_or_fail(reason: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    return skip_or_fail


@pytest.fixture(scope="session")
def qemu(lack: Callable[[str], None]) -> type[Qemu]:
    """`Qemu`, known to start here: for tests that need a machine of their own."""
    problem = missing()
    if problem:
        lack(f"no QEMU with SPICE on this machine: {problem}")
    return Qemu


@pytest.fixture(scope="session")
def guest(lack: Callable[[str], None]) -> Guest:
    """The Linux guest, built, with the commands of `TOOLS`."""
    try:
        return build_guest((*STANDARD_PARTS, TOOLS))
    except GuestUnavailable as error:
        lack(str(error))
        raise


@pytest.fixture(scope="session")
def shell_port(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[str, ...]]:
    """Gives `extra` arguments for a machine that `tell_guest` shall reach: a second serial port."""

    def make() -> tuple[str, ...]:
        path = tmp_path_factory.mktemp("shell") / "socket"
        return "-chardev", f"socket,id=shell,server=on,wait=off,path={path}", "-serial", "chardev:shell"

    return make


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A server's certificate and the authority that signed it."""
    return make_tls_dir(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def qemu_firmware(qemu: type[Qemu], tls_files: TlsFiles) -> Iterator[Qemu]:
    """A machine that stays in the firmware, up in 0.2 s: a text screen on standard VGA; a plain and a TLS port, no password."""
    with qemu(display="VGA", spice=SpiceOptions(tls=tls_files.directory)) as machine:
        machine.wait_ready()
        yield machine


@pytest.fixture(scope="session")
def qxl_machine(qemu: type[Qemu], guest: Guest, tls_files: TlsFiles, shell_port) -> Iterator[Qemu]:
    """The guest on qxl with a tablet, up in about 3 s; a plain and a TLS port, no password; `tell_guest` reaches it."""
    options = SpiceOptions(tls=tls_files.directory)
    with qemu(guest=guest, display="qxl-vga", tablet=True, spice=options, extra=shell_port()) as machine:
        machine.wait_ready()
        yield machine


@pytest.fixture(scope="session")
def vga_machine(qemu: type[Qemu], guest: Guest) -> Iterator[Qemu]:
    """The guest on standard VGA, with the PS/2 mouse alone (relative positions); a plain port, no password."""
    with qemu(guest=guest, display="VGA") as machine:
        machine.wait_ready()
        yield machine


@pytest.fixture(scope="session")
def settle_screen() -> SettleScreen:
    """Waits until our screen and QEMU's own are the same twice in a row; gives the pixels.

    The machine goes on drawing meanwhile, so one difference says nothing: what never becomes equal fails.
    """

    async def settle(vm: SpiceVmConnection, machine: Qemu) -> npt.NDArray[np.uint32]:
        equal, differs = 0, "no screenshot in time"
        with trio.move_on_after(WITHIN):
            while True:
                theirs = await trio.to_thread.run_sync(machine.screendump)
                ours = (await vm.display.screenshot()).pixels
                differs = _difference(ours, theirs)
                equal = 0 if differs else equal + 1
                if equal == 2:
                    return ours
                if differs:
                    with trio.move_on_after(0.2):
                        await vm.display.wait_damage()
        statistics = vm.display.display_statistics()
        pytest.fail(f"{differs}; not drawn: {statistics.not_drawn}; failed: {statistics.failed} {[*vm.display.screen.reasons]}")

    return settle


def _difference(ours: npt.NDArray[np.uint32], theirs: npt.NDArray[np.uint32]) -> str:
    if ours.shape != theirs.shape:
        return f"our screen is {ours.shape}, the machine's {theirs.shape}"
    rows, columns = np.nonzero(ours != theirs)
    if not len(rows):
        return ""
    where = f"x {columns.min()}..{columns.max()}, y {rows.min()}..{rows.max()}"
    return f"{len(rows)} of {ours.size} pixels differ, in {where}"


@pytest.fixture(scope="session")
def tell_guest() -> TellGuest:
    """Runs a command in a guest with a `shell_port`, and gives what it writes. Nothing of this passes SPICE or shows."""

    async def tell(machine: Qemu, command: str) -> str:
        (path,) = (argument.partition("path=")[2] for argument in machine.extra if "path=" in argument)
        before = len(machine.serial_output())
        async with await trio.open_unix_socket(path) as shell:
            await shell.send_all(f"{{ {command}; }} >/dev/ttyS0 2>&1; echo end >/dev/ttyS0\n".encode())
            with trio.move_on_after(WITHIN):
                while not (output := machine.serial_output()[before:]).endswith("end\n"):  # noqa: ASYNC110 - a file
                    await trio.sleep(0.01)
                return output.removesuffix("end\n")
        pytest.fail(f"the guest did not do {command!r}; on the serial port: {machine.serial_output()[before:]!r}")

    return tell


@pytest.fixture(scope="session")
def run_in_guest() -> RunInGuest:
    """Types a command into the guest's shell, through SPICE, and gives what it writes (by way of the serial port).

    A guest that is busy needs a longer interval between two keystrokes, in seconds.
    """

    async def run(vm: SpiceVmConnection, machine: Qemu, command: str, *, interval: float = 0.02) -> str:
        # A guest that is starved loses keys, and nobody tells: what was not answered is typed again, more slowly.
        for attempt, patience in enumerate((WITHIN / 2, WITHIN), start=1):
            before = len(machine.serial_output())
            await vm.inputs.press("ctrl+c")  # what another test, or the last attempt, may have left there
            await vm.inputs.type_text(f"{{ {command}; }} >/dev/ttyS0; echo end >/dev/ttyS0\n", interval=attempt * interval)
            with trio.move_on_after(patience):
                while not (output := machine.serial_output()[before:]).endswith("end\n"):  # noqa: ASYNC110 - a file
                    await trio.sleep(0.02)
                return output.removesuffix("end\n")
        pytest.fail(f"the guest's shell did not answer to {command!r}; on the serial port: {machine.serial_output()[before:]!r}")

    return run


@attrs.frozen
class Seen:
    """An image that came."""

    type: ImageType
    size: int


def _note_images(display: DisplayChannel) -> list[Seen]:
    seen, screen = [], display.screen
    apply, apply_found = screen.apply, screen.apply_found

    def note(message):
        if isinstance(message, DrawCopy):
            image = message.src_image
            seen.append(Seen(ImageType(image.type), len(getattr(image.payload, "data", b""))))

    def note_and_apply(message, *, give_up=False):
        damage = apply(message, give_up=give_up)
        note(message)
        return damage

    def note_and_apply_found(table, row, buffer):
        found = list(table)[row:]
        drawn = apply_found(table, row, buffer)
        for number, offset, size in found[: drawn.messages if drawn else 0]:
            if number == DRAW_COPY:
                note(DrawCopy.decode(buffer[offset : offset + size]))
        return drawn

    screen.apply, screen.apply_found = note_and_apply, note_and_apply_found
    # A thread that follows draws without either, wherever nobody waits for a moment.
    display._inbox._follow = lambda _: None
    return seen


@pytest.fixture(scope="session")
def note_images() -> Callable[[DisplayChannel], list[Seen]]:
    """Gives the images that come on a display from now on, whichever way they are drawn."""
    return _note_images
