"""virsh, with a script in its place."""

from __future__ import annotations

import pytest

from atp_trio.errors import HypervisorError
from atp_trio.testing import virsh as virsh_module
from atp_trio.testing.guest import AGENT_PORT
from atp_trio.testing.virsh import agent_answers, run_virsh


@pytest.fixture
def virsh(tmp_path, monkeypatch):
    """Put a script in virsh's place."""

    def write(script):
        program = tmp_path / "virsh"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return write


def test_what_it_writes_is_given(virsh):
    virsh('echo "$@"; echo')
    assert run_virsh("test:///default", "start", "vm 1") == "--quiet --connect test:///default start vm 1"


def test_a_failure_is_told_in_its_words(virsh):
    virsh("echo 'error: no' >&2; echo '  such domain' >&2; exit 1")
    with pytest.raises(HypervisorError, match=r"^virsh start: error: no such domain$"):
        run_virsh("test:///default", "start", "vm1")


def test_what_does_not_end_is_an_error(virsh, monkeypatch):
    monkeypatch.setattr(virsh_module, "_SILENCE", 0.01)
    virsh("exec sleep 100")
    with pytest.raises(HypervisorError, match="virsh list did not end"):
        run_virsh("test:///default", "list")


@pytest.mark.parametrize(
    ("state", "code", "answers"), [("connected", 0, True), ("connected", 1, False), ("disconnected", 0, False)]
)
def test_an_agent_answers_or_not(virsh, state, code, answers):
    virsh(f"""case "$4" in dumpxml) echo "<target name='{AGENT_PORT}' state='{state}'/>";; *) exit {code};; esac""")
    assert agent_answers("test:///default", "vm1") is answers
