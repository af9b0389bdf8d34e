from uuid import UUID

import pytest
import trio
import trio.testing

from atp_trio.errors import ConfigError, ConnectFailed, ConnectionLost, DomainNotFound, HypervisorError, NotConnected
from atp_trio.hypervisor.event import DomainLifecycle, DomainReboot, EventsMissed, Lifecycle, QemuMonitorEvent
from atp_trio.hypervisor.host import open_host
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.lanes import LaneConfig
from atp_trio.supervision.backoff import ReconnectConfig
from atp_trio.supervision.heartbeat import HeartbeatConfig
from atp_trio.supervision.state import ConnectionState
from atp_trio.supervision.watch import StateBoard

from .fake_libvirt import FakeDomain, FakeError, new_gate

QUICKLY = ReconnectConfig(initial=0.01, maximum=0.02)


async def test_the_test_driver():
    import libvirt

    async with open_host("test:///default") as host:
        assert host.state is ConnectionState.CONNECTED
        assert await host.call(libvirt.virConnect.getType) == "TEST"
        domain = await host.domain("test")
        assert [one.name for one in await host.domains()] == ["test"]
        # Other tests may have started it anew.
        number = await domain.call(libvirt.virDomain.ID)
        for key in (domain.uuid, UUID(domain.uuid), number):
            assert (await host.domain(key)).name == "test"
        for wrong in ("nobody", "00000000-0000-0000-0000-000000000000", 77):
            with pytest.raises(DomainNotFound):
                await host.domain(wrong)
        assert "connected" in repr(host)
    assert host.state is ConnectionState.DISCONNECTED
    with pytest.raises(NotConnected):
        await host.domains()


async def test_events_of_the_test_driver():
    async with open_host("test:///default") as host:
        domain = await host.domain("test")
        async with host.events(DomainLifecycle, domain=domain) as events:
            await domain.suspend()
            await domain.resume()
            with trio.fail_after(5):
                first, second = await events.receive(), await events.receive()
        assert (first.name, first.kind, second.kind) == ("test", Lifecycle.SUSPENDED, Lifecycle.RESUMED)
        with pytest.raises(HypervisorError, match="not supported"):
            async with host.events(QemuMonitorEvent):
                pass
        with pytest.raises(ConfigError, match="EventsMissed"):
            async with host.events(EventsMissed):
                pass


async def test_first_attempt_that_fails_raises(libvirt):
    libvirt.failure = FakeError("refused")
    with pytest.raises(ConnectFailed, match="refused"):
        async with open_host("qemu+tcp://host/system", load=libvirt.load):
            raise AssertionError
    assert libvirt.asked == ["qemu+tcp://host/system"]


async def test_uri_of_a_host_without_one(libvirt):
    async with open_host(HostInfo("h1", "192.168.1.10"), load=libvirt.load):
        assert libvirt.asked == ["qemu+ssh://192.168.1.10/system?no_tty=1"]


async def test_uri_that_cannot_be_meant():
    with pytest.raises(ConfigError):
        async with open_host("nonsense"):
            raise AssertionError


async def test_what_a_cancelled_block_undoes_still_has_the_connection(libvirt):
    undone = None
    with trio.CancelScope() as scope:
        async with open_host("qemu:///system", load=libvirt.load) as host:
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()  # all that is cancelled has ended
                    assert host.state is ConnectionState.CONNECTED
                    undone = await host.call(lambda _: True)
    assert scope.cancelled_caught
    assert undone
    assert not libvirt.connections


async def test_an_error_of_a_cancelled_block_is_not_lost(libvirt):
    async def fail_while_cancelled():
        with trio.CancelScope() as scope:
            async with open_host("qemu:///system", load=libvirt.load):
                try:
                    scope.cancel()
                    await trio.sleep_forever()
                finally:
                    _ = 1 // 0

    with pytest.raises(ZeroDivisionError):
        await fail_while_cancelled()


async def test_the_blocks_own_error_passes_as_it_is(libvirt):
    with pytest.raises(ZeroDivisionError):
        async with open_host("qemu:///system", load=libvirt.load):
            _ = 1 // 0
    assert libvirt.connections == []


async def test_lost_and_connected_again(libvirt, wait_until):
    async with open_host("qemu:///system", load=libvirt.load, reconnect=QUICKLY) as host:
        async with host.states.watch() as changes:
            libvirt.connections[0].break_()
            with trio.fail_after(5):
                seen = [(await changes.receive()).state for _ in range(4)]
        S = ConnectionState  # noqa: N806
        assert seen == [S.CONNECTED, S.DISCONNECTED, S.CONNECTING, S.CONNECTED]
        assert host.statistics().losses == 1
        assert await host.call(lambda connection: connection.quick()) == "quick"
        await wait_until(lambda: len(libvirt.connections) == 1)


async def test_while_it_is_lost_nothing_is_sent(libvirt):
    async with open_host("qemu:///system", load=libvirt.load, reconnect=QUICKLY) as host:
        libvirt.failure = FakeError("refused")
        libvirt.connections[0].break_()
        await host.states.wait_state(ConnectionState.DISCONNECTED)
        with pytest.raises(NotConnected):
            await host.domains()
        with pytest.raises(NotConnected):
            async with host.events(DomainReboot):
                raise AssertionError
        libvirt.failure = None
        with trio.fail_after(5):
            await host.wait_connected()


