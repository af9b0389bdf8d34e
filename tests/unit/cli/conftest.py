"""Commands run in this process, against embedded servers in threads of their own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio

from atp_trio.cli.app import run
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.certificate import TlsFiles, make_tls_dir
from atp_trio.testing.server import ServerThread, SpiceServer, run_server_in_thread

SIZE = (64, 48)
# Far beyond what any of this takes.
PATIENCE = 20


@contextlib.contextmanager
def _serving(**options) -> Iterator[ServerThread]:
    """A server in a thread, small and without the network test."""
    with run_server_in_thread(**{"size": SIZE, "network_test": False} | options) as server:
        yield server


def _wait(running: ServerThread, holds: Callable[[SpiceServer], bool]) -> None:
    """Wait until this is true of the server."""

    async def wait_there() -> None:
        with trio.fail_after(PATIENCE):
            await running.server.wait_until(lambda: holds(running.server))

    trio.from_thread.run(wait_there, trio_token=running._token)


def _left_in_order(running: ServerThread) -> bool:
    """Whether the client, once it is gone, has said so on every channel, and had read from its display.

    That main closes last is for the tests of `open_spice`: a server in another thread may learn of all ends at once.
    """
    _wait(running, lambda server: not server.connections and bool(server.closed))
    closed = running.server.closed
    return all(one.said_goodbye and (one.was_read or one.channel_type is not ChannelType.DISPLAY) for one in closed)


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractContextManager[ServerThread]]:
    """`with serving(**options) as server:` for a server of one's own."""
    return _serving


@pytest.fixture
def wait() -> Callable[[ServerThread, Callable[[SpiceServer], bool]], None]:
    """`wait(server, holds)`."""
    return _wait


@pytest.fixture
def left_in_order() -> Callable[[ServerThread], bool]:
    """`left_in_order(server)`."""
    return _left_in_order


@attrs.frozen
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def says(self, code: int, *words: str) -> bool:
        """Whether it ended with this code and one line on standard error, which holds these words; and printed nothing."""
        one_line = self.err.startswith("atp: ") and self.err.endswith("\n") and self.err.count("\n") == 1
        return (self.code, self.out, one_line) == (code, "", True) and all(word in self.err for word in words)


Atp = Callable[..., Outcome]


@pytest.fixture
def atp(capfd, monkeypatch) -> Atp:
    """`atp`, with these arguments."""
    monkeypatch.delenv("ATP_SPICE_PASSWORD", raising=False)

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def server() -> Iterator[ServerThread]:
    with _serving() as running:
        yield running


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory) -> TlsFiles:
    return make_tls_dir(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(tls_files) -> Iterator[ServerThread]:
    """A server with TLS alone."""
    files = {"cert_file": tls_files.directory / "server-cert.pem", "key_file": tls_files.directory / "server-key.pem"}
    with _serving(port=None, **files) as running:
        yield running


@pytest.fixture
def answering() -> Iterator[Callable[[bytes | None], str]]:
    """Makes servers that are none: they answer whoever connects with these bytes and hang up, or with None never say a word.

    Gives the URI.
    """
    with contextlib.ExitStack() as stack:

        def start(answer: bytes | None) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            done = threading.Event()
            thread = threading.Thread(target=_answer, args=(listener, answer, done))
            thread.start()
            stack.callback(thread.join)
            stack.callback(done.set)
            return f"spice://127.0.0.1:{listener.getsockname()[1]}"

        yield start


def _answer(listener: socket.socket, answer: bytes | None, done: threading.Event) -> None:
    listener.settimeout(PATIENCE)
    connection, _ = listener.accept()
    with connection:
        if answer is None:
            done.wait(PATIENCE)
        else:
            connection.recv(4096)
            connection.sendall(answer)


@pytest.fixture
def refusing() -> Iterator[str]:
    """The URI of a port that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"spice://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def password_file(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a file that holds this password."""

    def write(password: str) -> Path:
        path = tmp_path / "password"
        path.write_text(password + "\n")
        return path

    return write
