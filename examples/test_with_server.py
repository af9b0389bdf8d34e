"""A test of a program that uses SPICE, on the embedded server: `pytest examples/test_with_server.py`."""

import pytest

import atp_trio
from atp_trio.testing.server import ServerThread


@pytest.mark.spice_server(size=(320, 200), scene="text")
async def test_the_program_types_its_name(spice_server: ServerThread) -> None:
    async with atp_trio.open_spice(spice_server.uri) as vm:
        await vm.display.wait_ready()
        await vm.inputs.press("ctrl+l")
    server = spice_server.server
    spice_server.wait_until(lambda: not server.connections)
    assert server.keys_down == ()
