"""libvirt's own command, for machines under test."""

from __future__ import annotations

import re
import subprocess

from atp_trio.errors import HypervisorError
from atp_trio.testing.guest import AGENT_PORT
from atp_trio.testing.program import in_english

_SILENCE = 60.0  # seconds after which a command is taken for hung


def run_virsh(uri: str, *arguments: str) -> str:
    """Run a virsh command and give what it writes.

    Raises:
        HypervisorError: It failed, or took a minute.
    """
    command = ["virsh", "--quiet", "--connect", uri, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - the caller's own arguments
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_SILENCE, env=in_english()
        )
    except subprocess.TimeoutExpired:
        raise HypervisorError(f"virsh {arguments[0]} did not end within a minute") from None
    if done.returncode:
        raise HypervisorError(f"virsh {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def agent_answers(uri: str, name: str) -> bool:
    """Whether the guest agent of a domain answers a ping."""
    # libvirt logs a complaint for every command to an agent that is not there.
    if not re.search(rf"name='{re.escape(AGENT_PORT)}' state='connected'", run_virsh(uri, "dumpxml", name)):
        return False
    try:
        run_virsh(uri, "qemu-agent-command", name, '{"execute": "guest-ping"}')
    except HypervisorError:
        return False
    return True
