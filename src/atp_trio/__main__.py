"""`python -m atp_trio` is the program `atp`."""

from __future__ import annotations

from atp_trio.cli import main

if __name__ == "__main__":
    main()
