"""A private libvirtd, for tests: beside the machine's own and without touching it, gone with its `with` block.

```
with Libvirtd(tcp=True) as libvirtd:
    libvirtd.run("vm", build_guest(), ports=("org.atp.echo.0",))
    connection = libvirt.open(libvirtd.tcp_uri)
```

Theory of operation. libvirtd has its directories built in. It runs in a mount namespace of its own, where directories of ours
are bound over them; we keep the namespace by a file descriptor, so that a libvirtd started again finds the machines of the one
before. Whoever is in the namespace at the end is ours: that is how every QEMU is found, also one that libvirtd was only
starting. Everything on the network is on loopback.

Blocking on purpose, as `atp_trio.testing.qemu.Qemu` is: from Trio, use `trio.to_thread.run_sync`.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import attrs

from atp_trio.errors import HypervisorError
from atp_trio.testing.domain_xml import domain_xml
from atp_trio.testing.guest import AGENT_PORT, READY_MARKER, Guest
from atp_trio.testing.guest.build import cache_directory
from atp_trio.testing.qemu import missing as missing_qemu

_PACKAGES: Final = {
    "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
    "virsh": "libvirt-clients",
    "unshare": "util-linux",
}
# Where libvirtd looks, and what we call ours.
_DIRECTORIES: Final = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "run": "/run/libvirt",
}
# libvirtd looks for Debian's user and group of QEMU, also where its configuration names others. Debian's package for
# servers makes them, with their fixed number; we do without it, as it would start a libvirtd of its own.
_ACCOUNTS: Final = {"passwd": "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin", "group": "libvirt-qemu:x:64055:"}
# Our domains are emulated. With KVM in sight libvirtd asks QEMU again what it can do, for 4 seconds, whenever it finds itself on
# another core than last time.
_HIDE_KVM: Final = "if [ -e /dev/kvm ]; then mount --bind /dev/kvm /dev/kvm; mount -o remount,bind,nodev /dev/kvm; fi"
# The answers. libvirtd checks itself whether they are still true, so they may be kept.
_CAPABILITIES: Final = Path("cache", "qemu", "capabilities")
_SPICE_PORTS: Final = 100  # to choose from; below the range that the kernel gives to clients
_STOP: Final = 10.0  # seconds for an orderly end
_START: Final = 30.0
_POLL: Final = 0.02
_TRIES: Final = 5


def missing() -> str | None:
    """What to do so that a private libvirtd can be started; None if nothing."""
    lacking = [packages for program, packages in _PACKAGES.items() if shutil.which(program) is None]
    if lacking:
        return f"apt-get install --no-install-recommends {' '.join(lacking)}"
    if os.geteuid() != 0:
        return "run as root: a private libvirtd needs a mount namespace of its own"
    return missing_qemu()


@attrs.define(eq=False, kw_only=True)
class Libvirtd:
    """A libvirtd, running inside its `with` block, with the machines it was told to run.

    Entering raises `HypervisorError`, with libvirtd's own words, when it does not start; calls raise it with virsh's.
    """

    tcp: bool = False
    """Listen on TCP, without authentication and encryption."""
    settings: Mapping[str, int | str] = attrs.field(factory=dict)
    """Further lines of libvirtd.conf, as in `{"max_client_requests": 20}`."""

    tcp_port: int | None = attrs.field(init=False, default=None)
    """The TCP port, on 127.0.0.1."""

    _directory: Path | None = attrs.field(init=False, repr=False, default=None)
    _process: subprocess.Popen[bytes] | None = attrs.field(init=False, repr=False, default=None)
    _namespace: int | None = attrs.field(init=False, repr=False, default=None)

    def __enter__(self) -> Self:
        """Start libvirtd; it answers when this returns."""
        if self._directory is not None:
            raise HypervisorError("a libvirtd is entered only once: make another")
        problem = missing()
        if problem:
            raise HypervisorError(f"no private libvirtd on this machine: {problem}")
        self._directory = Path(tempfile.mkdtemp(prefix="atp-libvirtd-"))
        try:
            self._prepare()
            self._first_start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop libvirtd and its machines."""
        self.stop()

    @property
    def directory(self) -> Path:
        """Where its files are; removed at the end."""
        if self._directory is None:
            raise HypervisorError("libvirtd is not running")
        return self._directory

    @property
    def pid(self) -> int:
        """The process id of libvirtd."""
        if self._process is None or self._process.poll() is not None:
            raise HypervisorError(f"libvirtd is not running{self._complaint()}")
        return self._process.pid

    @property
    def socket_path(self) -> Path:
        """The UNIX socket of libvirtd."""
        return self.directory / "run" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """The connection URI by the UNIX socket."""
        return f"qemu+unix:///system?socket={quote(str(self.socket_path))}"

    @property
    def tcp_uri(self) -> str:
        """The connection URI by TCP."""
        return f"qemu+tcp://127.0.0.1:{self.tcp_port}/system"

    def log(self) -> str:
        """What libvirtd complained about so far, at every start."""
        return self._text(self.directory / "libvirtd.log").strip()

    # --- machines

    def define(self, xml: str) -> None:
        """Make a domain known, as `virsh define`; see `atp_trio.testing.domain_xml.domain_xml`."""
        with tempfile.NamedTemporaryFile("w", dir=self.directory, suffix=".xml", encoding="utf-8") as file:
            file.write(xml)
            file.flush()
            self.virsh("define", "--validate", file.name)

    def start(self, name: str) -> None:
        """Start a domain."""
        self.virsh("start", name)

    def run(self, name: str, guest: Guest | None = None, *, within: float = 60.0, **options: Any) -> None:
        """Define a domain, start it and wait until it is ready.

        Args:
            name: The domain's name.
            guest: What it boots; None stays in the firmware.
            within: How long it may take, in seconds.
            options: As `domain_xml` takes them.
        """
        self.define(domain_xml(name, guest, serial_log=self.serial_log(name), **options))
        self.start(name)
        if guest:
            self.wait_ready(name, within=within)

    def wait_ready(self, name: str, *, within: float = 60.0) -> None:
        """Wait until the guest of a domain is up and, where it has the port for it, its agent answers.

        Raises:
            HypervisorError: The domain is not running, or `within` seconds passed.
        """
        end = time.monotonic() + within
        self._wait(lambda: READY_MARKER in self._alive_serial(name), f"{READY_MARKER} of {name}", within)
        if AGENT_PORT in self.virsh("dumpxml", name):
            self._wait(lambda: self._agent_answers(name), f"the guest agent of {name}", end - time.monotonic())

    def remove(self, name: str) -> None:
        """End a domain by force, if it runs, and forget it."""
        with contextlib.suppress(HypervisorError):
            self.virsh("destroy", name)
        self.virsh("undefine", name)

    def qemu_pid(self, name: str) -> int:
        """The process id of a domain's QEMU.

        Raises:
            HypervisorError: The domain is not running.
        """
        try:
            return int((self.directory / "run" / "qemu" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            raise HypervisorError(f"domain {name} is not running") from None

    def serial_log(self, name: str) -> Path:
        """The file for what a domain's guest writes to its serial port: for `domain_xml(serial_log=...)`."""
        return self.directory / f"{name}.serial.log"

    def serial_output(self, name: str) -> str:
        """What a domain's guest wrote to its serial port since it was started."""
        return self._text(self.serial_log(name))

    def qemu_log(self, name: str) -> str:
        """The log that libvirt keeps of a domain: QEMU's command lines and complaints."""
        return self._text(self.directory / "log" / "qemu" / f"{name}.log")

    def virsh(self, *arguments: str) -> str:
        """Run a virsh command and give what it writes.

        Raises:
            HypervisorError: It failed, or took a minute.
        """
        command = ["virsh", "--quiet", "--connect", self.uri, *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - the caller's own arguments
                command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60, env=_english()
            )
        except subprocess.TimeoutExpired:
            raise HypervisorError(f"virsh {arguments[0]} did not end within a minute{self._complaint()}") from None
        if done.returncode:
            raise HypervisorError(f"virsh {arguments[0]}: {' '.join(done.stderr.split())}")
        return done.stdout.strip()

    # --- the daemon

    def restart(self, *, hard: bool = False) -> None:
        """End libvirtd, by force if `hard`, and start it again; its machines run on."""
        self.halt(hard=hard)
        self.resume()

    def halt(self, *, hard: bool = False) -> None:
        """End libvirtd, by force if `hard`; its machines run on."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
            # It may stand still (SIGSTOP): then only force helps.
            _reap(process)

    def resume(self) -> None:
        """Start libvirtd again after `halt`: same directories, same ports."""
        if self._namespace is None or self._process is not None:
            raise HypervisorError("libvirtd is started again only after it was halted")
        self._launch(["nsenter", f"--mount=/proc/self/fd/{self._namespace}"])

    def stop(self) -> None:
        """End libvirtd and every machine, and remove the files. Without effect when that is done."""
        self.halt()
        if self._namespace is not None:
            _kill_all(os.fstat(self._namespace).st_ino)
            os.close(self._namespace)
            self._namespace = None
        if self._directory is not None:
            _keep_capabilities(self._directory / _CAPABILITIES)
            shutil.rmtree(self._directory, ignore_errors=True)

    def _prepare(self) -> None:
        for name in _DIRECTORIES:
            (self.directory / name).mkdir(mode=0o755)
        for name, line in _ACCOUNTS.items():
            (self.directory / name).write_text(_with_account(Path("/etc", name).read_text(), line))
        (self.directory / "etc" / "qemu.conf").write_text(_config(self._qemu_settings()))
        if _capabilities().is_dir():
            shutil.copytree(_capabilities(), self.directory / _CAPABILITIES, ignore=shutil.ignore_patterns("*.new-*"))

    def _first_start(self) -> None:
        for tries_left in reversed(range(_TRIES)):
            self.tcp_port = _free_port() if self.tcp else None
            (self.directory / "etc" / "libvirtd.conf").write_text(_config(self._libvirtd_settings()))
            try:
                self._launch(["unshare", "--mount", "--propagation", "private", "sh", "-ec", self._bind_script(), "bind"])
            except HypervisorError:
                # Between our choice and libvirtd's bind another process took the port.
                if not tries_left or "bind to port" not in self.log():
                    raise
            else:
                break
        self._namespace = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY)

    def _bind_script(self) -> str:
        places = _DIRECTORIES | {name: f"/etc/{name}" for name in _ACCOUNTS}
        binds = [f"mount --bind '{self.directory / name}' {there}" for name, there in places.items()]
        return "\n".join([f"mkdir -p {' '.join(_DIRECTORIES.values())}", *binds, _HIDE_KVM, 'exec "$@"'])

    def _launch(self, prefix: list[str]) -> None:
        command = [*prefix, "libvirtd", "--config", f"{_DIRECTORIES['etc']}/libvirtd.conf"]
        command += ["--pid-file", f"{_DIRECTORIES['run']}/libvirtd.pid"]
        if self.tcp:
            command.append("--listen")
        with (self.directory / "libvirtd.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_english(),
                pass_fds=[] if self._namespace is None else [self._namespace],
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        try:
            self._wait(self._listens, "libvirtd", _START)
            self.virsh("uri")
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._process = None
            raise

    def _listens(self) -> bool:
        assert self.pid  # it has not ended
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.socket_path)) == 0

    def _libvirtd_settings(self) -> dict[str, int | str]:
        return {
            "host_uuid": str(uuid.uuid4()),  # two of one host would be the same host to a migration
            "listen_tls": 0,
            "listen_tcp": int(self.tcp),
            "listen_addr": "127.0.0.1",
            "tcp_port": str(self.tcp_port),
            "auth_tcp": "none",
            "auth_unix_rw": "none",
            "log_outputs": "3:stderr",
            **self.settings,
        }

    def _qemu_settings(self) -> dict[str, int | str | list[str]]:
        first = random.randrange(20000, 30000, _SPICE_PORTS)  # noqa: S311 - so that two at once rarely meet
        return {
            "user": "root",
            "group": "root",
            "dynamic_ownership": 0,
            "security_driver": "none",
            "stdio_handler": "file",  # without it a domain waits two minutes for a virtlogd
            "namespaces": [],
            "cgroup_controllers": [],
            "remote_display_port_min": first,
            "remote_display_port_max": first + _SPICE_PORTS - 1,
        }

    # --- waiting

    def _alive_serial(self, name: str) -> str:
        os.kill(self.qemu_pid(name), 0)
        return self.serial_output(name)

    def _agent_answers(self, name: str) -> bool:
        # libvirt logs a complaint for every command to an agent that is not there.
        if not re.search(rf"name='{re.escape(AGENT_PORT)}' state='connected'", self.virsh("dumpxml", name)):
            return False
        try:
            self.virsh("qemu-agent-command", name, '{"execute": "guest-ping"}')
        except HypervisorError:
            return False
        return True

    def _wait(self, condition: Callable[[], bool], what: str, within: float) -> None:
        end = time.monotonic() + within
        while not condition():
            if time.monotonic() > end:
                raise HypervisorError(f"waited {within:.0f} s in vain for {what}{self._complaint()}")
            time.sleep(_POLL)

    def _complaint(self) -> str:
        text = self.log()[-2000:] if self._directory else ""
        return f": {text}" if text else ""

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text("utf-8", "replace")
        except OSError:
            return ""


def _config(settings: Mapping[str, int | str | list[str]]) -> str:
    """Lines as libvirt's configuration files have them."""

    def value(one: int | str | list[str]) -> str:
        if isinstance(one, list):
            return f"[ {', '.join(map(value, one))} ]"
        return str(one) if isinstance(one, int) else f'"{one}"'

    return "".join(f"{name} = {value(one)}\n" for name, one in settings.items())


def _with_account(table: str, line: str) -> str:
    """The text of /etc/passwd or /etc/group with this line, unless it has the name."""
    name = line.partition(":")[0]
    return table if f"\n{name}:" in table else f"{table.rstrip()}\n{line}\n"


def _capabilities() -> Path:
    return cache_directory() / "libvirt-capabilities"


def _keep_capabilities(found: Path) -> None:
    for file in found.glob("*.xml"):
        kept = _capabilities() / file.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Another process may do the same, or read it.
        aside = kept.with_suffix(f".new-{os.getpid()}")
        shutil.copyfile(file, aside)
        aside.replace(kept)


def _english() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}  # we read its words


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _kill_all(namespace: int) -> None:
    """Kill every process in a mount namespace, given by its inode, and wait until there is none."""
    end = time.monotonic() + _STOP
    while (members := _members(namespace)) and time.monotonic() < end:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)


def _members(namespace: int) -> list[int]:
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # A process that has ended and was not waited for has no namespace any more.
            if (process / "ns" / "mnt").stat().st_ino == namespace:
                members.append(int(process.name))
    return members
