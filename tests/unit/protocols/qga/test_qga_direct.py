"""QGA on the agent's own port, as a stream in memory."""

from __future__ import annotations

import contextlib
import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from atp_trio.errors import AgentUnresponsive, ConfigError, ConnectFailed, ConnectionLost, MalformedMessage, QgaError
from atp_trio.protocols.qga import open_qga


class Port:
    """The other end of the port, with an agent that reads when it is told to."""

    def __init__(self, stream, agent):
        self.stream, self.agent = stream, agent
        self.rest = b""
        self.syncs = 0

    async def next(self):
        """The next command."""
        while b"\n" not in self.rest:
            data = await self.stream.receive_some()
            if not data:
                raise trio.EndOfChannel
            self.rest = (self.rest + data).rpartition(b"\xff")[2]
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    async def answer(self, message):
        if message["execute"] == "guest-sync-delimited":
            self.syncs += 1
            await self.stream.send_all(b'\xff{"return": %d}\n' % message["arguments"]["id"])
        elif (answer := self.agent.answer(message)) is not None:
            await self.stream.send_all(json.dumps(answer).encode() + b"\n")

    async def serve(self):
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                await self.answer(await self.next())


@asynccontextmanager
async def opened(agent, **options):
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_qga(ours, **options) as qga:
        yield qga, Port(theirs, agent)


@asynccontextmanager
async def served(agent, **options):
    ours, theirs = trio.testing.memory_stream_pair()
    port = Port(theirs, agent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.serve)
        async with open_qga(ours, **options) as qga:
            yield qga, port


async def test_executes(autojump_clock, agent):
    async with served(agent) as (qga, port):
        for _ in range(3):
            await qga.ping()
        with pytest.raises(QgaError) as caught:
            await qga.execute("guest-fly")
        assert caught.value.error_class == "CommandNotFound"
        assert port.syncs == 1


async def test_programs_and_files(autojump_clock, agent):
    data = bytes(range(256)) * 10_000

    def end(program):
        agent.write(program, data)
        agent.end(program, exitcode=1)

    agent.on_exec = end
    async with served(agent) as (qga, _):
        assert (await qga.run(["prog"])).stdout == data
        await qga.write_file("/a", data)
        assert await qga.read_file("/a") == data
    assert list(agent.files) == ["/a"]


async def test_what_leaves_is_cleaned_up_before_the_connection_ends(autojump_clock, agent):
    programs = []
    agent.on_exec = programs.append
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Port(theirs, agent).serve)
        with trio.move_on_after(1):
            async with open_qga(ours) as qga, qga.exec(["prog"]):
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    assert programs[0].signals == ["KILL"]
    assert not agent.files


async def test_a_late_answer_is_nobody_elses(autojump_clock, agent):
    agent.values |= {"guest-a": "of a", "guest-b": "of b"}
    async with opened(agent) as (qga, port), trio.open_nursery() as nursery:
        nursery.start_soon(qga.ping)
        await port.answer(await port.next())
        await port.answer(await port.next())
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await qga.execute("guest-a")
        assert scope.cancelled_caught
        late = await port.next()
        assert late["execute"] == "guest-a"
        nursery.start_soon(port.answer, late)
        nursery.start_soon(port.serve)
        assert await qga.execute("guest-b") == "of b"
        assert port.syncs == 2
        nursery.cancel_scope.cancel()


async def test_callers_take_turns(autojump_clock, agent):
    agent.values["guest-a"] = lambda arguments: arguments["x"]
    found = []
    async with served(agent) as (qga, _):

        async def work(number):
            found.append(await qga.execute("guest-a", x=number) == number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(work, number)
    assert found == [True] * 50


async def test_nobody_there_and_then_somebody(autojump_clock, agent):
    async with opened(agent) as (qga, port):
        begun = trio.current_time()
        with pytest.raises(AgentUnresponsive, match="within 5 s"):
            await qga.ping()
        assert trio.current_time() - begun == pytest.approx(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(qga.wait_agent)
            await trio.sleep(12)
            nursery.start_soon(port.serve)
            await trio.sleep(6)
            await qga.ping()
            nursery.cancel_scope.cancel()


async def test_an_answer_that_is_too_long(autojump_clock, agent):
    agent.values |= {"guest-a": "x" * 2000, "guest-b": "x"}
    async with served(agent, max_reply=1000) as (qga, _):
        with pytest.raises(MalformedMessage, match="more than 1000 bytes"):
            await qga.execute("guest-a")
        assert await qga.execute("guest-b") == "x"


async def test_qemu_ends(autojump_clock, agent):
    async with opened(agent) as (qga, port):
        async with trio.open_nursery() as nursery:

            async def ping():
                with pytest.raises(ConnectionLost, match="in the middle") as caught:
                    await qga.ping()
                assert "closed the connection" in str(caught.value.__cause__)

            nursery.start_soon(ping)
            await port.next()
            await port.stream.aclose()
        with pytest.raises(ConnectionLost, match="has ended"):
            await qga.ping()


@pytest.mark.parametrize("address", ["nothing", "tcp:localhost:1", "unix:"])
async def test_an_address_that_is_none(autojump_clock, address):
    with pytest.raises(ConfigError, match="unix:PATH"):
        async with open_qga(address):
            pytest.fail("it was opened")


async def test_nobody_listens(autojump_clock, tmp_path):
    for address in (tmp_path / "nothing", f"unix:{tmp_path / 'nothing'}"):
        with pytest.raises(ConnectFailed):
            async with open_qga(address):
                pytest.fail("it was opened")
