"""SPICE as a protocol: found by the domain's definition, input sent, what is drawn received."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import numpy as np
import pytest
import trio

from atp_trio.errors import AuthenticationFailed, ConfigError, ConnectionLost, HypervisorError, LocalProtocolError
from atp_trio.hypervisor.graphics import SpiceEndpoint
from atp_trio.protocols.spice import KeyPress, MouseClick, SpiceProtocol, TypedText
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.testing.server import open_spice_server


@attrs.define(eq=False)
class FakeDomain:
    server: object
    listens: bool = True
    password: str | None = None
    failure: Exception | None = None
    graphics: list = attrs.field(factory=list)

    async def spice_endpoint(self):
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        uri = SpiceUri.parse(self.server.uri) if self.listens else None
        return SpiceEndpoint(index=2, uri=uri, password=self.password)

    async def open_graphics(self, index):
        self.graphics.append(index)
        uri = SpiceUri.parse(self.server.uri)
        return await open_tcp_stream(uri.host, uri.port)


@asynccontextmanager
async def serving(**options):
    with trio.fail_after(20):
        async with open_spice_server(**{"size": (64, 48), "network_test": False} | options) as server:
            yield server
            await server.wait_until(lambda: not server.connections)


async def take_first_picture(spice):
    """It may have been drawn before anybody could receive."""
    await spice.vm.display.wait_ready()
    await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.move_on_after(0.05):
        while True:
            await spice.receive()


async def test_connect_send_receive_disconnect():
    async with serving(password="secret") as server, SpiceProtocol() as spice:
        with pytest.raises(LocalProtocolError, match="not connected"):
            _ = spice.vm
        for call in (lambda: spice.send(KeyPress("a")), spice.receive):
            with pytest.raises(LocalProtocolError, match="not connected"):
                await call()
        await spice.connect(FakeDomain(server, password="secret"))
        assert {channel.name for channel in spice.vm.channels} == {"main:0", "display:0", "inputs:0"}
        await spice.vm.main.request_mouse_mode(MouseMode.CLIENT)
        for value in (KeyPress("ctrl+a"), TypedText("b"), MouseClick(5, 6)):
            await spice.send(value)
        await server.wait_until(lambda: len(server.events) == 9)
        assert server.machine.pointer == (5, 6)
        with pytest.raises(ConfigError, match="no input"):
            await spice.send("a")
        await take_first_picture(spice)
        server.machine.canvases[0].fill(Rect.at(1, 2, 3, 4), 0x123456)
        server.machine.canvases[0].viewer.flush()
        assert await spice.receive() == Rect.at(1, 2, 3, 4)
        assert np.array_equal((await spice.vm.display.screenshot()).pixels, server.surface())
        await spice.disconnect()
        await server.wait_until(lambda: not server.connections)
        await spice.connect(FakeDomain(server, password="secret"))


async def test_through_libvirt_where_it_listens_nowhere():
    async with serving() as server, SpiceProtocol() as spice:
        domain = FakeDomain(server, listens=False)
        await spice.connect(domain)
        assert domain.graphics == [2, 2, 2]


async def test_password_that_is_given_comes_first():
    async with serving(password="new") as server:
        domain = FakeDomain(server, password="old")
        async with SpiceProtocol(password="new") as spice:
            await spice.connect(domain)
        async with SpiceProtocol() as spice:
            with pytest.raises(AuthenticationFailed):
                await spice.connect(domain)
            domain.failure = HypervisorError("it does not run")
            with pytest.raises(HypervisorError, match="does not run"):
                await spice.connect(domain)
            assert not spice.is_connected


async def test_lost_display_is_told_to_who_receives():
    async with serving() as server, SpiceProtocol() as spice:
        await spice.connect(FakeDomain(server))
        await take_first_picture(spice)
        async with trio.open_nursery() as nursery:

            async def receive():
                with pytest.raises(ConnectionLost):
                    await spice.receive()

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            server.drop(ChannelType.DISPLAY)
        await spice.send(KeyPress("a"))
