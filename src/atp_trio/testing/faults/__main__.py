"""`python -m atp_trio.testing.faults`: see `process.main`."""

from __future__ import annotations

import sys

from atp_trio.testing.faults.process import main

if __name__ == "__main__":
    sys.exit(main())
