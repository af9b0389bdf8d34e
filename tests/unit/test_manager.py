"""Hosts and machines by id: one name for a machine, many at a time, and input by the first way that takes it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import trio

import atp_trio.manager.input
from atp_trio.config import ConfigMistakes, HostConfig, Secret, SpiceConfig, SpiceVmConfig, TransportConfig
from atp_trio.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    DomainNotFound,
    HostNotFound,
    HypervisorError,
    LocalProtocolError,
    NotConnected,
    QgaError,
    QmpError,
    TransportError,
)
from atp_trio.hypervisor.graphics import SpiceEndpoint
from atp_trio.hypervisor.info import HostInfo
from atp_trio.keyboard import Key
from atp_trio.manager import InputWay, Outcome, open_manager
from atp_trio.protocols.qga import Completed
from atp_trio.protocols.spice import KeyPress, MouseClick, TypedText
from atp_trio.spice.messages.inputs import MouseButton
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.uri import SpiceUri
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.testing.server import open_spice_server

PATIENCE = 20
SOON = ReconnectConfig(initial=0.001, maximum=0.01)


@attrs.define(eq=False)
class FakeDomain:
    """A domain whose SPICE server, monitor and agent are as a test wants them."""

    name: str
    endpoint: object = None
    qmp: object = None
    agent: object = None
    told: list = attrs.field(factory=list)
    graphics: list = attrs.field(factory=list)

    async def spice_endpoint(self):
        await trio.lowlevel.checkpoint()
        if isinstance(self.endpoint, Exception):
            raise self.endpoint
        return self.endpoint

    async def open_graphics(self, index):
        self.graphics.append(index)
        uri = SpiceUri.parse(self.told[0])
        return await open_tcp_stream(uri.host, uri.port)

    async def screenshot(self):
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(pixels=np.zeros((101, 201), np.uint32))


@attrs.define(eq=False)
class Hosts:
    """What stands in for libvirt."""

    domains: dict = attrs.field(factory=dict)
    connected: list = attrs.field(factory=list)
    failure: Exception | None = None

    @asynccontextmanager
    async def open(self, info, **settings):
        await trio.lowlevel.checkpoint()
        assert set(settings) == {"reconnect", "heartbeat", "board"}
        if self.failure is not None:
            raise self.failure
        self.connected.append(info.id)
        yield SimpleNamespace(info=info, domain=self.domain)
        self.connected.remove(info.id)

    async def domain(self, name):
        await trio.lowlevel.checkpoint()
        if name not in self.domains:
            raise DomainNotFound(f"no {name}")
        return self.domains[name]


@asynccontextmanager
async def managing(config=None, hosts=None, **options):
    with trio.fail_after(PATIENCE):
        async with open_spice_server(**{"size": (64, 48), "network_test": False} | options) as server:
            config = config or TransportConfig(reconnect=SOON)
            hosts = hosts or Hosts()
            async with open_manager(config, open_one=hosts.open) as manager:
                yield SimpleNamespace(manager=manager, server=server, hosts=hosts)
            await server.wait_until(lambda: not server.connections)


def vm_config(server, name="vm", **more):
    return SpiceVmConfig(vm_id=name, uri=SpiceUri.parse(server.uri), **more)


# --- hosts and machines


async def test_configuration_from_a_file(tmp_path):
    async with open_spice_server(size=(64, 48), password="secret") as server:
        path = tmp_path / "atp.yaml"
        path.write_text(
            f"hosts: [{{id: host1, host: 127.0.0.1}}]\n"
            f"spice:\n  vms:\n    - {{vm_id: vm, uri: '{server.uri}', password: {{env: TICKET}}, host: host1, domain: dom}}\n"
        )
        hosts = Hosts({"dom": FakeDomain("dom")})
        with pytest.MonkeyPatch.context() as patch, trio.fail_after(PATIENCE):
            patch.setenv("TICKET", "secret")
            async with open_manager(path, open_one=hosts.open) as manager:
                assert (manager.hosts, manager.machines) == (("host1",), ("vm",))
                machine = manager.machine("vm")
                vm = await machine.wait_spice()
                assert vm is machine.spice is manager.get_spice_connection("vm")
                assert hosts.connected == []  # hosts are connected when they are wanted
                async with machine.domain() as domain:
                    assert domain is hosts.domains["dom"]
                    assert hosts.connected == ["host1"]
                numbers = manager.statistics()
                assert (numbers.pool.opened, numbers.machines["vm"].connections) == (1, 1)
                assert "1 hosts and 1 machines" in repr(manager)


async def test_wrong_file(tmp_path):
    path = tmp_path / "atp.yaml"
    path.write_text("hosts: 5\n")
    with pytest.raises(ConfigMistakes):
        async with open_manager(path):
            raise AssertionError


async def test_nothing_at_first():
    async with open_manager() as manager:
        assert (manager.hosts, manager.machines) == ((), ())
        assert await manager.broadcast(KeyPress("a")) == {}


async def test_hosts_come_and_go():
    async with managing() as world:
        manager = world.manager
        manager.add_host(HostConfig(id="a", host="a.example"))
        manager.add_host(HostInfo("b", "b.example"))
        with pytest.raises(ConfigError, match="'b'"):
            manager.add_host(HostInfo("b", "other.example"))
        assert manager.hosts == ("a", "b")
        async with manager.get_libvirt_connection("a") as host:
            assert host.info.id == "a"
        manager.remove_host("a")
        with pytest.raises(HostNotFound):
            manager.remove_host("a")
        with pytest.raises(HostNotFound):
            await manager.get_libvirt_connection("a").__aenter__()


async def test_machines_come_and_go():
    async with managing() as world:
        manager = world.manager
        machine = manager.add_spice_vm(vm_config(world.server))
        with pytest.raises(NotConnected):
            manager.get_spice_connection("vm")
        with pytest.raises(ConfigError, match="already"):
            manager.add_spice_vm(vm_config(world.server))
        with pytest.raises(HostNotFound, match="'nowhere'"):
            manager.add_spice_vm(vm_config(world.server, "other", host="nowhere"))
        assert manager.machines == ("vm",)
        await machine.wait_spice()
        with pytest.raises(ConfigError, match="which host"):
            async with machine.domain():
                raise AssertionError
        await manager.remove_vm("vm")
        for call in (manager.machine, manager.get_spice_connection):
            with pytest.raises(DomainNotFound):
                call("vm")
        with pytest.raises(DomainNotFound):
            await manager.remove_vm("vm")
        assert world.server.open_channels == ()


@pytest.mark.parametrize("way", ["tcp", "libvirt", "unix"])
async def test_machine_that_its_host_knows(way, tmp_path):
    options = {"unix_path": tmp_path / "vm.sock"} if way == "unix" else {}
    async with managing(password="in the definition", **options) as world:
        manager = world.manager
        manager.add_host(HostInfo("host", "host.example"))
        domain = world.hosts.domains["vm"] = FakeDomain("vm", HypervisorError("it does not run"), told=[world.server.uri])
        machine = manager.add_spice_vm(SpiceVmConfig(vm_id="vm", host="host"))
        source = manager.spice.get_state("vm")
        async with source.watch() as changes:
            async for change in changes:
                if isinstance(change.cause, HypervisorError):
                    break
        uri = None if way == "libvirt" else SpiceUri.parse(world.server.uri)
        domain.endpoint = SpiceEndpoint(index=1, uri=uri, password="in the definition")
        vm = await machine.wait_spice()
        await vm.display.screenshot()
        assert set(domain.graphics) == ({1} if way == "libvirt" else set())


async def test_password_of_the_configuration_comes_before_the_definition():
    async with managing(password="secret") as world:
        world.manager.add_host(HostInfo("host", "host.example"))
        endpoint = SpiceEndpoint(index=0, uri=SpiceUri.parse(world.server.uri), password="old")
        for name, secret in (("right", Secret(value="secret")), ("wrong", None)):
            world.hosts.domains[name] = FakeDomain(name, endpoint)
            world.manager.add_spice_vm(SpiceVmConfig(vm_id=name, host="host", password=secret))
        await world.manager.machine("right").wait_spice()
        async with world.manager.spice.get_state("wrong").watch() as changes:
            async for change in changes:
                if change.cause is not None:
                    assert isinstance(change.cause, AuthenticationFailed)
                    break


# --- many


async def test_outcomes_of_all_and_no_more_at_a_time():
    async with managing() as world:
        names = [f"vm{number}" for number in range(6)]
        for name in names:
            world.manager.add_spice_vm(SpiceVmConfig(vm_id=name, uri=SpiceUri(host="127.0.0.1", port=1)))
        at_once, most = 0, 0

        async def work(machine):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await trio.sleep(0.01)
            at_once -= 1
            if machine.name == "vm3":
                raise ConnectFailed("not this one")
            return machine.name.upper()

        found = await world.manager.map_machines(work, names=[*names, "nobody", "vm0"], limit=2)
        assert list(found) == [*names, "nobody"]
        assert most == 2
        assert found["vm1"] == Outcome("VM1")
        assert found["vm1"].get() == "VM1"
        assert [name for name, outcome in found.items() if not outcome.is_ok] == ["vm3", "nobody"]
        with pytest.raises(ConnectFailed, match="not this one"):
            found["vm3"].get()
        assert isinstance(found["nobody"].error, DomainNotFound)
        assert list(await world.manager.map_machines(work)) == names
        with pytest.raises(ConfigError, match="at least one"):
            await world.manager.map_machines(work, limit=0)


async def test_every_host():
    async with managing() as world:
        for name in ("a", "b"):
            world.manager.add_host(HostInfo(name, f"{name}.example"))

        async def work(host):
            await trio.lowlevel.checkpoint()
            return host.info.id

        found = await world.manager.map_hosts(work, names=["a", "b", "c"])
        assert (found["a"].get(), found["b"].get()) == ("a", "b")
        assert isinstance(found["c"].error, HostNotFound)
        assert list(await world.manager.map_hosts(work)) == ["a", "b"]


async def test_broadcast():
    async with managing() as world, open_spice_server(size=(64, 48)) as other:
        for name, server in (("one", world.server), ("two", other)):
            await world.manager.add_spice_vm(vm_config(server, name)).wait_spice()
        world.manager.add_spice_vm(SpiceVmConfig(vm_id="gone", uri=SpiceUri(host="127.0.0.1", port=1)))
        found = await world.manager.broadcast(KeyPress("ctrl+alt+f2"))
        assert [str(found[name].get()) for name in ("one", "two")] == ["by spice"] * 2
        assert isinstance(found["gone"].error, NotConnected)
        for server in (world.server, other):
            await server.wait_until(lambda server=server: len(server.events) == 6)
            assert server.keys_down == ()


# --- input, by whichever takes it


@attrs.define(eq=False)
class Monitor:
    """QEMU's monitor; raises what comes next in `failures`."""

    failures: list = attrs.field(factory=list)
    commands: list = attrs.field(factory=list)

    async def execute(self, command, **arguments):
        await trio.lowlevel.checkpoint()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.commands.append((command, arguments))


