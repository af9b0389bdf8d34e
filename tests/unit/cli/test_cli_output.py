"""What is printed, piped and on a terminal."""

from __future__ import annotations

import sys

import pytest

from atp_trio.cli.output import print_fields, print_table


def test_fields(capsys):
    print_fields([("name", "vm"), ("mouse mode", "client, [bold]of\x1b sorts")])
    assert capsys.readouterr().out == "name        vm\nmouse mode  client, [bold]of\N{REPLACEMENT CHARACTER} sorts\n"


def test_table(capsys):
    print_table(("", "n", "p50"), [("input.ack", 1000, "1.25"), ("x", "", "17")])
    assert capsys.readouterr().out == "              n   p50\ninput.ack  1000  1.25\nx                  17\n"


@pytest.mark.parametrize("header", [(), ("", "what")])
def test_a_terminal_gets_the_same_words(capsys, monkeypatch, header):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    if header:
        print_table(header, [("a", "[red]x[/]")])
    else:
        print_fields([("a", "[red]x[/]")])
    out = capsys.readouterr().out
    assert "[red]x[/]" in out
    assert all(word in out for word in header)
