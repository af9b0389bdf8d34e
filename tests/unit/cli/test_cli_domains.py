"""`atp domains`, on libvirt's own test driver."""

from __future__ import annotations

import json


def test_a_table(atp):
    outcome = atp("domains", "test:///default")
    assert (outcome.code, outcome.err) == (0, "")
    header, row = outcome.out.splitlines()
    assert header.split() == ["name", "state", "uuid", "spice"]
    assert row.split()[:2] == ["test", "running"]
    assert row.split()[3] == "-"


def test_json(atp):
    (domain,) = json.loads(atp("domains", "test:///default", "--json").out)
    assert (domain["name"], domain["state"], domain["spice"]) == ("test", "running", None)
    assert len(domain["uuid"]) == 36


def test_a_uri_that_cannot_be_meant(atp):
    assert atp("domains", "spice://h:1").says(2, "qemu+ssh")


def test_nobody_answers(atp, tmp_path):
    assert atp("domains", f"qemu+unix:///system?socket={tmp_path}/none").says(1, "none")
