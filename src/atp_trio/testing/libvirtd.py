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
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self
from urllib.parse import quote

import attrs

from atp_trio.errors import HypervisorError
from atp_trio.testing.certificate import LibvirtPki, make_libvirt_pki, make_tls_dir
from atp_trio.testing.domain_xml import domain_xml
from atp_trio.testing.guest import AGENT_PORT, READY_MARKER, Guest
from atp_trio.testing.libvirtd_config import (
    DIRECTORIES,
    HIDE_KVM,
    binds,
    format_settings,
    keep_capabilities,
    libvirtd_settings,
    prepare,
    qemu_settings,
)
from atp_trio.testing.namespace import MountNamespace, unshare_command
from atp_trio.testing.program import free_port, in_english, listens, poll, read_log, reap, spawn
from atp_trio.testing.qemu import missing as missing_qemu
from atp_trio.testing.sasl import make_sasl_dir
from atp_trio.testing.sshd import Ssh, find_sshd
from atp_trio.testing.virsh import agent_answers, run_virsh

_PACKAGES: Final = {
    "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
    "virsh": "libvirt-clients",
    "unshare": "util-linux",
}
_SSH_PACKAGES: Final = {"sshd": "openssh-server", "ssh": "openssh-client"}
_SASL_PACKAGES: Final = {"saslpasswd2": "sasl2-bin libsasl2-modules"}
_STOP: Final = 10.0  # seconds for an orderly end
_START: Final = 30.0
_TRIES: Final = 5


