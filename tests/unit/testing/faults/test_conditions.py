"""Conditions of a link: read from text, and what they make of sending."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.testing.faults.conditions import BURST, LinkConditions, Wire, parse_link

times = st.integers(0, 10**7).map(lambda us: us / 1e6)
conditions = st.builds(
    LinkConditions,
    delay=times,
    jitter=times,
    rate=st.none() | st.integers(1, 10**10).map(float),
    chunk=st.none() | st.integers(1, 10**6),
    gap=times,
)


def test_read():
    assert parse_link("delay=40ms rate=10mbit jitter=5ms") == LinkConditions(delay=0.04, rate=10e6, jitter=0.005)
    assert parse_link(" chunk=1,gap=250us,delay=1.5S ") == LinkConditions(chunk=1, gap=0.00025, delay=1.5)
    assert parse_link("rate=64kbit chunk=4k") == LinkConditions(rate=64000, chunk=4096)


@given(conditions.filter(str))
def test_what_is_written_is_read_again(link):
    again = parse_link(str(link))
    assert (again.rate, again.chunk) == (link.rate, link.chunk)
    assert (again.delay, again.jitter, again.gap) == pytest.approx((link.delay, link.jitter, link.gap))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is none of delay=, jitter=, rate=, chunk=, gap="),
        ("delay", "'delay' is none of"),
        ("speed=1", "'speed=1' is none of"),
        ("delay=40", "delay is a number and its unit .us, ms, s."),
        ("delay=-1ms", "delay is a number"),
        ("delay=nanms", "delay is a number"),
        ("rate=10mbps", "as in rate=10mbit"),
        ("rate=0mbit", "rate is above 0"),
        ("chunk=0", "chunk is above 0"),
        ("delay=1ms delay=2ms", "delay is there twice"),
    ],
)
def test_what_cannot_be_meant(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_link(text)


@pytest.mark.parametrize("setting", [{"delay": -1}, {"jitter": math.nan}, {"rate": math.inf}, {"gap": math.inf}])
def test_values_that_cannot_be_meant(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        LinkConditions(**setting)


def test_a_link_without_conditions_takes_no_time():
    wire = Wire(LinkConditions())
    assert wire.send(5, 10**9, 0.9) == 5
    assert wire.takes_more_at == -math.inf
    assert wire.read_size == 65536


def test_delay_and_jitter():
    wire = Wire(parse_link("delay=40ms jitter=10ms"))
    assert wire.send(1, 100, 0.5) == pytest.approx(1.045)


def test_rate():
    wire = Wire(parse_link("delay=1s rate=8kbit"))  # 1000 bytes a second
    assert wire.send(0, 500, 0) == 1.5
    assert wire.send(0, 500, 0) == 2.0
    assert wire.takes_more_at == pytest.approx(1.0 - BURST)
    assert wire.send(10, 500, 0) == 11.5


@given(conditions, st.lists(st.tuples(st.floats(0, 10), st.integers(0, 65536), st.floats(0, 1)), max_size=50))
def test_never_faster_than_the_link(link, sent):
    wire, now, size = Wire(link), 0.0, 0
    for pause, length, chance in sent:
        now += pause
        size += length
        arrives = wire.send(now, length, chance)
        assert arrives >= now + link.delay
        if link.rate is not None:
            assert arrives - link.delay >= 8 * size / link.rate * (1 - 1e-9)
            assert 1500 <= wire.read_size <= 65536
