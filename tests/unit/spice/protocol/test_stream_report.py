"""When reports on video streams are due, and what they say."""

from __future__ import annotations

import pytest

from atp_trio.spice.messages.display import StreamActivateReport
from atp_trio.spice.protocol.stream_report import StreamReports, time_left

NONE = 0xFFFFFFFF


def wanted(stream_id=1, unique_id=77, max_window_size=5, timeout_ms=1000):
    return StreamActivateReport(stream_id=stream_id, unique_id=unique_id, max_window_size=max_window_size, timeout_ms=timeout_ms)


@pytest.fixture
def reports():
    made = StreamReports()
    assert made.activate(wanted(), is_decodable=True) is None
    return made


def count(reports, number, *, ahead=400, now=None, is_shown=True, stream_id=1):
    """A frame every 40 ms, the first at 1000, each `ahead` milliseconds before its time."""
    mm_time = 1000 + 40 * number
    now = number * 0.04 if now is None else now
    return reports.count(stream_id, mm_time, clock=mm_time - ahead, now=now, is_shown=is_shown)


def test_a_full_window(reports):
    assert [count(reports, number) for number in range(4)] == [None] * 4
    report = count(reports, 4, ahead=390)
    assert (report.stream_id, report.unique_id) == (1, 77)
    assert (report.start_frame_mm_time, report.end_frame_mm_time) == (1000, 1160)
    assert (report.num_frames, report.num_drops, report.last_frame_delay) == (5, 0, 390)
    assert report.audio_delay == NONE


def test_counting_begins_anew(reports):
    for number in range(5):
        last = count(reports, number, ahead=-1 if number == 2 else 5)
    assert last.num_drops == 1
    for number in range(5, 10):
        last = count(reports, number)
    assert (last.start_frame_mm_time, last.num_frames, last.num_drops) == (1200, 5, 0)


def test_time_passed(reports):
    assert count(reports, 0, now=10.0) is None
    assert count(reports, 1, now=10.999) is None
    assert count(reports, 2, now=11.0).num_frames == 3
    assert count(reports, 3, now=11.5) is None
    assert count(reports, 4, now=12.4) is None


def test_late_frames_are_drops_and_three_in_a_row_are_told_at_once(reports):
    assert count(reports, 0, ahead=-1) is None
    assert count(reports, 1, ahead=-1) is None
    report = count(reports, 2, ahead=-30)
    assert (report.num_frames, report.num_drops, report.last_frame_delay) == (3, 3, -30)


def test_frames_that_cannot_be_shown_are_drops(reports):
    count(reports, 0)
    count(reports, 1, is_shown=False)
    assert count(reports, 2, is_shown=False) is None
    report = count(reports, 3, is_shown=False)
    assert (report.num_frames, report.num_drops) == (4, 3)


def test_a_stream_of_which_nothing_can_be_shown_is_reported_once(reports):
    for number in range(2):
        assert count(reports, number, is_shown=False) is None
    report = count(reports, 2, is_shown=False)
    assert (report.stream_id, report.unique_id, report.num_frames, report.num_drops) == (1, 77, 0, NONE)
    assert not len(reports)
    assert [count(reports, number) for number in range(9)] == [None] * 9


def test_a_stream_without_a_decoder_is_reported_at_once():
    reports = StreamReports()
    report = reports.activate(wanted(4, 5), is_decodable=False)
    assert (report.stream_id, report.unique_id, report.num_frames, report.num_drops) == (4, 5, 0, NONE)
    assert not len(reports)


def test_streams_without_reports_are_passed_over(reports):
    assert [count(reports, number, stream_id=2) for number in range(9)] == [None] * 9


def test_streams_that_have_ended(reports):
    reports.forget(1)
    reports.forget(2)
    assert count(reports, 0) is None
    reports.activate(wanted(max_window_size=1), is_decodable=True)
    assert count(reports, 0) is not None
    reports.clear()
    assert count(reports, 0) is None


def test_streams_are_counted_apart_and_the_newest_wish_counts(reports):
    reports.activate(wanted(2, 88, max_window_size=2), is_decodable=True)
    count(reports, 0)
    count(reports, 0, stream_id=2)
    assert count(reports, 1, stream_id=2).unique_id == 88
    reports.activate(wanted(1, 99, max_window_size=1), is_decodable=True)
    report = count(reports, 5)
    assert (report.unique_id, report.num_frames) == (99, 1)


@pytest.mark.parametrize("limit", [{"max_window_size": 0}, {"timeout_ms": 0}])
def test_every_frame(limit):
    reports = StreamReports()
    reports.activate(wanted(**limit), is_decodable=True)
    assert [count(reports, number).num_frames for number in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("mm_time", "clock", "left"),
    [
        (1000, 600, 400),
        (600, 1000, -400),
        (100, 2**32 - 300, 400),
        (2**32 - 300, 100, -400),
        (2**32 - 1, 0, -1),
        (0, 12345, 100),
        (5, 2**31 + 5, -(2**31)),
    ],
)
def test_time_left(mm_time, clock, left):
    assert time_left(mm_time, clock) == left
