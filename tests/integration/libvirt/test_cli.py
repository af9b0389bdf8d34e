"""The commands of libvirt mode, and those of SPICE mode at a domain, as programs of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ATP = (str(Path(sys.executable).with_name("atp")),)


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ATP, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_domains(libvirtd, domain):
    found = {one["name"]: one for one in json.loads(_run("domains", libvirtd.uri, "--json").stdout)}
    assert found[domain]["state"] == "running"
    assert found[domain]["spice"].startswith("spice://127.0.0.1:")


@pytest.mark.parametrize("way", ["uri", "tcp_uri"])
def test_a_screenshot_of_a_domain(libvirtd, domain, tmp_path: Path, way):
    # On the same machine through libvirt; over TCP at the endpoint of the domain's definition.
    done = _run("screenshot", getattr(libvirtd, way), domain, tmp_path / "screen.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pixels = np.asarray(Image.open(tmp_path / "screen.png"))
    assert pixels.shape[2] == 3
    assert pixels.any()  # a shell's prompt, if nothing else


def test_info_of_a_domain(libvirtd, domain):
    told = json.loads(_run("info", libvirtd.uri, domain, "--json").stdout)
    assert told["uri"] == f"{libvirtd.uri} {domain}"
    assert told["name"] == domain
    assert next(one for one in told["channels"] if one["name"] == "display:0")["open"]


def test_qmp(libvirtd, domain):
    done = _run("qmp", libvirtd.uri, domain, "query-status")
    assert json.loads(done.stdout)["status"] == "running"
    done = _run("qmp", libvirtd.uri, domain, "no-such-command")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no-such-command has not been found" in done.stderr


def test_bench_of_a_domain(libvirtd, domain):
    done = _run("bench", libvirtd.uri, domain, "--scenario", "link", "--seconds", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ms" in done.stdout
