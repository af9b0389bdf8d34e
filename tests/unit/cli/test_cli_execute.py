"""Running a command: signals, errors, the output's end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio

from atp_trio import ConfigError, ConnectFailed, open_spice
from atp_trio.cli.execute import execute, printable
from atp_trio.keyboard import Key
from atp_trio.spice.messages import inputs


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("no\nsuch  thing"), 2, "no such thing"),
        (ConnectFailed("gone"), 1, "gone"),
        (FileNotFoundError(2, "No such file", "/tmp/x"), 1, "/tmp/x: No such file"),
        (OSError("odd"), 1, "odd"),
    ],
)
def test_what_can_be_expected_is_one_line(capsys, error, code, line):
    async def command() -> None:
        raise error

    assert execute(command) == code
    assert capsys.readouterr().err == f"atp: {line}\n"


@pytest.mark.parametrize("error", [ExceptionGroup("bug", [ConnectFailed("inside")]), ValueError("bug"), KeyError("bug")])
def test_a_bug_is_raised(error):
    async def command() -> None:
        raise error

    with pytest.raises(type(error), check=lambda raised: raised is error):
        execute(command)


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_gives_its_own_code(answer, code):
    async def command() -> int | None:
        return answer

    assert execute(command) == code


def test_printable():
    assert printable("a\tb\x1b[1m\n c\u202e") == "a b\N{REPLACEMENT CHARACTER}[1m c\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_in_order(server, number, code, left_in_order):
    async def command() -> None:
        async with open_spice(server.uri) as vm:
            await vm.inputs.key_down("a")
            await vm.inputs.button_down()
            await vm.inputs.wait_sent()
            os.kill(os.getpid(), number)
            await trio.sleep_forever()

    assert execute(command) == code
    assert left_in_order(server)
    assert server.server.keys_down == ()
    assert server.server.buttons == frozenset()
    assert [type(event) for event in server.server.events].count(inputs.KeyUp) == 1


def test_more_signals_do_not_break_the_leaving(server, left_in_order):
    async def command() -> None:
        async with open_spice(server.uri) as vm:
            await vm.inputs.key_down("a")
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await trio.sleep_forever()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)

    assert execute(command) == 130
    assert left_in_order(server)
    assert server.server.keys_down == ()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_program(server, number, code, wait, left_in_order):
    # A keystroke every hour: it is at the second one that the signal comes.
    command = [sys.executable, "-m", "atp_trio", "type", server.uri, "Ab", "--interval", "3600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait(server, lambda one: len(one.events) == 4)
        process.send_signal(number)
        _, err = process.communicate()
    assert (process.returncode, err) == (code, "")
    assert left_in_order(server)
    assert server.server.keys_down == ()
    pressed = [event.code for event in server.server.events if isinstance(event, inputs.KeyDown)]
    assert pressed == [Key.LEFTSHIFT.scancode_down(), Key.A.scancode_down()]


def test_output_that_nobody_reads(server, left_in_order):
    command = [sys.executable, "-m", "atp_trio", "info", "--json", server.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait() == 1
    assert left_in_order(server)
