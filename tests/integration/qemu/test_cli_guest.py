"""`atp guest`: a machine for clients to try, gone when it is told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "atp_trio"]


def test_runs_until_a_signal(qemu, guest):
    # `qemu` and `guest`: what it needs is there.
    with subprocess.Popen([*COMMAND, "guest", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            document = ""
            while not document.endswith("}\n"):
                document += process.stdout.readline()
            where = json.loads(document)
            info = subprocess.run([*COMMAND, "info", where["spice"]], capture_output=True, text=True, check=True)
            assert "1024x768" in info.stdout
            with socket.socket(socket.AF_UNIX) as echo:
                echo.settimeout(20)
                echo.connect(where["org.atp.echo.0"])
                echo.sendall(b"back")
                assert echo.recv(4) == b"back"
        finally:
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (143, "", "")
    assert not Path(where["qmp"]).parent.exists()
    with socket.socket() as connection, pytest.raises(ConnectionRefusedError):
        connection.connect(("127.0.0.1", int(where["spice"].rpartition(":")[2])))
