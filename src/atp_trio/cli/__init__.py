"""The command line, `atp`: one module a command; `app` lists them, `execute` runs them.

`atp_trio`'s names are imported when they are used, so that `atp --help` does not wait for numpy and OpenSSL.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The program `atp`: exits with 0 when done, 1 when something failed, 2 when called wrongly, 128 + number after a signal."""
    try:
        from atp_trio.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before there was anything to leave
        code = 130
    sys.exit(code)
