"""A real QEMU machine with SPICE, for tests: on loopback only, without a disk, gone with its `with` block.

Blocking on purpose: async fixtures live as long as one test, a machine serves a whole test run. From Trio, use
`trio.to_thread.run_sync`.

```
with Qemu(guest=build_guest(), display="qxl-vga", tablet=True) as machine:
    machine.wait_ready()
    print(machine.uri, machine.screendump().shape)
```
"""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from atp_trio.errors import HypervisorError, QmpError
from atp_trio.testing.guest import AGENT_PORT, READY_MARKER, Guest
from atp_trio.testing.monitor import Monitor
from atp_trio.testing.ppm import parse_ppm
from atp_trio.testing.program import poll, read_log, reap, spawn
from atp_trio.testing.spice_options import SpiceOptions, escape

__all__ = ["FIRMWARE_MARKER", "PROGRAM", "Qemu", "SpiceOptions", "missing"]

PROGRAM = "qemu-system-x86_64"

FIRMWARE_MARKER = "No bootable device."
"""What SeaBIOS writes, to the screen and to its debug port, when it has nothing to start."""

_STOP = 5.0  # seconds for an orderly end
_PORT_TRIES = 10


def missing() -> str | None:
    """What to install so that machines can be started, as one command; None if everything is there."""
    if shutil.which(PROGRAM) is None:
        return "apt-get install --no-install-recommends qemu-system-x86"
    # Debian 12 has SPICE in qemu-system-common, later releases in a package of its own.
    devices = subprocess.run([PROGRAM, "-device", "help"], capture_output=True, text=True, check=False)  # noqa: S603
    if '"qxl-vga"' not in devices.stdout:
        return "apt-get install --no-install-recommends qemu-system-modules-spice"
    return None


def _port_arguments(names: tuple[str, ...], directory: Path) -> list[str]:
    command = ["-device", "virtio-serial-pci"] if names else []
    for number, name in enumerate(names):
        command += ["-chardev", f"socket,id=port{number},path={escape(directory / f'port{number}.sock')},server=on,wait=off"]
        command += ["-device", f"virtserialport,chardev=port{number},name={escape(name)}"]
    return command


