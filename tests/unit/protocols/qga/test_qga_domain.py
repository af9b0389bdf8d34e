"""QGA through libvirt: what it is told, and what its errors are."""

from __future__ import annotations

import pytest
import trio

from atp_trio.errors import (
    AgentLost,
    AgentNotConfigured,
    AgentNotConnected,
    AgentUnavailable,
    AgentUnresponsive,
    ConfigError,
    ConnectionLost,
    DomainNotRunning,
    HypervisorError,
    LocalProtocolError,
    MalformedMessage,
    QgaError,
)
from atp_trio.hypervisor.domain import DomainState
from atp_trio.protocols.qga import QgaProtocol, open_qga
from atp_trio.protocols.qga.domain import MAX_COMMAND

from .fake_agent import disappeared, not_configured, not_connected, not_running, silent


async def test_executes(autojump_clock, qga, agent):
    agent.values["guest-get-vcpus"] = [{"logical-id": 0}]
    assert await qga.execute("guest-get-vcpus") == [{"logical-id": 0}]
    agent.values["guest-echo"] = lambda arguments: arguments
    assert await qga.execute("guest-echo", a=1, **{"b-c": "ä"}) == {"a": 1, "b-c": "ä"}


async def test_the_agents_refusal(autojump_clock, qga):
    with pytest.raises(QgaError, match=r"^guest-fly: The command guest-fly has not been found$") as caught:
        await qga.execute("guest-fly")
    assert caught.value.description == "The command guest-fly has not been found"
    assert caught.value.code == 1
    assert not isinstance(caught.value, AgentUnavailable)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (not_configured(), AgentNotConfigured),
        (not_connected(), AgentNotConnected),
        (disappeared(), AgentLost),
        (silent(), AgentUnresponsive),
        (HypervisorError("internal error: End of file from agent socket", code=1, domain=10), AgentLost),
        (AgentUnavailable("Gast-Agent antwortet nicht", code=86, domain=10), AgentUnresponsive),
        (QgaError("unable to execute QEMU agent command 'guest-ping': no", code=113, domain=10), QgaError),
        (HypervisorError("access denied", code=88, domain=10), HypervisorError),
        (ConnectionLost("gone"), ConnectionLost),
    ],
)
async def test_libvirts_errors(autojump_clock, qga, domain, failure, kind):
    domain.failure = failure
    with pytest.raises(kind) as caught:
        await qga.ping()
    assert type(caught.value) is kind
    if isinstance(failure, HypervisorError):
        assert caught.value.code == failure.code


async def test_a_machine_that_does_not_run(autojump_clock, qga, domain):
    domain.failure, domain.machine = not_running(), DomainState.PAUSED
    with pytest.raises(DomainNotRunning, match="the machine is paused") as caught:
        await qga.ping()
    assert caught.value.state is DomainState.PAUSED


@pytest.mark.parametrize("text", ["[1]", "null", "{", "[" * 100_000, '{"return"}', '{"id": 1}'])
async def test_what_is_no_answer(autojump_clock, qga, domain, monkeypatch, text):
    async def agent(command, *, timeout):  # noqa: ASYNC109
        await trio.lowlevel.checkpoint()
        return text

    monkeypatch.setattr(domain, "agent", agent)
    with pytest.raises(MalformedMessage):
        await qga.ping()


async def test_what_libvirt_would_mangle_is_not_sent(autojump_clock, qga, agent):
    await qga.ping()
    with pytest.raises(LocalProtocolError, match="libvirt passes on"):
        await qga.execute("guest-x", text="x" * MAX_COMMAND)
    with pytest.raises(ConfigError):
        await qga.execute("guest-x", value={1, 2})
    assert agent.count("guest-x") == 0


async def test_libvirt_waits_no_longer_than_the_caller(autojump_clock, qga, domain):
    await qga.ping()
    with trio.fail_after(3.5):
        await qga.ping()
        await qga.execute("guest-ping")
    await qga.execute("guest-ping")
    assert domain.timeouts == [15, 5, 5, -2]


async def test_who_was_not_heard_for_long_is_asked_first(autojump_clock, qga, agent, domain):
    agent.values["guest-x"] = 1
    for _ in range(3):
        await qga.execute("guest-x")
    assert agent.count("guest-ping") == 1
    await trio.sleep(2)
    domain.is_silent = True
    started = trio.current_time()
    with pytest.raises(AgentUnresponsive):
        await qga.execute("guest-x")
    assert trio.current_time() - started == pytest.approx(5)
    assert agent.count("guest-x") == 3


async def test_a_refusal_is_a_sign_of_life(autojump_clock, qga, agent):
    for _ in range(2):
        with pytest.raises(QgaError):
            await qga.execute("guest-nothing")
    assert agent.count("guest-ping") == 1


async def test_commands_that_succeed_in_silence(autojump_clock, qga, agent, domain):
    started = trio.current_time()
    assert await qga.execute("guest-shutdown", mode="halt") is None
    assert trio.current_time() - started == pytest.approx(5)
    with pytest.raises(QgaError, match="mode is invalid"):
        await qga.execute("guest-shutdown", mode="fly")
    await qga.shutdown("reboot")
    assert agent.commands[-1] == {"execute": "guest-shutdown", "arguments": {"mode": "reboot"}}
    domain.failure = not_connected()
    with pytest.raises(AgentNotConnected):
        await qga.shutdown()


async def test_not_connected():
    with pytest.raises(LocalProtocolError):
        await QgaProtocol().ping()
    with pytest.raises(ConfigError):
        QgaProtocol(max_reply=0)


async def test_nothing_is_said_on_connecting(domain):
    async with open_qga(domain):
        pass
    assert not domain.timeouts
