"""A mount namespace: where processes see other files at some places, and where they are found again when they must end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs

from atp_trio.testing.program import poll

_END = 10.0  # seconds for killed processes to be gone


def unshare_command(binds: Mapping[str, Path], script: Sequence[str] = ()) -> list[str]:
    """What to put before a command so that it runs in a new mount namespace, with the same process id. Needs root.

    Args:
        binds: What the processes there see, by where: directories (made where they are not there) or files.
        script: Further shell lines that run there first.
    """
    lines = [line for there, here in binds.items() for line in _bind(there, here)]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join([*lines, *script, 'exec "$@"']), "sh"]


def _bind(there: str, here: Path) -> list[str]:
    made = [f"mkdir -p {shlex.quote(there)}"] if here.is_dir() else []
    return [*made, f"mount --bind {shlex.quote(str(here))} {shlex.quote(there)}"]


@attrs.define(eq=False)
class MountNamespace:
    """A mount namespace that stays until it is closed, whoever runs in it."""

    _descriptor: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """The one that a process runs in."""
        return cls(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY))

    @property
    def descriptor(self) -> int:
        """For `pass_fds` of a command that `enter_command` begins."""
        return self._descriptor

    def enter_command(self) -> list[str]:
        """What to put before a command so that it runs here, with the same process id."""
        return ["nsenter", f"--mount=/proc/self/fd/{self._descriptor}"]

    def members(self) -> list[int]:
        """The ids of the processes that run here."""
        inode = os.fstat(self._descriptor).st_ino
        members = []
        for process in Path("/proc").glob("[0-9]*"):
            # A process that has ended and was not waited for has no namespace any more.
            with contextlib.suppress(OSError):
                if (process / "ns" / "mnt").stat().st_ino == inode:
                    members.append(int(process.name))
        return members

    def close(self) -> None:
        """Kill every process here, wait until there is none, and let the namespace go."""
        poll(self._is_empty_once_killed, _END)
        os.close(self._descriptor)

    def _is_empty_once_killed(self) -> bool:
        members = self.members()
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not members
