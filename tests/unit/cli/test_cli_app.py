"""The command line as a whole: help, version, wrong usage."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import atp_trio
from atp_trio.cli import main
from atp_trio.cli.app import COMMANDS


def test_help_lists_every_command(atp):
    outcome = atp("--help")
    assert outcome.code == 0
    assert all(re.search(rf"^\s*{name}:", outcome.out, re.MULTILINE) for name in COMMANDS)
    assert "\x1b" not in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(atp, command):
    outcome = atp(command, "--help")
    assert outcome.code == 0
    assert f"atp {command}" in outcome.out
    assert "password" in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_a_password(atp, command):
    assert atp(command, "--password", "secret", "spice://h:1").says(2, "--password")


def test_version(atp):
    outcome = atp("--version")
    assert (outcome.code, outcome.out) == (0, f"atp-trio {atp_trio.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["frobnicate"], "frobnicate"),
        (["info"], "URI"),
        (["info", "spice://h:1", "more"], "more"),
        (["info", "spice://h:1", "--colour", "red"], "--colour"),
        (["info", "spice://h:1", "--timeout", "soon"], "soon"),
        (["info", "spice://h:1", "--timeout", "0"], "greater than 0"),
        (["info", "spice://h:1", "--timeout", "nan"], "greater than 0"),
        (["type", "spice://h:1", "a", "--interval", "-1"], "0 or more"),
        (["type", "spice://h:1", "a", "--interval", "inf"], "0 or more"),
        (["click", "spice://h:1", "1"], "Y"),
        (["click", "spice://h:1", "1", "two"], "two"),
        (["click", "spice://h:1", "-1", "2"], "-1"),
        (["click", "spice://h:1", "1", "2", "--button", "fourth"], "fourth"),
    ],
)
def test_wrong_usage(atp, arguments, word):
    assert atp(*arguments).says(2, word)


def test_the_program_exits_with_the_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["atp", "frobnicate"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("atp: ")


def test_help_does_not_wait_for_numpy_and_openssl():
    program = "import sys; from atp_trio.cli.app import run; run(['--help']); print(sorted({'numpy', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str([module for module in ("ssl",) if _trio_imports_ssl()])


def _trio_imports_ssl() -> bool:
    program = "import sys, trio; print('ssl' in sys.modules)"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "True\n"


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "atp_trio", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"atp-trio {atp_trio.__version__}\n")
