"""What figures belong to."""

from __future__ import annotations

import json
import platform

import trio

import atp_trio
from atp_trio.bench import environment
from atp_trio.bench.environment import describe_environment


def test_describes_versions_and_machine():
    found = describe_environment()
    assert found["atp_trio"] == atp_trio.__version__
    assert found["python"] == platform.python_version()
    assert found["trio"] == trio.__version__
    assert found["cpus_usable"] >= 1
    assert found == json.loads(json.dumps(found))


def test_a_machine_without_cpuinfo(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "none")
    assert describe_environment()["cpu_model"] == "unknown"
