"""The host-subject grammar, and the comparison."""

import pytest

from atp_trio.errors import ConfigError
from atp_trio.spice.streams.subject import format_subject, parse_host_subject, peer_subject, subjects_match

PEER = {"subject": ((("countryName", "IL"),), (("organizationName", "Red Hat, Inc."),), (("commonName", "my server"),))}


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("CN=x", [("commonName", "x")]),
        ("C=IL,O=Red Hat,CN=my server", [("countryName", "IL"), ("organizationName", "Red Hat"), ("commonName", "my server")]),
        ("C=IL,  CN=x ", [("countryName", "IL"), ("commonName", "x ")]),
        (r"O=Red Hat\, Inc.,CN=a\\b", [("organizationName", "Red Hat, Inc."), ("commonName", r"a\b")]),
        ("commonName=x", [("commonName", "x")]),
        ("emailAddress=a=b", [("emailAddress", "a=b")]),
        ("1.2.3.4=x", [("1.2.3.4", "x")]),
    ],
)
def test_the_grammar(text, entries):
    assert parse_host_subject(text) == tuple(entries)


@pytest.mark.parametrize(
    ("text", "at"),
    [("", 1), ("CN", 1), ("=x", 1), ("CN=", 1), ("CN=x,", 6), ("CN=x,,O=y", 6), (r"CN=a\b", 1), ("CN=a\\", 1), ("C=IL, O", 6)],
)
def test_anything_else_is_refused_where_it_stands(text, at):
    with pytest.raises(ConfigError, match=f"KEY=VALUE expected at character {at} "):
        parse_host_subject(text)


def test_a_long_value_does_not_take_long():
    with pytest.raises(ConfigError):
        parse_host_subject("CN=" + "\\\\" * 100_000 + "\\x")


def test_the_peers_subject_is_flat_and_in_order():
    assert peer_subject(PEER) == (("countryName", "IL"), ("organizationName", "Red Hat, Inc."), ("commonName", "my server"))
    assert peer_subject({"subject": ((("commonName", "x"), ("userId", "y")),)}) == (("commonName", "x"), ("userId", "y"))
    assert peer_subject(None) == peer_subject({}) == ()


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        (r"C=IL,O=Red Hat\, Inc.,CN=my server", True),
        (r"C=il, O=RED  hat\, inc.,CN= My Server ", True),
        (r"O=Red Hat\, Inc.,C=IL,CN=my server", False),
        (r"O=Red Hat\, Inc.,CN=my server", False),
        (r"C=IL,O=Red Hat\, Inc.,CN=my server,OU=x", False),
        (r"C=IL,O=Red Hat\, Inc.,CN=myserver", False),
        (r"C=IL,OU=Red Hat\, Inc.,CN=my server", False),
    ],
)
def test_entries_are_compared_in_order(text, matches):
    assert subjects_match(parse_host_subject(text), peer_subject(PEER)) is matches


def test_letters_beyond_ascii_are_not_folded():
    assert not subjects_match((("commonName", "É"),), (("commonName", "é"),))
    assert subjects_match((("commonName", "É"),), (("commonName", "É"),))


def test_a_subject_is_written_as_it_is_read():
    text = r"C=IL,O=Red Hat\, Inc.,CN=a\\b,emailAddress=c"
    assert format_subject(parse_host_subject(text)) == text
