"""What an agent tells of its guest, and what is done to that."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
import trio
import trio.testing

from atp_trio.errors import (
    AgentNotConfigured,
    ConfigError,
    DomainNotRunning,
    LocalProtocolError,
    MalformedMessage,
)
from atp_trio.hypervisor.domain import DomainState
from atp_trio.protocols.qga import GuestUser, NetworkInterface, OsInfo, QgaCommand, open_qga

from .fake_agent import not_configured, not_connected, not_running

# --- what it tells


async def test_info(autojump_clock, qga, agent):
    agent.values["guest-info"] = {
        "version": "7.2.22",
        "supported_commands": [
            {"name": "guest-ping", "enabled": True, "success-response": True},
            {"name": "guest-exec", "enabled": False},
            {"name": "guest-shutdown", "enabled": True, "success-response": False},
        ],
    }
    info = await qga.info()
    assert info.version == "7.2.22"
    assert [one.success_response for one in info.commands] == [True, True, False]
    assert info.can("guest-ping")
    assert not info.can("guest-exec")
    assert not info.can("guest-fly")


async def test_osinfo(autojump_clock, qga, agent):
    agent.values["guest-get-osinfo"] = {"id": "debian", "pretty-name": "Debian", "kernel-release": "6.1", "machine": 1, "new": 2}
    assert await qga.osinfo() == OsInfo(id="debian", pretty_name="Debian", kernel_release="6.1")


async def test_network_interfaces(autojump_clock, qga, agent):
    agent.values["guest-network-get-interfaces"] = [
        {
            "name": "eth0",
            "hardware-address": "52:54:00:00:00:01",
            "ip-addresses": [
                {"ip-address": "10.0.0.2", "ip-address-type": "ipv4", "prefix": 24},
                {"ip-address": "fe80::1", "ip-address-type": "ipv6", "prefix": 64},
            ],
            "statistics": {"rx-bytes": 5, "strange": "x"},
        },
        {"name": "tun"},
    ]
    one, other = await qga.network_interfaces()
    addresses = (ip_interface("10.0.0.2/24"), ip_interface("fe80::1/64"))
    assert one == NetworkInterface("eth0", "52:54:00:00:00:01", addresses, {"rx-bytes": 5})
    assert other == NetworkInterface("tun", None, (), None)


async def test_users_name_and_time(autojump_clock, qga, agent):
    agent.values["guest-get-users"] = [{"user": "a", "login-time": 17.5}, {"user": "b", "domain": "D", "login-time": 1}]
    agent.values["guest-get-host-name"] = {"host-name": "vm"}
    agent.values["guest-get-time"] = 17
    agent.values["guest-set-time"] = {}
    assert await qga.users() == (GuestUser("a", None, 17.5), GuestUser("b", "D", 1.0))
    assert await qga.host_name() == "vm"
    assert await qga.get_time() == 17
    await qga.set_time(18)
    await qga.set_time()
    assert [one["arguments"] for one in agent.commands if one["execute"] == "guest-set-time" and "arguments" in one] == [
        {"time": 18}
    ]


@pytest.mark.parametrize(
    ("command", "method", "values"),
    [
        ("guest-info", "info", [None, {}, {"version": 1}, {"version": "1", "supported_commands": [{}]}]),
        ("guest-info", "info", [{"version": "1", "supported_commands": [{"name": "x", "enabled": 1}]}]),
        ("guest-get-osinfo", "osinfo", [None, [], "x"]),
        ("guest-get-host-name", "host_name", [None, {}, {"host-name": 1}]),
        ("guest-network-get-interfaces", "network_interfaces", [None, {}, [1], [{}], [{"name": "x", "ip-addresses": 1}]]),
        (
            "guest-network-get-interfaces",
            "network_interfaces",
            [
                [{"name": "x", "ip-addresses": [address]}]
                for address in ({}, {"ip-address": "x", "prefix": 1}, {"ip-address": "::1", "prefix": 200}, 7)
            ],
        ),
        ("guest-get-users", "users", [None, [{}], [{"user": "a"}], [{"user": "a", "login-time": True}]]),
        ("guest-get-time", "get_time", [None, True, 1.5, "1"]),
        ("guest-fsfreeze-status", "fsfreeze_status", [None, 1]),
        ("guest-fsfreeze-thaw", "fsfreeze_thaw", [None, {}]),
    ],
)
async def test_what_cannot_be(autojump_clock, qga, agent, command, method, values):
    for value in values:
        agent.values[command] = value
        with pytest.raises(MalformedMessage):
            await getattr(qga, method)()


# --- an agent that comes and goes


async def test_an_agent_that_is_there(autojump_clock, qga):
    await qga.wait_agent()
    assert trio.current_time() < 0.1


async def test_an_agent_that_is_started_later(autojump_clock, qga, domain, nursery):
    domain.failure = not_connected()
    begun = trio.current_time()
    done = trio.Event()

    async def wait():
        await qga.wait_agent()
        done.set()

    nursery.start_soon(wait)
    await trio.sleep(1000.25)
    assert not done.is_set()
    domain.failure = None
    domain.host.agent_came()
    await done.wait()
    assert trio.current_time() - begun == pytest.approx(1000.25)


async def test_an_agent_whose_coming_nobody_tells(autojump_clock, qga, domain):
    domain.is_silent = True
    with trio.move_on_after(100) as scope:
        await qga.wait_agent()
    assert scope.cancelled_caught
    domain.is_silent = False
    domain.failure, domain.machine = not_running(), DomainState.PAUSED
    with trio.move_on_after(100) as scope:
        await qga.wait_agent()
    assert scope.cancelled_caught
    domain.failure = None
    await qga.wait_agent()


@pytest.mark.parametrize(
    ("failure", "machine", "kind"),
    [(not_configured(), DomainState.RUNNING, AgentNotConfigured), (not_running(), DomainState.SHUTOFF, DomainNotRunning)],
)
async def test_an_agent_that_will_not_come(autojump_clock, qga, domain, failure, machine, kind):
    domain.failure, domain.machine = failure, machine
    with pytest.raises(kind):
        await qga.wait_agent()


# --- as every protocol


async def test_send_and_receive(autojump_clock, qga, agent):
    agent.values["guest-a"] = lambda arguments: arguments["x"]
    with trio.fail_after(5):
        for number in range(100):
            await qga.send(QgaCommand("guest-a", {"x": number}))
        await qga.send(QgaCommand("guest-b"))
        replies = [await qga.receive() for _ in range(101)]
    assert [one.value for one in replies[:-1]] == list(range(100))
    assert "has not been found" in str(replies[-1].error)
    assert replies[-1].command == QgaCommand("guest-b")
    with pytest.raises(ConfigError):
        await qga.send(QgaCommand("guest-a", {"x": {1}}))


async def test_what_was_sent_shows_no_arguments():
    assert "secret" not in repr(QgaCommand("guest-set-user-password", {"password": "secret"}))


async def test_disconnecting_ends_those_who_receive(autojump_clock, domain, nursery):
    ended = []
    async with open_qga(domain) as qga:

        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await qga.receive()
            ended.append(True)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    assert ended
    with pytest.raises(LocalProtocolError):
        await qga.receive()
