"""Programs in a guest, run by its agent.

Theory of operation. The agent tells the output of a program when it has ended, and cuts it at 16 MiB. To tell it while the
program runs, a shell in the guest sends it to new files that only the agent's user can read, and replaces itself by the program;
these are read through the agent while they grow (`process`), and removed, many at once, when nothing else is to be done
(`broom`). A guest without `/bin/sh` (Windows) has its output told at the end.

Source:
    QEMU Guest Agent Protocol Reference, guest-exec.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

from atp_trio.errors import AgentUnavailable, ConfigError, QgaError
from atp_trio.protocols.qga.agent import QgaAgent
from atp_trio.protocols.qga.broom import Broom
from atp_trio.protocols.qga.errand import Errands
from atp_trio.protocols.qga.exec import SHELL, run_shell, start_program
from atp_trio.protocols.qga.file import open_guest_file
from atp_trio.protocols.qga.message import encode_data
from atp_trio.protocols.qga.process import Completed, GuestOutput, GuestProcess

__all__ = ["Programs"]

# With -C, a file that is there already, or a link, is no place: /tmp is everybody's.
_PRIVATE: Final = "umask 077; set -C"
_MAKE_INPUT: Final = f'{_PRIVATE}; : >"$0.in"'
_EXECUTE: Final = f'm=$(umask); {_PRIVATE}; exec >"$0.out" 2>"$0.err"; umask "$m"; set +C; exec "$@"'
_EXECUTE_WITH_INPUT: Final = f'exec <"$0.in"; {_EXECUTE}'


@attrs.define(eq=False)
class Programs:
    """The programs of one connection."""

    _agent: QgaAgent
    _errands: Errands
    _scratch: str
    _has_shell: bool = attrs.field(init=False, default=True)
    _broom: Broom = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._broom = Broom(self._agent, self._errands)

    def sweep(self) -> None:
        """Remove what could not be removed before."""
        self._broom.sweep()

    @asynccontextmanager
    async def exec(self, argv: Sequence[str], env: Mapping[str, str] | None, stdin: bytes) -> AsyncIterator[GuestProcess]:
        """As `QgaProtocol.exec`."""
        process = await self._start(argv, env, stdin)
        try:
            yield process
        finally:
            await process.leave()

    async def run(self, argv: Sequence[str], env: Mapping[str, str] | None, stdin: bytes, *, max_output: int) -> Completed:
        """As `QgaProtocol.run`."""
        async with self.exec(argv, env, stdin) as process:
            status = await process.wait()
            stdout, is_more = await _collect(process.stdout, max_output)
            stderr, is_more_err = await _collect(process.stderr, max_output)
        return Completed(status.returncode, status.signal, stdout, stderr, is_more, is_more_err)

    async def _start(self, argv: Sequence[str], env: Mapping[str, str] | None, stdin: bytes) -> GuestProcess:
        words = _check_argv(argv)
        options: dict[str, Any] = {} if env is None else {"env": [f"{name}={value}" for name, value in env.items()]}
        if self._has_shell:
            process = await self._start_by_shell(words, options, stdin)
            if process is not None:
                return process
        if stdin:
            options["input-data"] = encode_data(stdin)
        return await self._start_as(words[0], words[1:], options | {"capture-output": True}, None)

    async def _start_by_shell(self, words: list[str], options: dict[str, Any], stdin: bytes) -> GuestProcess | None:
        """None if there is no shell."""
        place = f"{self._scratch}/atp-{secrets.token_hex(16)}"
        script = _EXECUTE
        if len(stdin) > self._agent.max_data // 2:
            if not await self._keep_input(place, stdin):
                return None
            script = _EXECUTE_WITH_INPUT
        elif stdin:
            options = options | {"input-data": encode_data(stdin)}
        try:
            return await self._start_as(SHELL, ["-c", script, place, *words], options, place)
        except AgentUnavailable:
            raise
        except QgaError:
            # Where the reason is another one, starting without a shell fails for it, too.
            return None

    async def _keep_input(self, place: str, stdin: bytes) -> bool:
        """Put what is too long for a command into a file; gives whether there is a shell."""
        try:
            await run_shell(self._agent, self._errands, _MAKE_INPUT, place)
        except AgentUnavailable:
            raise
        except QgaError:
            return False
        try:
            async with open_guest_file(self._agent, self._errands, f"{place}.in", "w") as file:
                await file.write(stdin)
        except BaseException:
            self._broom.sweep(f"{place}.in")
            raise
        return True

    async def _start_as(self, path: str, arguments: list[str], options: dict[str, Any], place: str | None) -> GuestProcess:
        async def start() -> GuestProcess:
            pid = await start_program(self._agent, path, arguments, options)
            return GuestProcess(self._agent, self._errands, self._broom, pid, place)

        process = await self._errands.acquire(start, GuestProcess.leave)
        self._has_shell = place is not None
        return process


async def _collect(output: GuestOutput, limit: int) -> tuple[bytes, bool]:
    """What was written, up to a limit; and whether there was more."""
    found = bytearray()
    while data := await output.receive_some():
        found += data
        if len(found) > limit:
            return bytes(found[:limit]), True
    return bytes(found), output.is_truncated


def _check_argv(argv: Sequence[str]) -> list[str]:
    """A program and its arguments, as a list.

    Raises:
        ConfigError: It cannot be meant.
    """
    if isinstance(argv, str) or not argv or any("\0" in word for word in argv):
        raise ConfigError("a program and its arguments are a sequence of strings without NUL, such as ['ls', '-l']")
    return list(argv)
