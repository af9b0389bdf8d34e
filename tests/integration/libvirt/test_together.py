"""All protocols of a machine at once, over one connection to its host: everybody gets the own answer, nobody waits for long."""

from __future__ import annotations

import contextlib
import json
import time

import attrs
import pytest
import trio

from atp_trio.errors import ConnectionLost, NotConnected, QmpError
from atp_trio.hypervisor.host import HostConnection, open_host
from atp_trio.keyboard import Key
from atp_trio.protocols.framing import LineFraming
from atp_trio.protocols.qga import QgaProtocol, open_qga
from atp_trio.protocols.qmp import QmpProtocol, open_qmp
from atp_trio.protocols.virtio_serial import VirtioSerialProtocol
from atp_trio.spice.connection import SpiceVmConnection, open_spice
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.testing.guest import ECHO_PORT, EVENTS_PORT

WITHIN = 90
EV_KEY = 1
UP, DOWN = 0, 1
CALLERS = {"qmp": 18, "agent": 12, "echo": 12, "screen": 7, "keys": 1}
TURNS = {"qmp": 5, "agent": 2, "echo": 20, "screen": 3, "keys": 12}


@attrs.define(eq=False)
class Together:
    """A machine by all protocols; what every caller was answered is kept."""

    host: HostConnection
    qmp: QmpProtocol
    agent: QgaProtocol
    echo: VirtioSerialProtocol[str]
    events: VirtioSerialProtocol[str]
    vm: SpiceVmConnection
    answers: dict[str, list[str]] = attrs.field(factory=lambda: {kind: [] for kind in CALLERS})

    async def call_qmp(self, name):
        # An error that says whose question it answers.
        with pytest.raises(QmpError) as caught:
            await self.qmp.execute("device_del", id=name)
        self.answers["qmp"].append(caught.value.description.split("'")[1])

    async def call_agent(self, name):
        done = await self.agent.run(["echo", name])
        assert (done.returncode, done.stderr) == (0, b"")
        self.answers["agent"].append(done.stdout.decode().strip())

    async def call_echo(self, name):
        await self.echo.send(name)

    async def receive_echoes(self):
        """One task receives for all who send."""
        count = CALLERS["echo"] * TURNS["echo"]
        self.answers["echo"] += [await self.echo.receive() for _ in range(count)]

    async def call_screen(self, name):
        shot = await self.vm.display.screenshot()
        assert shot.pixels.shape == self.vm.display.size[::-1]
        self.answers["screen"].append(name)

    async def call_keys(self, name):
        """The guest confirms each key before the next is pressed: one at a time is what a keyboard surely takes."""
        await self.vm.inputs.press(Key.LEFTSHIFT)
        seen = []
        while len(seen) < 2:
            event = json.loads(await self.events.receive())
            if event.get("type") == EV_KEY and event["value"] in {UP, DOWN}:
                seen.append((event["code"], event["value"]))
        assert seen == [(Key.LEFTSHIFT.evdev, DOWN), (Key.LEFTSHIFT.evdev, UP)]
        self.answers["keys"].append(name)


async def greet(port, question, is_answer):
    """What is sent before the guest knows of us is lost: ask until it answers."""
    while True:
        await port.send(question)
        with trio.move_on_after(1):
            while not is_answer(await port.receive()):
                pass
            return


@contextlib.asynccontextmanager
async def open_together(host, name):
    domain = await host.domain(name)
    endpoint = await domain.spice_endpoint()
    async with (
        open_qmp(domain) as qmp,
        open_qga(domain) as agent,
        VirtioSerialProtocol(LineFraming()) as echo,
        VirtioSerialProtocol(LineFraming()) as events,
        open_spice(domain.open_graphics if host.uri.is_local else endpoint.uri) as vm,
    ):
        await echo.connect(domain, ECHO_PORT)
        await events.connect(domain, EVENTS_PORT)
        await greet(echo, "anybody there?", lambda line: line == "anybody there?")
        await greet(events, "ping", lambda line: "clock" in json.loads(line))
        await vm.display.wait_ready()
        yield Together(host, qmp, agent, echo, events, vm)


async def call_all(together):
    """As many callers as there are, each one question after another. Gives how long the slowest QMP command took, in seconds."""
    slowest = 0.0

    async def caller(kind, number):
        nonlocal slowest
        for turn in range(TURNS[kind]):
            began = time.perf_counter()
            await getattr(together, f"call_{kind}")(f"{kind}-{number}-{turn}")
            if kind == "qmp":
                slowest = max(slowest, time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(together.receive_echoes)
        for kind, count in CALLERS.items():
            for number in range(count):
                nursery.start_soon(caller, kind, number)
    return slowest


def check_answers(answers):
    for kind, count in CALLERS.items():
        by_caller = {f"{number}": [] for number in range(count)}
        for answer in answers[kind]:
            told, number, turn = answer.split("-")
            assert told == kind
            by_caller[number].append(int(turn))
        # Each question was answered once, and each caller's in their order.
        assert list(by_caller.values()) == [list(range(TURNS[kind]))] * count, kind


def test_there_are_fifty_callers():
    assert sum(CALLERS.values()) == 50


@pytest.mark.parametrize("transport", ["uri", "tls_uri", "ssh_uri"])
async def test_all_protocols_at_once_on_one_connection(libvirtd, domain, transport):
    with trio.fail_after(WITHIN):
        async with open_host(getattr(libvirtd, transport)) as host:
            async with open_together(host, domain) as together:
                slowest = await call_all(together)
                check_answers(together.answers)
            statistics = host.statistics()
    assert statistics.errors == statistics.in_flight == statistics.abandoned == statistics.losses == 0
    # Nobody waited for what others wait for: a stall of libvirt's client takes seconds.
    assert slowest < 5


async def test_libvirtd_restarted_under_all_of_them(new_libvirtd, guest):
    with new_libvirtd() as daemon, trio.fail_after(WITHIN):
        await trio.to_thread.run_sync(lambda: daemon.run("guest", guest, ports=(ECHO_PORT, EVENTS_PORT)))
        quickly = ReconnectConfig(initial=0.1, maximum=0.5)
        async with open_host(daemon.uri, reconnect=quickly) as host, open_together(host, "guest") as together:
            domain = await host.domain("guest")
            await trio.to_thread.run_sync(lambda: daemon.restart(hard=True))
            # Streams end with the connection they were opened on; the SPICE connection, once passed, is nobody else's.
            for port in (together.echo, together.events):
                with pytest.raises(ConnectionLost):
                    await port.receive()
                await port.disconnect()
            assert {"main:0", "display:0", "inputs:0"} <= {channel.name for channel in together.vm.channels}
            with contextlib.suppress(NotConnected):
                assert (await together.qmp.execute("query-status"))["running"]
            await host.wait_connected()
            await together.agent.wait_agent()
            await together.echo.connect(domain, ECHO_PORT)
            await together.events.connect(domain, EVENTS_PORT)
            await greet(together.echo, "and again?", lambda line: line == "and again?")
            await greet(together.events, "ping", lambda line: "clock" in json.loads(line))
            await call_all(together)
            check_answers(together.answers)
            assert host.statistics().losses == 1
