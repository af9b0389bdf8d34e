"""Files of a guest."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectionLost, MalformedMessage, QgaError, RemoteProtocolError
from atp_trio.protocols.qga import Progress
from atp_trio.protocols.qga.domain import DomainAgent
from atp_trio.protocols.qga.file import READ_SIZE

from .fake_agent import Refused

DATA = bytes(range(256)) * 3000  # several pieces


async def test_whole_files(autojump_clock, qga, agent):
    await qga.write_file("/a", DATA)
    assert agent.files["/a"] == DATA
    assert agent.count("guest-file-write") == -(-len(DATA) // DomainAgent.max_data)
    assert await qga.read_file("/a") == DATA
    await qga.write_file("/a", memoryview(b""))
    assert await qga.read_file("/a") == b""
    assert not agent.handles


async def test_an_agent_that_writes_less_than_it_is_given(autojump_clock, qga, agent):
    agent.max_write = 1000
    await qga.write_file("/a", DATA[:4500])
    assert agent.files["/a"] == DATA[:4500]


@pytest.mark.parametrize("count", [0, -1, 6, True, None])
async def test_an_agent_that_writes_nothing_or_more(autojump_clock, qga, agent, count):
    agent.values["guest-file-write"] = {"count": count}
    with pytest.raises(RemoteProtocolError):
        await qga.write_file("/a", b"12345")


@pytest.mark.parametrize(
    "answer",
    [
        {"count": 3, "buf-b64": "!!!!", "eof": True},
        {"count": 3, "buf-b64": "YWJ", "eof": True},
        {"count": 3, "buf-b64": "YWJ\nj", "eof": True},
        {"count": 3, "buf-b64": "äöü", "eof": True},
        {"count": 2, "buf-b64": "YWJj", "eof": True},
        {"count": 3, "buf-b64": "YWJj", "eof": 1},
        {"count": 3, "buf-b64": 7, "eof": True},
        {"count": 3},
        {},
        [],
    ],
)
async def test_an_agent_that_reads_what_cannot_be(autojump_clock, qga, agent, answer):
    agent.files["/a"] = bytearray(b"abc")
    agent.values["guest-file-read"] = answer
    with pytest.raises(MalformedMessage):
        await qga.read_file("/a")
    await trio.testing.wait_all_tasks_blocked()
    assert not agent.handles


async def test_more_than_was_asked_for(autojump_clock, qga, agent):
    agent.files["/a"] = bytearray(b"abc")
    async with qga.open_file("/a") as file:
        agent.values["guest-file-read"] = {"count": 3, "buf-b64": "YWJj", "eof": True}
        with pytest.raises(MalformedMessage):
            await file.read(2)
        with pytest.raises(ConfigError):
            await file.read(0)


async def test_a_file_that_is_too_long(autojump_clock, qga, agent):
    agent.files["/a"] = bytearray(2 * READ_SIZE)
    with pytest.raises(MalformedMessage, match="more than 1000 bytes"):
        await qga.read_file("/a", max_size=1000)
    assert len(await qga.read_file("/a", max_size=2 * READ_SIZE)) == 2 * READ_SIZE


async def test_a_file_that_is_not_there(autojump_clock, qga):
    with pytest.raises(QgaError, match="No such file"):
        await qga.read_file("/nothing")


async def test_what_cannot_be_written_is_told_on_closing(autojump_clock, qga, agent):
    agent.values["guest-file-close"] = Refused("No space left on device")
    with pytest.raises(QgaError, match="No space left"):
        await qga.write_file("/a", b"1")


async def test_positions(autojump_clock, qga, agent):
    async with qga.open_file("/a", "w+") as file:
        await file.write(b"0123456789")
        assert await file.size() == 10
        await file.seek(3)
        assert await file.read(4) == (b"3456", False)
        assert file.position == 7
        await file.flush()
        assert await file.read() == (b"789", True)
    assert agent.count("guest-file-seek") == 3


async def test_a_cancelled_read_loses_nothing(autojump_clock, qga, agent, domain):
    agent.files["/a"] = bytearray(b"0123456789")
    async with qga.open_file("/a") as file:
        assert await file.read(3) == (b"012", False)
        domain.gate = trio.Event()
        with trio.move_on_after(1):
            await file.read(3)
        domain.gate.set()
        assert await file.read(3) == (b"345", False)


async def test_a_cancelled_write_can_be_repeated(autojump_clock, qga, agent, domain):
    async with qga.open_file("/a", "w") as file:
        await file.write(b"012")
        domain.gate = trio.Event()
        with trio.move_on_after(1):
            await file.write(b"xxx")
        domain.gate.set()
        await file.write(b"345")
    assert agent.files["/a"] == b"012345"


async def test_a_cancelled_open_closes(autojump_clock, qga, agent, domain):
    agent.files["/a"] = bytearray()
    domain.gate = trio.Event()
    with trio.move_on_after(1) as scope:
        async with qga.open_file("/a"):
            pytest.fail("it was not opened in time")
    assert scope.cancelled_caught
    domain.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert agent.count("guest-file-open") == agent.count("guest-file-close") == 1


async def test_leaving_by_an_error_closes(autojump_clock, qga, agent):
    async def use():
        async with qga.open_file("/a", "w"):
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await use()
    await trio.testing.wait_all_tasks_blocked()
    assert not agent.handles


async def test_copies(autojump_clock, qga, agent, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    target.write_bytes(b"old")
    send, receive = trio.open_memory_channel[Progress](100)
    await qga.put(source, "/a", progress=send)
    await qga.get("/a", str(target), progress=send)
    send.close()
    told = [one async for one in receive]
    assert target.read_bytes() == agent.files["/a"] == DATA
    assert {one.total for one in told} == {len(DATA)}
    done = [one.done for one in told]
    ends = [place for place, one in enumerate(done) if one == len(DATA)]
    assert len(ends) == 2
    for part in (done[: ends[0] + 1], done[ends[0] + 1 :]):
        assert part == sorted(part)
    assert [one.name for one in tmp_path.iterdir()] == ["source", "target"] or len(list(tmp_path.iterdir())) == 2


async def test_progress_that_nobody_looks_at(autojump_clock, qga, agent, tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    send, receive = trio.open_memory_channel[Progress](1)
    await qga.put(tmp_path / "a", "/a", progress=send)
    assert receive.receive_nowait().done == DomainAgent.max_data
    receive.close()
    await qga.put(tmp_path / "a", "/a", progress=send)
    agent.files["/empty"] = bytearray()
    await qga.get("/empty", tmp_path / "b", progress=send)
    assert (tmp_path / "b").read_bytes() == b""


async def test_a_copy_that_fails_leaves_what_was_there(autojump_clock, qga, agent, domain, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    agent.files["/a"] = bytearray(2 * READ_SIZE)
    whole = agent.file_read

    def read_once(arguments):
        domain.failure = ConnectionLost("gone") if agent.count("guest-file-read") == 1 else None
        return whole(arguments["handle"], arguments["count"])

    agent.values["guest-file-read"] = read_once
    with pytest.raises(ConnectionLost):
        await qga.get("/a", target)
    domain.failure = None
    domain.gate = trio.Event()
    with trio.move_on_after(1) as scope:
        await qga.get("/a", target)
    assert scope.cancelled_caught
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


async def test_local_files_that_cannot_be(autojump_clock, qga, tmp_path, agent):
    with pytest.raises(FileNotFoundError):
        await qga.put(tmp_path / "nothing", "/a")
    assert "/a" not in agent.files
    agent.files["/a"] = bytearray(b"1")
    with pytest.raises(FileNotFoundError):
        await qga.get("/a", tmp_path / "nothing" / "b")
    await qga.get("/a", "/dev/null")
    with pytest.raises(IsADirectoryError):
        await qga.get("/a", tmp_path)


@pytest.mark.parametrize("handle", [None, "1", True])
async def test_a_handle_that_is_none(autojump_clock, qga, agent, handle):
    agent.values["guest-file-open"] = handle
    with pytest.raises(MalformedMessage):
        await qga.read_file("/a")