async def test_given_up(libvirt):
    reconnect = ReconnectConfig(initial=0.001, maximum=0.001, attempts=2)
    async with (
        open_host("qemu:///system", load=libvirt.load, reconnect=reconnect) as host,
        host.events(DomainReboot) as events,
    ):
        libvirt.failure = FakeError("refused")
        libvirt.connections[0].break_()
        with trio.fail_after(5):
            await host.states.wait_state(ConnectionState.FAILED)
            with pytest.raises(ConnectionLost, match="given up"):
                await host.wait_connected()
            with pytest.raises(ConnectionLost, match="given up"):
                await events.receive()


async def test_events_are_registered_again_with_a_marker(libvirt):
    async with (
        open_host("qemu:///system", load=libvirt.load, reconnect=QUICKLY) as host,
        host.events(DomainLifecycle) as events,
    ):

        def tell(kind):
            (connection,) = [one for one in libvirt.connections if 0 in one.callbacks]
            connection.callbacks[0](connection, FakeDomain(connection, "a"), kind, 5, None)

        with trio.fail_after(5):
            tell(2)
            assert (await events.receive()).kind is Lifecycle.STARTED
            libvirt.connections[-1].break_()
            assert await events.receive() == EventsMissed(count=None)
            tell(99)
            event = await events.receive()
        assert (event.name, event.uuid, event.kind, event.detail) == ("a", "uuid-of-a", 99, 5)
        # A receiver that came after the loss missed nothing.
        async with host.events(DomainLifecycle) as others:
            tell(0)
            assert (await others.receive()).kind is Lifecycle.DEFINED


async def test_events_that_libvirt_refuses(libvirt):
    libvirt.refused_events.add(1)
    async with open_host("qemu:///system", load=libvirt.load) as host:
        with pytest.raises(HypervisorError):
            async with host.events(DomainReboot):
                raise AssertionError
        async with host.events(DomainLifecycle):
            pass


async def test_silent_host_is_lost_within_two_intervals(libvirt, monkeypatch):
    gate = new_gate()
    async with open_host(
        "qemu:///system", load=libvirt.load, reconnect=QUICKLY, heartbeat=HeartbeatConfig(interval=0.05)
    ) as host:
        from .fake_libvirt import FakeConnection

        monkeypatch.setattr(FakeConnection, "getLibVersion", lambda self: self.hang(gate))
        with trio.fail_after(5):
            change = await host.states.wait_state(ConnectionState.DISCONNECTED)
        assert "no sign of life" in str(change.cause)
        gate.set()


async def test_state_is_on_the_board(libvirt):
    board = StateBoard()
    async with open_host(HostInfo("h1", "host"), load=libvirt.load, board=board):
        assert [(change.subject.id, change.state) for change in board.present] == [("h1", ConnectionState.CONNECTED)]
    assert board.present == ()


async def test_streams_have_lanes_of_their_own(libvirt):
    async with open_host("qemu:///system", load=libvirt.load) as host:
        async with host.keep_lane() as one, host.keep_lane() as other:
            assert one is not other
            assert await host.call(lambda connection: connection) not in {one.connection, other.connection}
        assert host.statistics().in_flight == 0


async def test_a_streams_lane_given_back_after_a_reconnect_is_not_used_again(libvirt):
    async with open_host("qemu:///system", load=libvirt.load, reconnect=QUICKLY) as host:
        lane = await host.take_lane()
        libvirt.connections[0].break_()
        with trio.fail_after(5):
            await host.states.wait_state(ConnectionState.DISCONNECTED)
            await host.wait_connected()
        host.give_lane_back(lane)
        assert await host.call(lambda connection: connection) is not lane.connection
        assert host.statistics().connections == 1


async def test_a_streams_lane_that_ends_is_no_loss_of_the_host(libvirt):
    async with open_host("qemu:///system", load=libvirt.load, reconnect=QUICKLY) as host:
        async with host.keep_lane() as lane:
            lane.connection.break_()
            await trio.testing.wait_all_tasks_blocked()
            assert host.state is ConnectionState.CONNECTED
        assert host.statistics().losses == 0
        assert host.statistics().connections == 1


async def test_streams_are_bounded(libvirt):
    async with open_host("qemu:///system", load=libvirt.load, lanes=LaneConfig(streams=1)) as host:
        async with host.keep_lane():
            with trio.move_on_after(0.02) as scope:
                await host.take_lane()
            assert scope.cancelled_caught
        async with host.keep_lane():
            pass


async def test_leaving_with_a_call_that_hangs(libvirt, wait_until):
    gate = new_gate()
    async with open_host("qemu:///system", load=libvirt.load) as host:
        with trio.move_on_after(0.02):
            await host.call(lambda connection: connection.hang(gate))
    assert len(libvirt.connections) == 1  # closed by its thread, when that comes out
    gate.set()
    await wait_until(lambda: not libvirt.connections)


async def test_leaving_while_it_connects(libvirt, wait_until):
    libvirt.gate = new_gate()
    with trio.move_on_after(0.02) as scope:
        async with open_host("qemu:///system", load=libvirt.load):
            raise AssertionError
    assert scope.cancelled_caught
    libvirt.gate.set()
    await wait_until(lambda: libvirt.opened == 1 and not libvirt.connections)


async def test_cancelled_at_every_step(libvirt, cancel_everywhere, wait_until):
    async def operation():
        async with open_host("qemu:///system", load=libvirt.load) as host, host.events(DomainLifecycle):
            await host.call(lambda connection: connection.quick())
            async with host.keep_lane():
                pass

    async def settle():
        await wait_until(lambda: not libvirt.connections)

    with trio.fail_after(60):
        assert await cancel_everywhere(operation, settle) > 10
