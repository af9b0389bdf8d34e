"""Passwords of a configuration: where they come from, rather than what they are."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import attrs
import trio

from atp_trio.errors import ConfigError

__all__ = ["Secret"]


@attrs.frozen(kw_only=True)
class Secret:
    """A password, or where it comes from: exactly one of the four.

    Raises:
        ConfigError: None of them is given, or several are.
    """

    value: str | None = attrs.field(default=None, repr=False)
    """The password itself; whoever can read the file has it."""
    env: str | None = None
    """The environment variable that holds it."""
    file: Path | None = None
    """The file that holds it; a line end after it does not count."""
    command: tuple[str, ...] | None = None
    """The program that prints it, with its arguments; there is no shell. A line end after it does not count."""

    def __attrs_post_init__(self) -> None:
        if sum(one is not None for one in (self.value, self.env, self.file, self.command)) != 1:
            raise ConfigError("a password is a text, or one of env, file and command")
        if self.command is not None and not self.command:
            raise ConfigError("the command that prints the password is empty")

    def read(self) -> str:
        """The password as it is now. Blocks as long as the file or the command does.

        Raises:
            ConfigError: The variable is not set, the file cannot be read, or the command failed.
        """
        if self.value is not None:
            return self.value
        if self.env is not None:
            if self.env not in os.environ:
                raise ConfigError(f"the environment variable {self.env}, which holds a password, is not set")
            return os.environ[self.env]
        if self.file is not None:
            try:
                return self.file.read_text().rstrip("\r\n")
            except (OSError, UnicodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise ConfigError(f"the password file {self.file} cannot be read: {reason}") from None
        assert self.command is not None
        return _run(self.command)

    def source(self) -> str | Path | Callable[[], str]:
        """The password as `Credentials` of a host takes it: asked for anew at every connection, in a thread."""
        return self.file or self.value or self.read

    def async_source(self) -> str | Path | Callable[[], Awaitable[str]]:
        """The same as `open_spice` takes it."""
        return self.file or self.value or partial(trio.to_thread.run_sync, self.read)


def _run(command: tuple[str, ...]) -> str:
    program = shlex.quote(command[0])  # the arguments may tell
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)  # noqa: S603 - as asked for
        return done.stdout.decode().rstrip("\r\n")
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"the password's command {program} ended with code {error.returncode}") from None
    except OSError as error:
        raise ConfigError(f"the password's command {program} cannot be run: {error.strerror}") from None
    except (UnicodeError, ValueError):
        raise ConfigError(f"the password's command {program} printed what is not UTF-8, or cannot be meant") from None
