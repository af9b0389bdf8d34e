"""Programs of our own in the guest: C, compiled where the guest is built, without anything that it would need there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from atp_trio.testing.guest.packages import run_tool

_INSTALL: Final = "apt-get install --no-install-recommends gcc libc6-dev"


def compile_program(name: str) -> bytes:
    """Compile a C file that lies beside this module, as a static x86-64 program.

    Raises:
        GuestUnavailable: There is no C compiler, or it failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "program"
        options = ("-std=gnu11", "-O2", "-fwrapv", "-static", "-s")
        run_tool("gcc", *options, "-o", str(program), str(Path(__file__).parent / name), hint=_INSTALL, instead=_INSTALL)
        return program.read_bytes()
