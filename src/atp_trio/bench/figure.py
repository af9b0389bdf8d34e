"""What a benchmark finds out: distributions and amounts, each with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import attrs


@attrs.frozen
class Distribution:
    """How something that was measured many times is spread.

    Attributes:
        name: What was measured, with its scenario: `input.motion_ack`.
        unit: Of all figures but `n`.
        n: How many times.
        p50, p90, p99: What so many percent of them are not above.
        max: The largest.
        mean: Their average.
    """

    name: str
    unit: str
    n: int
    p50: float
    p90: float
    p99: float
    max: float
    mean: float

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float]) -> Self:
        """The distribution of these values, of which there is at least one."""
        import numpy as np

        p50, p90, p99, largest = (float(value) for value in np.percentile(values, (50, 90, 99, 100)))
        return cls(name, unit, len(values), p50, p90, p99, largest, float(np.mean(values)))


@attrs.frozen
class Amount:
    """One number.

    Attributes:
        name: What it says, with its scenario: `input.motions`.
        unit: Its unit.
        value: The number.
    """

    name: str
    unit: str
    value: float


Figure = Distribution | Amount


@attrs.frozen
class Shortfall:
    """Something that was not measured, or not as asked.

    Attributes:
        name: What.
        reason: Why, in a sentence.
    """

    name: str
    reason: str


@attrs.frozen
class Report:
    """What a run found out.

    Attributes:
        environment: Versions and the machine.
        settings: What was asked for, without secrets.
        figures: In the order of measuring.
        skipped: What does not apply here.
        failed: What could not be measured although it was asked for.
    """

    environment: dict[str, Any]
    settings: dict[str, Any]
    figures: tuple[Figure, ...]
    skipped: tuple[Shortfall, ...]
    failed: tuple[Shortfall, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON document; times are in the figures' units."""
        return attrs.asdict(self)
