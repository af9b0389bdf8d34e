"""`atp doctor`: what it prints, and its exit code."""

from __future__ import annotations

import json

import pytest

from atp_trio.cli import doctor
from atp_trio.cli.part import Part, PartBroken, PartMissing


def lacking(error):
    def look(_):
        raise error

    return look


FINE = Part(name="fine", needed_for="this", remedy="none", look=lambda _: "1.0", is_required=True)
OPTIONAL = Part(name="optional", needed_for="that", remedy="pip install it", look=lacking(PartMissing()))
BROKEN = Part(name="broken", needed_for="all", remedy="pip install all", look=lacking(PartBroken("no libGL")), is_required=True)


@pytest.fixture
def parts(monkeypatch):
    """Says which parts there are."""
    return lambda *parts: monkeypatch.setattr(doctor, "PARTS", parts)


def test_what_is_optional_may_be_missing(atp, parts):
    parts(FINE, OPTIONAL)
    outcome = atp("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == ["fine      ok: 1.0", "optional  missing; needed for that: pip install it"]


def test_what_is_required_may_not(atp, parts):
    parts(FINE, BROKEN)
    outcome = atp("doctor", "test:///default")  # which is not tried
    assert (outcome.code, outcome.err) == (1, "")
    _, line = outcome.out.splitlines()
    assert line == "broken  broken, no libGL; needed for all: pip install all"


def test_places(atp, parts, server, refusing):
    parts(FINE)
    outcome = atp("doctor", server.uri, "test:///default")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split()[:2] for line in outcome.out.splitlines()[1:]] == [
        [server.uri, "reached:"],
        ["test:///default", "reached:"],
    ]
    outcome = atp("doctor", refusing, server.uri)
    assert (outcome.code, outcome.err) == (1, "")
    _, first, second = outcome.out.splitlines()
    assert first.split()[:3] == [refusing, "not", "reached:"]
    assert "Connection refused; start what is to listen there" in first
    assert second.split()[:2] == [server.uri, "reached:"]


def test_json(atp, parts, refusing):
    parts(FINE, OPTIONAL)
    outcome = atp("doctor", "--json", refusing, "test:///default")
    assert (outcome.code, outcome.err) == (1, "")
    document = json.loads(outcome.out)
    fine, optional = document["parts"]
    assert fine == {"name": "fine", "state": "ok", "detail": "1.0", "needed_for": "this", "required": True, "remedy": None}
    assert (optional["state"], optional["detail"], optional["remedy"]) == ("missing", None, "pip install it")
    refused, reached = document["places"]
    assert (refused["place"], refused["reached"]) == (refusing, False)
    assert refused["remedy"]
    assert (reached["place"], reached["reached"], reached["remedy"]) == ("test:///default", True, None)


def test_json_of_what_is_required(atp, parts):
    parts(BROKEN)
    outcome = atp("doctor", "--json", "test:///default")
    assert outcome.code == 1
    document = json.loads(outcome.out)
    assert document["places"] == []
    assert [(one["state"], one["detail"], one["required"]) for one in document["parts"]] == [("broken", "no libGL", True)]


def test_passwords_are_not_told(atp, parts, serving, password_file):
    parts(FINE)
    with serving(password="correct horse") as server:
        for password, code in (("correct horse", 0), ("hunter2", 1)):
            outcome = atp("doctor", "--json", "--password-file", password_file(password), server.uri)
            assert outcome.code == code
            assert password not in outcome.out + outcome.err


def test_what_cannot_be_meant(atp, parts, tmp_path):
    parts(FINE)
    assert atp("doctor", "http://h").says(2, "unknown scheme")
    assert atp("doctor", tmp_path / "none.yaml").says(2, "No such file")
    outcome = atp("doctor", "spice://h:1?password=hunter2")
    assert outcome.says(2, "password")
    assert "hunter2" not in outcome.err
