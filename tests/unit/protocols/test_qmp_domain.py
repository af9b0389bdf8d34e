"""QMP through libvirt, on a domain that answers what it is told to."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
import trio.testing

from atp_trio.errors import ConnectionLost, HypervisorError, LocalProtocolError, MalformedMessage, QmpError
from atp_trio.hypervisor.event import DomainReboot, EventsMissed, QemuMonitorEvent
from atp_trio.hypervisor.events import EventHub
from atp_trio.protocols.qmp import QmpCommand, QmpEvent, open_qmp

UUID = "8d1c2d0e-0000-4000-8000-000000000001"


class Host:
    """A host whose libvirt has events, and nothing else."""

    def __init__(self):
        self.hub = EventHub()
        self.hub._wanted = {QemuMonitorEvent: None}
        self.hub._registered = {QemuMonitorEvent}
        self.receivers = 0

    def events(self, *types, domain, depth=256):
        assert types == (QemuMonitorEvent,)
        return self.hub.receive(frozenset(types), domain.uuid, depth)

    def happens(self, name, uuid=UUID, data=None, seconds=17):
        self.hub._tell(QemuMonitorEvent(name="vm", uuid=uuid, event=name, seconds=seconds, microseconds=500000, data=data))


@attrs.define(eq=False)
class Domain:
    """A domain whose QEMU gives these answers, as text, one after the other."""

    answers: list
    host: Host = attrs.field(factory=Host)
    uuid: str = UUID
    commands: list = attrs.field(factory=list)

    async def monitor(self, command, *, human=False):
        assert not human
        await trio.lowlevel.checkpoint()
        self.commands.append(json.loads(command))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_executes():
    domain = Domain(['{"return": {"running": true}, "id": "libvirt-17"}', '{"return": "running\\r\\n", "id": "libvirt-18"}'])
    async with open_qmp(domain) as qmp:
        assert qmp.greeting is None
        assert await qmp.execute("query-status") == {"running": True}
        assert await qmp.human("info status") == "running\r\n"
    assert domain.commands == [
        {"execute": "query-status"},
        {"execute": "human-monitor-command", "arguments": {"command-line": "info status"}},
    ]


async def test_qemus_error_is_the_same_as_on_a_socket():
    domain = Domain(['{"id": "libvirt-17", "error": {"class": "DeviceNotFound", "desc": "none"}}'])
    async with open_qmp(domain) as qmp:
        with pytest.raises(QmpError, match=r"^device_del: none$") as caught:
            await qmp.execute("device_del", id="x")
    assert caught.value.error_class == "DeviceNotFound"


@pytest.mark.parametrize("error", [HypervisorError("the domain is not running", code=55), ConnectionLost("gone")])
async def test_libvirts_errors_pass(error):
    async with open_qmp(Domain([error])) as qmp:
        with pytest.raises(type(error)) as caught:
            await qmp.execute("query-status")
    assert caught.value is error


@pytest.mark.parametrize("answer", ["", "garbage", "[]", "{}", '{"error": 1}', '{"return": "' + "x" * 1000 + '"}'])
async def test_an_answer_that_is_none(answer):
    async with open_qmp(Domain([answer]), max_reply=1000) as qmp:
        with pytest.raises(MalformedMessage):
            await qmp.execute("query-status")


async def test_libvirt_passes_nothing_on_out_of_band():
    domain = Domain([])
    async with open_qmp(domain) as qmp:
        with pytest.raises(LocalProtocolError, match="out of band"):
            await qmp.execute_oob("yank")
    assert not domain.commands


async def test_events_of_this_domain_that_are_wanted():
    domain = Domain([])
    async with open_qmp(domain) as qmp, qmp.events("STOP", capacity=2) as events:
        for _ in range(300):
            domain.host.happens("RTC_CHANGE")
            await trio.testing.wait_all_tasks_blocked()
        domain.host.happens("STOP", uuid="another")
        domain.host.hub._tell(DomainReboot(name="vm", uuid=UUID))
        domain.host.happens("STOP", data={"a": 1})
        domain.host.happens("STOP", seconds=-1)
        assert await events.receive() == QmpEvent("STOP", {"a": 1}, 17.5)
        assert await events.receive() == QmpEvent("STOP", {}, None)
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()


async def test_a_reconnect_is_told():
    domain = Domain([])
    async with open_qmp(domain) as qmp, qmp.events("STOP") as events:
        domain.host.happens("STOP")
        domain.host.hub._tell(EventsMissed(count=None))
        domain.host.happens("STOP")
        found = [await events.receive() for _ in range(3)]
        assert found[1] == EventsMissed(count=None)
        assert found[0].name == found[2].name == "STOP"


async def test_a_host_that_was_left_ends_the_events():
    domain = Domain([])
    async with open_qmp(domain) as qmp, qmp.events() as events:
        domain.host.happens("STOP")
        domain.host.hub.end(ConnectionLost("the host was left"))
        assert (await events.receive()).name == "STOP"
        with pytest.raises(ConnectionLost) as caught:
            await events.receive()
        assert "the host was left" in str(caught.value.__cause__)


async def test_a_host_without_events_says_so_on_entering():
    domain = Domain([])
    domain.host.hub._registered.clear()
    async with open_qmp(domain) as qmp:
        listening = qmp.events()
        with pytest.raises(ConnectionLost, match="not connected"):
            await listening.__aenter__()


async def test_an_exception_in_the_listeners_block_is_no_group():
    async def use():
        async with open_qmp(Domain([])) as qmp, qmp.events():
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await use()


async def test_leaving_ends_listeners(nursery):
    ended = []
    async with open_qmp(Domain([])) as qmp:

        async def listen():
            async with qmp.events() as events:
                assert [event async for event in events] == []
            ended.append(True)

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    assert ended


async def test_send_and_receive():
    domain = Domain(['{"return": 1, "id": "libvirt-1"}', HypervisorError("no")])
    async with open_qmp(domain) as qmp:
        await qmp.send(QmpCommand("a"))
        assert (await qmp.receive()).value == 1
        await qmp.send(QmpCommand("b"))
        assert str((await qmp.receive()).error) == "no"
        domain.host.happens("STOP")
        assert (await qmp.receive()).name == "STOP"
