"""The wheel and the source distribution: what is in them, and that what they install works without this checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = (
    "atp_trio/py.typed",
    "atp_trio/keyboard/compose.json",
    "atp_trio/keyboard/layouts/us.json",
    "atp_trio/testing/guest/echo.c",
    "_spice_codec.abi3.so",
)
PROGRAM = """
import pathlib, trio, atp_trio, _spice_codec
from atp_trio.testing.server import open_spice_server

async def main():
    async with open_spice_server(size=(64, 48)) as server, atp_trio.open_spice(server.uri) as vm:
        await vm.inputs.press("ctrl+a")
        shot = await vm.display.screenshot()
        assert (shot.width, shot.height) == (64, 48)

trio.run(main)
assert "site-packages" in atp_trio.__file__ and "site-packages" in _spice_codec.__file__
print("works", len(atp_trio.layout_names()) > 50)
"""


def uv(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "uv", "--quiet", *arguments]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "UV_SYSTEM_CERTS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A source distribution of this checkout, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--out-dir", str(folder), str(ROOT))
    return folder


def test_the_source_distribution_has_the_c_sources(distributions):
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "src/_spice_codec").glob("*.[ch]")} < names
    assert {"build_codec.py", "pyproject.toml", "LICENSE", "src/atp_trio/py.typed"} < names


def test_the_wheel_is_for_the_stable_abi_and_has_all_data(distributions):
    (path,) = distributions.glob("*.whl")
    assert "-cp311-abi3-" in path.name
    with zipfile.ZipFile(path) as archive:
        assert set(SHIPPED) < set(archive.namelist())


def test_the_wheel_works_in_an_empty_environment(distributions, tmp_path):
    (path,) = distributions.glob("*.whl")
    uv("venv", "--python", sys.executable, str(tmp_path / "venv"))
    python = str(tmp_path / "venv/bin/python")
    uv("pip", "install", "--python", python, "--constraint", str(ROOT / "constraints.txt"), str(path), cwd=tmp_path)
    done = subprocess.run([python, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("works True\n", "")
    listed = uv("pip", "list", "--python", python, cwd=tmp_path)
    assert "libvirt" not in listed
    assert "hypothesis" not in listed
