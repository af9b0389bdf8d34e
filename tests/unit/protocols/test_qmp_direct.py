"""A monitor's own connection, over streams in memory and sockets."""

from __future__ import annotations

import contextlib
import gc
import json

import pytest
import trio
import trio.testing

from atp_trio.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    LocalProtocolError,
    MalformedMessage,
    QmpError,
    RemoteProtocolError,
    UnexpectedMessage,
)
from atp_trio.protocols.qmp import QmpProtocol, open_qmp
from atp_trio.protocols.qmp.core import WINDOW


async def open_and_leave(target, **options):
    async with open_qmp(target, **options):
        pytest.fail("it opened")


async def test_greets_and_executes(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:
        assert qmp.greeting.version == (7, 2, 22)
        nursery.start_soon(monitor.serve)
        assert await qmp.execute("query-status") == {"execute": "query-status"}
        arguments = {"self": 1, "command": 2, "oob": 3}
        assert await qmp.execute("x", **arguments) == {"execute": "x", "arguments": arguments}
        assert await qmp.execute_oob("yank") == {"exec-oob": "yank"}
        nursery.cancel_scope.cancel()


async def test_a_refused_command_raises_qemus_words(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:

        async def refuse():
            command = await monitor.receive()
            await monitor.send({"error": {"class": "CommandNotFound", "desc": "what?"}, "id": command["id"]})

        nursery.start_soon(refuse)
        with pytest.raises(QmpError, match=r"^fly: what\?$") as caught:
            await qmp.execute("fly", secret="hunter2")
        assert (caught.value.error_class, caught.value.description) == ("CommandNotFound", "what?")


async def test_the_human_monitor(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:

        async def answer():
            command = await monitor.answer("VM status: running\r\n")
            assert command["execute"] == "human-monitor-command"
            assert command["arguments"] == {"command-line": "info status"}
            await monitor.answer({})

        nursery.start_soon(answer)
        assert await qmp.human("info status") == "VM status: running\r\n"
        with pytest.raises(MalformedMessage, match="no text"):
            await qmp.human("info status")


async def test_many_tasks_get_their_own_answers(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as serving:
        serving.start_soon(monitor.serve)
        answers = {}

        async def work(number):
            for turn in range(10):
                answers[number, turn] = await qmp.execute("x", n=number, turn=turn)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(work, number)
        assert len(answers) == 500
        assert all(answer["arguments"] == {"n": n, "turn": turn} for (n, turn), answer in answers.items())
        serving.cancel_scope.cancel()


async def test_answers_out_of_order_in_one_read_reach_their_tasks(connected):
    async with connected() as (qmp, monitor):
        answers = {}

        async def work(name):
            answers[name] = await qmp.execute(name)

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(work, name)
            commands = [await monitor.receive() for _ in "abc"]
            replies = [{"return": command["execute"].upper(), "id": command["id"]} for command in reversed(commands)]
            await monitor.send(*replies[:2], {"event": "STOP"}, replies[2])
        assert answers == {"a": "A", "b": "B", "c": "C"}


async def test_no_more_than_qemu_queues_are_on_the_wire(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:
        for _ in range(WINDOW + 5):
            nursery.start_soon(qmp.execute, "x")
        await trio.testing.wait_all_tasks_blocked()
        assert await monitor.waiting() == WINDOW
        nursery.start_soon(qmp.execute_oob, "yank")
        await trio.testing.wait_all_tasks_blocked()
        assert await monitor.waiting() == WINDOW + 1
        nursery.cancel_scope.cancel()


async def test_a_cancelled_commands_answer_is_dropped(connected, autojump_clock):
    async with connected() as (qmp, monitor):
        with trio.move_on_after(1) as scope:
            await qmp.execute("slow")
        assert scope.cancelled_caught
        slow = await monitor.receive()
        async with trio.open_nursery() as nursery:

            async def answer():
                fast = await monitor.receive()
                assert fast["execute"] == "fast"
                await monitor.send({"return": "late", "id": slow["id"]}, {"return": "mine", "id": fast["id"]})

            nursery.start_soon(answer)
            assert await qmp.execute("fast") == "mine"


async def test_a_command_cancelled_before_it_was_sent_never_is(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:
        for _ in range(WINDOW):
            nursery.start_soon(qmp.execute, "x")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as unlucky:
            unlucky.start_soon(qmp.execute, "destroy")
            await trio.testing.wait_all_tasks_blocked()
            unlucky.cancel_scope.cancel()
        with trio.CancelScope() as scope:
            scope.cancel()
            await qmp.execute("destroy")
        assert scope.cancelled_caught
        nursery.start_soon(qmp.execute, "last")
        commands = [await monitor.answer({}) for _ in range(WINDOW + 1)]
        assert [command["execute"] for command in commands] == ["x"] * WINDOW + ["last"]


async def test_a_cancelled_command_is_never_cut_in_two(nursery, monitor_pair):
    ours, theirs = trio.testing.lockstep_stream_pair()
    _, monitor = monitor_pair()
    monitor.stream = theirs
    nursery.start_soon(monitor.greet)
    async with open_qmp(ours) as qmp:
        async with trio.open_nursery() as unlucky:
            unlucky.start_soon(lambda: qmp.execute("long", text="x" * 100_000))
            await trio.testing.wait_all_tasks_blocked()
            await theirs.receive_some(10)  # the stream hands over all or nothing more than asked for
            unlucky.cancel_scope.cancel()
        rest = bytearray()
        async with trio.open_nursery() as both:

            async def read():
                while rest.count(b"\n") < 2:
                    rest.extend(await theirs.receive_some())
                lines = [line for line in rest.split(b"\n") if line]
                number = json.loads(lines[-1])["id"]
                assert lines[0].endswith(b'x"}}')
                await theirs.send_all(json.dumps({"return": 7, "id": number}).encode() + b"\n")

            both.start_soon(read)
            assert await qmp.execute("next") == 7


async def test_events_are_filtered_and_kept_apart(connected):
    async with connected() as (qmp, monitor):
        async with qmp.events("STOP") as stops, qmp.events(pattern="R.*", capacity=2) as others:
            await monitor.send(*({"event": name} for name in ("STOP", "RESET", "STOP", "RESUME", "RTC_CHANGE")))
            assert [(await stops.receive()).name for _ in range(2)] == ["STOP", "STOP"]
            assert (await others.receive()).count == 1
            assert [(await others.receive()).name for _ in range(2)] == ["RESUME", "RTC_CHANGE"]
        with pytest.raises(trio.ClosedResourceError):
            await stops.receive()
        with pytest.raises(ConfigError):
            qmp.events(pattern="(")


async def test_the_end_of_qemu_is_met_by_everybody(connected):
    async with connected() as (qmp, monitor), qmp.events() as events:
        raised = []

        async def execute(command):
            with pytest.raises(ConnectionLost, match=f"whether '{command}' was executed is not known") as caught:
                await qmp.execute(command)
            assert isinstance(caught.value.__cause__, ConnectionLost)
            raised.append(command)

        async with trio.open_nursery() as nursery:
            for command in "abcdefghijkl":
                nursery.start_soon(execute, command)
            await trio.testing.wait_all_tasks_blocked()
            await monitor.send({"event": "SHUTDOWN"})
            await monitor.stream.aclose()
        assert sorted(raised) == list("abcdefghijkl")
        assert (await events.receive()).name == "SHUTDOWN"
        with pytest.raises(ConnectionLost) as caught:
            await events.receive()
        assert "QEMU closed" in str(caught.value.__cause__)
        with pytest.raises(ConnectionLost, match="has ended"):
            await qmp.execute("x")
        with pytest.raises(ConnectionLost):
            await qmp.execute_oob("x")
        listening = qmp.events()
        with pytest.raises(ConnectionLost):
            await listening.__aenter__()


@pytest.mark.parametrize("line", [b"garbage\n", b"\xff\n", b'{"return": 1, "id": 77}\n', b"x" * 2000, b'{"error": 1}\n'])
async def test_garbage_ends_the_connection_with_its_cause(connected, line):
    async with connected(max_reply=1000) as (qmp, monitor), trio.open_nursery() as nursery:

        async def answer():
            await monitor.receive()
            await monitor.stream.send_all(line)

        nursery.start_soon(answer)
        with pytest.raises(ConnectionLost) as caught:
            await qmp.execute("x")
        assert isinstance(caught.value.__cause__, RemoteProtocolError)


async def test_who_closes_before_greeting_is_no_monitor(monitor_pair):
    ours, monitor = monitor_pair()
    await monitor.stream.aclose()
    with pytest.raises(ConnectionLost, match="QEMU closed"):
        await open_and_leave(ours)


async def test_who_says_something_else_is_no_monitor(monitor_pair):
    ours, monitor = monitor_pair()
    await monitor.stream.send_all(b'{"return": {}}\n')
    with pytest.raises(UnexpectedMessage, match="does not speak QMP"):
        await open_and_leave(ours)


async def test_a_monitor_in_use_is_waited_for_as_long_as_the_caller_likes(monitor_pair, autojump_clock):
    ours, monitor = monitor_pair()
    with trio.move_on_after(60) as scope:
        await open_and_leave(ours)
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await monitor.stream.send_all(b"x")


async def test_disconnecting_releases_everybody(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:
        ended = []

        async def execute():
            with pytest.raises(ConnectionLost):
                await qmp.execute("x")
            ended.append("execute")

        async def listen():
            async with qmp.events() as events:
                assert [event.name async for event in events] == ["STOP"]
            ended.append("listen")

        nursery.start_soon(execute)
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        await monitor.send({"event": "STOP"})
        await trio.testing.wait_all_tasks_blocked()
        await qmp.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(ended) == ["execute", "listen"]
        with pytest.raises(LocalProtocolError, match="not connected"):
            await qmp.execute("x")
        with pytest.raises(LocalProtocolError):
            _ = qmp.greeting


async def test_connects_again_to_another(connected, monitor_pair, nursery):
    async with connected() as (qmp, _):
        await qmp.disconnect()
        ours, monitor = monitor_pair()
        nursery.start_soon(monitor.greet, {"QMP": {"version": {"qemu": {"major": 9, "minor": 0, "micro": 0}}}})
        await qmp.connect(ours)
        assert qmp.greeting.version == (9, 0, 0)
        with pytest.raises(LocalProtocolError, match="out of band"):
            await qmp.execute_oob("yank")


async def test_an_exception_of_the_blocks_own_is_no_group(connected):
    async def use():
        async with connected() as (qmp, _), qmp.events():
            raise KeyError("mine")

    with pytest.RaisesGroup(KeyError):  # the fixture's own nursery
        await use()

    async def listen(qmp):
        async with qmp.events():
            raise KeyError("mine")

    async with connected() as (qmp, _):
        with pytest.raises(KeyError):
            await listen(qmp)


async def test_cancelling_at_every_step_leaves_it_usable(connected):
    async with connected() as (qmp, monitor), trio.open_nursery() as nursery:
        nursery.start_soon(monitor.serve)
        for steps in range(12):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as racing:
                    racing.start_soon(cancel_after, steps, scope)
                    await qmp.execute("x", n=steps)
                    racing.cancel_scope.cancel()
            answer = await qmp.execute("y", n=steps)
            assert answer == {"execute": "y", "arguments": {"n": steps}}
        nursery.cancel_scope.cancel()


async def cancel_after(steps, scope):
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.parametrize(
    "address", ["", "unix:", "unix", "tcp:", "tcp:host", "tcp::4444", "tcp:host:x", "tcp:h:99999999", "/path"]
)
async def test_an_address_that_cannot_be_meant(address):
    with pytest.raises(ConfigError, match=r"unix:PATH or tcp:HOST:PORT"):
        await open_and_leave(address)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
async def test_a_port_that_cannot_be(port):
    with pytest.raises(ConfigError, match="a port is"):
        await open_and_leave(f"tcp:127.0.0.1:{port}")


async def test_a_limit_that_cannot_be():
    with pytest.raises(ConfigError, match="at least one byte"):
        QmpProtocol(max_reply=0)


async def test_nobody_listens(tmp_path):
    with pytest.raises(ConnectFailed):
        await open_and_leave(f"unix:{tmp_path / 'nothing'}")
    with pytest.raises(ConnectFailed):
        await open_and_leave(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["unix", "path", "tcp", "tcp6"])
async def test_reaches_sockets(nursery, monitor_pair, tmp_path, kind):
    async def serve(stream):
        _, monitor = monitor_pair()
        monitor.stream = stream
        async with stream:
            await monitor.greet()
            await monitor.answer(kind)
            assert not await stream.receive_some()

    if kind in {"unix", "path"}:
        path = tmp_path / "qmp.sock"
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(path))
        sock.listen()
        listeners = [trio.SocketListener(sock)]
        target = path if kind == "path" else f"unix:{path}"
    else:
        host = "127.0.0.1" if kind == "tcp" else "::1"
        listeners = await trio.open_tcp_listeners(0, host=host)
        port = listeners[0].socket.getsockname()[1]
        target = f"tcp:{host}:{port}" if kind == "tcp" else f"tcp:[::1]:{port}"
    nursery.start_soon(trio.serve_listeners, serve, listeners)
    async with open_qmp(target) as qmp:
        assert await qmp.execute("x") == kind
    gc.collect()  # nothing is left open: ResourceWarning is an error
    nursery.cancel_scope.cancel()


async def test_cancelling_connect_at_every_step_leaves_nothing_open(monitor_pair):
    finished = []

    async def greet(monitor):
        with contextlib.suppress(AssertionError, trio.BrokenResourceError):  # the client has gone
            await monitor.greet()

    for steps in range(40):
        ours, monitor = monitor_pair()
        async with trio.open_nursery() as nursery, QmpProtocol() as qmp:
            nursery.start_soon(greet, monitor)
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_after, steps, scope)
                await trio.lowlevel.checkpoint()
                await qmp.connect(ours)
            finished.append(not scope.cancelled_caught)
            assert qmp.is_connected == finished[-1]
            nursery.cancel_scope.cancel()
        if steps > 1:  # before, it had not begun
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await ours.send_all(b"x")
        await ours.aclose()
    assert not finished[0]
    assert finished[-1]


async def test_cancelling_a_listener_at_every_step(connected):
    async with connected() as (qmp, monitor):
        for steps in range(8):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery, qmp.events() as events:
                    nursery.start_soon(cancel_after, steps, scope)
                    await events.receive()
            assert scope.cancelled_caught
        async with qmp.events() as events:
            await monitor.send({"event": "STOP"})
            assert (await events.receive()).name == "STOP"