@attrs.define(eq=False, kw_only=True)
class Qemu:
    """A QEMU machine, running inside its `with` block.

    Entering raises `HypervisorError`, with QEMU's own words, when it does not start; calls raise it when QEMU has ended.
    """

    display: str = "qxl-vga"
    """A display device and its properties: qxl-vga, VGA, virtio-vga, cirrus-vga, `VGA,xres=800,yres=600`; empty for none."""
    spice: SpiceOptions = attrs.field(factory=SpiceOptions)
    guest: Guest | None = None
    """What to boot; None stays in the firmware, with a text screen."""
    tablet: bool = False
    """A USB tablet (absolute positions) beside the PS/2 mouse (relative ones), which is always there."""
    memory_mib: int = 256
    ports: tuple[str, ...] = ()
    """Virtio-serial ports, by name, as in `org.atp.echo.0`; see `port_path`."""
    agent: bool = False
    """Whether there is the port of the guest agent; see `agent_path`."""
    qmp_unix: bool = False
    """Whether another QMP monitor listens on a UNIX socket; see `qmp_path`."""
    qmp_tcp: bool = False
    """Whether another QMP monitor listens on TCP; see `qmp_port`."""
    accel: str = "tcg,thread=multi"
    """As in `-accel`. KVM may look usable and not be; where it is known to work, it is faster."""
    extra: tuple[str, ...] = ()
    """Further arguments of QEMU."""

    port: int | None = attrs.field(init=False, default=None)
    """The plain port, on 127.0.0.1."""
    tls_port: int | None = attrs.field(init=False, default=None)
    """The TLS port, on 127.0.0.1."""
    socket_path: Path | None = attrs.field(init=False, default=None)
    """The UNIX socket."""
    qmp_port: int | None = attrs.field(init=False, default=None)
    """The TCP port of the other QMP monitor, on 127.0.0.1."""
    events: collections.deque[dict[str, Any]] = attrs.field(
        init=False, repr=False, factory=lambda: collections.deque(maxlen=1000)
    )
    """QMP events that came before an answer to a command: the last 1000, oldest first."""

    _directory: Path | None = attrs.field(init=False, repr=False, default=None)
    _process: subprocess.Popen[bytes] | None = attrs.field(init=False, repr=False, default=None)
    _monitor: Monitor | None = attrs.field(init=False, repr=False, default=None)

    def __enter__(self) -> Self:
        """Start QEMU; SPICE listens when this returns."""
        if self._process is not None:
            raise HypervisorError("a machine starts only once: make another")
        problem = missing()
        if problem:
            raise HypervisorError(f"no QEMU with SPICE on this machine: {problem}")
        self._directory = Path(tempfile.mkdtemp(prefix="atp-qemu-"))
        try:
            self._start(self._directory)
            if self.qmp_tcp:
                self.qmp_port = self._find_qmp_port()
            if self.spice.password:
                self.set_password(self.spice.password)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop QEMU."""
        self.stop()

    @property
    def uri(self) -> str:
        """Where SPICE is offered, plain or on the UNIX socket if it is, else with TLS."""
        if self.socket_path:
            return f"spice+unix://{self.socket_path}"
        return f"spice://127.0.0.1:{self.port}" if self.port else f"spice+tls://127.0.0.1:{self.tls_port}"

    @property
    def qmp_path(self) -> Path:
        """The UNIX socket of the other QMP monitor, which takes one client at a time."""
        return self._file("qmp.sock", self.qmp_unix, "a QMP monitor on a UNIX socket")

    @property
    def agent_path(self) -> Path:
        """The UNIX socket of the guest agent's port."""
        return self.port_path(AGENT_PORT)

    @property
    def pid(self) -> int:
        """The process id of QEMU."""
        return self._running().pid

    def port_path(self, name: str) -> Path:
        """The UNIX socket of a virtio-serial port, which takes one client at a time."""
        names = self._port_names
        return self._file(f"port{names.index(name) if name in names else ''}.sock", name in names, f"a port {name}")

    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._process is not None and self._process.poll() is None

    def stderr(self) -> str:
        """What QEMU, and the SPICE server in it, complained about so far."""
        return self._text("stderr.log").strip()

    def serial_output(self) -> str:
        """What the guest wrote to its serial port so far; without a guest, what SeaBIOS wrote to its debug port."""
        return self._text("serial.log")

    def wait_serial(self, marker: str, *, within: float = 60.0) -> None:
        """Wait until the serial output contains `marker`.

        Raises:
            HypervisorError: QEMU ended, or `within` seconds passed; the end of the output is in the sentence.
        """
        self._wait(lambda: marker in self.serial_output(), f"{marker!r} on the serial port", within)

    def wait_ready(self, *, within: float = 60.0) -> None:
        """Wait until the guest is up, with its prompt on the screen (or the firmware has given up), and uses the tablet.

        Raises:
            HypervisorError: QEMU ended, or `within` seconds passed.
        """
        end = time.monotonic() + within
        self.wait_serial(READY_MARKER if self.guest else FIRMWARE_MARKER, within=within)
        if self.guest and self.tablet:
            # The guest finds USB devices in its own time. QEMU calls the tablet its mouse once the guest polls it.
            self._wait(self._uses_tablet, "the guest to use the tablet", end - time.monotonic())

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command and give its answer. For arguments with dashes: `**{"command-line": "info pci"}`.

        Raises:
            QmpError: QEMU refused it.
            HypervisorError: QEMU has ended, or does not answer for half a minute.
        """
        if self._monitor is None:
            raise HypervisorError("the machine is not running")
        try:
            return self._monitor.execute(command, arguments)
        except (OSError, EOFError) as error:
            raise HypervisorError(f"QEMU did not answer {command}: {error}{self._complaint()}") from error

    def wait_event(self, name: str, *, within: float = 10.0) -> dict[str, Any]:
        """Wait for the next QMP event of that name; it and those before it leave `events`.

        Raises:
            HypervisorError: QEMU ended, or `within` seconds passed.
        """
        self._wait(lambda: self._saw(name), f"the event {name}", within)
        while (event := self.events.popleft())["event"] != name:
            pass
        return event

    def screendump(self) -> npt.NDArray[np.uint32]:
        """The first display as QEMU itself renders it.

        Returns:
            Height x width, rows top-down; each pixel 0x00RRGGBB.
        """
        if self._directory is None:
            raise HypervisorError("the machine is not running")
        path = self._directory / "screendump.ppm"
        self.qmp("screendump", filename=str(path))
        return parse_ppm(path.read_bytes())

    def send_keys(self, *qcodes: str) -> None:
        """Press these keys together and release them, by QEMU's names (`ctrl`, `alt`, `f2`, `ret`), through QMP."""
        self.qmp("send-key", keys=[{"type": "qcode", "data": qcode} for qcode in qcodes])

    def set_password(self, password: str) -> None:
        """Set SPICE's ticket, valid until `expire_password` says otherwise.

        Raises:
            QmpError: The machine was made without a password: QEMU cannot turn tickets on later.
        """
        self.qmp("set_password", protocol="spice", password=password)

    def expire_password(self, when: str = "now") -> None:
        """Set the ticket's end: `now`, `never`, `+SECONDS` or a time in seconds since 1970."""
        self.qmp("expire_password", protocol="spice", time=when)

    def stop(self) -> None:
        """End QEMU, orderly or else by force, and remove its files. Without effect when that is done."""
        if self._monitor is not None:
            with contextlib.suppress(OSError, EOFError, HypervisorError):
                self._monitor.execute("quit", {}, silence=_STOP)
            self._monitor.close()
            self._monitor = None
        if self._process is not None:
            reap(self._process, _STOP)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def command_line(self, *, monitor: int, port: int = 0, tls_port: int = 0, directory: Path = Path()) -> list[str]:
        """The command that starts this machine.

        Args:
            monitor: The file descriptor of QMP's connection.
            port: The plain port.
            tls_port: The TLS port.
            directory: Where the machine's files are.
        """
        spice = self.spice.argument(port, tls_port, directory / "spice.sock")
        command = [PROGRAM, "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", self.accel]
        command += ["-m", str(self.memory_mib), "-vga", "none", "-display", "none", "-spice", spice]
        command += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
        command += ["-chardev", f"file,id=serial,path={escape(directory / 'serial.log')}"]
        if self.guest:
            command += ["-serial", "chardev:serial", "-kernel", str(self.guest.kernel), "-initrd", str(self.guest.initramfs)]
            command += ["-append", self.guest.command_line]
        else:
            command += ["-device", "isa-debugcon,iobase=0x402,chardev=serial"]
        if self.display:
            command += ["-device", self.display]
        if self.tablet:
            # xHCI: the older controllers keep an emulated CPU busy with a timer every millisecond.
            command += ["-device", "qemu-xhci", "-device", "usb-tablet"]
        if self.qmp_unix:
            command += ["-qmp", f"unix:{escape(directory / 'qmp.sock')},server=on,wait=off"]
        if self.qmp_tcp:
            command += ["-chardev", "socket,id=qmp,host=127.0.0.1,port=0,server=on,wait=off", "-mon", "qmp,mode=control"]
        command += _port_arguments(self._port_names, directory)
        return [*command, *self.extra]

    @property
    def _port_names(self) -> tuple[str, ...]:
        return (*((AGENT_PORT,) if self.agent else ()), *self.ports)

    def _file(self, name: str, is_there: bool, what: str) -> Path:
        if self._directory is None or not is_there:
            raise HypervisorError(f"the machine has not {what}")
        return self._directory / name

    def _find_qmp_port(self) -> int:
        # QEMU chose it, and says it only here: disconnected:tcp:127.0.0.1:12345,server=on
        (where,) = (one["filename"] for one in self.qmp("query-chardev") if one["label"] == "qmp")
        return int(where.partition(",")[0].rpartition(":")[2])

    def _start(self, directory: Path) -> None:
        for tries_left in reversed(range(_PORT_TRIES)):
            port, tls_port = _free_ports()
            try:
                self._launch(directory, port, tls_port)
            except _PortTakenError:
                # Between our choice and QEMU's bind another process took it.
                if not tries_left:
                    raise
            else:
                break
        tcp = not self.spice.unix
        self.port = port if tcp and self.spice.plain else None
        self.tls_port = tls_port if self.spice.tls else None
        self.socket_path = None if tcp else directory / "spice.sock"

    def _launch(self, directory: Path, port: int, tls_port: int) -> None:
        # A connected pair instead of a socket in the file system: no moment at which it is not there yet, and it
        # ends when QEMU does.
        ours, theirs = socket.socketpair()
        self._monitor = Monitor(ours, self.events)
        with theirs, (directory / "stderr.log").open("wb") as log:
            command = self.command_line(monitor=theirs.fileno(), port=port, tls_port=tls_port, directory=directory)
            self._process = spawn(command, log, pass_fds=[theirs.fileno()])
        try:
            self._monitor.greet()
        except (OSError, EOFError, QmpError) as error:
            self._monitor.close()
            self._monitor = None
            self._process.kill()
            self._process.wait()
            taken = re.search(r"address (is )?already in use|failed to bind|binding socket", self.stderr(), re.IGNORECASE)
            raise (_PortTakenError if taken else HypervisorError)(f"QEMU did not start{self._complaint()}") from error

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise HypervisorError(f"the machine is not running{self._complaint()}")
        return self._process

    def _wait(self, condition: Callable[[], bool], what: str, within: float) -> None:
        def holds() -> bool:
            if condition():
                return True
            self._running()
            return False

        if not poll(holds, within):
            raise HypervisorError(f"waited {within:.0f} s in vain for {what}; the last output: {self.serial_output()[-500:]!r}")

    def _uses_tablet(self) -> bool:
        return any(mouse["current"] and mouse["absolute"] for mouse in self.qmp("query-mice"))

    def _saw(self, name: str) -> bool:
        self.qmp("query-status")  # events come with answers
        return any(event["event"] == name for event in self.events)

    def _text(self, name: str) -> str:
        return read_log(self._directory / name) if self._directory else ""

    def _complaint(self) -> str:
        return f": {self.stderr()}" if self.stderr() else ""


class _PortTakenError(HypervisorError):
    """The port that was free a moment ago is not."""


def _free_ports() -> tuple[int, int]:
    """Two ports that are free now; QEMU can only be told a number."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]
