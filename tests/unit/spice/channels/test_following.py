"""When following a display is worth it; that it is followed is shown by the integration tests."""

from __future__ import annotations

from itertools import pairwise

import pytest

from atp_trio.spice.channels.following import DEEPEST_DISTRUST, DISTRUST, STEADY, WAKES, WORTH, Steadiness
from atp_trio.spice.codec.following import FollowStatus


def woken(steadiness, seconds=STEADY / 2, *, begin=0.0, times=WAKES):
    """The reader was woken so often in this time; gives when it has ended."""
    for number in range(times):
        steadiness.woken(begin + seconds * number / (times - 1))
    return begin + seconds


def test_a_channel_that_is_woken_often_is_steady():
    steadiness = Steadiness()
    assert not steadiness.holds(0.0)
    now = woken(steadiness, times=WAKES - 1)
    assert not steadiness.holds(now)
    steadiness.woken(now)
    assert steadiness.holds(now)
    assert not steadiness.holds(now + STEADY)
    now = woken(steadiness, 1.1 * STEADY, begin=9.0)
    assert not steadiness.holds(now)


def test_what_goes_on_is_followed_on():
    steadiness = Steadiness()
    now = woken(steadiness)
    steadiness.followed(now + 1, 1.0, FollowStatus.OVER, WAKES)
    assert steadiness.holds(now + 1)
    steadiness.followed(now + 2, 1.0, FollowStatus.OVER, WAKES - 1)
    assert not steadiness.holds(now + 2)


def test_who_looks_again_and_again_does_not_wait_for_a_thread_each_time():
    steadiness = Steadiness()
    for number in range(5):
        now = woken(steadiness, begin=float(number), seconds=DISTRUST / 9)
        steadiness.followed(now, 1.0, FollowStatus.ASKED, 100)
        assert not steadiness.holds(woken(steadiness, begin=now, seconds=DISTRUST / 2))
        assert steadiness.holds(woken(steadiness, begin=now, seconds=1.1 * DISTRUST))


def test_what_was_in_vain_is_tried_again_ever_later():
    steadiness, now, pauses = Steadiness(), 0.0, []
    for _ in range(10):
        now = woken(steadiness, begin=now)
        assert steadiness.holds(now)
        steadiness.followed(now, WORTH / 2, FollowStatus.OTHER, 1)
        begin = now
        while not steadiness.holds(now):
            now = woken(steadiness, begin=now, seconds=0.01)
        pauses.append(now - begin)
    assert all(later > 0.99 * before for before, later in pairwise(pauses))
    assert pauses[0] == pytest.approx(DISTRUST, abs=0.02)
    assert pauses[-1] == pytest.approx(DEEPEST_DISTRUST, abs=0.02)
    steadiness.followed(now, 2 * WORTH, FollowStatus.OTHER, 1)
    assert steadiness.holds(woken(steadiness, begin=now, seconds=0.01))
