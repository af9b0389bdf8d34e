"""Input confirmed by the guest: what its kernel tells of every key, with the guest's own time, by way of a virtio-serial port."""

from __future__ import annotations

import contextlib
import json
import statistics
import string
import time
from xml.etree import ElementTree as ET

import attrs
import pytest
import trio

from atp_trio.hypervisor.host import open_host
from atp_trio.keyboard import Key, get_layout
from atp_trio.protocols.qmp import open_qmp
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.guest import EVENTS_PORT
from atp_trio.testing.libvirtd_config import DIRECTORIES

WITHIN = 60
KEYBOARD = "AT Translated Set 2 keyboard"
EV_KEY = 1
UP, DOWN = 0, 1
TEXT = f"{string.ascii_letters}{string.digits} {string.punctuation}"


@attrs.define(eq=False)
class Witness:
    """The port's other end in QEMU, without libvirt or anything of ours in between."""

    stream: trio.SocketStream
    rest: bytes = b""
    ahead: int = 0
    """How many nanoseconds the guest's clock is ahead of ours, as if its last answer came from the middle of the round trip."""

    async def line(self):
        while b"\n" not in self.rest:
            data = await self.stream.receive_some()
            assert data, "the port was closed"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    async def clock(self):
        """The guest's clock now. Nothing else may be on its way."""
        asked = time.perf_counter_ns()
        await self.stream.send_all(b"ping\n")
        clock = (await self.line())["clock"]
        self.ahead = clock - (asked + time.perf_counter_ns()) // 2
        return clock

    async def keys(self, count):
        """So many changes of keys: (code, value) and when, by the guest's clock. A key that repeats while it is down is none."""
        found = []
        while len(found) < count:
            event = await self.line()
            if event["type"] == EV_KEY and event["value"] in {UP, DOWN}:
                assert event["device"] == KEYBOARD
                found.append((event["code"], event["value"], event["time"]))
        # Each report ends with SYN_REPORT.
        assert (await self.line())["type"] == 0
        return [one[:2] for one in found], [one[2] for one in found]


@pytest.fixture
def open_witness(libvirtd, domain):
    """Opens the events port of the guest."""
    ports = ET.fromstring(libvirtd.virsh("dumpxml", domain)).iterfind("devices/channel")
    (path,) = [port.find("source").get("path") for port in ports if port.find("target").get("name") == EVENTS_PORT]
    for name, there in DIRECTORIES.items():
        path = path.replace(f"{there}/", f"{libvirtd.directory / name}/")

    @contextlib.asynccontextmanager
    async def open_it():
        async with await trio.open_unix_socket(path) as stream:
            yield Witness(stream)

    return open_it


def strokes(text):
    """What keys do when a text is typed, character by character: a list of (code, value) each."""
    for stroke in get_layout("us").keystrokes(text):
        keys = [key.evdev for key in (*stroke.modifiers, stroke.key)]
        yield [*((key, DOWN) for key in keys), *((key, UP) for key in reversed(keys))]


async def test_every_key_typed_over_spice_is_an_event_of_the_guest(libvirtd, domain, open_witness, request):
    to_event, to_arrival = [], []
    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host, open_witness() as witness:
            machine = await host.domain(domain)
            async with open_spice(machine.open_graphics, channels=[ChannelType.INPUTS]) as vm:
                for character, expected in zip(TEXT, strokes(TEXT), strict=True):
                    before = await witness.clock()
                    sent, ahead = time.perf_counter_ns(), witness.ahead
                    await vm.inputs.type_text(character, interval=0)
                    keys, times = await witness.keys(len(expected))
                    to_arrival.append(time.perf_counter_ns() - sent)
                    to_event.append(times[0] - ahead - sent)
                    assert keys == expected, character
                    assert before <= times[0], character
                    assert times == sorted(times), character
                    assert times[-1] <= await witness.clock(), character
                # The shell has it all in its line now.
                await vm.inputs.press("ctrl+c")
                assert (await witness.keys(4))[0] == [(29, DOWN), (46, DOWN), (46, UP), (29, UP)]
    assert len(to_event) == len(TEXT)
    for name, found in (("first event", to_event), ("last event's report", to_arrival)):
        figures = f"p50 {statistics.median(found) / 1e6:.2f} ms, most {max(found) / 1e6:.2f} ms"
        request.node.user_properties.append((f"from typing a character to its {name}", figures))  # in the report of `--junitxml`
        print(f"from typing a character to its {name}: {figures}")


async def test_three_ways_to_press_a_key_are_the_same_to_the_guest(libvirtd, domain, open_witness):
    def say(key, down):
        return {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": key.qcode}}}

    with trio.fail_after(WITHIN):
        async with open_host(libvirtd.uri) as host, open_witness() as witness:
            machine = await host.domain(domain)
            async with open_spice(machine.open_graphics, channels=[ChannelType.INPUTS]) as vm, open_qmp(machine) as qmp:
                # Plain and extended ones; none of them types anything.
                for key in (Key.LEFTSHIFT, Key.RIGHTCTRL, Key.LEFT):
                    expected = [(key.evdev, DOWN), (key.evdev, UP)]
                    await vm.inputs.press(key)
                    assert (await witness.keys(2))[0] == expected
                    await qmp.execute("input-send-event", events=[say(key, True), say(key, False)])
                    assert (await witness.keys(2))[0] == expected
                    await machine.call(lambda found, key=key: found.sendKey(0, 1, [key.evdev], 1, 0), lane="monitor")
                    assert (await witness.keys(2))[0] == expected
