"""Tickets as a real server checks them, and the ways to give one."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import AuthenticationFailed, ConfigError, ConnectFailed
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.qemu import SpiceOptions

SECRET = "pass phrase/ü%"  # bytes that a URI would have to escape
WITHIN = 20


@pytest.fixture(scope="module")
def locked(qemu):
    """A machine that wants a ticket."""
    with qemu(display="VGA", spice=SpiceOptions(password=SECRET)) as machine:
        yield machine


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "ticket"
    path.write_text(SECRET + "\n")
    return path


async def works(machine, password):
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri, password=password) as vm:
            assert [channel.name for channel in vm.channels] == ["main:0", "display:0", "cursor:0", "inputs:0"]
            assert (await vm.display.screenshot()).width


async def is_refused(machine, password):
    with trio.fail_after(WITHIN), pytest.raises(AuthenticationFailed) as caught:
        async with open_spice(machine.uri, password=password):
            pytest.fail("the server let us in")
    assert caught.value.code == 7
    assert SECRET not in str(caught.value)
    assert machine.alive()


async def test_a_machine_without_tickets_takes_any(qemu_firmware):
    await works(qemu_firmware, None)
    await works(qemu_firmware, "whatever")


async def test_ticket_as_value_file_and_function(locked, secret_file):
    asked = []

    def give():
        asked.append(None)
        return SECRET

    async def give_later():
        await trio.lowlevel.checkpoint()
        return SECRET.encode()

    for password in (SECRET, SECRET.encode(), secret_file, give, give_later):
        await works(locked, password)
    assert len(asked) == 4  # once a channel


async def test_ticket_in_the_uri(locked):
    uri = f"{locked.uri}?password=pass%20phrase%2F%C3%BC%25"
    with trio.fail_after(WITHIN):
        async with open_spice(uri) as vm:
            assert vm.main.is_open
            assert "pass" not in repr(vm)


@pytest.mark.parametrize("password", [None, "", "wrong", SECRET + "x", SECRET[:-1]])
async def test_missing_and_wrong_tickets_are_refused(locked, password):
    await is_refused(locked, password)


async def test_a_password_that_cannot_be_a_ticket_never_reaches_the_server(locked, tmp_path):
    for password in ("x" * 61, tmp_path / "missing"):
        with pytest.raises(ConfigError):
            async with open_spice(locked.uri, password=password):
                pytest.fail("the server let us in")
    await works(locked, SECRET)


async def test_a_ticket_expires_and_changes(locked):
    try:
        locked.expire_password("now")
        await is_refused(locked, SECRET)
        locked.set_password("another")
        locked.expire_password("never")
        await works(locked, "another")
        await is_refused(locked, SECRET)
    finally:
        locked.set_password(SECRET)
        locked.expire_password("never")
    await works(locked, SECRET)


async def test_a_ticket_that_expires_after_main_was_linked(locked):
    calls = 0

    async def expire_after_the_first():
        nonlocal calls
        calls += 1
        if calls == 2:
            await trio.to_thread.run_sync(locked.expire_password)
        return SECRET

    try:
        await is_refused(locked, expire_after_the_first)
        assert calls >= 2
    finally:
        locked.expire_password("never")
    await works(locked, SECRET)


async def test_a_ticket_that_expires_under_an_open_connection_refuses_only_new_channels(locked):
    with trio.fail_after(WITHIN):
        async with open_spice(locked.uri, password=SECRET, channels=[ChannelType.DISPLAY]) as vm:
            locked.expire_password("now")
            try:
                with pytest.raises(AuthenticationFailed):
                    await vm.open_channel(ChannelType.INPUTS)
                assert vm.main.is_open
                assert (await vm.display.screenshot()).width
            finally:
                locked.expire_password("never")
            await vm.open_channel(ChannelType.INPUTS)
            await vm.inputs.press("a")
            await vm.inputs.wait_sent()
    assert locked.alive()


async def test_nobody_listens(qemu):
    with qemu(display="VGA") as machine:
        uri = machine.uri
    with pytest.raises(ConnectFailed):
        async with open_spice(uri):
            pytest.fail("there is no such server")
