"""A machine behind a network that does what it is told, without sockets: for a mock clock that jumps."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
from trio.testing import memory_stream_pair

from atp_trio.errors import ConnectFailed
from atp_trio.spice.codec.video import available_codecs
from atp_trio.spice.manager import open_spice_manager
from atp_trio.spice.protocol.ticket import prepare
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.testing.faults import LinkConditions
from atp_trio.testing.faults.proxy import FaultProxy
from atp_trio.testing.server import ServerOptions, SpiceServer
from atp_trio.testing.server.link import shared_key
from atp_trio.testing.server.machine import Machine

# How long a way takes, in seconds.
DELAY = 0.001


class World:
    """One machine; `open` is what `add_vm` takes in place of a URI.

    Attributes:
        server: The server; another one after `restart`.
        proxy: The network.
        is_listening: Whether anybody takes new connections.
    """

    def __init__(self, nursery: trio.Nursery, **options) -> None:
        self._nursery = nursery
        self._options = ServerOptions.of({"size": (64, 48), "network_test": False} | options)
        self._served: set[trio.CancelScope] = set()
        self.proxy = FaultProxy(LinkConditions(delay=DELAY), 0)
        self.is_listening = True
        self.server = SpiceServer(self._options, Machine(self._options))

    def stop(self) -> None:
        """The machine is killed."""
        self.is_listening = False
        for scope in self._served:
            scope.cancel()

    def start(self) -> None:
        """The machine is started again."""
        self.server = SpiceServer(self._options, Machine(self._options))
        self.is_listening = True

    async def open(self) -> trio.abc.Stream:
        """A new stream to the server."""
        await trio.lowlevel.checkpoint()
        if not self.is_listening:
            raise ConnectFailed("nobody listens")
        client, near = memory_stream_pair()
        self._nursery.start_soon(self.proxy.serve_stream, near, self._reach)
        return client

    async def _reach(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        far, near = memory_stream_pair()
        self._nursery.start_soon(self._serve, near)
        return far

    async def _serve(self, stream) -> None:
        scope = trio.CancelScope()
        self._served.add(scope)
        with scope:
            await self.server.serve_stream(stream)
        self._served.discard(scope)


@asynccontextmanager
async def open_world(*, ticket=None, reconnect=None, heartbeat=None, kept=None, **options):
    """A world with a manager, which keeps the machine as `vm`; afterwards nothing is left of either."""
    prepare()  # what would go to a thread, for which a clock that jumps does not wait
    available_codecs()
    shared_key()
    async with trio.open_nursery() as nursery:
        world = World(nursery, **options)
        async with open_spice_manager(
            reconnect=reconnect or ReconnectConfig(initial=1, maximum=8),
            heartbeat=heartbeat or HeartbeatConfig(interval=30),
            channels=kept,
        ) as world.manager:
            world.manager.add_vm("vm", world.open, password=ticket)
            yield world
        await trio.sleep(60)  # what was silently dropped ends by the server's own deadline
        world.proxy.heal()
        await trio.sleep(60)
        assert world.proxy.connections == ()
        assert not nursery.child_tasks
