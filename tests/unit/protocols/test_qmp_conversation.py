"""`send` and `receive`, as all protocols have them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectionLost, LocalProtocolError, QmpError
from atp_trio.protocols.qmp import QmpCommand, QmpEvent, QmpProtocol, QmpReply
from atp_trio.protocols.qmp.conversation import MAX_OUTSTANDING


async def test_answers_and_events_come_to_receive(connected):
    async with connected() as (qmp, monitor):
        stop, fly = QmpCommand("stop"), QmpCommand("fly", {"to": "moon"})
        await qmp.send(stop)
        await qmp.send(fly)
        first, second = await monitor.receive(), await monitor.receive()
        assert (first["execute"], second["execute"], second["arguments"]) == ("stop", "fly", {"to": "moon"})
        await monitor.send({"event": "STOP"}, {"return": {}, "id": first["id"]})
        await monitor.send({"error": {"class": "CommandNotFound", "desc": "what?"}, "id": second["id"]})
        await trio.testing.wait_all_tasks_blocked()
        assert await qmp.receive() == QmpReply(stop, {})
        failed = await qmp.receive()
        assert failed.command is fly
        assert isinstance(failed.error, QmpError)
        assert await qmp.receive() == QmpEvent("STOP")


async def test_commands_go_in_the_order_of_the_calls(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:

        async def send():
            for number in range(50):
                await qmp.send(QmpCommand(str(number), oob=number % 3 == 0))

        nursery.start_soon(send)
        commands = [await monitor.answer({}) for _ in range(50)]
        names = [command.get("execute") for command in commands]
        assert [name for name in names if name] == [str(number) for number in range(50) if number % 3]


async def test_answers_come_in_the_order_of_their_commands_but_out_of_band(connected):
    async with connected() as (qmp, monitor):
        names = [str(number) for number in range(8)]
        for name in names:
            await qmp.send(QmpCommand(name))
        await qmp.send(QmpCommand("yank", oob=True))
        commands = [await monitor.receive() for _ in range(9)]
        await monitor.send({"return": 0, "id": commands[8]["id"]})
        assert (await qmp.receive()).command.name == "yank"
        await monitor.send(*({"return": 0, "id": command["id"]} for command in commands[:8]))
        assert [(await qmp.receive()).command.name for _ in names] == names


async def test_receive_waits(connected, nursery):
    async with connected() as (qmp, monitor):
        found = []

        async def receive():
            found.append(await qmp.receive())
            found.append(await qmp.receive())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await qmp.receive()
        await monitor.send({"event": "STOP"})
        await trio.testing.wait_all_tasks_blocked()
        assert found == [QmpEvent("STOP")]
        await qmp.send(QmpCommand("x"))
        await monitor.answer(7)
        await trio.testing.wait_all_tasks_blocked()
        assert found[1].value == 7


async def test_what_cannot_be_said_is_the_senders_mistake(connected):
    async with connected() as (qmp, monitor):
        with pytest.raises(ConfigError):
            await qmp.send(QmpCommand("x", {"a": object()}))
        await qmp.send(QmpCommand("y"))
        assert (await monitor.receive())["execute"] == "y"


async def test_nobody_receives_and_send_waits(connected, autojump_clock):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:
        nursery.start_soon(monitor.serve)
        sent = []

        async def send():
            for number in range(MAX_OUTSTANDING + 1):
                await qmp.send(QmpCommand("x"))
                sent.append(number)

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == MAX_OUTSTANDING
        assert (await qmp.receive()).error is None
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == MAX_OUTSTANDING + 1
        with trio.move_on_after(1) as scope:
            await qmp.send(QmpCommand("y"))
        assert scope.cancelled_caught
        found = [await qmp.receive() for _ in range(MAX_OUTSTANDING)]
        assert all(one.command.name == "x" for one in found)
        nursery.cancel_scope.cancel()


async def test_the_end_answers_everything_then_raises(connected):
    async with connected() as (qmp, monitor):
        await qmp.send(QmpCommand("quit"))
        await monitor.receive()
        await monitor.send({"event": "SHUTDOWN"})
        await monitor.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance((await qmp.receive()).error, ConnectionLost)
        assert await qmp.receive() == QmpEvent("SHUTDOWN")
        with pytest.raises(ConnectionLost):
            await qmp.receive()


async def test_disconnecting_releases_who_sends_and_receives(connected, nursery):
    async with connected() as (qmp, _):
        ended = []

        async def send():
            for _ in range(MAX_OUTSTANDING):
                await qmp.send(QmpCommand("x"))
            with pytest.raises(trio.ClosedResourceError):
                await qmp.send(QmpCommand("y"))
            ended.append("send")

        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await qmp.receive()
            ended.append("receive")

        nursery.start_soon(receive)
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await qmp.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(ended) == ["receive", "send"]


async def test_before_connect_there_is_nobody_to_talk_to():
    async with QmpProtocol() as qmp:
        with pytest.raises(LocalProtocolError):
            await qmp.send(QmpCommand("x"))
        with pytest.raises(LocalProtocolError):
            await qmp.receive()
