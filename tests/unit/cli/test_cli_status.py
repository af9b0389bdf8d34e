"""`atp status`, on embedded servers and libvirt's own test driver."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

PATIENCE = 20
COMMAND = (sys.executable, "-m", "atp_trio", "status")
NOWHERE = "qemu+unix:///system?socket=/nowhere/socket"


@pytest.fixture
def configuration(tmp_path):
    """Writes a configuration of these hosts and machines, by their URIs; whatever is lost is tried again at once."""

    def write(*, hosts=None, vms=None, **settings):
        path = tmp_path / "atp.yaml"
        named = [{"id": name, "host": "localhost", "uri": uri} for name, uri in (hosts or {}).items()]
        known = [{"vm_id": name} | ({"uri": one} if isinstance(one, str) else one) for name, one in (vms or {}).items()]
        again = {"initial": 0.05, "maximum": 0.2}
        path.write_text(yaml.safe_dump({"hosts": named, "spice": {"vms": known}, "reconnect": again} | settings))
        return path

    return write


def states(document):
    """Where hosts and machines stand."""
    return {one["id"]: one["state"] for one in document["hosts"] + document["machines"]}


def test_json_of_what_is_connected(atp, configuration, server, left_in_order):
    outcome = atp("status", configuration(hosts={"h": "test:///default"}, vms={"v": server.uri}), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert states(told) == {"h": "connected", "v": "connected"}
    (host,), (machine,) = told["hosts"], told["machines"]
    assert 0 < host["latency"] < PATIENCE
    assert 0 < machine["latency"] < PATIENCE
    assert host["since"] <= told["at"]
    channels = {one["name"]: one["state"] for one in machine["channels"]}
    assert channels == dict.fromkeys(("main:0", "display:0", "inputs:0", "cursor:0"), "connected")
    assert left_in_order(server)


def test_json_of_what_is_not(atp, configuration, server, refusing):
    hosts = {"h": "test:///default", "none": NOWHERE}
    path = configuration(hosts=hosts, vms={"v": server.uri, "refused": refusing, "homeless": {"host": "h"}})
    outcome = atp("status", path, "--json")
    assert (outcome.code, outcome.err) == (1, "")
    told = json.loads(outcome.out)
    found = states(told)
    assert (found["h"], found["v"]) == ("connected", "connected")
    # The next attempt may have begun when this is told.
    assert {found[name] for name in ("none", "refused", "homeless")} <= {"disconnected", "connecting"}


def test_json_tells_causes_and_the_next_attempt(atp, configuration, refusing):
    path = configuration(
        hosts={"h": "test:///default", "none": NOWHERE},
        vms={"refused": refusing, "homeless": {"host": "h"}},
        reconnect={"initial": 50, "maximum": 60},
    )
    told = json.loads(atp("status", path, "--json").out)
    found = {one["id"]: one for one in told["hosts"] + told["machines"]}
    assert "nowhere" in found["none"]["cause"]
    assert "Connection refused" in found["refused"]["cause"]
    assert "homeless" in found["homeless"]["cause"]
    assert all(0 < found[name]["next_attempt"] <= 60 for name in ("none", "refused", "homeless"))
    assert found["refused"]["channels"] == []


def test_json_of_nothing(atp, configuration):
    outcome = atp("status", configuration(), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert states(json.loads(outcome.out)) == {}


def test_json_when_time_runs_out(atp, configuration, server, answering):
    hosts = {"h": "test:///default", "mute host": answering(None).replace("spice:", "qemu+tcp:") + "/system"}
    path = configuration(hosts=hosts, vms={"v": server.uri, "mute vm": answering(None)})
    outcome = atp("status", path, "--json", "--timeout", "1.5")
    assert (outcome.code, outcome.err) == (1, "")
    assert states(json.loads(outcome.out)) == {
        "h": "connected",
        "mute host": "connecting",
        "v": "connected",
        "mute vm": "connecting",
    }


def test_more_hosts_than_the_pool_would_hold(atp, configuration):
    hosts = dict.fromkeys(("a", "b", "c"), "test:///default")
    outcome = atp("status", configuration(hosts=hosts, pool={"maximum": 1}), "--json")
    assert (outcome.code, states(json.loads(outcome.out))) == (0, dict.fromkeys(hosts, "connected"))


def test_passwords_are_not_told(atp, configuration, serving):
    with serving(password="correct horse") as server:
        for password, code in (("correct horse", 0), ("hunter2", 1)):
            outcome = atp("status", configuration(vms={"v": {"uri": server.uri, "password": password}}), "--json")
            assert (outcome.code, states(json.loads(outcome.out)).keys()) == (code, {"v"})
            assert password not in outcome.out + outcome.err


def test_a_configuration_that_cannot_be_meant(atp, configuration, tmp_path):
    assert atp("status", tmp_path / "none.yaml").says(2, "none.yaml", "No such file")
    assert atp("status", configuration(vms={"v": {"port": 1}})).says(2, "spice.vms[0]")


# --- until a signal


@contextlib.contextmanager
def running(path: Path, stdout: int):
    """The command as a program; what it writes to standard error fails the test."""
    with subprocess.Popen([*COMMAND, str(path)], stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def lines_until(process, end):
    """What it prints, up to the line with this at its end."""
    found = []
    while not found or not found[-1].endswith(end):
        line = process.stdout.readline()
        assert line, f"it has ended: {found}"
        found.append(line.rstrip("\n").partition(" ")[2])
    return found


def test_lines(configuration, serving, left_in_order):
    with serving() as server:
        with running(configuration(hosts={"h": "test:///default"}, vms={"v": server.uri}), subprocess.PIPE) as process:
            found = lines_until(process, "channel cursor:0 of machine v is connected")
            if "host h is connected" not in found:
                found += lines_until(process, "host h is connected")
            assert set(found[:2]) == {"host h is disconnected", "machine v is disconnected"}
            assert found.index("machine v is connecting") < found.index("channel main:0 of machine v is connected")
            assert found.index("channel display:0 of machine v is connected") < found.index("machine v is connected")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (128 + signal.SIGINT, "", "")
        assert left_in_order(server)


def test_lines_of_what_goes_and_comes_back(configuration, serving, tmp_path):
    where = {"unix_path": tmp_path / "vm.sock"}
    path = configuration(vms={"v": f"spice+unix://{tmp_path}/vm.sock"})
    with contextlib.ExitStack() as stack:
        with serving(**where):
            process = stack.enter_context(running(path, subprocess.PIPE))
            lines_until(process, "machine v is connected")
        while "machine v is disconnected: " not in (found := lines_until(process, " s")[-1]):
            pass
        assert "; next attempt in " in found
        with serving(**where):
            lines_until(process, "machine v is connected")
            process.terminate()
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM


def test_nobody_reads_the_lines_any_more(configuration, refusing):
    with running(configuration(vms={"v": refusing}), subprocess.PIPE) as process:
        lines_until(process, "machine v is connecting")
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == ""


def test_a_table_on_a_terminal(configuration, serving, left_in_order, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, stdout = pty.openpty()
    with serving() as server:
        path = configuration(hosts={"h": "test:///default", "[red]gone": NOWHERE}, vms={"v": server.uri})
        with running(path, stdout) as process:
            os.close(stdout)
            # Drawn again and again: latencies come in a later picture than states.
            shown = read_until(terminal, lambda text: "6 connected" in text and text.count(" ms") >= 2)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (128 + signal.SIGINT, "")
        assert left_in_order(server)
    rest = read_until(terminal, lambda _: False)
    os.close(terminal)
    assert "2 hosts, 1 machines, 4 channels: " in shown
    assert all(words in shown for words in ("host h", "machine v", "  display:0", "host [red]gone", "nowhere", "in 0 s"))
    assert "\x1b[?25h" in rest  # the cursor is shown again


def read_until(terminal, holds):
    """What is written to the terminal until this is true of it, or until everybody has closed it."""
    text, until = "", time.monotonic() + PATIENCE
    while not holds(text):
        assert time.monotonic() < until, text
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                text += os.read(terminal, 65536).decode()
            except OSError:  # closed at the other end
                break
    return text
