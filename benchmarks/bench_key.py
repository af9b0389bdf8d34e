"""From a key sent to the guest's own event: SPICE beside QMP's `input-send-event` and libvirt's `virDomainSendKey`, in turns.

A private libvirtd runs the test guest, whose kernel stamps every input event with its clock; a program there reports them through
a virtio-serial port, which we read from its socket. The guest's clock is asked for before each bunch of keys: the answer was
given in the middle of the round trip, give or take half of it (of the quickest of a few). `to event` is from our send to the
guest's stamp; `to arrival` until the report is here, which takes the guest's program and the port's way back as well.

A key is Shift, which draws nothing. What is measured is its going down; the next is sent when the guest has told that it is up.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import attrs
import trio

from atp_trio.hypervisor.domain import Domain
from atp_trio.hypervisor.host import open_host
from atp_trio.keyboard import Key
from atp_trio.protocols.qmp import QmpProtocol, open_qmp
from atp_trio.spice.channels.inputs import InputsChannel
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.domain_xml import domain_xml
from atp_trio.testing.guest import EVENTS_PORT, build_guest
from atp_trio.testing.libvirtd import Libvirtd, missing
from atp_trio.testing.libvirtd_config import DIRECTORIES

NAME: Final = "keys"
KEY: Final = Key.LEFTSHIFT
LINUX_CODES: Final = 0  # VIR_KEYCODE_SET_LINUX
EV_KEY: Final = 1
UP, DOWN = 0, 1
PINGS: Final = 8  # of which the quickest counts
BUNCH: Final = 20  # keys of each way between two exchanges of clocks: clocks drift
QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"

Way = Callable[[bool], Awaitable[Any]]
"""Sends the key, down or up."""


@attrs.frozen
class Clock:
    """How far the guest's clock is ahead of ours, in nanoseconds."""

    offset: int
    uncertainty: int


@attrs.frozen
class Latency:
    """Milliseconds from our send."""

    event: float
    arrival: float


@attrs.define(eq=False)
class EventsPort:
    """The guest's reports, each with the time it came here."""

    stream: trio.SocketStream
    lines: trio.MemoryReceiveChannel[tuple[int, dict[str, Any]]]

    async def next_event(self, value: int) -> tuple[int, int]:
        """When the key went up or down next, by the guest's clock, and when we were told, by ours."""
        async for arrived, line in self.lines:
            if (line.get("type"), line.get("code"), line.get("value")) == (EV_KEY, KEY.evdev, value):
                return int(line["time"]), arrived
        raise SystemExit("the port of the guest's events was closed")

    async def exchange_clocks(self) -> Clock:
        """Ask for the guest's clock."""
        found = []
        for _ in range(PINGS):
            sent = time.perf_counter_ns()
            await self.stream.send_all(b"ping\n")
            async for arrived, line in self.lines:
                if "clock" in line:
                    half = (arrived - sent) // 2
                    found.append(Clock(line["clock"] - sent - half, half))
                    break
        return min(found, key=lambda clock: clock.uncertainty)


@asynccontextmanager
async def open_events(path: str) -> AsyncIterator[EventsPort]:
    """The port, by its socket."""
    send, receive = trio.open_memory_channel[tuple[int, dict[str, Any]]](10_000)

    async def read(stream: trio.SocketStream) -> None:
        rest = b""
        async for data in stream:
            arrived = time.perf_counter_ns()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                send.send_nowait((arrived, json.loads(line)))

    async with await trio.open_unix_socket(path) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(read, stream)
        yield EventsPort(stream, receive)
        nursery.cancel_scope.cancel()


# --- the ways


def by_spice(inputs: InputsChannel) -> Way:
    return lambda down: inputs.key_down(KEY) if down else inputs.key_up(KEY)


