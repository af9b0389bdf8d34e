"""tshark's SPICE dissector, an implementation of its own, reads what we and real servers said: nothing is malformed to it, and
it finds the messages that we counted.

The conversation goes through a relay that writes it down as a capture file; capturing on the network would need rights.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
from collections import Counter
from functools import partial

import attrs
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.server import open_spice_server

WITHIN = 60
PORT = 5900
SEGMENT = 32768
RAW_IPV4 = 228  # LINKTYPE_IPV4
SYN, ACK, PUSH, FIN = 2, 16, 8, 1
WARNING = 0x600000  # PI_WARN: notes are below


@attrs.define(eq=False)
class Conversation:
    """One connection: what was said, by whom (True is the client), when."""

    said: list[tuple[float, bool, bytes]] = attrs.field(factory=list)


def steps(conversation):
    """The conversation with each step of the link in a piece of its own: the dissector takes no two out of one packet."""
    sent = {True: bytearray(), False: bytearray()}
    cuts = {True: [16, 4, 128], False: [16, 4]}
    for at, from_client, data in conversation.said:
        sent[from_client] += data
        while cuts[from_client] and len(sent[from_client]) >= cuts[from_client][0]:
            size = cuts[from_client][0]
            if size == 16:  # the header of the link message says how long it is
                size += struct.unpack_from("<I", sent[from_client], 12)[0]
                if len(sent[from_client]) < size:
                    break
            yield at, from_client, bytes(sent[from_client][:size])
            del sent[from_client][:size], cuts[from_client][0]
        if not cuts[from_client] and sent[from_client]:
            yield at, from_client, bytes(sent[from_client])
            sent[from_client].clear()


def packets(client_port, conversation):
    """The conversation as IPv4 packets with their times."""
    sequence = {True: 0, False: 0}
    start = conversation.said[0][0] if conversation.said else 0.0

    def packet(at, from_client, flags, data=b""):
        ports = (client_port, PORT) if from_client else (PORT, client_port)
        addresses = (b"\x7f\0\0\1", b"\x7f\0\0\2")
        tcp = struct.pack(">HHIIBBHHH", *ports, sequence[from_client], sequence[not from_client], 5 << 4, flags, 65535, 0, 0)
        ends = addresses if from_client else addresses[::-1]
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0, *ends)
        sequence[from_client] += len(data) + bool(flags & (SYN | FIN))
        return at, ip + tcp + data

    yield packet(start, True, SYN)
    yield packet(start, False, SYN | ACK)
    yield packet(start, True, ACK)
    for at, from_client, data in steps(conversation):
        for offset in range(0, len(data), SEGMENT):
            yield packet(at, from_client, PUSH | ACK, data[offset : offset + SEGMENT])
    end = conversation.said[-1][0] if conversation.said else start
    yield packet(end, True, FIN | ACK)
    yield packet(end, False, FIN | ACK)


def write_capture(path, conversations):
    """A capture file, packets in the order of time."""
    every = [packet for number, one in enumerate(conversations) for packet in packets(40000 + number, one)]
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, RAW_IPV4))
        for at, data in sorted(every, key=lambda one: one[0]):
            file.write(struct.pack("<IIII", int(at), int(at % 1 * 1e6), len(data), len(data)) + data)


@contextlib.asynccontextmanager
async def relay(port):
    """Listens on a port and passes everything on to another; gives its port and the conversations, in the order they began."""
    conversations = []

    async def pump(source, target, conversation, from_client, scope):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                conversation.said.append((trio.current_time(), from_client, bytes(data)))
                await target.send_all(data)
        scope.cancel()

    async def serve(client):
        conversation = Conversation()
        conversations.append(conversation)
        async with await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server, conversation, True, nursery.cancel_scope)
            await pump(server, client, conversation, False, nursery.cancel_scope)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1], conversations
        nursery.cancel_scope.cancel()


def count_messages(conversations):
    """How often each message type was sent, by connection and direction: a walk over the data stage, which has mini headers."""
    counts = Counter()
    for number, conversation in enumerate(conversations):
        pieces = {True: [], False: []}
        for _, from_client, data in steps(conversation):
            pieces[from_client].append(data)
        for from_client, link_steps in ((True, 3), (False, 2)):
            data, at = b"".join(pieces[from_client][link_steps:]), 0
            while at + 6 <= len(data):
                kind, size = struct.unpack_from("<HI", data, at)
                at += 6 + size
                if at <= len(data):
                    counts[number, from_client, kind] += 1
    return counts


def totals(counts, *, from_client):
    """Messages by connection."""
    sums = Counter()
    for (number, direction, _), count in counts.items():
        sums[number] += count if direction is from_client else 0
    return sums


@pytest.fixture(scope="session")
def dissect(lack):
    """Has tshark read conversations; gives the message types it found, counted like ours, and fails where it complains."""
    if shutil.which("tshark") is None:
        lack("no tshark on this machine: apt-get install --no-install-recommends tshark")

    def run(conversations, path):
        write_capture(path, conversations)
        fields = ("tcp.stream", "tcp.dstport", "spice.message_type", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message")
        command = ["tshark", "-r", str(path), "-d", f"tcp.port=={PORT},spice", "-T", "json", "--no-duplicate-keys"]
        command += [part for field in fields for part in ("-e", field)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        counts = Counter()
        for packet in json.loads(done.stdout):
            layers = packet["_source"]["layers"]
            assert "_ws.malformed" not in layers, layers
            assert max(map(int, layers.get("_ws.expert.severity", ["0"]))) < WARNING, layers
            from_client = layers["tcp.dstport"] == [str(PORT)]
            for kind in layers.get("spice.message_type", ()):
                counts[int(layers["tcp.stream"][0]), from_client, int(kind)] += 1
        return counts

    return run


async def test_a_session_with_qemu(qxl_machine, dissect, tmp_path, run_in_guest, settle_screen):
    with trio.fail_after(WITHIN):
        async with relay(qxl_machine.port) as (port, conversations):
            async with open_spice(f"spice://127.0.0.1:{port}") as vm:
                await run_in_guest(vm, qxl_machine, "draw flat code noise smooth text nothing")
                await settle_screen(vm, qxl_machine)
                for number in range(9):
                    await vm.inputs.position(number, number)
                await vm.inputs.wait_motions_acknowledged()
                await vm.inputs.click()
                await vm.inputs.set_modifiers(vm.inputs.modifiers)
                await vm.close_channel(ChannelType.DISPLAY)
                await vm.open_channel(ChannelType.DISPLAY)
                await settle_screen(vm, qxl_machine)
                channels = vm.channels
            found = await trio.to_thread.run_sync(dissect, conversations, tmp_path / "qemu.pcap")
    counted = count_messages(conversations)
    assert found == counted
    # Main, three channels, and the display again.
    assert len(conversations) == 5
    every = [channel.statistics() for channel in channels]
    received = sorted(totals(counted, from_client=False).values())
    sent = sorted(totals(counted, from_client=True).values())
    for one in every:
        assert one.messages_received in received
        assert one.messages_sent in sent


@pytest.mark.parametrize(
    ("scene", "codec"), [("still", "raw"), ("text", "raw"), ("rectangles", "lz"), ("scroll", "quic"), ("video", "jpeg")]
)
async def test_a_session_with_our_own_server(dissect, tmp_path, scene, codec):
    # Our server is no real one: what it says must make sense to others than our client.
    with trio.fail_after(WITHIN):
        async with (
            open_spice_server(size=(320, 240), scene=scene, codec=codec, rate=100) as server,
            relay(server.port) as (port, conversations),
        ):
            async with open_spice(f"spice://127.0.0.1:{port}") as vm:
                await vm.display.screenshot()
                await vm.inputs.press("ctrl+alt+f2")
                for number in range(9):
                    await vm.inputs.position(number, number)
                await vm.inputs.click()
                await vm.inputs.wait_motions_acknowledged()
                if scene != "still":
                    for _ in range(40):
                        await vm.display.wait_damage()
                assert vm.display.display_statistics().failed == {}
            found = await trio.to_thread.run_sync(dissect, conversations, tmp_path / "ours.pcap")
    assert found == count_messages(conversations)
    assert len(conversations) == 4
