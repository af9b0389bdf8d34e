"""Figures and reports."""

from __future__ import annotations

import json

import pytest

from atp_trio.bench import Amount, Distribution, Report, Shortfall


def test_distribution():
    found = Distribution.of("x.y", "us", [float(value) for value in range(1, 102)])
    assert found == Distribution("x.y", "us", n=101, p50=51, p90=91, p99=100, max=101, mean=51)


def test_distribution_of_one():
    assert Distribution.of("x", "s", [2.5]) == Distribution("x", "s", n=1, p50=2.5, p90=2.5, p99=2.5, max=2.5, mean=2.5)


def test_a_report_is_json():
    report = Report({"python": "3"}, {"seconds": 1.0}, (Amount("a", "1/s", 5.0),), (Shortfall("b", "why"),), ())
    document = json.loads(json.dumps(report.to_json()))
    assert document["figures"] == [{"name": "a", "unit": "1/s", "value": 5.0}]
    assert document["skipped"] == [{"name": "b", "reason": "why"}]
    assert document["failed"] == []
    with pytest.raises(AttributeError):
        report.figures = ()  # type: ignore[misc]
