"""Programs under test: started beside us, waited for, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO

_POLL = 0.02


def spawn(
    command: list[str], log: IO[bytes], *, environment: Mapping[str, str] | None = None, pass_fds: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that hears nothing and writes to `log`. Ctrl-C is for us, who end it in order.

    Args:
        command: The program and its arguments.
        log: Where its output and complaints go.
        environment: All of its environment; ours if None.
        pass_fds: The file descriptors of ours that it keeps.
    """
    return subprocess.Popen(  # noqa: S603 - the caller's own words
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def reap(process: subprocess.Popen[bytes], within: float) -> None:
    """Wait until a process has ended; when `within` seconds have passed, kill it."""
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def poll(condition: Callable[[], bool], within: float) -> bool:
    """Wait until a condition holds: whether it does before `within` seconds have passed. It is asked at least once."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True


def read_log(path: Path) -> str:
    """What is in a file so far; nothing if it is not there."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def in_english() -> dict[str, str]:
    """Our environment, for programs whose words we read."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def listens(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket(family) as connection:
        return connection.connect_ex(address) == 0


def free_port() -> int:
    """A TCP port that is free now, on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
