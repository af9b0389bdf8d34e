"""Benchmarks of whole paths: `run_bench` runs scenarios, against an embedded server or a machine, and gives a `Report`.

Each scenario is a module in `bench.scenarios`. Distributions, not averages; every figure with its unit. Short code is measured
in `benchmarks/`, beside what limits it.
"""

from __future__ import annotations

from atp_trio.bench.figure import Amount, Distribution, Figure, Report, Shortfall
from atp_trio.bench.run import BenchSettings, Progress
from atp_trio.bench.runner import run_bench, scenario_names

__all__ = [
    "Amount",
    "BenchSettings",
    "Distribution",
    "Figure",
    "Progress",
    "Report",
    "Shortfall",
    "run_bench",
    "scenario_names",
]