@attrs.define(eq=False)
class Agent:
    """The guest's agent."""

    result: object = None
    ran: list = attrs.field(factory=list)

    async def run(self, argv, stdin):
        await trio.lowlevel.checkpoint()
        self.ran.append((argv, stdin))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result or Completed(0, None, b"", b"")


@pytest.fixture
async def machine(monkeypatch):
    """A machine that is known to both sides, its SPICE not connected; with its monitor and agent."""

    @asynccontextmanager
    async def opened(part):
        await trio.lowlevel.checkpoint()
        if isinstance(part, Exception):
            raise part
        yield part

    monkeypatch.setattr(atp_trio.manager.input, "open_qmp", lambda domain: opened(domain.qmp))
    monkeypatch.setattr(atp_trio.manager.input, "open_qga", lambda domain: opened(domain.agent))
    domain = FakeDomain("vm", qmp=Monitor(), agent=Agent())
    async with managing(hosts=Hosts({"vm": domain})) as world:
        world.manager.add_host(HostInfo("host", "host.example"))
        machine = world.manager.add_spice_vm(SpiceVmConfig(vm_id="vm", host="host", uri=SpiceUri(host="127.0.0.1", port=1)))
        yield SimpleNamespace(send=machine.send, domain=domain, hosts=world.hosts, manager=world.manager)


