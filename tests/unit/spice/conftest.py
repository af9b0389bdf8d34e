"""A server to connect to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from atp_trio.spice.connection import SpiceVmConnection, open_spice
from atp_trio.testing.server import SpiceServer, open_spice_server

# Far beyond what any of this takes: a hang, and not a slow machine, is what runs into it.
PATIENCE = 20
SIZE = (64, 48)


@attrs.define(eq=False)
class Pair:
    """A server, and a client connected to it."""

    server: SpiceServer
    vm: SpiceVmConnection


@asynccontextmanager
async def _serving(**options) -> AsyncIterator[SpiceServer]:
    with trio.fail_after(PATIENCE):
        async with open_spice_server(**{"size": SIZE, "network_test": False} | options) as server:
            yield server
            # Nobody leaves a socket open.
            await server.wait_until(lambda: not server.connections)


@asynccontextmanager
async def _connected(*, client: dict | None = None, **options) -> AsyncIterator[Pair]:
    async with _serving(**options) as server, open_spice(server.uri, **client or {}) as vm:
        yield Pair(server, vm)


@pytest.fixture
def serving():
    """A small server with a deadline: `async with serving(password="secret") as server`."""
    return _serving


@pytest.fixture
def connected():
    """A server and a client: `async with connected(client={"password": ...}, scene="text") as pair`."""
    return _connected


@pytest.fixture
async def pair():
    """A server and a client with the options that tests mostly want."""
    async with _connected() as both:
        yield both
