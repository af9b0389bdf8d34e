"""The embedded server beside a program that need not know Trio: in a thread, or in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import attrs
import trio

from atp_trio.errors import AtpError, ConfigError
from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.child import run_child
from atp_trio.testing.server.options import ServerOptions
from atp_trio.testing.server.server import SpiceServer, open_spice_server

T = TypeVar("T")


@attrs.frozen(eq=False)
class ServerThread:
    """A server in a thread of its own.

    Attributes:
        server: The server. Look at it as you like; what changes it goes through `call`.
        uri: Where clients connect.
    """

    server: SpiceServer
    uri: str
    _token: trio.lowlevel.TrioToken = attrs.field(repr=False)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the server's thread and wait for what it gives: `call(server.set_password, "other")`.

        Works from any thread, a Trio task's too: it takes no longer than the function.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:  # noqa: BLE001 - raised where it was called
                future.set_exception(error)

        self._token.run_sync_soon(run)
        return future.result()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Block until this is true of the server: see `SpiceServer.wait_until`. Not from a Trio task: the rest of it would stop.

        What a client sends is handled a moment after it was sent, so a test waits before it looks.
        """
        future: Future[None] = Future()

        async def wait() -> None:
            try:
                await self.server.wait_until(holds)
            except BaseException as error:
                future.set_exception(AtpError("the test server has ended") if isinstance(error, trio.Cancelled) else error)
                if not isinstance(error, Exception):
                    raise
            else:
                future.set_result(None)

        self._token.run_sync_soon(trio.lowlevel.spawn_system_task, wait)
        future.result()


@contextlib.contextmanager
def run_server_in_thread(**options: Any) -> Iterator[ServerThread]:
    """Run a server in a thread, with a Trio of its own, for the time of the block.

    Args:
        options: As for `open_spice_server`.

    Raises:
        ConfigError: As `open_spice_server` does.
    """
    ready: Future[ServerThread] = Future()
    scope = trio.CancelScope()

    async def serve() -> None:
        with scope:
            async with open_spice_server(**options) as server:
                ready.set_result(ServerThread(server, server.uri, trio.lowlevel.current_trio_token()))
                await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="atp-trio test server", daemon=True)
    thread.start()
    started = ready.result()
    try:
        yield started
    finally:
        with contextlib.suppress(trio.RunFinishedError):
            started._token.run_sync_soon(scope.cancel)  # noqa: SLF001 - of its own module
        thread.join()


@attrs.define(eq=False)
class ServerProcess:
    """A server in a process of its own.

    Attributes:
        uri: Where clients connect.
        port: The plain port; None where there is none.
        tls_port: The TLS port; None where there is none.
        options: What it was made with.
    """

    uri: str
    port: int | None
    tls_port: int | None
    options: ServerOptions
    _process: subprocess.Popen[str] = attrs.field(repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def regions(self) -> dict[str, Rect]:
        """The parts of display 0 that echo keys and clicks."""
        return dict(self.options.regions)

    def report(self) -> dict[str, Any]:
        """What the server has seen so far: see `process.report`. Blocks for a millisecond or so."""
        return self._ask({"do": "report"})

    def set_password(self, password: str | None) -> None:
        """From the next link on the ticket is this; None takes any."""
        self._ask({"do": "set_password", "password": password})

    def expire_password(self) -> None:
        """From the next link on no ticket is good."""
        self._ask({"do": "expire_password"})

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            return _exchange(self._process, command)


@contextlib.contextmanager
def run_server_in_process(**options: Any) -> Iterator[ServerProcess]:
    """Run a server in a process of its own for the time of the block. It does not outlive the process that started it.

    Args:
        options: As for `open_spice_server`, but for `tls_context`: give files.

    Raises:
        ConfigError: As `open_spice_server` does.
    """
    chosen = ServerOptions.of(options)
    if chosen.tls_context is not None:
        raise ConfigError("a TLS context cannot be given to another process: give cert_file and key_file")
    with run_child("atp_trio.testing.server") as process:
        facts = _exchange(process, json.loads(json.dumps(options, default=_plain)))
        yield ServerProcess(facts["uri"], facts["port"], facts["tls_port"], chosen, process)


def _exchange(process: subprocess.Popen[str], line: dict[str, Any]) -> dict[str, Any]:
    """Say a line, and hear one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except (BrokenPipeError, ValueError) as error:
        raise AtpError("the test server's process has ended") from error
    if not answer:
        raise AtpError("the test server's process has ended")
    heard: dict[str, Any] = json.loads(answer)
    if "error" in heard:
        raise ConfigError(heard["error"])
    return heard


def _plain(value: object) -> object:
    """What JSON does not know, in the form that `ServerOptions` takes."""
    if isinstance(value, Rect):
        return [value.left, value.top, value.width, value.height]
    if isinstance(value, Path | UUID):
        return str(value)
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Enum):
        return value.value
    raise ConfigError(f"the option {value!r} cannot be given to another process")
