"""What a private libvirtd is told and where it is found; the real one is in the integration tests."""

from __future__ import annotations

import os
import shutil

import pytest

from atp_trio.errors import HypervisorError
from atp_trio.testing import libvirtd as libvirtd_module
from atp_trio.testing.libvirtd import Libvirtd, missing
from atp_trio.testing.libvirtd_config import format_settings, keep_capabilities, libvirtd_settings, prepare, with_account


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """The only directory in PATH, with every program that is wanted."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in ("libvirtd", "virsh", "unshare", "sshd", "ssh", "saslpasswd2"):
        (directory / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(libvirtd_module, "missing_qemu", lambda: None)
    return directory


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("libvirtd", "libvirt-daemon libvirt-daemon-driver-qemu"),
        ("virsh", "libvirt-clients"),
        ("ssh", "openssh-client"),
        ("saslpasswd2", "sasl2-bin libsasl2-modules"),
    ],
)
def test_what_is_missing_is_named(tools, program, package):
    assert missing(ssh=True, sasl=True) is None
    (tools / program).unlink()
    assert missing(ssh=True, sasl=True) == f"apt-get install --no-install-recommends {package}"
    if program in ("ssh", "saslpasswd2"):
        assert missing() is None


def test_it_takes_root(tools, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in missing()
    with pytest.raises(HypervisorError, match="root"), Libvirtd():
        pass


def test_nothing_is_there_before_it_runs():
    daemon = Libvirtd(sasl=("tester", "sesame"))
    assert "sesame" not in repr(daemon)
    for name in ("uri", "pid", "tls_uri", "ssh_uri", "libssh_uri", "directory"):
        with pytest.raises(HypervisorError):
            getattr(daemon, name)
    with pytest.raises(HypervisorError, match="halted"):
        daemon.resume()
    assert daemon.pids() == []
    daemon.stop()


def test_settings_are_written_as_libvirt_reads_them():
    text = format_settings({"a": 1, "b": "two", "c": [], "d": ["x", 3]})
    assert text == 'a = 1\nb = "two"\nc = [  ]\nd = [ "x", 3 ]\n'


def test_it_listens_only_where_it_is_told_to():
    settings = libvirtd_settings(None, 16514, None, sasl=False)
    assert (settings["listen_tcp"], settings["listen_tls"], settings["tls_port"]) == (0, 1, "16514")
    assert settings["listen_addr"] == "127.0.0.1"
    assert libvirtd_settings(16509, None, None, sasl=True)["auth_tcp"] == "sasl"


def test_an_account_is_added_once():
    line = "libvirt-qemu:x:1:"
    table = with_account("root:x:0:\n", line)
    assert table == "root:x:0:\nlibvirt-qemu:x:1:\n"
    assert with_account(table, "libvirt-qemu:x:2:") == table
    assert with_account("not-libvirt-qemu:x:0:\n", line).endswith(f"\n{line}\n")


def test_what_is_known_of_qemu_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in (1, 2):
        directory = tmp_path / str(number)
        directory.mkdir()
        prepare(directory)
        known = directory / "cache/qemu/capabilities"
        assert known.exists() == (number == 2)
        if number == 1:
            known.mkdir(parents=True)
            (known / "ab.xml").write_text("known")
            keep_capabilities(directory)
            shutil.rmtree(directory)
    assert (known / "ab.xml").read_text() == "known"
    assert {path.name for path in directory.iterdir()} == {"etc", "lib", "cache", "log", "run", "lock", "passwd", "group"}
