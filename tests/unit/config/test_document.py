"""YAML as plain values with their places."""

from __future__ import annotations

import pytest

from atp_trio.config.document import MAX_BYTES, format_key, parse_document, parse_value
from atp_trio.config.mistake import ConfigMistakes, Place


def told(document):
    return [str(one) for one in document.mistakes]


def test_values_and_places():
    document = parse_document(b"a: 1\nb:\n  - x\n  - c: true\n    d:\n", "f")
    assert document.data == {"a": 1, "b": ["x", {"c": True}]}
    assert document.place(("b", 1, "c")) == Place("f", 4, 8)
    assert document.place(("b", 1, "c"), of_key=True) == Place("f", 4, 5)
    assert document.place(("b", 1, "nothing", "below")) == Place("f", 4, 5)
    assert document.place(()) == document.place(("nothing",)) == Place("f", 1, 1)


def test_a_key_is_written_as_people_do():
    assert format_key(("spice", "vms", 0, "port")) == "spice.vms[0].port"


def test_what_stands_twice():
    document = parse_document(b"a: 1\nb: {c: 1, c: 2}\na: 3\n", "f")
    assert told(document) == ["f:2:11 b.c: it stands here twice", "f:3:1 a: it stands here twice"]
    assert document.data == {"a": 1, "b": {"c": 1}}


def test_keys_that_are_no_text():
    assert told(parse_document(b"a: {[1, 2]: 3}\n", "f")) == ["f:1:5 a: a setting's name is a text"]


def test_dates_are_texts():
    assert parse_document(b"id: 2026-11-22\n", "f").data == {"id": "2026-11-22"}


def test_aliases_and_merges():
    document = parse_document(b"a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: {<<: [*x, {r: 4}]}\nd: *x\n", "f")
    assert document.data["b"] == {"p": 1, "q": 3}
    assert document.data["c"] == {"p": 1, "q": 2, "r": 4}
    assert document.data["d"] == document.data["a"]
    assert document.mistakes == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"- a\n", "f:1:1: a mapping of settings is wanted here"),
        (b"a: [1, 2\n", "f:2:1: this is no YAML"),
        (b"a: b: c\n", "f:1:5: this is no YAML"),
        (b"\xff\xfe\xff", "f: this is no YAML"),
        (b"a: *nothing\n", "f:1:4: this is no YAML: found undefined alias"),
        (b"a: {<<: 3}\n", "only mappings can be merged"),
        (b"--- a\n--- b\n", "this is no YAML"),
        (b"a: " + b"[" * 100 + b"]" * 100, "nested too deeply"),
        (b"[" * 100_000, "this is no YAML"),
        (b"a: &a [" + b"1," * 500 + b"]\nb: &b [" + b"*a," * 500 + b"]\nc: [" + b"*b," * 500 + b"]", "too many values"),
        (b"a: &a [*a]\n", "nested too deeply"),
        (b"#" * (MAX_BYTES + 1), "the file is larger than"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(ConfigMistakes) as caught:
        parse_document(text, "f")
    assert words in str(caught.value)


def test_a_syntax_error_shows_nothing_of_the_text():
    with pytest.raises(ConfigMistakes) as caught:
        parse_document(b"password: hunter2: x\n", "f")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_number_beyond_all_bounds():
    assert told(parse_document(b"a: " + b"9" * 5000, "f")) == ["f:1:4 a: this number is too large"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("1.5", 1.5), ("true", True), ("x", "x"), ("", None), ("[1, 2]", [1, 2]), ("{a: 1}", "{a: 1}"), ("[", "[")],
)
def test_single_values(text, value):
    assert parse_value(text) == value
