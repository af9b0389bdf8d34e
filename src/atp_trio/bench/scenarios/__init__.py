"""The scenarios, one module each; a new one is a module and a row in `SCENARIOS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from atp_trio.bench.run import BenchRun
from atp_trio.bench.scenarios.display import measure_display
from atp_trio.bench.scenarios.input import measure_input
from atp_trio.bench.scenarios.link import measure_link

SCENARIOS: Final[dict[str, Callable[[BenchRun], Awaitable[None]]]] = {
    "link": measure_link,
    "input": measure_input,
    "display": measure_display,
}
"""By name; each runs to its end, or raises an `AtpError` that says why it cannot."""
