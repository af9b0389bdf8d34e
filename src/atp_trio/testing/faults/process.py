"""The proxy as a process of its own, so that what it computes is not measured with what goes through it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Sequence

import trio

from atp_trio.errors import AtpError, ConfigError
from atp_trio.testing.child import run_child, run_to_the_end, say
from atp_trio.testing.faults.conditions import LinkConditions
from atp_trio.testing.faults.proxy import open_fault_proxy
from atp_trio.testing.faults.script import parse_script

__all__ = ["main", "run_fault_proxy_in_process"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a proxy until standard input ends; says where it listens as `{"uri": ...}`. Gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m atp_trio.testing.faults", description="A proxy that disturbs connections.")
    parser.add_argument("target", help="the server: a SPICE URI without a password, tcp://host:port or unix:///path")
    parser.add_argument("--link", help="such as 'delay=40ms rate=10mbit jitter=5ms'")
    parser.add_argument("--script", help="such as '2s cut display; 4s stall inputs; 6s heal'", default="")
    chosen = parser.parse_args(arguments)
    return run_to_the_end(_serve, chosen.target, chosen.link, chosen.script)


async def _serve(target: str, link: str | None, script: str) -> None:
    steps = parse_script(script)
    async with open_fault_proxy(target, link=link) as proxy, trio.open_nursery() as nursery:
        nursery.start_soon(proxy.run_script, steps)
        say({"uri": proxy.uri})
        # The thread is left behind when the proxy is interrupted: it waits for an end that does not come.
        while await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True):
            pass
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def run_fault_proxy_in_process(target: str, link: LinkConditions | str = "") -> Iterator[str]:
    """Run a proxy in a process of its own for the time of the block; gives its URI. It does not outlive this process.

    Args:
        target: As for `open_fault_proxy`; without a password, as anybody on the machine can read it.
        link: What the link is like.

    Raises:
        ConfigError: The target or the link cannot be meant.
    """
    arguments = [target, *(["--link", str(link)] if str(link) else [])]
    with run_child("atp_trio.testing.faults", arguments) as process:
        assert process.stdout is not None
        answer = json.loads(process.stdout.readline() or "{}")
        if "error" in answer:
            raise ConfigError(answer["error"])
        if "uri" not in answer:
            raise AtpError("the fault proxy's process has ended")
        yield answer["uri"]
