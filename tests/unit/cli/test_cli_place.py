"""`HOST_URI DOMAIN` in place of a SPICE URI."""

from __future__ import annotations

import pytest

from atp_trio.cli.place import join_domain
from atp_trio.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["info", "spice://h:1"], ["info", "spice://h:1"]),
        (["info", "qemu:///system", "vm"], ["info", "qemu:///system vm"]),
        (
            ["type", "--timeout", "3", "qemu+ssh://me@h/system", "vm", "a text"],
            ["type", "--timeout", "3", "qemu+ssh://me@h/system vm", "a text"],
        ),
        (["screenshot", "test:///default", "test", "x.png"], ["screenshot", "test:///default test", "x.png"]),
        (["info", "qemu:///system vm"], ["info", "qemu:///system vm"]),
        (["type", "spice://h:1", "--", "qemu:///system"], ["type", "spice://h:1", "--", "qemu:///system"]),
        (["type", "qemu:///system", "vm", "qemu:///system"], ["type", "qemu:///system vm", "qemu:///system"]),
    ],
)
def test_two_words_become_one(words, joined):
    assert join_domain(words) == joined


@pytest.mark.parametrize("words", [["info", "qemu:///system"], ["info", "qemu:///system", "--json"]])
def test_a_host_without_a_domain(words):
    with pytest.raises(ConfigError, match="HOST_URI DOMAIN"):
        join_domain(words)


def test_the_command_says_so_too(atp):
    assert atp("info", "qemu:///system").says(2, "HOST_URI DOMAIN")


def test_a_domain_that_is_not_there(atp):
    assert atp("info", "test:///default", "nobody").says(1, "nobody")


@pytest.mark.parametrize("command", [["info"], ["bench"]])
def test_a_domain_without_spice(atp, command):
    assert atp(*command, "test:///default", "test").says(1, "no SPICE")


def test_a_domain_by_its_id(atp):
    assert atp("info", "test:///default", "1").says(1, "no SPICE")
    assert atp("info", "test:///default", "7777").says(1, "domain")


def test_a_host_uri_that_cannot_be_meant(atp):
    assert atp("info", "qemu+carrier://h/system", "vm").says(2, "qemu+ssh")
