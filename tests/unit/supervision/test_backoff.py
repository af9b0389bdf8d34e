"""The backoff: bounds, growth, chance, and giving up."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.supervision.backoff import Backoff, GiveUp, ReconnectConfig, Retry, delay_bounds

seconds = st.floats(0.001, 1e6)
configs = st.builds(
    lambda initial, more, **others: ReconnectConfig(initial=initial, maximum=initial + more, **others),
    initial=seconds,
    more=st.floats(0, 1e6),
    factor=st.floats(1, 1000),
    jitter=st.floats(0, 1),
    steady=st.floats(0, 100),
    restarts=st.none() | st.integers(1, 5),
    window=seconds,
)


def test_the_defaults_double_from_a_second_to_a_minute():
    config = ReconnectConfig(jitter=0)
    assert [delay_bounds(config, n) for n in range(8)] == [(s, s) for s in (1, 2, 4, 8, 16, 32, 60, 60)]


def test_chance_spreads_every_step_within_the_bounds():
    config = ReconnectConfig()
    assert [delay_bounds(config, n) for n in (0, 1, 6, 100)] == [(1, 1.25), (1.5, 2.5), (45, 60), (45, 60)]
    assert Backoff(config, retries=1).decide(0.5) == Retry(2.0)


@given(configs, st.integers(0, 1_000_000), st.floats(0, 1))
def test_every_delay_of_a_million_is_within_the_bounds(config, retries, chance):
    decision = Backoff(config, retries).decide(chance)
    assert isinstance(decision, Retry)
    assert config.initial <= decision.delay <= config.maximum


@given(configs, st.integers(0, 1_000_000))
def test_delays_never_shrink(config, retries):
    now, next_one = delay_bounds(config, retries), delay_bounds(config, retries + 1)
    assert all(one <= after or math.isclose(one, after) for one, after in zip(now, next_one, strict=True))


def test_a_million_attempts():
    backoff = Backoff(ReconnectConfig())
    for _ in range(1_000_000):
        backoff = backoff.retried()
    assert 45 <= backoff.decide(0.3).delay <= 60
    assert backoff.losses == ()


@given(st.integers(0, 50))
def test_attempts_are_as_many_as_asked_for(attempts):
    backoff, made = Backoff(ReconnectConfig(attempts=attempts)), 0
    while isinstance(backoff.decide(0), Retry):
        backoff, made = backoff.retried(), made + 1
    assert made == attempts
    assert "attempt" in backoff.decide(0).reason


def test_a_connection_that_held_begins_anew():
    backoff = Backoff(ReconnectConfig(steady=10, attempts=3), retries=3)
    assert isinstance(backoff.decide(0), GiveUp)
    assert backoff.lost(100, held=9.9).retries == 3
    assert backoff.lost(100, held=10).decide(0) == Retry(1.0)


def test_too_many_losses_within_the_window():
    backoff = Backoff(ReconnectConfig(restarts=2, window=60, steady=0))
    for at in (0, 30, 61, 90):
        backoff = backoff.lost(at, held=20)
        assert isinstance(backoff.decide(0), Retry)
    backoff = backoff.lost(91, held=1)
    assert backoff.decide(0) == GiveUp("lost 3 times within 60 s")


@given(configs, st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000)), max_size=30))
def test_losses_are_counted_within_the_window_and_bounded(config, losses):
    backoff, now, times = Backoff(config), 0.0, []
    for passed, held in losses:
        now += passed
        times.append(now)
        backoff = backoff.lost(now, held=held)
        recent = [at for at in times if now - at < config.window]
        is_over = config.restarts is not None and len(recent) > config.restarts
        assert isinstance(backoff.decide(0.5), GiveUp) == is_over
        assert len(backoff.losses) <= (config.restarts or -1) + 1


@pytest.mark.parametrize(
    "setting",
    [
        {"initial": 0},
        {"initial": -1},
        {"initial": math.nan},
        {"initial": "1"},
        {"maximum": math.inf},
        {"initial": 2, "maximum": 1},
        {"factor": 0.5},
        {"jitter": 1.1},
        {"jitter": True},
        {"attempts": -1},
        {"attempts": 1.5},
        {"restarts": 0},
        {"window": 0},
        {"steady": -1},
    ],
)
def test_settings_that_cannot_be_meant(setting):
    with pytest.raises(ConfigError, match=list(setting)[-1]):
        ReconnectConfig(**setting)


def test_values_are_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ReconnectConfig().initial = 3
