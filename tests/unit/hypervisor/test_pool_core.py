import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atp_trio.errors import ConfigError
from atp_trio.hypervisor.pool_core import Decision, PoolConfig, PoolCore


def core(**config):
    return PoolCore(PoolConfig(**{"maximum": 2, "idle_seconds": 10} | config))


def use(one, host_id, now=0.0):
    if one.want(host_id) is Decision.OPEN:
        one.opening(host_id)
    one.used(host_id)
    one.left(host_id, now)


def test_a_host_is_opened_once_and_then_used():
    one = core()
    assert one.want("a") is Decision.OPEN
    one.opening("a")
    assert one.want("a") is Decision.USE
    assert (one.total, one.active) == (1, 0)
    one.used("a")
    assert one.active == 1


def test_a_full_pool_puts_out_who_has_been_idle_the_longest():
    one = core()
    use(one, "a", 2.0)
    use(one, "b", 1.0)
    assert one.want("c") is Decision.EVICT
    assert one.victim() == "b"
    one.closing("b")
    assert one.want("c") is Decision.WAIT
    assert one.want("b") is Decision.WAIT
    one.closed("b")
    assert one.want("c") is Decision.OPEN


def test_a_full_pool_whose_hosts_are_in_use_makes_wait():
    one = core()
    for host_id in "ab":
        one.opening(host_id)
        one.used(host_id)
    assert one.want("c") is Decision.WAIT
    assert one.victim() is None
    assert one.want("a") is Decision.USE


def test_idle_hosts_expire():
    one = core(maximum=3)
    use(one, "a", 1.0)
    use(one, "b", 2.0)
    assert one.next_look() == 11.0
    assert one.expired(10.9) == []
    assert one.expired(11.0) == ["a"]
    assert one.expired(12.0) == ["a", "b"]
    one.closing("a")
    assert one.expired(12.0) == ["b"]


def test_a_minimum_stays():
    one = core(maximum=3, minimum=1)
    use(one, "a", 1.0)
    assert one.expired(100.0) == []
    assert one.next_look() == math.inf
    use(one, "b", 2.0)
    assert one.expired(100.0) == ["a"]


def test_leaving_a_host_that_is_gone():
    one = core()
    one.left("a", 1.0)
    one.closed("a")
    assert one.total == 0


@pytest.mark.parametrize("wrong", [{"maximum": 0}, {"minimum": -1}, {"idle_seconds": -1}, {"minimum": 3, "maximum": 2}])
def test_settings_that_cannot_be_meant(wrong):
    with pytest.raises(ConfigError):
        PoolConfig(**wrong)


class PoolMachine(RuleBasedStateMachine):
    """However it is used: never more than the maximum, never a host closed that is in use, never fewer than the minimum."""

    def __init__(self):
        super().__init__()
        self.core = core(maximum=3, minimum=1)
        self.now = 0.0
        self.users: dict[str, int] = {}
        self.closing = set()

    @rule(host_id=st.sampled_from("abcdef"))
    def want(self, host_id):
        match self.core.want(host_id):
            case Decision.OPEN:
                self.core.opening(host_id)
                self.users[host_id] = 0
            case Decision.EVICT:
                victim = self.core.victim()
                assert not self.users[victim]
                self.core.closing(victim)
                self.closing.add(victim)
                return
            case Decision.WAIT:
                assert host_id in self.closing or len(self.users) == 3
                return
        self.core.used(host_id)
        self.users[host_id] += 1

    @precondition(lambda self: any(self.users.values()))
    @rule(data=st.data())
    def leave(self, data):
        host_id = data.draw(st.sampled_from(sorted(host_id for host_id, count in self.users.items() if count)))
        self.core.left(host_id, self.now)
        self.users[host_id] -= 1

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds):
        look = self.core.next_look()
        self.now += seconds
        expired = self.core.expired(self.now)
        assert bool(expired) == (look <= self.now)
        for host_id in expired:
            assert not self.users[host_id]
            self.core.closing(host_id)
            self.closing.add(host_id)
        assert len(self.users) - len(self.closing) >= min(1, len(self.users) - len(self.closing) + len(expired))

    @precondition(lambda self: self.closing)
    @rule()
    def close(self):
        host_id = self.closing.pop()
        self.core.closed(host_id)
        del self.users[host_id]

    @invariant()
    def counts(self):
        assert self.core.total == len(self.users) <= 3
        assert self.core.active == sum(count > 0 for count in self.users.values())


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=50, stateful_step_count=30)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_all_expire_in_the_end(times):
    one = core(maximum=5)
    for number, at in enumerate(times):
        use(one, str(number), at)
    assert set(one.expired(200.0)) == {str(number) for number in range(len(times))}
