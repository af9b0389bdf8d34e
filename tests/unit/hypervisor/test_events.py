import threading

import pytest
import trio

from atp_trio.errors import ConnectionLost
from atp_trio.hypervisor import events
from atp_trio.hypervisor.event import (
    EVENT_IDS,
    READERS,
    AgentLifecycle,
    AgentState,
    BlockThreshold,
    DomainLifecycle,
    DomainReboot,
    EventsMissed,
    QemuMonitorEvent,
)
from atp_trio.hypervisor.events import EventReceiver, Inbox

EVERY = frozenset({DomainReboot})


def reboot(uuid="u"):
    return DomainReboot(name="vm", uuid=uuid)


async def test_a_receiver_takes_what_is_its_own():
    receiver = EventReceiver(EVERY, "mine", 10)
    receiver.put(reboot("other"))
    receiver.put(DomainLifecycle(name="vm", uuid="mine", kind=2, detail=0))
    receiver.put(reboot("mine"))
    assert await receiver.receive() == reboot("mine")
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()


async def test_a_slow_reader_loses_the_oldest_and_is_told():
    receiver = EventReceiver(EVERY, None, 3)
    for number in range(10):
        receiver.put(reboot(str(number)))
    assert await receiver.receive() == EventsMissed(count=7)
    assert [(await receiver.receive()).uuid for _ in range(3)] == ["7", "8", "9"]


async def test_a_marker_that_is_dropped_is_not_forgotten():
    receiver = EventReceiver(EVERY, None, 2)
    receiver.put(EventsMissed(count=None))
    for number in range(2):
        receiver.put(reboot(str(number)))
    assert await receiver.receive() == EventsMissed(count=None)
    assert (await receiver.receive()).uuid == "0"


async def test_counts_of_dropped_markers_add_up():
    receiver = EventReceiver(EVERY, None, 1)
    receiver.put(EventsMissed(count=5))
    receiver.put(reboot())
    receiver.put(reboot())
    assert await receiver.receive() == EventsMissed(count=6)


async def test_receiving_waits_and_can_be_cancelled(autojump_clock):
    receiver = EventReceiver(EVERY, None, 3)
    with trio.move_on_after(1) as scope:
        await receiver.receive()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await receiver.receive()
        receiver.put(reboot())


async def test_the_end():
    receiver = EventReceiver(EVERY, None, 3)
    receiver.put(reboot())
    receiver.end(ConnectionLost("left"))
    assert await receiver.receive() == reboot()
    with pytest.raises(ConnectionLost, match="left"):
        await receiver.receive()
    await receiver.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await receiver.receive()


async def test_closing_wakes_the_reader():
    receiver = EventReceiver(EVERY, None, 3)

    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await receiver.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        receiver.close()


async def test_a_loop_that_stands_still_gets_a_bounded_number_of_events(monkeypatch):
    monkeypatch.setattr(events, "INBOX", 5)
    got = []
    inbox = Inbox(got.append)
    # Trio does not run while this thread is joined.
    thread = threading.Thread(target=lambda: [inbox.put(reboot(str(number))) for number in range(12)])
    thread.start()
    thread.join()
    await trio.testing.wait_all_tasks_blocked()
    assert [event.uuid for event in got[:-1]] == ["0", "1", "2", "3", "4"]
    assert got[-1] == EventsMissed(count=7)


def test_events_after_trio_has_ended_are_nobodys():
    got = []

    async def main():
        return Inbox(got.append)

    inbox = trio.run(main)
    inbox.put(reboot())
    assert got == []


def test_every_event_can_be_read_and_asked_for():
    import libvirt

    assert set(READERS) == {*EVENT_IDS, QemuMonitorEvent}
    for event, number in EVENT_IDS.items():
        constant = {
            "DomainLifecycle": "LIFECYCLE",
            "DomainReboot": "REBOOT",
            "IoError": "IO_ERROR_REASON",
            "ControlError": "CONTROL_ERROR",
            "BlockJob": "BLOCK_JOB_2",
            "DeviceRemoved": "DEVICE_REMOVED",
            "AgentLifecycle": "AGENT_LIFECYCLE",
            "DeviceAdded": "DEVICE_ADDED",
            "DeviceRemovalFailed": "DEVICE_REMOVAL_FAILED",
            "BlockThreshold": "BLOCK_THRESHOLD",
        }[event.__name__]
        assert number == getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{constant}")


def test_fields_of_events():
    def read(kind, *args):
        return kind(name="vm", uuid="u", **READERS[kind](*args))

    assert read(AgentLifecycle, 1, 2).state is AgentState.CONNECTED
    assert read(AgentLifecycle, 9, 2).state == 9
    assert read(BlockThreshold, "vda", None, 5, 1) == BlockThreshold(
        name="vm", uuid="u", disk="vda", path=None, threshold=5, excess=1
    )
    event = read(QemuMonitorEvent, "RESET", 1, 2, '{"guest": false}')
    assert (event.event, event.seconds, event.microseconds, event.data) == ("RESET", 1, 2, {"guest": False})


@pytest.mark.parametrize("details", [None, "", "{", "[1]", "3"])
def test_details_of_a_qmp_event_that_are_no_object(details):
    assert READERS[QemuMonitorEvent]("X", 1, 2, details)["data"] is None
