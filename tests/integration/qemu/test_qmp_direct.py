"""QMP on a monitor's own socket, with a real QEMU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import trio

from atp_trio.errors import ConfigError, ConnectionLost, LocalProtocolError, QmpError
from atp_trio.protocols.qmp import QmpCommand, open_qmp

WITHIN = 30  # seconds; a busy host
MIB = 1 << 20


def machine_options(path):
    return {"display": "", "memory_mib": 64, "extra": ("-qmp", f"unix:{path},server=on,wait=off")}


@pytest.fixture(scope="module")
def address(qemu, tmp_path_factory):
    """A monitor's address; its machine serves all tests here that leave it as it is."""
    path = tmp_path_factory.mktemp("qmp") / "qmp.sock"
    with qemu(**machine_options(path)):
        yield f"unix:{path}"


@pytest.fixture
def mortal(qemu, tmp_path):
    """A machine for one test, and its monitor's address."""
    path = tmp_path / "qmp.sock"
    with qemu(**machine_options(path)) as machine:
        yield machine, f"unix:{path}"


async def test_executes_and_is_refused(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp:
            assert qmp.greeting.version >= (5, 0, 0)
            assert "oob" in qmp.greeting.capabilities
            assert (await qmp.execute("query-status"))["status"] == "running"
            assert "VM status: running" in await qmp.human("info status")
            with pytest.raises(QmpError) as caught:
                await qmp.execute("no-such-command")
            assert caught.value.error_class == "CommandNotFound"
            with pytest.raises(QmpError, match="nothing"):
                await qmp.execute("device_del", id="nothing")


async def test_events_of_stop_and_cont(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp, qmp.events("STOP", pattern="RES.*") as events, qmp.events("SHUTDOWN") as none:
            await qmp.execute("stop")
            await qmp.execute("cont")
            stop, resume = await events.receive(), await events.receive()
            assert (stop.name, resume.name) == ("STOP", "RESUME")
            assert 0 <= resume.timestamp - stop.timestamp < WITHIN
            with pytest.raises(trio.WouldBlock):
                none.receive_nowait()


async def test_many_at_once_and_out_of_band_meanwhile(address):
    answers = []

    async def work(number):
        for _ in range(10):
            with pytest.raises(QmpError) as caught:
                await qmp.execute("device_del", id=f"dev{number}")
            answers.append(f"'dev{number}'" in caught.value.description)

    async def overtake():
        for _ in range(10):
            await qmp.execute_oob("yank", instances=[])

    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp, trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(work, number)
            nursery.start_soon(overtake)
    assert len(answers) == 300
    assert all(answers)


async def test_an_answer_of_many_mebibytes(address):
    with trio.fail_after(2 * WITHIN):
        async with open_qmp(address) as qmp:
            dump = await qmp.human("xp /700000xb 0")
            assert len(dump) > 4 * MIB
            assert dump.count("0x") == 700_000
            assert (await qmp.execute("query-status"))["running"]


async def test_an_answer_over_the_limit_ends_the_connection(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address, max_reply=MIB) as qmp:
            with pytest.raises(ConnectionLost) as caught:
                await qmp.human("xp /300000xb 0")
            assert "more than 1048576 bytes" in str(caught.value.__cause__)
        async with open_qmp(address) as qmp:
            assert (await qmp.execute("query-status"))["running"]


@pytest.mark.parametrize("text", ["ä€😀", "\0\x01\x7f\x80", "\U0010fffd\ufdf0\ufdcf\ufffd", '"\\\n', "%p %(x)s", "x" * 200_000])
async def test_any_text_reaches_qemu(address, text):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp:
            created = {"qom-type": "secret", "id": "text", "format": "raw", "data": text}
            await qmp.execute("object-add", **created)
            try:
                assert await qmp.execute("qom-get", path="/objects/text", property="data") in {
                    text,
                    text.replace("\0", "\xc0\x80"),
                }
            finally:
                await qmp.execute("object-del", id="text")


async def test_what_qemu_would_not_understand_is_not_sent(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp:
            with pytest.raises(ConfigError):
                await qmp.human("\ufffe")
            with pytest.raises(LocalProtocolError):
                await qmp.human("x" * (65 * MIB))
            assert (await qmp.execute("query-status"))["running"]


async def test_cancelled_commands_disturb_nobody(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp:
            for number in range(60):
                with trio.move_on_after(number * 20e-6):
                    await qmp.execute("query-version")
                assert "status" in await qmp.execute("query-status")


async def test_one_after_another_may_use_the_monitor(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as first:
            with trio.move_on_after(0.3) as scope:
                async with open_qmp(address):
                    pytest.fail("QEMU talks to one client at a time")
            assert scope.cancelled_caught
            assert (await first.execute("query-status"))["running"]
        async with open_qmp(address) as second:
            assert (await second.execute("query-status"))["running"]


async def test_send_and_receive(address):
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp:
            for name in ("stop", "nothing", "cont"):
                await qmp.send(QmpCommand(name))
            found = [await qmp.receive() for _ in range(5)]
    answers = [one for one in found if hasattr(one, "command")]
    assert [one.command.name for one in answers] == ["stop", "nothing", "cont"]
    assert [one.error is None for one in answers] == [True, False, True]
    assert [one.name for one in found if one not in answers] == ["STOP", "RESUME"]


async def test_qemu_quits(mortal):
    _, address = mortal
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp, qmp.events("SHUTDOWN") as events:
            assert await qmp.execute("quit") == {}
            assert (await events.receive()).data["reason"] == "host-qmp-quit"
            with pytest.raises(ConnectionLost):
                await events.receive()
            with pytest.raises(ConnectionLost):
                await qmp.execute("query-status")


async def test_qemu_is_killed(mortal):
    machine, address = mortal
    with trio.fail_after(WITHIN):
        async with open_qmp(address) as qmp:
            os.kill(machine.pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:

                async def execute():
                    with pytest.raises(ConnectionLost, match="'query-status' was executed is not known"):
                        await qmp.execute("query-status")

                for _ in range(20):
                    nursery.start_soon(execute)
                await trio.sleep(0.1)
                os.kill(machine.pid, signal.SIGKILL)


def test_the_command_line(address):
    command = [sys.executable, "-m", "atp_trio", "qmp", address]
    done = subprocess.run([*command, "query-status"], capture_output=True, text=True, check=True, timeout=WITHIN)
    assert json.loads(done.stdout)["running"] is True
    refused = subprocess.run([*command, "fly"], capture_output=True, text=True, check=False, timeout=WITHIN)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "atp: fly: The command fly has not been found\n"