def by_input_send_event(qmp: QmpProtocol) -> Way:
    def send(down: bool) -> Awaitable[Any]:
        event = {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": KEY.qcode}}}
        return qmp.execute("input-send-event", events=[event])

    return send


def by_send_key(domain: Domain) -> Way:
    """`virDomainSendKey`, which lets the key go up by itself, after a millisecond."""

    async def send(down: bool) -> None:
        if down:
            await domain.call(lambda machine: machine.sendKey(LINUX_CODES, 1, [KEY.evdev], 1, 0), lane="monitor")

    return send


# --- measuring


async def measure_one(way: Way, port: EventsPort, clock: Clock) -> Latency:
    sent = time.perf_counter_ns()
    await way(True)
    stamped, arrived = await port.next_event(DOWN)
    await way(False)
    await port.next_event(UP)
    return Latency((stamped - clock.offset - sent) / 1e6, (arrived - sent) / 1e6)


async def measure(ways: dict[str, Way], port: EventsPort, keys: int) -> tuple[dict[str, list[Latency]], float]:
    """The latencies of each way, and how wrong they can be, in milliseconds."""
    found: dict[str, list[Latency]] = {name: [] for name in ways}
    uncertainty = 0
    for number in range(keys):
        if number % BUNCH == 0:
            clock = await port.exchange_clocks()
            uncertainty = max(uncertainty, clock.uncertainty)
        for name, way in random.sample(list(ways.items()), len(ways)):
            with trio.fail_after(30):
                found[name].append(await measure_one(way, port, clock))
            # So that we are not in step with what the guest does regularly.
            await trio.sleep(random.uniform(0.005, 0.015))
    return found, uncertainty / 1e6


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share is not above."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def show(found: dict[str, list[Latency]], uncertainty: float) -> None:
    for name, latencies in found.items():
        columns = []
        for kind in ("event", "arrival"):
            values = [getattr(one, kind) for one in latencies]
            columns.append(f"to {kind} p50 {percentile(values, 0.5):6.2f} ms   p99 {percentile(values, 0.99):6.2f} ms")
        print(f"{name:<34} {'   '.join(columns)}   n {len(latencies)}")
    print(f"the guest's clock is known to within {uncertainty:.2f} ms")


# --- the machine


def definition(daemon: Libvirtd, monitor: Path) -> str:
    """The machine, with a monitor of our own beside libvirt's."""
    ET.register_namespace("qemu", QEMU_NAMESPACE)
    root = ET.fromstring(domain_xml(NAME, build_guest(), ports=(EVENTS_PORT,), serial_log=daemon.serial_log(NAME)))
    line = ET.SubElement(root, f"{{{QEMU_NAMESPACE}}}commandline")
    for word in ("-qmp", f"unix:{monitor},server=on,wait=off"):
        ET.SubElement(line, f"{{{QEMU_NAMESPACE}}}arg", value=word)
    return ET.tostring(root, encoding="unicode")


def socket_of_port(daemon: Libvirtd, xml: str) -> str:
    """Where QEMU listens for who uses the events port. The private libvirtd sees its own directories at the usual places."""
    paths = [
        source.get("path", "")
        for channel in ET.fromstring(xml).iterfind("devices/channel")
        if (target := channel.find("target")) is not None and target.get("name") == EVENTS_PORT
        for source in channel.iterfind("source")
    ]
    for name, there in DIRECTORIES.items():
        paths = [path.replace(f"{there}/", f"{daemon.directory / name}/") for path in paths]
    return paths[0]


async def run(daemon: Libvirtd, monitor: Path, keys: int) -> None:
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(open_host(daemon.uri))
        domain = await host.domain(NAME)
        port = await stack.enter_async_context(open_events(socket_of_port(daemon, await domain.xml())))
        endpoint = await domain.spice_endpoint()
        assert endpoint.uri is not None
        network = await stack.enter_async_context(open_spice(endpoint.uri, channels=[ChannelType.INPUTS]))
        through_libvirt = await stack.enter_async_context(open_qmp(domain))
        direct = await stack.enter_async_context(open_qmp(monitor))
        ways = {
            "SPICE": by_spice(network.inputs),
            "input-send-event, own monitor": by_input_send_event(direct),
            "input-send-event through libvirt": by_input_send_event(through_libvirt),
            "virDomainSendKey": by_send_key(domain),
        }
        await measure(ways, port, 3)  # what is done once is done then
        show(*await measure(ways, port, keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=400, help="of each way")
    options = parser.parse_args()
    if problem := missing():
        raise SystemExit(f"no private libvirtd on this machine: {problem}")
    with tempfile.TemporaryDirectory() as directory, Libvirtd() as daemon:
        monitor = Path(directory, "qmp")
        daemon.define(definition(daemon, monitor))
        daemon.start(NAME)
        daemon.wait_ready(NAME)
        trio.run(run, daemon, monitor, options.keys)


if __name__ == "__main__":
    main()
