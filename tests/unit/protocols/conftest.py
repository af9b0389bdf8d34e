"""A monitor that does what a test tells it, on a stream in memory."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from atp_trio.protocols.qmp import open_qmp

GREETING = {"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}


class Monitor:
    """The server's end of a monitor's connection: lines in, lines out, nothing of its own accord."""

    def __init__(self, stream):
        self.stream = stream
        self._received = bytearray()

    async def send(self, *messages):
        await self.stream.send_all(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))

    async def receive(self):
        """The next command."""
        while b"\n" not in self._received:
            data = await self.stream.receive_some()
            assert data, "the client has gone"
            self._received += data
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        return json.loads(line)

    async def waiting(self):
        """How many commands have come and were not received; one more must have come since the last call."""
        self._received += await self.stream.receive_some()
        return self._received.count(b"\n")

    async def greet(self, greeting=GREETING):
        await self.send(greeting)
        command = await self.receive()
        await self.send({"return": {}, "id": command["id"]})
        return command

    async def answer(self, value):
        """Answer the next command; gives it."""
        command = await self.receive()
        await self.send({"return": value, "id": command["id"]})
        return command

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED):
        """Answer everything with what was asked."""
        task_status.started()
        while True:
            command = await self.receive()
            await self.send({"return": {key: command[key] for key in command if key != "id"}, "id": command["id"]})


def _monitor_pair():
    ours, theirs = trio.testing.memory_stream_pair()
    return ours, Monitor(theirs)


@asynccontextmanager
async def _connected(**options):
    ours, monitor = _monitor_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.greet)
        async with open_qmp(ours, **options) as qmp:
            yield qmp, monitor


@pytest.fixture
def monitor_pair():
    """A stream, and the monitor at its other end: `stream, monitor = monitor_pair()`."""
    return _monitor_pair


@pytest.fixture
def connected():
    """A client on a monitor that has greeted: `async with connected() as (qmp, monitor)`."""
    return _connected
