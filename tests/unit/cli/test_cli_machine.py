"""This machine: modules, programs and KVM, there or not."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from atp_trio.cli import machine
from atp_trio.cli.machine import ThisMachine
from atp_trio.cli.part import PartBroken, PartMissing


@pytest.fixture
def here():
    return ThisMachine()


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Makes a program of this name, found before all others."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(name, text):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return make


def test_modules(here, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {"fine": "", "needy": "import is_nowhere", "old": "raise OSError('libGL.so.1: no such file')"}.items():
        (tmp_path / f"doctored_{name}.py").write_text(text)
    assert here.load("doctored_fine") is sys.modules.pop("doctored_fine")
    with pytest.raises(PartMissing):
        here.load("doctored_none")
    with pytest.raises(PartMissing):
        here.load("doctored_none.inner")
    with pytest.raises(PartBroken, match="is_nowhere"):
        here.load("doctored_needy")
    with pytest.raises(PartBroken, match="doctored_old cannot be imported: OSError: libGL"):
        here.load("doctored_old")


def test_versions(here):
    assert here.version("trio")[0].isdecimal()
    with pytest.raises(PartMissing):
        here.version("nobody-calls-a-package-so")
    assert here.platform().startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")


def test_programs(here, script):
    path = script("tells", "#!/bin/sh\necho one; echo two >&2; [ $LC_ALL = C.UTF-8 ]")
    assert here.find("tells") == path
    assert here.ask(path) == "one\ntwo\n"
    with pytest.raises(PartMissing):
        here.find("nobody-calls-a-program-so")
    with pytest.raises(PartBroken, match="ended with code 3: no display"):
        here.ask(script("fails", "#!/bin/sh\necho no display; exit 3"))
    with pytest.raises(PartBroken, match="cannot be run: Exec format error"):
        here.ask(script("garbled", "\x7fELF and no more"))


def test_a_program_that_does_not_end(here, script, monkeypatch):
    monkeypatch.setattr(machine, "_PATIENCE", 0.05)
    with pytest.raises(PartBroken, match=r"did not end within 0\.05 s"):
        here.ask(script("hangs", "#!/bin/sh\nexec sleep 60"))


def test_kvm(here, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "KVM", str(tmp_path / "kvm"))
    with pytest.raises(PartMissing):
        here.try_kvm()
    (tmp_path / "kvm").touch()
    with pytest.raises(PartBroken, match=os.strerror(errno.ENOTTY)):
        here.try_kvm()


def test_kvm_that_works_to_some_degree(here, tmp_path, monkeypatch):
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(machine, "KVM", str(tmp_path / "kvm"))
    made = []

    def ioctl(_descriptor, request, *_):
        if request == machine._KVM_GET_API_VERSION:
            return 12
        made.append(os.open(tmp_path / "kvm", os.O_RDONLY))
        return made[-1]

    monkeypatch.setattr(machine.fcntl, "ioctl", ioctl)
    assert "makes machines" in here.try_kvm()
    assert len(made) == 2
    for descriptor in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    monkeypatch.setattr(machine.fcntl, "ioctl", lambda *_: 11)
    with pytest.raises(PartBroken, match="version 11"):
        here.try_kvm()
