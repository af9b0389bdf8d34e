"""This computer, as the doctor looks at it."""

from __future__ import annotations

import fcntl
import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from typing import Any, Final

from atp_trio.cli.part import KVM, PartBroken, PartMissing

__all__ = ["ThisMachine"]

_PATIENCE: Final = 20.0  # seconds, for a program that tells its version
# linux/kvm.h
_KVM_GET_API_VERSION: Final = 0xAE00
_KVM_CREATE_VM: Final = 0xAE01
_KVM_CREATE_VCPU: Final = 0xAE41
_KVM_API: Final = 12


class ThisMachine:
    """The one we run on: see `atp_trio.cli.part.Machine`."""

    def platform(self) -> str:
        """Python's version and what it runs on."""
        return f"{platform.python_version()} on {platform.system()} {platform.machine()}"

    def load(self, module: str) -> Any:
        """Import a module."""
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name == module.partition(".")[0]:
                raise PartMissing from error
            raise PartBroken(f"{module} cannot be imported: {error}") from error
        except Exception as error:  # whatever foreign code does when it is imported
            raise PartBroken(f"{module} cannot be imported: {type(error).__name__}: {error}") from error

    def version(self, distribution: str) -> str:
        """The version that is installed."""
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            raise PartMissing from None

    def find(self, program: str) -> str:
        """Where a program is; those for root are where a user need not look."""
        found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if found is None:
            raise PartMissing
        return found

    def ask(self, *command: str) -> str:
        """What a program prints."""
        try:
            done = subprocess.run(  # noqa: S603 - a program that was found, and words of ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE,
                check=False,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired:
            raise PartBroken(f"{command[0]} did not end within {_PATIENCE:g} s") from None
        except OSError as error:
            raise PartBroken(f"{command[0]} cannot be run: {error.strerror}") from error
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            raise PartBroken(f"{command[0]} ended with code {done.returncode}: {text.strip()[:200]}")
        return text

    def try_kvm(self) -> str:
        """Make a KVM machine with one processor and let it go."""
        opened: list[int] = []
        try:
            opened.append(os.open(KVM, os.O_RDWR | os.O_CLOEXEC))
            version = fcntl.ioctl(opened[0], _KVM_GET_API_VERSION)
            if version != _KVM_API:
                raise PartBroken(f"it speaks version {version} of its interface")
            opened.append(fcntl.ioctl(opened[0], _KVM_CREATE_VM, 0))
            opened.append(fcntl.ioctl(opened[1], _KVM_CREATE_VCPU, 0))
        except FileNotFoundError:
            raise PartMissing from None
        except OSError as error:
            raise PartBroken(error.strerror or str(error)) from error
        finally:
            for descriptor in reversed(opened):
                os.close(descriptor)
        # Under some hypervisors this works, and yet a guest's kernel never comes up.
        return "makes machines; `atp guest --accel kvm` shows whether they run"
