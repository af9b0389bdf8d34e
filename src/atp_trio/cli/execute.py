"""Run one command under Trio: signals, errors and the exit code.

Theory of operation. SIGINT and SIGTERM cancel the command's scope, so that what it holds open is left in order; more signals
change nothing about that.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConfigError

FAILED: Final = 1
WRONG_USAGE: Final = 2


class CommandFailed(AtpError):
    """A command could not do what was asked, for a reason that is the command line's own."""


Command = Callable[[], Awaitable[int | None]]


def execute(command: Command) -> int:
    """Run it; gives the exit code: what the command returns (None is 0), or 128 and the number of the signal that ended it."""
    try:
        code = trio.run(_until_signal, command)
        sys.stdout.flush()
    except ConfigError as error:
        return complain(error, WRONG_USAGE)
    except AtpError as error:
        return complain(error, FAILED)
    except BrokenPipeError:
        return _output_closed()
    except OSError as error:
        return complain(_describe(error), FAILED)
    return code


async def _until_signal(command: Command) -> int:
    code: int | None = None
    caught: list[int] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(_cancel_at_signal, signals, scope, caught)
            with scope:
                code = await command()
    return 128 + caught[0] if scope.cancelled_caught else code or 0


async def _cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope, caught: list[int]) -> None:
    # Goes on listening: a second Ctrl-C must not break the leaving that the first began.
    async for number in signals:
        caught.append(number)
        scope.cancel()


def complain(problem: object, code: int) -> int:
    """Say on standard error, in one line, what is wrong; gives the code."""
    sys.stderr.write(f"atp: {printable(problem)}\n")
    return code


def printable(text: object) -> str:
    """As one line without control characters: what a server sends must not reach the terminal as commands."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(str(text).split()))


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _output_closed() -> int:
    """Nobody reads our output any more; nor must the interpreter try to write the rest of it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
