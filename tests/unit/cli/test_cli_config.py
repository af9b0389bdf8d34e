"""`atp config`: what is right and what is wrong with a file."""

from __future__ import annotations

import json


def test_a_configuration_that_can_be_meant(atp, tmp_path):
    path = tmp_path / "atp.yaml"
    path.write_text("hosts: [{id: a, host: a}]\nspice: {vms: [{vm_id: v, server_addr: v, port: 1, password: hunter2}]}\n")
    outcome = atp("config", "check", path)
    assert (outcome.code, outcome.err) == (0, "")
    warning, summary = outcome.out.splitlines()
    assert warning.startswith(f"{path}:2:61 spice.vms[0].password: warning: ")
    assert summary == f"{path}: 1 hosts, 1 machines"
    assert "hunter2" not in outcome.out


def test_every_mistake_is_a_line(atp, tmp_path, monkeypatch):
    path = tmp_path / "atp.yaml"
    path.write_text("pool: 3\nbogus: 1\n")
    monkeypatch.setenv("ATP_HEARTBEAT__INTERVAL", "never")
    outcome = atp("config", "check", path)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.splitlines() == [
        f"{path}:1:7 pool: settings are wanted here, not 3",
        f"{path}:2:1 bogus: there is no such setting; there are hosts, spice, pool, heartbeat, reconnect",
        "ATP_HEARTBEAT__INTERVAL heartbeat.interval: a number is wanted, not 'never'",
    ]


def test_a_file_that_is_not_there(atp, tmp_path):
    outcome = atp("config", "check", tmp_path / "none")
    assert (outcome.code, outcome.out) == (1, f"{tmp_path}/none: the file cannot be read: No such file or directory\n")


def test_the_schema(atp):
    outcome = atp("config", "schema")
    assert (outcome.code, outcome.err) == (0, "")
    assert set(json.loads(outcome.out)["properties"]) == {"hosts", "spice", "pool", "heartbeat", "reconnect"}


def test_wrong_usage(atp):
    assert atp("config", "repair").says(2, "repair", "check")