async def test_spice_comes_first():
    async with managing() as world:
        machine = world.manager.add_spice_vm(vm_config(world.server))
        vm = await machine.wait_spice()
        await vm.main.request_mouse_mode(MouseMode.CLIENT)
        for value in (KeyPress("a"), TypedText("b"), MouseClick(3, 4, MouseButton.RIGHT)):
            report = await machine.send(value)
            assert (report.way, report.refused) == (InputWay.SPICE, ())
        await world.server.wait_until(lambda: len(world.server.events) == 7)
        assert (world.server.machine.pointer, world.server.buttons) == ((3, 4), frozenset())


async def test_the_monitor_where_spice_is_not(machine):
    report = await machine.send(KeyPress("ctrl+a"))
    assert report.way is InputWay.QMP
    ((way, reason),) = report.refused
    assert (way, type(reason)) == (InputWay.SPICE, NotConnected)
    assert "by qmp; not by spice: machine vm is" in str(report)
    ((command, arguments),) = machine.domain.qmp.commands
    assert command == "input-send-event"
    keys = [(event["data"]["key"]["data"], event["data"]["down"]) for event in arguments["events"]]
    assert keys == [(Key.LEFTCTRL.qcode, True), ("a", True), ("a", False), (Key.LEFTCTRL.qcode, False)]


