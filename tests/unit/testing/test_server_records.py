"""What a client of the embedded server finds in each TLS record."""

from __future__ import annotations

import ssl
from functools import partial
from itertools import accumulate

import numpy as np
import pytest
import trio
import trio.testing

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages import inputs
from atp_trio.spice.messages.geometry import Rect
from atp_trio.spice.streams.base import AdaptedStream
from atp_trio.testing.certificate import make_tls_dir
from atp_trio.testing.server import open_spice_server
from atp_trio.testing.server.link import Door


class Records(AdaptedStream):
    """The client's end; keeps what it receives, record by record: OpenSSL gives the bytes of one at most."""

    def __init__(self, stream):
        super().__init__(stream, address="memory")
        self.records = []

    async def receive_some(self, max_bytes=None):
        data = await super().receive_some(max_bytes)
        self.records.append(bytes(data))
        return data

    @property
    def starts(self):
        """Where records start, from the beginning of the connection."""
        return set(accumulate(map(len, self.records), initial=0))

    @property
    def message_starts(self):
        """Where the messages start that were received, after the link stage's reply and its result."""
        data, starts = b"".join(self.records), set()
        at = 16 + int.from_bytes(data[12:16], "little") + 4
        while at < len(data):
            starts.add(at)
            at += 6 + int.from_bytes(data[at + 2 : at + 6], "little")
        return starts


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """The server's and the client's settings for TLS."""
    files = make_tls_dir(tmp_path_factory.mktemp("tls") / "made", hosts=["localhost"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.directory / "server-cert.pem", files.directory / "server-key.pem")
    return server, ssl.create_default_context(cafile=files.ca)


@pytest.fixture
async def linked(contexts, nursery):
    """Every stream of a client that has seen drawing and typed, whose server believes that it came in by this door."""

    async def link(door):
        streams = []

        async def connect():
            ours, theirs = trio.testing.memory_stream_pair()
            secured = trio.SSLStream(theirs, contexts[0], server_side=True)
            nursery.start_soon(partial(server.serve_stream, secured, door=door))
            streams.append(Records(trio.SSLStream(ours, contexts[1], server_hostname="localhost")))
            return streams[-1]

        async with open_spice_server(size=(200, 100), regions={"key": (0, 0, 4, 4)}) as server, open_spice(connect) as vm:
            await vm.display.wait_ready()
            for number in range(5):
                server.machine.canvases[0].post(Rect.at(20 * number, 10, 8, 8), number)
            await vm.inputs.press("a")
            await server.wait_until(lambda: any(isinstance(one, inputs.KeyUp) for one in server.events))
            await vm.display.wait_until(lambda screen: np.array_equal(screen.pixels & 0xFFFFFF, server.surface()))
        return streams

    return link


async def test_a_record_holds_bytes_of_one_message_only(linked):
    streams = await linked(Door(is_secure=True))
    assert len(streams) == 4
    for stream in streams:
        assert stream.message_starts <= stream.starts
    assert max(len(stream.message_starts) for stream in streams) > 10


async def test_without_tls_small_messages_are_sent_together(linked):
    # A server that knows nothing of the records below it shows that the test above can tell.
    streams = await linked(Door(is_secure=False))
    assert any(not stream.message_starts <= stream.starts for stream in streams)
