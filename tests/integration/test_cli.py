"""The command line against real machines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from atp_trio.cli.app import run
from atp_trio.testing.qemu import SpiceOptions


@pytest.fixture
def atp(capfd, monkeypatch):
    """`atp` with these arguments; gives exit code, standard output and standard error."""
    monkeypatch.delenv("ATP_SPICE_PASSWORD", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def assert_fails(outcome: tuple[int, str, str], code: int, *words: str) -> None:
    assert (outcome[0], outcome[1], outcome[2].count("\n")) == (code, "", 1)
    assert all(word in outcome[2] for word in ("atp: ", *words))


def test_info(atp, qemu_firmware):
    code, out, err = atp("info", "--json", qemu_firmware.uri)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["mouse_mode"] == "server"
    assert document["surfaces"][0]["width"] == 720
    channels = {channel["name"]: channel for channel in document["channels"]}
    assert "KEY_SCANCODE" in channels["inputs:0"]["capabilities"]
    assert all(channels[f"{name}:0"]["open"] for name in ("main", "display", "inputs", "cursor"))
    assert qemu_firmware.alive()


@pytest.mark.parametrize("ending", ["png", "ppm"])
def test_screenshot(atp, qemu_firmware, tmp_path, ending):
    path = tmp_path / f"screen.{ending}"
    assert atp("screenshot", qemu_firmware.uri, path) == (0, "", "")
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    shown = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    # The cursor of the text screen blinks: all the rest is what QEMU itself renders.
    assert shown.shape == (400, 720)
    assert (shown != qemu_firmware.screendump()).mean() < 0.001
    assert len(np.unique(shown)) > 1


def test_tls(atp, qemu_firmware, tls_files):
    uri = f"spice+tls://127.0.0.1:{qemu_firmware.tls_port}"
    assert atp("info", uri, "--ca-file", tls_files.ca)[0] == 0
    assert atp("key", uri, "a", "--ca-file", tls_files.ca, "--host-subject", tls_files.subject) == (0, "", "")
    assert_fails(atp("info", uri, "--ca-file", tls_files.wrong_ca), 1, "not trusted")
    assert_fails(atp("info", uri, "--ca-file", tls_files.ca, "--host-subject", "O=other"), 1, "subject")


def test_password(atp, qemu, tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("sesame\n")
    bad.write_text("simsim\n")
    with qemu(display="VGA", spice=SpiceOptions(unix=True, password="sesame")) as machine:
        machine.wait_ready()
        assert_fails(atp("info", machine.uri), 1, "password")
        assert_fails(atp("info", machine.uri, "--password-file", bad), 1, "password")
        assert atp("info", machine.uri, "--password-file", good)[0] == 0
        machine.expire_password()
        assert_fails(atp("info", machine.uri, "--password-file", good), 1, "password")


def test_click_without_positions(atp, qemu_firmware):
    assert_fails(atp("click", qemu_firmware.uri, "1", "2"), 1, "only motion")


def test_types_and_clicks_in_a_guest(atp, qxl_machine, tmp_path):
    before, after = tmp_path / "before.ppm", tmp_path / "after.ppm"
    assert atp("screenshot", qxl_machine.uri, before) == (0, "", "")
    # What is typed at the prompt is run, and its answer comes out where we can read it.
    assert atp("type", qxl_machine.uri, "echo atp-$((40+2)) > /dev/ttyS0\n") == (0, "", "")
    qxl_machine.wait_serial("atp-42")
    assert atp("screenshot", qxl_machine.uri, after) == (0, "", "")
    assert before.read_bytes() != after.read_bytes()
    assert atp("click", qxl_machine.uri, "100", "100", "--button", "right") == (0, "", "")
    assert qxl_machine.alive()


def test_bench(atp, qemu_firmware, tmp_path):
    path = tmp_path / "figures.json"
    code, out, err = atp("bench", qemu_firmware.uri, "--seconds", "0.2", "--json", path)
    assert (code, err) == (0, "")
    assert "input.motion_ack" in out
    figures = {figure["name"]: figure for figure in json.loads(path.read_text())["figures"]}
    assert figures["link.open_spice"]["n"] >= 1
    assert figures["input.motions"]["value"] > 1000
    assert qemu_firmware.alive()