async def test_text_and_clicks_by_the_monitor(machine):
    await machine.send(TypedText("aB"))
    batches = [arguments["events"] for _, arguments in machine.domain.qmp.commands]
    assert [len(events) for events in batches] == [2, 4]
    machine.domain.qmp.commands.clear()
    await machine.send(MouseClick(200, 50))
    place, down, up = [arguments["events"] for _, arguments in machine.domain.qmp.commands]
    assert [(event["data"]["axis"], event["data"]["value"]) for event in place] == [("x", 0x7FFF), ("y", 0x4000)]
    assert [events[0]["data"] for events in (down, up)] == [{"down": one, "button": "left"} for one in (True, False)]


async def test_the_agent_where_the_monitor_is_not(machine):
    machine.domain.qmp.failures = [QmpError("no keyboard")]
    report = await machine.send(TypedText("secret"), agent_program=["put"])
    assert [way for way, _ in report.refused] == [InputWay.SPICE, InputWay.QMP]
    assert "secret" not in repr(report)
    machine.domain.qmp = NotConnected("no host")
    for value in (KeyPress("f1"), MouseClick(1, 2)):
        assert (await machine.send(value, agent_program=["put", "it"])).way is InputWay.AGENT
    assert machine.domain.agent.ran == [
        (["put", "type"], b"secret"),
        (["put", "it", "key", "f1"], b""),
        (["put", "it", "click", "1", "2", "left"], b""),
    ]


async def test_no_way(machine):
    machine.domain.qmp = ConnectFailed("no monitor")
    for agent, program, last in ((Agent(), [], "no program"), (QgaError("no agent"), ["put"], "no agent")):
        machine.domain.agent = agent
        with pytest.raises(NotConnected) as caught:
            await machine.send(KeyPress("a"), agent_program=program)
        first, second = caught.value.__notes__[-2:]
        assert first == "by qmp: no monitor"
        assert last in second
    machine.hosts.domains.clear()
    with pytest.raises(NotConnected) as caught:
        await machine.send(KeyPress("a"))
    assert caught.value.__notes__ == ["by qmp: no vm", "by agent: no vm"]


async def test_what_failed_in_the_middle_is_not_sent_again(machine):
    for failure in (QmpError("too much"), ConnectionLost("gone")):
        machine.domain.qmp = Monitor([None, failure])
        with pytest.raises(type(failure)):
            await machine.send(TypedText("ab"), agent_program=["put"])
    machine.domain.qmp = Monitor([ConnectionLost("whether it was sent is not known")])
    with pytest.raises(ConnectionLost, match="not known"):
        await machine.send(KeyPress("a"), agent_program=["put"])
    machine.domain.qmp = ConnectFailed("no monitor")
    for result, words in ((Completed(3, None, b"", b""), "code 3"), (Completed(None, 9, b"", b""), "signal 9")):
        machine.domain.agent = Agent(result)
        with pytest.raises(TransportError, match=words):
            await machine.send(KeyPress("a"), agent_program=["put"])
    machine.domain.agent = Agent(ConnectionLost("not known either"))
    with pytest.raises(ConnectionLost, match="not known either"):
        await machine.send(KeyPress("a"), agent_program=["put"])


async def test_click_without_positions_goes_another_way():
    async with managing(mouse_modes=[MouseMode.SERVER]) as world:
        machine = world.manager.add_spice_vm(vm_config(world.server))
        await machine.wait_spice()
        with pytest.raises(LocalProtocolError, match="SERVER") as caught:
            await machine.send(MouseClick(1, 2))
        assert "which host" in caught.value.__notes__[0]
        assert (await machine.send(KeyPress("a"))).way is InputWay.SPICE


def test_input_is_checked():
    with pytest.raises(ConfigError):
        KeyPress("no such key")
    with pytest.raises(ConfigError):
        TypedText("中")
    with pytest.raises(ConfigError):
        TypedText("a", layout="none")
    assert "secret" not in repr(TypedText("secret"))


async def test_what_is_no_input(machine):
    async with managing() as world:
        known = world.manager.add_spice_vm(vm_config(world.server))
        await known.wait_spice()
        with pytest.raises(ConfigError, match="no input"):
            await known.send("a")


async def test_settings_reach_the_machines():
    tls = TransportConfig(reconnect=SOON, spice=SpiceConfig())
    async with managing(tls) as world:
        vm = await world.manager.add_spice_vm(vm_config(world.server, tls_verify=False)).wait_spice()
        assert vm.get_channel(ChannelType.DISPLAY).session.limits == tls.spice.limits
