"""The client against the embedded server: linking, what is left behind, and channels at run time."""

from __future__ import annotations

import uuid

import pytest
import trio
import trio.testing

from atp_trio.errors import (
    AuthenticationFailed,
    ChannelNotAvailable,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    LinkNeedSecured,
    LocalProtocolError,
    TlsError,
)
from atp_trio.keyboard import Key
from atp_trio.spice.channels import MessageChannel
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.inputs import MouseButton
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.messages.main import MouseMode
from atp_trio.spice.streams.tls import SpiceTlsConfig
from atp_trio.testing.certificate import make_tls_dir

SECRET = "opensesame"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory):
    return make_tls_dir(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_options(tls_files):
    directory = tls_files.directory
    return {"cert_file": directory / "server-cert.pem", "key_file": directory / "server-key.pem"}


# --- linking


async def test_what_a_connection_tells(pair):
    vm, server = pair.vm, pair.server
    assert [channel.name for channel in vm.channels] == ["main:0", "display:0", "inputs:0", "cursor:0"]
    assert str(vm.uri) == server.uri
    assert vm.name == "atp-trio"
    assert vm.uuid == server.options.uuid
    assert isinstance(vm.uuid, uuid.UUID)
    assert repr(vm) == f"<SpiceVmConnection {server.uri} main:0, display:0, inputs:0, cursor:0>"
    for channel in vm.channels:
        assert channel.link_timings.total > 0


async def test_only_the_wanted_channels_are_opened(connected):
    async with connected(client={"channels": {ChannelType.INPUTS}}) as pair:
        assert [channel.name for channel in pair.vm.channels] == ["main:0", "inputs:0"]
        with pytest.raises(ChannelNotAvailable, match="display:0 is not open"):
            _ = pair.vm.display


async def test_a_machine_that_tells_neither_name_nor_uuid(connected):
    async with connected(name=None, uuid=None) as pair:
        assert pair.vm.name is None
        assert pair.vm.uuid is None


def _as_value(_):
    return SECRET


def _as_bytes(_):
    return SECRET.encode()


def _as_file(directory):
    path = directory / "password"
    path.write_text(SECRET + "\n")
    return path


def _as_function(_):
    return lambda: SECRET


def _as_async_function(_):
    async def ask():
        await trio.lowlevel.checkpoint()
        return SECRET

    return ask


@pytest.mark.parametrize("form", [_as_value, _as_bytes, _as_file, _as_function, _as_async_function])
async def test_the_password_in_every_form(connected, tmp_path, form):
    async with connected(client={"password": form(tmp_path)}, password=SECRET) as pair:
        assert len(pair.vm.channels) == 4


async def test_the_password_in_the_uri(serving):
    async with serving(password=SECRET) as server, open_spice(f"{server.uri}?password={SECRET}") as vm:
        assert SECRET not in repr(vm)


@pytest.mark.parametrize("password", [None, "wrong", SECRET + "x", SECRET[:-1]])
async def test_the_wrong_password(serving, password):
    async with serving(password=SECRET) as server:
        with pytest.raises(AuthenticationFailed, match="did not accept the password"):
            async with open_spice(server.uri, password=password):
                pytest.fail("it got in")
        assert not server.closed


async def test_a_password_where_none_is_needed(connected):
    async with connected(client={"password": "any"}) as pair:
        assert pair.vm.main.is_open


async def test_an_expired_password_and_a_new_one(serving):
    async with serving(password=SECRET) as server:
        server.expire_password()
        with pytest.raises(AuthenticationFailed):
            async with open_spice(server.uri, password=SECRET):
                pass
        server.set_password("new")
        async with open_spice(server.uri, password="new"):
            pass
        server.set_password(None)
        async with open_spice(server.uri):
            pass


async def test_the_password_is_asked_for_anew_for_every_link(connected):
    asked = []

    def password():
        asked.append(True)
        return SECRET if len(asked) <= 4 else "changed"

    async with connected(client={"password": password}, password=SECRET) as pair:
        await pair.vm.close_channel(ChannelType.CURSOR)
        pair.server.set_password("changed")
        await pair.vm.open_channel(ChannelType.CURSOR)
    assert len(asked) == 5


async def test_a_password_that_cannot_be_one(serving, tmp_path):
    async with serving() as server:
        with pytest.raises(ConfigError, match="at most 60 bytes") as caught:
            async with open_spice(server.uri, password="p" * 61):
                pass
        assert "ppp" not in str(caught.value)
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            async with open_spice(server.uri, password=tmp_path / "absent"):
                pass


async def test_a_password_function_that_fails(serving):
    def password():
        raise LookupError("no such entry")

    async with serving() as server:
        with pytest.raises(ConfigError, match="the password") as caught:
            async with open_spice(server.uri, password=password):
                pass
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(ConfigError, match="the password"):
            async with open_spice(server.uri, password=lambda: None):
                pass


async def test_nobody_listens(serving):
    async with serving() as server:
        uri = server.uri
    with pytest.raises(ConnectFailed):
        async with open_spice(uri):
            pass


async def test_a_unix_socket(serving, tmp_path):
    path = tmp_path / "spice.sock"
    async with serving(unix_path=path, network_test=True) as server:
        assert server.uri == f"spice+unix://{path}"
        async with open_spice(server.uri) as vm:
            await vm.display.wait_ready()
        assert not server.pings
    assert not path.exists()


# --- TLS


async def test_tls_with_the_right_authority(serving, tls_files, tls_options):
    async with serving(**tls_options, port=None) as server:
        assert server.uri.startswith("spice+tls://")
        async with open_spice(server.uri, tls=SpiceTlsConfig(ca_file=tls_files.ca)) as vm:
            await vm.display.wait_ready()
            assert (await vm.display.screenshot()).pixels.tolist() == server.surface().tolist()
        await server.wait_until(lambda: not server.connections)
        assert server.closed[-1].channel_type is ChannelType.MAIN
        assert all(channel.said_goodbye for channel in server.closed)


async def test_tls_with_the_wrong_authority(serving, tls_files, tls_options):
    async with serving(**tls_options, port=None) as server:
        with pytest.raises(TlsError, match="not trusted"):
            async with open_spice(server.uri, tls=SpiceTlsConfig(ca_file=tls_files.wrong_ca)):
                pass
        await server.wait_until(lambda: not server.connections)


async def test_tls_with_a_subject(serving, tls_files, tls_options):
    async with serving(**tls_options, port=None) as server:
        right = SpiceTlsConfig(ca_file=tls_files.ca, host_subject=tls_files.subject)
        async with open_spice(server.uri, tls=right):
            pass
        wrong = SpiceTlsConfig(ca_file=tls_files.ca, host_subject="O=atp,CN=other")
        with pytest.raises(TlsError, match="subject"):
            async with open_spice(server.uri, tls=wrong):
                pass


async def test_a_channel_that_the_server_wants_secured_is_linked_again_over_tls(serving, tls_files, tls_options):
    secured = {ChannelType.MAIN, ChannelType.INPUTS}
    tls = SpiceTlsConfig(ca_file=tls_files.ca)
    async with serving(**tls_options, secure_channels=secured) as server, open_spice(server.uri, tls=tls) as vm:
        await vm.inputs.press("a")
        await vm.close_channel(ChannelType.INPUTS)
        await vm.open_channel(ChannelType.INPUTS)
        assert len(vm.channels) == 4


async def test_a_secured_channel_without_a_tls_port(serving):
    async with serving(secure_channels={ChannelType.INPUTS}) as server:
        with pytest.raises(LinkNeedSecured, match="over TLS"):
            async with open_spice(server.uri):
                pass


# --- leaving


def check_left_in_order(server):
    """Nothing is down, everybody said goodbye, the display had begun and was read, and main closed last."""
    assert server.keys_down == ()
    assert not server.buttons
    closed = list(server.closed)
    assert [one.channel_type for one in closed].count(ChannelType.MAIN) == 1
    assert closed[-1].channel_type is ChannelType.MAIN
    for one in closed:
        assert one.error is None
        assert one.said_goodbye
        if one.channel_type is ChannelType.DISPLAY:
            assert one.received["Init"] == 1
            assert one.was_read


async def hold(vm):
    await vm.inputs.key_down("ctrl")
    await vm.inputs.key_down(Key.A)
    await vm.inputs.button_down(MouseButton.RIGHT)


async def test_keys_are_released_when_the_block_returns(serving):
    async with serving() as server:
        async with open_spice(server.uri) as vm:
            await hold(vm)
            await server.wait_until(lambda: len(server.keys_down) == 2 and bool(server.buttons))
        await server.wait_until(lambda: not server.connections)
        check_left_in_order(server)


async def test_keys_are_released_when_the_block_raises(serving):
    async with serving() as server:
        mine = KeyError("mine")

        async def hold_and_raise():
            async with open_spice(server.uri) as vm:
                await hold(vm)
                raise mine

        with pytest.raises(KeyError) as caught:
            await hold_and_raise()
        assert caught.value is mine
        assert caught.value.__context__ is None
        await server.wait_until(lambda: not server.connections)
        check_left_in_order(server)


async def test_keys_are_released_when_the_block_is_cancelled(serving):
    async with serving() as server:
        with trio.CancelScope() as scope:
            async with open_spice(server.uri) as vm:
                await hold(vm)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        await server.wait_until(lambda: not server.connections)
        check_left_in_order(server)


async def test_an_error_of_a_cancelled_block_is_not_lost(serving):
    async with serving() as server:

        async def fail_while_cancelled():
            with trio.CancelScope() as scope:
                async with open_spice(server.uri):
                    try:
                        scope.cancel()
                        await trio.sleep_forever()
                    finally:
                        _ = 1 // 0

        with pytest.raises(ZeroDivisionError):
            await fail_while_cancelled()


async def test_leaving_at_once_still_reads_the_display_first(serving):
    async with serving() as server:
        for _ in range(5):
            async with open_spice(server.uri):
                pass
            await server.wait_until(lambda: not server.connections)
            check_left_in_order(server)
            server.closed.clear()


async def test_after_leaving_every_call_says_so(connected):
    async with connected() as pair:
        vm, inputs, display = pair.vm, pair.vm.inputs, pair.vm.display
    assert vm.channels == ()
    assert repr(vm).endswith(" closed>")
    with pytest.raises(ChannelNotAvailable):
        await inputs.press("a")
    with pytest.raises(ChannelNotAvailable):
        await display.wait_damage()
    with pytest.raises((ChannelNotAvailable, ConnectionLost)):
        await vm.open_channel(ChannelType.CURSOR)
    await vm.disconnect_all()


# --- channels at run time


async def test_a_channel_can_be_closed_and_opened_again(pair):
    vm = pair.vm
    for kind in (ChannelType.CURSOR, ChannelType.DISPLAY, ChannelType.INPUTS):
        old = vm.get_channel(kind)
        await vm.close_channel(kind)
        assert not old.is_open
        assert old.closed_by is None
        with pytest.raises(ChannelNotAvailable):
            vm.get_channel(kind)
        new = await vm.open_channel(kind)
        assert new is vm.get_channel(kind)
        assert new is not old
        assert await vm.open_channel(kind) is new
    await vm.display.wait_ready()
    await vm.close_channel(ChannelType.RECORD)


async def test_a_channel_that_is_just_closing_is_opened_anew(pair):
    vm = pair.vm
    old = vm.cursor
    with trio.CancelScope() as scope:
        scope.cancel()
        await vm.close_channel(ChannelType.CURSOR)
    assert not old.is_open
    new = await vm.open_channel(ChannelType.CURSOR)
    assert new is not old
    assert new.is_open


async def test_channels_that_cannot_be(pair):
    with pytest.raises(ChannelNotAvailable, match="offers no channel playback:0"):
        await pair.vm.open_channel(ChannelType.PLAYBACK)
    with pytest.raises(ChannelNotAvailable, match="display:1"):
        await pair.vm.open_channel(ChannelType.DISPLAY, 1)
    with pytest.raises(LocalProtocolError, match="closes with the connection"):
        await pair.vm.close_channel(ChannelType.MAIN)


async def test_two_displays(connected):
    offered = [(ChannelType.DISPLAY, 0), (ChannelType.DISPLAY, 1), (ChannelType.INPUTS, 0)]
    async with connected(channels=offered, regions={"key": (0, 0, 8, 8)}) as pair:
        for number in (0, 1):
            await pair.vm.get_display(number).wait_ready()
        await pair.vm.inputs.press("a")
        await pair.vm.display.wait_until(lambda screen: screen.pixels[0, 0] == 1)
        other = await pair.vm.get_display(1).screenshot()
        assert other.pixels.tolist() == pair.server.surface(1).tolist()
        assert other.pixels.tolist() != pair.server.surface(0).tolist()


async def test_a_channel_without_a_class_of_its_own(connected):
    offered = [(ChannelType.PORT, 3)]
    async with connected(channels=offered, client={"channels": {ChannelType.PORT}}) as pair:
        channel = pair.vm.get_channel(ChannelType.PORT, 3)
        assert isinstance(channel, MessageChannel)
        await pair.vm.close_channel(ChannelType.PORT, 3)
        with pytest.raises(trio.EndOfChannel):
            await channel.receive()


async def test_the_statistics_of_the_channels(pair):
    await pair.vm.display.wait_ready()
    counted = pair.vm.statistics()
    assert list(counted) == ["main:0", "display:0", "inputs:0", "cursor:0"]
    display = counted["display:0"]
    assert display.bytes_received > 64 * 48 * 4
    assert display.ack_window == 20
    assert display.handling_seconds > 0
    assert display.queued_bytes == 0
    assert not display.skipped
    assert not display.unhandled


# --- losing the connection


WAITS = {
    "display.wait_damage": lambda vm: vm.display.wait_damage(),
    "display.wait_until": lambda vm: vm.display.wait_until(lambda _: False),
    "inputs.wait_modifiers": lambda vm: vm.inputs.wait_modifiers(),
    "main.receive_agent_message": lambda vm: vm.main.receive_agent_message(),
    "cursor.wait_change": lambda vm: vm.cursor.wait_change(),
}


@pytest.mark.parametrize("name", WAITS)
async def test_a_lost_connection_releases_who_waits(connected, name):
    async with connected() as pair:
        await pair.vm.display.wait_ready()
        await pair.server.wait_until(lambda: len(pair.server.open_channels) == 4)
        caught = []

        async def wait():
            with pytest.raises(ConnectionLost) as info:
                await WAITS[name](pair.vm)
            caught.append(info.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            pair.server.drop()
        assert len(caught) == 1
        with pytest.raises(ConnectionLost):
            pair.vm.get_channel(ChannelType.DISPLAY)
        with pytest.raises(ConnectionLost):
            await pair.vm.open_channel(ChannelType.DISPLAY)
        await pair.vm.main.wait_closed()
        assert isinstance(pair.vm.main.closed_by, ConnectionLost)


async def test_one_lost_channel_leaves_the_others(pair):
    vm, server = pair.vm, pair.server
    display = vm.display
    await display.wait_ready()
    server.drop(ChannelType.DISPLAY)
    with pytest.raises(ConnectionLost):
        await display.wait_damage()
    assert isinstance(display.closed_by, ConnectionLost)
    await vm.inputs.press("a")
    await server.wait_until(lambda: len(server.events) == 2)
    await vm.open_channel(ChannelType.DISPLAY)
    await vm.display.wait_ready()


async def test_a_second_client_ends_the_first(pair):
    first = pair.vm
    async with open_spice(pair.server.uri) as second:
        await first.main.wait_closed()
        assert isinstance(first.main.closed_by, ConnectionLost)
        await second.display.wait_ready()
        with pytest.raises(ConnectionLost):
            await first.inputs.press("a")


async def test_the_mouse_mode_is_asked_for(connected):
    async with connected(client={"mouse_mode": MouseMode.SERVER}) as pair:
        assert pair.vm.mouse_mode is MouseMode.SERVER
        await pair.vm.main.request_mouse_mode(MouseMode.CLIENT)
        assert pair.vm.mouse_mode is MouseMode.CLIENT
    async with connected(mouse_modes={MouseMode.SERVER}) as pair:
        assert pair.vm.mouse_mode is MouseMode.SERVER
        with pytest.raises(LocalProtocolError, match="does not support mouse mode CLIENT"):
            await pair.vm.main.request_mouse_mode(MouseMode.CLIENT)
