"""A Python of our own beside this one, that serves until its standard input ends: both sides of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVarTuple, Unpack

import trio

import atp_trio
from atp_trio.errors import ConfigError

Arguments = TypeVarTuple("Arguments")

END_SECONDS: Final = 5.0
"""How long a process may take to end by itself before it is killed."""


@contextlib.contextmanager
def run_child(module: str, arguments: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m module` for the time of the block, with its standard input and output as pipes of text.

    At the end its standard input is closed, and it is killed if it does not end by that; so it does not outlive this process.
    """
    # Its own session: Ctrl-C in a terminal is meant for the client.
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": import_path()},
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def import_path() -> str:
    """Where a child finds the modules that this process uses, installed or not: its PYTHONPATH."""
    return os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(Path(atp_trio.__file__).parents[1])]))


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def run_to_the_end(serve: Callable[[Unpack[Arguments]], Awaitable[object]], *arguments: *Arguments) -> int:
    """In the child: run the program, and give the exit code; a mistake in the options is said as `{"error": ...}`."""
    try:
        trio.run(serve, *arguments)
    except KeyboardInterrupt:
        return 130
    except ConfigError as error:
        say({"error": str(error)})
        return 2
    return 0


def say(what: dict[str, Any]) -> None:
    """In the child: write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
