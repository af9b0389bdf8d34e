from contextlib import asynccontextmanager

import pytest
import trio

from atp_trio.errors import ConfigError, ConnectFailed, HostNotFound
from atp_trio.hypervisor.info import HostInfo
from atp_trio.hypervisor.pool import PoolConfig, open_pool


class Hosts:
    """Stands for `open_host`: tells who is connected."""

    def __init__(self):
        self.connected = []
        self.opened = []
        self.failure = None
        self.takes = 1.0

    @asynccontextmanager
    async def open(self, info):
        await trio.sleep(self.takes)
        if self.failure is not None:
            raise self.failure
        self.connected.append(info.id)
        self.opened.append(info.id)
        try:
            yield f"connection of {info.id}"
        finally:
            self.connected.remove(info.id)


@pytest.fixture
def hosts():
    return Hosts()


@pytest.fixture
async def pool(hosts):
    async with open_pool(PoolConfig(maximum=2, idle_seconds=10), open_one=hosts.open) as pool:
        for host_id in "abc":
            pool.add_host(HostInfo(host_id, host_id))
        yield pool
    assert hosts.connected == []


async def test_connected_when_wanted_and_shared(pool, hosts, autojump_clock):
    assert hosts.connected == []

    async def user():
        async with pool.get_connection("a") as host:
            assert host == "connection of a"
            await trio.sleep(5)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(user)
        await trio.sleep(2)
        statistics = pool.statistics()
        assert (statistics.active, statistics.total, statistics.opened, statistics.latency) == (1, 1, 1, pytest.approx(1.0))
    assert hosts.opened == ["a"]
    assert pool.statistics().active == 0


async def test_unknown_host(pool, autojump_clock):
    with pytest.raises(HostNotFound, match="'x'"):
        async with pool.get_connection("x"):
            raise AssertionError


async def test_idle_hosts_are_left(pool, hosts, autojump_clock):
    async with pool.get_connection("a"):
        await trio.sleep(100)
        assert hosts.connected == ["a"]
    await trio.sleep(9)
    assert hosts.connected == ["a"]
    await trio.sleep(2)
    assert hosts.connected == []
    async with pool.get_connection("a"):
        assert hosts.connected == ["a"]


async def test_a_full_pool_gives_an_idle_hosts_place_away(pool, hosts, autojump_clock):
    for host_id in "abc":
        async with pool.get_connection(host_id):
            pass
    assert hosts.connected == ["b", "c"]


async def test_a_full_pool_makes_wait(pool, hosts, autojump_clock):
    async with pool.get_connection("a"), trio.open_nursery() as nursery:
        got = trio.Event()

        async def third():
            async with pool.get_connection("c"):
                got.set()

        async with pool.get_connection("b"):
            nursery.start_soon(third)
            await trio.sleep(5)
            assert not got.is_set()
            assert pool.statistics().waiting == 1
        with trio.fail_after(5):
            await got.wait()
    assert "b" not in hosts.connected


async def test_failure_is_raised_to_all_who_wait_and_tried_anew_by_the_next(pool, hosts, autojump_clock):
    hosts.failure = ConnectFailed("refused")
    seen = []

    async def user():
        try:
            async with pool.get_connection("a"):
                raise AssertionError
        except ConnectFailed as error:
            seen.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(user)
    assert len(seen) == 3
    statistics = pool.statistics()
    assert (statistics.errors, statistics.total, statistics.last_error) == (1, 0, hosts.failure)
    hosts.failure = None
    async with pool.get_connection("a"):
        pass


async def test_cancelled_while_connecting_leaves_the_connection_to_the_next(pool, hosts, autojump_clock):
    with trio.move_on_after(0.5):
        async with pool.get_connection("a"):
            raise AssertionError
    await trio.sleep(1)
    assert hosts.connected == ["a"]
    assert pool.statistics().active == 0
    async with pool.get_connection("a"):
        pass
    assert hosts.opened == ["a"]


async def test_removed_host_is_left_when_its_users_have(pool, hosts, autojump_clock):
    async with pool.get_connection("a"):
        pool.remove_host("a")
        assert [info.id for info in pool.hosts] == ["b", "c"]
        with pytest.raises(HostNotFound):
            async with pool.get_connection("a"):
                raise AssertionError
        await trio.sleep(1)
        assert hosts.connected == ["a"]
    await trio.sleep(0.1)
    assert hosts.connected == []
    with pytest.raises(HostNotFound):
        pool.remove_host("a")


async def test_removed_idle_host_is_left_at_once(pool, hosts, autojump_clock):
    async with pool.get_connection("a"):
        pass
    pool.remove_host("a")
    await trio.sleep(0.1)
    assert hosts.connected == []


async def test_two_hosts_of_one_id(pool, autojump_clock):
    pool.add_host(HostInfo("a", "a"))
    with pytest.raises(ConfigError, match="another host"):
        pool.add_host(HostInfo("a", "elsewhere"))


async def test_the_blocks_own_error_passes_as_it_is(hosts, autojump_clock):
    with pytest.raises(ZeroDivisionError):
        async with open_pool(open_one=hosts.open):
            _ = 1 // 0


async def test_real_hosts():
    async with open_pool() as pool:
        pool.add_host(HostInfo("t", "localhost", "test:///default"))
        async with pool.get_connection("t") as host:
            assert [one.name for one in await host.domains()] == ["test"]
