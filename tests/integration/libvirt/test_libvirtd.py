"""The private libvirtd: starts, restarts under its machines, leaves nothing behind, and touches nothing of the machine's own."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from atp_trio.errors import HypervisorError

LIGHT = {"agent": False, "console": False, "spice": None, "display": "", "tablet": False, "memory_mib": 32}


def listening(*pids):
    """The IPv4 and IPv6 addresses that these processes listen on."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(link.readlink()))
            except FileNotFoundError:
                continue  # a descriptor that was closed meanwhile
    found = set()
    for family, name in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, port = fields[1].split(":")
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


def is_gone(pid):
    """Whether a process has ended; one that only waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_domain_is_ready(libvirtd, domain):
    assert libvirtd.virsh("domstate", domain) == "running"
    assert "ATP-GUEST-READY" in libvirtd.serial_output(domain)
    assert f"guest={domain}".encode() in Path(f"/proc/{libvirtd.qemu_pid(domain)}/cmdline").read_bytes()


def test_everything_listens_on_loopback(libvirtd, domain):
    addresses = listening(*libvirtd.pids())
    assert {("127.0.0.1", port) for port in (libvirtd.tcp_port, libvirtd.tls_port, libvirtd.ssh_files.port)} < addresses
    assert libvirtd.qemu_pid(domain) in libvirtd.pids()
    assert {address for address, _ in addresses} == {"127.0.0.1"}


@pytest.mark.parametrize("uri", ["uri", "tcp_uri", "tls_uri", "ssh_uri", "libssh_uri", "libssh2_uri"])
def test_every_transport_leads_to_it(libvirtd, idle_domains, uri):
    assert {*idle_domains} <= {*libvirtd.virsh("-c", getattr(libvirtd, uri), "list", "--name").split()}


def test_tls_is_refused_to_strangers_by_both_sides(libvirtd):
    uri = libvirtd.tls_uri.replace(str(libvirtd.pki.client), str(libvirtd.pki.stranger))
    with pytest.raises(HypervisorError, match="got a known issuer"):
        libvirtd.virsh("-c", uri, "uri")
    before = libvirtd.log().count("Certificate check failed")
    with pytest.raises(HypervisorError, match="virsh -c"):
        libvirtd.virsh("-c", uri + "&no_verify=1", "uri")
    assert libvirtd.log().count("Certificate check failed") == before + 1


def test_ssh_reads_and_writes_nothing_of_the_user(libvirtd, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "no-agent"))
    libvirtd.virsh("-c", libvirtd.ssh_uri, "uri")
    assert not (tmp_path / ".ssh").exists()


def test_sasl_asks_for_user_and_password(sasl_libvirtd, sasl_login, monkeypatch, tmp_path):
    # libvirt's client reads answers from a file.
    def attempt(password):
        file = tmp_path / "auth.conf"
        file.write_text(
            f"[credentials-test]\nauthname={sasl_login[0]}\npassword={password}\n[auth-libvirt-127.0.0.1]\ncredentials=test\n"
        )
        return sasl_libvirtd.virsh("-c", f"{sasl_libvirtd.tcp_uri}?authfile={file}", "uri")

    assert "/system" in attempt(sasl_login[1])
    with pytest.raises(HypervisorError, match="authentication failed"):
        attempt("wrong")
    assert sasl_login[1] not in repr(sasl_libvirtd) + sasl_libvirtd.log()


@pytest.mark.parametrize("where", ["tcp", "tls", "unix", Path("own.sock")])
def test_spice_is_where_it_was_asked_for(libvirtd, make_domain, tmp_path, where):
    if isinstance(where, Path):
        where = tmp_path / where
    name = make_domain(spice=where, memory_mib=32, tablet=False)
    shown = libvirtd.virsh("domdisplay", name)
    if isinstance(where, Path):
        assert shown == f"spice+unix://{where}"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(where))
    else:
        patterns = {
            "tcp": r"spice://127.0.0.1:2\d{4}",
            "tls": r"spice://127.0.0.1\?tls-port=2\d{4}",
            "unix": r"spice\+unix:///.*",
        }
        assert re.fullmatch(patterns[where], shown)


def test_two_at_once_do_not_know_each_other(new_libvirtd, libvirtd):
    with new_libvirtd(tcp=True) as other:
        other.run("mine", **LIGHT)
        assert other.virsh("list", "--all", "--name") == "mine"
        assert "mine" not in libvirtd.virsh("list", "--all", "--name").split()
        assert other.tcp_port != libvirtd.tcp_port
        assert other.virsh("-c", other.tcp_uri, "list", "--name") == "mine"


def test_nothing_of_the_machine_is_touched(new_libvirtd):
    places = [Path("/etc/libvirt"), Path("/var/lib/libvirt"), Path("/var/log/libvirt"), Path("/etc/passwd"), Path("/etc/group")]

    def look():
        mounts = Path("/proc/self/mounts").read_text()
        files = {file: file.stat().st_mtime_ns for place in places for file in (place, *place.rglob("*")) if file.exists()}
        return mounts, files

    before = look()
    with new_libvirtd() as daemon:
        daemon.run("vm", **LIGHT)
        assert look() == before
    assert look() == before


@pytest.mark.parametrize("hard", [False, True])
def test_machines_survive_a_restart(new_libvirtd, hard):
    with new_libvirtd(tcp=True) as daemon:
        daemon.run("vm", **LIGHT)
        pid, qemu, port = daemon.pid, daemon.qemu_pid("vm"), daemon.tcp_port
        daemon.restart(hard=hard)
        assert is_gone(pid)
        assert daemon.pid != pid
        assert (daemon.qemu_pid("vm"), daemon.tcp_port) == (qemu, port)
        assert daemon.virsh("-c", daemon.tcp_uri, "domstate", "vm") == "running"
        # The one that was started again can do everything: the monitor, and an end.
        assert '"running":true' in daemon.virsh("qemu-monitor-command", "vm", '{"execute": "query-status"}')
        daemon.remove("vm")
        assert is_gone(qemu)
        with pytest.raises(HypervisorError, match="domain vm is not running"):
            daemon.qemu_pid("vm")


def test_leaves_nothing_behind(new_libvirtd):
    with new_libvirtd() as daemon:
        daemon.run("vm", **LIGHT)
        pids = [daemon.pid, daemon.qemu_pid("vm")]
        directory = daemon.directory
        os.kill(daemon.qemu_pid("vm"), signal.SIGSTOP)  # even one that stands still
        daemon.halt()
        assert not is_gone(pids[1])
    assert [is_gone(pid) for pid in pids] == [True, True]
    assert not directory.exists()
    daemon.stop()
    with pytest.raises(HypervisorError, match="only once"), daemon:
        pass


def test_complaints_are_quoted(new_libvirtd, libvirtd):
    with pytest.raises(HypervisorError, match=r"virsh define: .*XML"):
        libvirtd.define("<domain/>")
    with pytest.raises(HypervisorError, match=r"virsh start: .*failed to get domain 'nobody'"):
        libvirtd.start("nobody")
    with pytest.raises(HypervisorError, match="max_workers"), new_libvirtd(settings={"max_workers": "many"}):
        pass
