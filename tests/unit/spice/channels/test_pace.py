"""How much is gathered, by rate, size and window."""

from __future__ import annotations

import pytest

from atp_trio.spice.channels.pace import (
    DEEPEST_DISTRUST,
    DISTRUST,
    FASTEST,
    FEWEST,
    GATHER,
    MEASURE,
    MOST_BYTES,
    PATIENCE,
    PAUSE,
    Pace,
)


def steady(pace, rate, size, *, begin=0.0, messages=0, seconds=0.1):
    """Let so many messages of a size come a second, one a read; gives when and how many in all."""
    for number in range(1, int(rate * seconds) + 1):
        pace.look(begin + number / rate, messages + number, (messages + number) * size)
    return begin + seconds, messages + int(rate * seconds)


def test_nothing_is_gathered_before_a_rate_is_known():
    pace = Pace()
    assert pace.low_water(None) == 1
    pace.look(5.0, 1000, 100_000)
    pace.look(5.0 + MEASURE / 2, 1100, 110_000)
    assert pace.low_water(None) == 1


def test_what_comes_in_the_time_is_gathered():
    pace = Pace()
    steady(pace, 2000, 1000)
    assert pace.low_water(None) == pytest.approx(2000 * GATHER * 1000, rel=0.1)


def test_few_messages_are_not_worth_it():
    pace = Pace()
    steady(pace, 0.9 * FEWEST / GATHER, 1000)
    assert pace.low_water(None) == 1


@pytest.mark.parametrize("room", [10, 15, 20])
def test_the_server_is_never_made_to_wait_for_an_ack(room):
    pace = Pace()
    steady(pace, 9000, 50)
    assert room * 45 <= pace.low_water(room) <= room * 50
    assert pace.low_water(FEWEST - 1) == 1


def test_a_server_that_sends_what_it_can_is_not_waited_for():
    pace = Pace()
    steady(pace, 1.1 * FASTEST, 50)
    assert pace.low_water(None) == 1


def test_the_kernel_is_asked_for_no_more_than_it_holds():
    pace = Pace()
    steady(pace, 1000, 1_000_000)
    assert pace.low_water(None) == MOST_BYTES


def test_after_a_wait_in_vain_the_next_messages_are_not_waited_for():
    pace = Pace()
    now, messages = steady(pace, 2000, 100)
    pace.quiet()
    assert pace.low_water(None) == 1
    now, messages = steady(pace, 2000, 100, begin=now + PATIENCE, messages=messages, seconds=0.9 * DISTRUST)
    assert pace.low_water(None) == 1
    # It was a hiccup: the stream goes on, and so does the gathering.
    now, messages = steady(pace, 2000, 100, begin=now, messages=messages, seconds=0.2 * DISTRUST)
    assert pace.low_water(None) > 1


def test_answers_to_somebody_are_hardly_ever_waited_for():
    # One message each time, which comes when the last was seen: steady, but for our own waiting.
    pace, now, waits = Pace(), 0.0, 0
    for number in range(1, 10_001):
        now += 1 / 1000
        pace.look(now, number, number * 100)
        if pace.low_water(None) > 1:
            waits += 1
            pace.quiet()
            now += PATIENCE
    assert waits < 10


def test_trust_comes_back_with_what_is_gathered():
    pace = Pace()
    now, messages = steady(pace, 2000, 100)
    for _ in range(10):
        pace.quiet()
    now, messages = steady(pace, 2000, 100, begin=now, messages=messages, seconds=DEEPEST_DISTRUST + PATIENCE + 2 * MEASURE)
    for number in range(1, 11):
        assert pace.low_water(None) > 1
        pace.look(now + number * GATHER, messages + 16 * number, (messages + 16 * number) * 100)
    now, messages = now + 10 * GATHER, messages + 160
    pace.quiet()
    steady(pace, 2000, 100, begin=now, messages=messages, seconds=DISTRUST + 2 * PATIENCE)
    assert pace.low_water(None) > 1


def test_the_rate_of_before_a_pause_is_forgotten():
    pace = Pace()
    now, messages = steady(pace, 2000, 100)
    pace.quiet()
    pace.look(now + 1.0, messages + 1, (messages + 1) * 100)
    assert pace.low_water(None) == 1


def test_a_stream_of_nothing_but_bytes_is_no_rate():
    pace = Pace()
    for number in range(100):  # one large message, received in parts
        pace.look(number / 1000, 0, number * 65536)
    assert pace.low_water(None) == 1


def test_a_hiccup_ends_no_stream():
    pace = Pace()
    now, messages = steady(pace, 2000, 100)
    pace.quiet()
    assert pace.low_water(None) == 1
    steady(pace, 2000, 100, begin=now + 0.9 * PAUSE, messages=messages, seconds=DISTRUST)
    assert pace.low_water(None) > 1


def test_what_comes_in_bunches_has_the_rate_of_all():
    pace = Pace()
    for number in range(1, 21):
        pace.look(number * GATHER, 16 * (number - 1), 1600 * (number - 1))  # what is new is not counted
    assert pace.low_water(None) == pytest.approx(1600, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "expected"), [(2000, 4000 * GATHER), (0.4 * FEWEST / GATHER, 0), (5 * FASTEST, 10 * FASTEST * GATHER)]
)
def test_a_thread_that_follows_gathers_twice_as_much(rate, expected):
    pace = Pace()
    steady(pace, rate, 1000)
    pace.quiet()  # nobody was held up
    gathering = pace.gathering()
    assert gathering.messages == pytest.approx(expected, rel=0.1)
    assert gathering.size == pytest.approx(1000, rel=0.1) or not expected
    assert gathering.patience > 2 * GATHER


def test_what_came_to_a_thread_is_measured_too():
    pace = Pace()
    now, messages = steady(pace, 500, 1000)
    pace.followed(now + 1, messages + 3000, (messages + 3000) * 1000)
    assert pace.gathering().messages == pytest.approx(6000 * GATHER, rel=0.1)
    pace.followed(now + 2, messages + 3000, (messages + 3000) * 1000)
    assert pace.gathering().messages == 0
