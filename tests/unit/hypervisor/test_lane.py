import threading
import weakref

import pytest

from atp_trio.errors import ConfigError, ConnectFailed, ConnectionLost, DomainNotFound, HypervisorError, NotConnected
from atp_trio.hypervisor.credentials import Credentials
from atp_trio.hypervisor.lane import Lane
from atp_trio.hypervisor.uri import HostUri

from .fake_libvirt import FakeError, new_gate


@pytest.fixture
def lost():
    return []


@pytest.fixture
def lane(libvirt, lost):
    lane = Lane(HostUri.parse("qemu:///system"), Credentials(), lost.append)
    lane.open(libvirt.load)
    return lane


def test_work_is_done_with_the_connection(lane, libvirt):
    assert lane.run(lambda on: on.connection.quick()) == "quick"
    lane.close()
    assert libvirt.connections == []


def test_closing_twice(lane):
    lane.close()
    lane.close()
    with pytest.raises(NotConnected):
        lane.run(lambda on: on.connection.quick())


def test_domains_are_looked_up_once(lane):
    for _ in range(3):
        assert lane.run(lambda on: on.domain("uuid-of-a").name()) == "a"
    assert lane.connection.lookups == 1
    with pytest.raises(DomainNotFound):
        lane.run(lambda on: on.domain("nobody"))


def test_domains_kept_are_bounded(lane):
    for number in range(300):
        lane.run(lambda on, number=number: on.domain(f"uuid-of-{number}"))
    assert len(lane._domains) == 256
    assert lane.run(lambda on: on.domain("uuid-of-0").name()) == "0"
    assert lane.connection.lookups == 301


def test_busy_lane_is_closed_by_the_thread_that_is_in_it(lane, libvirt):
    gate, results = new_gate(), []
    thread = threading.Thread(target=lambda: results.append(lane.run(lambda on: on.connection.hang(gate))))
    connection = lane.connection
    thread.start()
    while not connection.calls:
        pass
    lane.close()
    assert libvirt.connections == [connection]
    gate.set()
    thread.join()
    assert results == ["hung"]
    assert libvirt.connections == []


def test_lane_closed_while_it_is_opened(libvirt):
    libvirt.gate = new_gate()
    lane = Lane(HostUri.parse("qemu:///system"), Credentials(), lambda lane: None)
    thread = threading.Thread(target=lane.open, args=[libvirt.load])
    thread.start()
    while not libvirt.asked:
        pass
    lane.close()
    libvirt.gate.set()
    thread.join()
    assert libvirt.opened == 1
    assert libvirt.connections == []


def test_errors_of_calls(lane):
    def fail(on):
        raise FakeError("words", 55, 10)

    with pytest.raises(HypervisorError, match="words") as caught:
        lane.run(fail)
    assert (caught.value.code, caught.value.domain) == (55, 10)


def test_an_error_that_is_kept_does_not_keep_a_domain(lane):
    def fail(on):
        domain = on.domain("uuid-of-a")
        kept.append(weakref.ref(domain))
        raise FakeError(f"{domain.name()} is wrong")

    kept = []
    with pytest.raises(HypervisorError, match="a is wrong") as caught:
        lane.run(fail)
    lane.close()
    assert kept[0]() is None
    assert caught.value.__cause__ is not None


def test_connection_that_ends_in_the_middle(lane, lost):
    def fail(on):
        on.connection.break_()
        raise FakeError("client socket is closed")

    with pytest.raises(ConnectionLost, match="outcome is unknown") as caught:
        lane.run(fail)
    assert not isinstance(caught.value, NotConnected)
    assert lost == [lane]
    with pytest.raises(NotConnected, match="nothing was sent"):
        lane.run(lambda on: on.connection.quick())


def test_what_cannot_be_opened(libvirt):
    libvirt.failure = FakeError("refused")
    lane = Lane(HostUri.parse("qemu:///system"), Credentials(), lambda lane: None)
    with pytest.raises(ConnectFailed, match="refused"):
        lane.open(libvirt.load)


def test_password_that_cannot_be_had_is_the_error(libvirt, monkeypatch, tmp_path):
    def open_auth(uri, auth, flags):
        assert auth[1]([[5, "Password", None, None, None]], None) == -1
        raise FakeError("authentication cancelled", 79)

    monkeypatch.setattr(libvirt, "openAuth", open_auth)
    lane = Lane(HostUri.parse("qemu:///system"), Credentials(password=tmp_path / "none"), lambda lane: None)
    with pytest.raises(ConfigError, match="cannot be read"):
        lane.open(libvirt.load)


def test_driver_without_keepalive(libvirt, monkeypatch):
    def refuse(self, *args):
        raise FakeError("not supported", 3)

    from .fake_libvirt import FakeConnection

    monkeypatch.setattr(FakeConnection, "setKeepAlive", refuse)
    monkeypatch.setattr(FakeConnection, "registerCloseCallback", refuse)
    lane = Lane(HostUri.parse("test:///default"), Credentials(), lambda lane: None)
    lane.open(libvirt.load)
    assert lane.is_alive()
    lane.close()
