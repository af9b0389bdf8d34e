import pytest
import trio

from atp_trio.errors import ConnectionLost, HypervisorError, NotConnected
from atp_trio.hypervisor.host import open_host
from atp_trio.hypervisor.lanes import LaneConfig

from .fake_libvirt import FakeError, new_gate

CONFIG = LaneConfig(prompt=2, maximum=4, patience=0.25)


@pytest.fixture
async def host(libvirt):
    async with open_host("qemu:///system", load=libvirt.load, lanes=CONFIG) as host:
        yield host


def hang(gate):
    return lambda connection: connection.hang(gate)


async def test_calls_at_a_time_take_a_connection_each(host, libvirt):
    gates = [new_gate() for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(host.call, hang(gate))
        with trio.fail_after(5):
            while sum(one.calls for one in libvirt.connections) < 2:  # noqa: ASYNC110 - in threads
                await trio.sleep(0.001)
        assert host.statistics().in_flight == 2
        for gate in gates:
            gate.set()
    assert all(one.most == 1 for one in libvirt.connections)
    assert host.statistics().in_flight == 0


async def test_many_callers_never_meet_on_a_connection(host, libvirt):
    async def caller():
        for _ in range(10):
            assert await host.call(lambda connection: connection.quick()) == "quick"

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(caller)
    assert all(one.most == 1 for one in libvirt.connections)
    assert len(libvirt.connections) <= CONFIG.prompt
    assert host.statistics().calls == 300


async def test_cancelled_caller_goes_on_and_its_call_is_accounted_for(host, libvirt, wait_until):
    gate = new_gate()
    with trio.move_on_after(0.05) as scope:
        await host.call(hang(gate))
    assert scope.cancelled_caught
    statistics = host.statistics()
    assert (statistics.in_flight, statistics.abandoned) == (1, 1)
    assert await host.call(lambda connection: connection.quick()) == "quick"
    gate.set()
    await wait_until(lambda: host.statistics().in_flight == 0)
    assert host.statistics().abandoned == 0


async def test_a_hung_machine_holds_one_lane_however_often_it_is_asked(host, libvirt, wait_until):
    gate, queue = new_gate(), host.queue("uuid", "monitor")
    for _ in range(3):
        with trio.move_on_after(0.02) as scope:
            await host.run_on_lane(lambda lane: lane.connection.hang(gate), queue)
        assert scope.cancelled_caught
    assert host.statistics().in_flight == 1
    assert await host.run_on_lane(lambda lane: lane.connection.quick(), host.queue("other", "monitor")) == "quick"
    gate.set()
    await wait_until(lambda: host.statistics().in_flight == 0)
    with trio.fail_after(5):
        assert await host.run_on_lane(lambda lane: lane.connection.quick(), queue) == "quick"


async def test_calls_of_a_queue_go_one_after_another(host):
    running, most = 0, 0

    def work(lane):
        nonlocal running, most
        running += 1
        most = max(most, running)
        lane.connection.quick()
        running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(host.run_on_lane, work, host.queue("uuid", "agent"))
    assert most == 1


def test_queues_are_remembered_while_they_are_in_use():
    from atp_trio.hypervisor import calls

    async def main():
        one = calls.Calls()
        busy = one.queue("busy", "monitor")
        await busy.enter()
        for number in range(calls._MAX_QUEUES + 10):
            one.queue(str(number), "monitor")
        assert one.queue("busy", "monitor") is busy
        assert len(one._queues) < 20

    trio.run(main)


async def test_errors_are_counted(host):
    def fail(connection):
        raise FakeError("words", 55, 10)

    with pytest.raises(HypervisorError):
        await host.call(fail)
    statistics = host.statistics()
    assert statistics.errors == 1
    assert "words" in str(statistics.last_error)


async def test_calls_in_flight_when_the_connection_is_lost(host, libvirt, wait_until):
    gate, seen = new_gate(), []

    async def caller(queue):
        try:
            await host.run_on_lane(lambda lane: lane.connection.hang(gate), queue)
        except ConnectionLost as error:
            seen.append(type(error))

    async with trio.open_nursery() as nursery:
        queue = host.queue("uuid", "monitor")
        nursery.start_soon(caller, queue)
        nursery.start_soon(caller, queue)  # waits its turn: not sent yet
        await wait_until(lambda: sum(one.calls for one in libvirt.connections) == 1)
        libvirt.failure = FakeError("refused")
        libvirt.connections[0].break_()
        gate.set()
    assert sorted(seen, key=str) == sorted([ConnectionLost, NotConnected], key=str)


async def test_an_error_of_the_works_own_passes(host):
    with pytest.raises(ZeroDivisionError):
        await host.call(lambda connection: 1 // 0)
    assert await host.call(lambda connection: connection.quick()) == "quick"
