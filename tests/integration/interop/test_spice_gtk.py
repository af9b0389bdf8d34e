"""spice-gtk, the client everybody uses, on our embedded server: it shows what the server drew, and what our client shows."""

from __future__ import annotations

import contextlib
import json
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio
from PIL import Image

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.server import open_spice_server

WITHIN = 40
PYTHON = "/usr/bin/python3"  # the bindings belong to the system's Python
PEER = Path(__file__).with_name("spice_gtk_peer.py")
BINDINGS = "import gi; gi.require_version('SpiceClientGLib', '2.0')"


class Peer:
    """The running client."""

    def __init__(self, process):
        self.process = process
        self._received = b""

    async def line(self):
        while b"\n" not in self._received:
            data = await self.process.stdout.receive_some()
            if not data:
                pytest.fail("the client has ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    async def do(self, command):
        await self.process.stdin.send_all(command.encode() + b"\n")
        assert await self.line() == "done"

    async def screen(self, path):
        await self.do(f"save {path}")
        rgb = np.asarray(Image.open(path), np.uint32)
        return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


@pytest.fixture(scope="session")
def spice_gtk(lack):
    """Starts the client; until it is ready, and for the time of the block."""
    if subprocess.run([PYTHON, "-c", BINDINGS], capture_output=True, check=False).returncode:
        lack("no spice-gtk on this machine: apt-get install --no-install-recommends gir1.2-spiceclientglib-2.0 python3-gi")

    @contextlib.asynccontextmanager
    async def start(**properties):
        session = {name.replace("_", "-"): value for name, value in properties.items()}
        command = [PYTHON, str(PEER), json.dumps(session)]
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            peer = Peer(await nursery.start(run))
            assert await peer.line() == "ready"
            yield peer
            await peer.process.stdin.send_all(b"quit\n")

    return start


@pytest.fixture
def secure_server(tls_files):
    """Our server with a TLS port alone, and the client's properties for it."""
    files = {"cert_file": tls_files.directory / "server-cert.pem", "key_file": tls_files.directory / "server-key.pem"}

    @contextlib.asynccontextmanager
    async def start(**options):
        async with open_spice_server(size=(400, 300), port=None, **files, **options) as server:
            yield server, {"host": "127.0.0.1", "tls_port": str(server.tls_port), "ca_file": str(tls_files.ca)}

    return start


def address(server):
    return {"host": "127.0.0.1", "port": str(server.port)}


@pytest.mark.parametrize(
    ("scene", "codec"),
    [("still", "raw"), ("text", "raw"), ("text", "lz"), ("rectangles", "lz"), ("scroll", "quic"), ("video", "quic")],
)
async def test_its_screen_is_the_servers_and_ours(spice_gtk, tmp_path, scene, codec):
    with trio.fail_after(WITHIN):
        async with open_spice_server(size=(400, 300), scene=scene, codec=codec, rate=200) as server:
            async with spice_gtk(**address(server)) as peer:
                await trio.sleep(0.3 if scene != "still" else 0)  # some updates
                server.pause_scene()
                theirs = await peer.screen(tmp_path / "screen.ppm")
                expected = server.surface(0) & 0xFFFFFF
                np.testing.assert_array_equal(theirs, expected)
            async with open_spice(server.uri) as vm:
                np.testing.assert_array_equal((await vm.display.screenshot()).pixels, expected)


async def test_its_keys_and_pointer_arrive(spice_gtk):
    with trio.fail_after(WITHIN):
        async with open_spice_server(size=(64, 48)) as server, spice_gtk(**address(server)) as peer:
            await server.wait_until(lambda: (ChannelType.INPUTS, 0) in server.open_channels)
            # It sends raw scancodes where the server takes them; 0x100 is its mark for the prefix E0.
            for code in (0x1E, 0x1C, 0x14D):
                await peer.do(f"key {code}")
            await server.wait_until(lambda: len([one for one in server.events if isinstance(one, inputs.KeyScancode)]) == 3)
            codes = [bytes(one.data).hex(" ") for one in server.events if isinstance(one, inputs.KeyScancode)]
            assert codes == ["1e 9e", "1c 9c", "e0 4d e0 cd"]
            await peer.do("position 12 34")
            await server.wait_until(lambda: any(isinstance(one, inputs.MousePosition) for one in server.events))
            (position,) = [one for one in server.events if isinstance(one, inputs.MousePosition)]
            assert (position.x, position.y) == (12, 34)
        assert server.keys_down == ()


async def test_screen_and_pointer_over_a_unix_socket(spice_gtk, tmp_path):
    path = tmp_path / "spice.sock"
    with trio.fail_after(WITHIN):
        async with (
            open_spice_server(unix_path=path, size=(400, 300), scene="text", codec="lz", rate=200) as server,
            spice_gtk(unix_path=str(path)) as peer,
        ):
            await trio.sleep(0.3)  # some updates
            server.pause_scene()
            np.testing.assert_array_equal(await peer.screen(tmp_path / "screen.ppm"), server.surface() & 0xFFFFFF)
            await peer.do("position 12 34")
            await server.wait_until(lambda: any(isinstance(one, inputs.MousePosition) for one in server.events))


async def test_it_links_over_tls_with_a_ticket(spice_gtk, secure_server):
    with trio.fail_after(WITHIN):
        async with secure_server(password="a secret", fresh_keys=True) as (server, properties):
            async with spice_gtk(password="a secret", **properties) as peer:
                await peer.do("position 3 4")
                await server.wait_until(lambda: any(isinstance(one, inputs.MousePosition) for one in server.events))
            assert len(server.key_seconds) == 4  # a key for every link


async def test_a_still_screen_over_tls_is_the_servers(spice_gtk, secure_server, tmp_path):
    # Over TLS, spice-gtk 0.42 takes one message whenever its socket has something for it. What else the same record held waits
    # inside OpenSSL until the socket has something again: here it never would.
    with trio.fail_after(WITHIN):
        async with secure_server(regions={"key": (40, 0, 8, 8)}) as (server, properties), spice_gtk(**properties) as peer:
            for number in range(5):
                server.machine.canvases[0].post(Rect.at(number * 8, 16, 6, 20), 0x203040 * number)
            np.testing.assert_array_equal(await peer.screen(tmp_path / "drawn.ppm"), server.surface() & 0xFFFFFF)
            before = server.surface()
            await peer.do("key 30")
            await server.wait_until(lambda: not np.array_equal(server.surface(), before))
            np.testing.assert_array_equal(await peer.screen(tmp_path / "typed.ppm"), server.surface() & 0xFFFFFF)


async def test_its_screen_of_a_machine_is_ours(spice_gtk, qxl_machine, tell_guest, settle_screen, tmp_path):
    # Three renderings of one machine: spice-gtk's, ours and QEMU's own, with which `settle_screen` compares.
    with trio.fail_after(WITHIN):
        await tell_guest(qxl_machine, "draw flat code noise smooth")
        async with spice_gtk(host="127.0.0.1", port=str(qxl_machine.port)) as peer:
            theirs = await peer.screen(tmp_path / "screen.ppm")
        async with open_spice(qxl_machine.uri) as vm:
            np.testing.assert_array_equal(theirs, await settle_screen(vm, qxl_machine))