def missing(*, ssh: bool = False, sasl: bool = False) -> str | None:
    """What to do so that a private libvirtd can be started, with SSH and SASL if asked for; None if nothing."""
    wanted = _PACKAGES | (_SSH_PACKAGES if ssh else {}) | (_SASL_PACKAGES if sasl else {})
    lacking = [packages for program, packages in wanted.items() if _find(program) is None]
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
    """Listen on TCP, without encryption and, unless there is `sasl`, authentication."""
    tls: bool = False
    """Listen on TLS, for clients with a certificate; its authority, and what clients need, is `pki`. SPICE has TLS, too."""
    ssh: bool = False
    """Run an SSH server whose users find this libvirtd where they look for one."""
    sasl: tuple[str, str] | None = attrs.field(default=None, repr=False)
    """User and password that TCP asks for."""
    settings: Mapping[str, int | str] = attrs.field(factory=dict)
    """Further lines of libvirtd.conf, as in `{"max_client_requests": 20}`."""

    tcp_port: int | None = attrs.field(init=False, default=None)
    """The TCP port, on 127.0.0.1."""
    tls_port: int | None = attrs.field(init=False, default=None)
    """The TLS port, on 127.0.0.1."""
    pki: LibvirtPki | None = attrs.field(init=False, default=None)
    """The certificates of TLS."""
    ssh_files: Ssh | None = attrs.field(init=False, default=None)
    """The keys, the port and the client of SSH."""

    _directory: Path | None = attrs.field(init=False, repr=False, default=None)
    _process: subprocess.Popen[bytes] | None = attrs.field(init=False, repr=False, default=None)
    _sshd: subprocess.Popen[bytes] | None = attrs.field(init=False, repr=False, default=None)
    _namespace: MountNamespace | None = attrs.field(init=False, repr=False, default=None)
    _environment: dict[str, str] = attrs.field(init=False, repr=False, factory=dict)

    def __enter__(self) -> Self:
        """Start libvirtd; it answers when this returns."""
        if self._directory is not None:
            raise HypervisorError("a libvirtd is entered only once: make another")
        problem = missing(ssh=self.ssh, sasl=self.sasl is not None)
        if problem:
            raise HypervisorError(f"no private libvirtd on this machine: {problem}")
        self._directory = Path(tempfile.mkdtemp(prefix="atp-libvirtd-"))
        try:
            self._prepare()
            self._first_start()
            if self.ssh:
                self._start_sshd()
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

    def pids(self) -> list[int]:
        """The process ids of libvirtd, of its machines and of the SSH server."""
        return self._namespace.members() if self._namespace else []

    @property
    def socket_path(self) -> Path:
        """The UNIX socket of libvirtd."""
        return self.directory / "run" / "libvirt-sock"

    @property
    def spice_tls_dir(self) -> Path:
        """The certificates of SPICE, where there is TLS: as `make_tls_dir` names them."""
        return self.directory / "spice-tls"

    @property
    def uri(self) -> str:
        """The connection URI by the UNIX socket."""
        return f"qemu+unix:///system?socket={quote(str(self.socket_path))}"

    @property
    def tcp_uri(self) -> str:
        """The connection URI by TCP."""
        return f"qemu+tcp://127.0.0.1:{self.tcp_port}/system"

    @property
    def tls_uri(self) -> str:
        """The connection URI by TLS, with a client's certificate."""
        if self.pki is None:
            raise HypervisorError("this libvirtd does not listen on TLS")
        return f"qemu+tls://127.0.0.1:{self.tls_port}/system?pkipath={quote(str(self.pki.client))}"

    @property
    def ssh_uri(self) -> str:
        """The connection URI by the program `ssh`."""
        return self._ssh().uri

    @property
    def libssh_uri(self) -> str:
        """The connection URI by libssh."""
        return self._ssh().uri_through("libssh")

    @property
    def libssh2_uri(self) -> str:
        """The connection URI by libssh2."""
        return self._ssh().uri_through("libssh2")

    def log(self) -> str:
        """What libvirtd complained about so far, at every start."""
        return read_log(self.directory / "libvirtd.log").strip()

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
            self._wait(lambda: agent_answers(self.uri, name), f"the guest agent of {name}", end - time.monotonic())

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
        return read_log(self.serial_log(name))

    def qemu_log(self, name: str) -> str:
        """The log that libvirt keeps of a domain: QEMU's command lines and complaints."""
        return read_log(self.directory / "log" / "qemu" / f"{name}.log")

    def virsh(self, *arguments: str) -> str:
        """Run a virsh command and give what it writes.

        Raises:
            HypervisorError: It failed, or took a minute.
        """
        return run_virsh(self.uri, *arguments)

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
            reap(process, _STOP)

    def resume(self) -> None:
        """Start libvirtd again after `halt`: same directories, same ports."""
        if self._namespace is None or self._process is not None:
            raise HypervisorError("libvirtd is started again only after it was halted")
        self._launch(self._namespace.enter_command())

    def stop(self) -> None:
        """End libvirtd and every machine, and remove the files. Without effect when that is done."""
        self.halt()
        if self._namespace is not None:
            self._namespace.close()
            self._namespace = None
        if self._sshd is not None:
            self._sshd.wait()
        if self._directory is not None:
            keep_capabilities(self._directory)
            shutil.rmtree(self._directory, ignore_errors=True)

    def _ssh(self) -> Ssh:
        if self.ssh_files is None:
            raise HypervisorError("this libvirtd has no SSH server")
        return self.ssh_files

    def _prepare(self) -> None:
        prepare(self.directory)
        if self.tls:
            self.pki = make_libvirt_pki(self.directory / "pki")
            make_tls_dir(self.spice_tls_dir)
        if self.sasl:
            self._environment = make_sasl_dir(self.directory / "sasl", "libvirt", *self.sasl)
        settings = format_settings(qemu_settings(self.spice_tls_dir if self.tls else None))
        (self.directory / "etc" / "qemu.conf").write_text(settings)

    def _first_start(self) -> None:
        for tries_left in reversed(range(_TRIES)):
            self.tcp_port = free_port() if self.tcp else None
            self.tls_port = free_port() if self.tls else None
            settings = libvirtd_settings(self.tcp_port, self.tls_port, self.pki, sasl=self.sasl is not None) | dict(self.settings)
            (self.directory / "etc" / "libvirtd.conf").write_text(format_settings(settings))
            try:
                self._launch(unshare_command(binds(self.directory), [HIDE_KVM]))
            except HypervisorError:
                # Between our choice and libvirtd's bind another process took the port.
                if not tries_left or "bind to port" not in self.log():
                    raise
            else:
                break
        self._namespace = MountNamespace.of(self.pid)

    def _start_sshd(self) -> None:
        assert self._namespace is not None
        for tries_left in reversed(range(_TRIES)):
            self.ssh_files = Ssh.make(self.directory / "ssh", free_port())
            with (self.directory / "sshd.log").open("ab") as log:
                self._sshd = self._spawn([*self._namespace.enter_command(), *self.ssh_files.server_command()], log)
            try:
                self._wait(self._sshd_listens, "sshd", _START)
            except HypervisorError:
                if not tries_left or "Address already in use" not in read_log(self.directory / "sshd.log"):
                    raise
            else:
                break

    def _sshd_listens(self) -> bool:
        if self._sshd is None or self._sshd.poll() is not None:
            raise HypervisorError(f"sshd did not start: {read_log(self.directory / 'sshd.log')}")
        return listens(socket.AF_INET, ("127.0.0.1", self._ssh().port))

    def _launch(self, prefix: list[str]) -> None:
        command = [*prefix, "libvirtd", "--config", f"{DIRECTORIES['etc']}/libvirtd.conf"]
        command += ["--pid-file", f"{DIRECTORIES['run']}/libvirtd.pid"]
        if self.tcp or self.tls:
            command.append("--listen")
        with (self.directory / "libvirtd.log").open("ab") as log:
            self._process = self._spawn(command, log)
        try:
            self._wait(self._listens, "libvirtd", _START)
            self.virsh("uri")
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._process = None
            raise

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        kept = [] if self._namespace is None else [self._namespace.descriptor]
        return spawn(command, log, environment=in_english() | self._environment, pass_fds=kept)

    def _listens(self) -> bool:
        assert self.pid  # it has not ended
        return listens(socket.AF_UNIX, str(self.socket_path))

    # --- waiting

    def _alive_serial(self, name: str) -> str:
        try:
            os.kill(self.qemu_pid(name), 0)
        except ProcessLookupError:
            raise HypervisorError(f"domain {name} ended: {self.qemu_log(name)[-1000:]}") from None
        return self.serial_output(name)

    def _wait(self, condition: Callable[[], bool], what: str, within: float) -> None:
        if not poll(condition, within):
            raise HypervisorError(f"waited {within:.0f} s in vain for {what}{self._complaint()}")

    def _complaint(self) -> str:
        text = self.log()[-2000:] if self._directory else ""
        return f": {text}" if text else ""


def _find(program: str) -> str | None:
    return find_sshd() if program == "sshd" else shutil.which(program)
