"""The embedded server in a thread, in a process, and as a pytest fixture."""

from __future__ import annotations

import importlib.metadata
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

import atp_trio.testing
from atp_trio.errors import AtpError, ConfigError
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.child import import_path
from atp_trio.testing.server import run_server_in_process, run_server_in_thread

pytest_plugins = "pytester"

QUICK = {"size": (64, 48), "network_test": False}


def press(uri, keys="a", **options):
    async def main():
        with trio.fail_after(20):
            async with open_spice(uri, **options) as vm:
                await vm.display.wait_ready()
                await vm.inputs.press(keys)
                return (await vm.display.screenshot()).pixels

    return trio.run(main)


def has_ended(pid, seconds=20):
    """Whether that process ends within so many seconds."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], seconds)[0])
    finally:
        os.close(watch)


def report_of(server, holds):
    """The server's report as soon as it is as wanted; it goes on handling what came after the client has left."""
    for _ in range(10_000):
        report = server.report()
        if holds(report):
            return report
    pytest.fail(f"the report never is as wanted: {report}")


# --- a thread


def test_in_a_thread():
    before = threading.active_count()
    with run_server_in_thread(**QUICK) as handle:
        pixels = press(handle.uri)
        assert handle.call(handle.server.surface).tolist() == pixels.tolist()
        handle.wait_until(lambda: bool(handle.server.closed) and not handle.server.connections)
        assert len(handle.server.events) == 2
        with pytest.raises(ZeroDivisionError):
            handle.wait_until(lambda: bool(1 / len(handle.server.keys_down)))
        handle.call(handle.server.set_password, "secret")
        press(handle.uri, password="secret")
        with pytest.raises(ConfigError, match="at most 60 bytes"):
            handle.call(handle.server.set_password, "p" * 61)
    # Trio keeps idle worker threads for a while; the server's own is gone.
    assert not [thread for thread in threading.enumerate() if thread.name == "atp-trio test server"]
    assert threading.active_count() >= before


async def test_a_thread_beside_trio():
    with run_server_in_thread(**QUICK) as handle, trio.fail_after(20):
        async with open_spice(handle.uri) as vm:
            await vm.display.wait_ready()
            shot = await vm.display.screenshot()
        assert shot.pixels.tolist() == handle.call(handle.server.surface).tolist()


def test_a_thread_that_cannot_start():
    with pytest.raises(ConfigError, match="no scene"), run_server_in_thread(scene="none"):
        pass


# --- a process


def test_in_a_process():
    with run_server_in_process(
        **QUICK, regions={"key": Rect.at(0, 0, 8, 8)}, channels={(2, 0), (3, 0)}, password="first"
    ) as server:
        assert server.regions == {"key": Rect.at(0, 0, 8, 8)}
        assert server.uri == f"spice://127.0.0.1:{server.port}"
        assert "first" not in repr(server)
        press(server.uri, password="first")
        report = report_of(server, lambda found: "main:0" in found["closed"])
        assert report["events"] == 2
        assert report["echoes"] == {"key": 1}
        assert report["keys_down"] == []
        assert report["closed"][-1] == "main:0"
        server.set_password("second")
        press(server.uri, password="second")
        server.expire_password()
        with pytest.raises(AtpError, match="did not accept"):
            press(server.uri, password="second")
        with pytest.raises(ConfigError, match="at most 60 bytes"):
            server.set_password("p" * 61)
        pid = server.pid
    assert has_ended(pid, 0)
    with pytest.raises(AtpError, match="has ended"):
        server.report()


def test_a_process_with_options_of_every_kind(tmp_path):
    path = tmp_path / "spice.sock"
    with run_server_in_process(
        **QUICK, unix_path=path, scene="video", codec="lz", rate=5, mouse_modes={1}, secure_channels=()
    ) as server:
        assert server.options.unix_path == path
        press(server.uri)
    assert not path.exists()


def test_a_process_that_cannot_start(tmp_path):
    with pytest.raises(ConfigError, match="no option"), run_server_in_process(colour=1):
        pass
    with pytest.raises(ConfigError, match="cannot listen on"), run_server_in_process(unix_path=tmp_path / "no" / "such"):
        pass
    with pytest.raises(ConfigError, match="cert_file"), run_server_in_process(tls_context=_context()):
        pass


def _context():
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_the_process_does_not_outlive_a_parent_that_is_killed():
    script = (
        "import os, signal\n"
        "from atp_trio.testing import run_server_in_process\n"
        "with run_server_in_process(size=(64, 48)) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": import_path()}
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False, env=environment)
    assert done.returncode < 0
    assert has_ended(int(done.stdout))


def talk(lines):
    command = [sys.executable, "-m", "atp_trio.testing.server"]
    environment = os.environ | {"PYTHONPATH": import_path()}
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_process_says():
    code, answers = talk('{"size": [64, 48]}\n{"do": "report"}\n{"do": "dance"}\nnonsense\n[]\n{"do": "set_password"}\n')
    assert code == 0
    assert set(answers[0]) == {"uri", "port", "tls_port"}
    assert answers[1]["motions"] == 0
    assert answers[2] == {"error": "there is no command 'dance'"}
    assert answers[3:] == [{"error": "this is no command"}] * 3


@pytest.mark.parametrize(
    ("line", "sentence"), [("nonsense", "no JSON"), ("[1]", "no JSON object"), ('{"size": 1}', "cannot be meant")]
)
def test_options_that_the_process_cannot_make_sense_of(line, sentence):
    code, answers = talk(line + "\n")
    assert code == 2
    assert len(answers) == 1
    assert sentence in answers[0]["error"]


# --- the plugin, and the names


def test_the_fixture(pytester):
    pytester.makepyfile(
        """
        import socket
        import pytest

        def test_plain(spice_server):
            with socket.create_connection(("127.0.0.1", spice_server.server.port)) as sock:
                sock.sendall(b"GET ")
                assert sock.recv(4) == b"REDQ"

        @pytest.mark.spice_server(size=(30, 20))
        class TestOptions:
            @pytest.mark.spice_server(name="other")
            def test_marks_add_up(self, spice_server):
                assert spice_server.server.options.size == (30, 20)
                assert spice_server.server.options.name == "other"

            @pytest.mark.spice_server(size=(31, 21))
            def test_the_nearest_wins(self, spice_server):
                assert spice_server.call(spice_server.server.surface).shape == (21, 31)
        """
    )
    known = importlib.metadata.entry_points(group="pytest11", name="atp_trio")
    options = [] if known else ["-p", "atp_trio.testing.plugin"]
    pytester.runpytest_subprocess(*options, "--strict-markers", "-q").assert_outcomes(passed=3)


def test_the_names_come_without_pytest_and_hypothesis():
    script = (
        "import sys\n"
        "import atp_trio.testing\n"
        "assert 'numpy' not in sys.modules\n"
        "assert atp_trio.testing.open_spice_server\n"
        "assert not {'pytest', 'hypothesis'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": import_path()}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=Path("/"))
    for name in atp_trio.testing.__all__:
        assert getattr(atp_trio.testing, name) is getattr(atp_trio.testing.server, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = atp_trio.testing.nothing
