"""The files of a private libvirtd: what it reads, where it looks for it, and what it may know from the last time."""

from __future__ import annotations

import os
import random
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from atp_trio.testing.certificate import LibvirtPki
from atp_trio.testing.guest.build import cache_directory

Setting = int | str | list[str]

# Where libvirtd looks, and what we call ours.
DIRECTORIES: Final = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "run": "/run/libvirt",
    "lock": "/run/lock",  # of a domain's ports and consoles, by paths that are the same for all of ours
}
# libvirtd looks for Debian's user and group of QEMU, also where its configuration names others. Debian's package for
# servers makes them, with their fixed number; we do without it, as it would start a libvirtd of its own.
_ACCOUNTS: Final = {"passwd": "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin", "group": "libvirt-qemu:x:64055:"}
# Our domains are emulated. With KVM in sight libvirtd asks QEMU again what it can do, for 4 seconds, whenever it finds itself on
# another core than last time.
HIDE_KVM: Final = "if [ -e /dev/kvm ]; then mount --bind /dev/kvm /dev/kvm; mount -o remount,bind,nodev /dev/kvm; fi"
# The answers. libvirtd checks itself whether they are still true, so they may be kept.
_CAPABILITIES: Final = Path("cache", "qemu", "capabilities")
_SPICE_PORTS: Final = 100  # to choose from; below the range that the kernel gives to clients


def binds(directory: Path) -> dict[str, Path]:
    """What libvirtd is to see, by where: everything of it lies in one directory."""
    places = {there: directory / name for name, there in DIRECTORIES.items()}
    return places | {f"/etc/{name}": directory / name for name in _ACCOUNTS}


def prepare(directory: Path) -> None:
    """Make what `binds` names."""
    for name in DIRECTORIES:
        (directory / name).mkdir(mode=0o755)
    for name, line in _ACCOUNTS.items():
        (directory / name).write_text(with_account(Path("/etc", name).read_text(), line))
    if _kept().is_dir():
        shutil.copytree(_kept(), directory / _CAPABILITIES, ignore=shutil.ignore_patterns("*.new-*"))


def keep_capabilities(directory: Path) -> None:
    """Keep what libvirtd found out about QEMU for the next one."""
    for file in (directory / _CAPABILITIES).glob("*.xml"):
        kept = _kept() / file.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Another process may do the same, or read it.
        aside = kept.with_suffix(f".new-{os.getpid()}")
        shutil.copyfile(file, aside)
        aside.replace(kept)


def _kept() -> Path:
    return cache_directory() / "libvirt-capabilities"


def libvirtd_settings(tcp_port: int | None, tls_port: int | None, pki: LibvirtPki | None, *, sasl: bool) -> dict[str, Setting]:
    """The content of libvirtd.conf: on loopback, without authentication but what TLS and SASL do."""
    files = {"ca_file": "cacert.pem", "cert_file": "servercert.pem", "key_file": "serverkey.pem"} if pki else {}
    return {
        "host_uuid": str(uuid.uuid4()),  # two of one host would be the same host to a migration
        "listen_addr": "127.0.0.1",
        "listen_tcp": int(tcp_port is not None),
        "tcp_port": str(tcp_port),
        "auth_tcp": "sasl" if sasl else "none",
        "listen_tls": int(tls_port is not None),
        "tls_port": str(tls_port),
        "auth_tls": "none",
        "auth_unix_rw": "none",
        "log_outputs": "3:stderr",
        **{setting: str(pki.server / name) for setting, name in files.items() if pki},
    }


def qemu_settings(spice_tls: Path | None) -> dict[str, Setting]:
    """The content of qemu.conf; `spice_tls` are SPICE's certificates."""
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
        **({"spice_tls": 1, "spice_tls_x509_cert_dir": str(spice_tls)} if spice_tls else {}),
    }


def format_settings(settings: Mapping[str, Setting]) -> str:
    """Lines as libvirt's configuration files have them."""

    def value(one: Setting) -> str:
        if isinstance(one, list):
            return f"[ {', '.join(map(value, one))} ]"
        return str(one) if isinstance(one, int) else f'"{one}"'

    return "".join(f"{name} = {value(one)}\n" for name, one in settings.items())


def with_account(table: str, line: str) -> str:
    """The text of /etc/passwd or /etc/group with this line, unless it has the name."""
    name = line.partition(":")[0]
    return table if f"\n{name}:" in table else f"{table.rstrip()}\n{line}\n"
