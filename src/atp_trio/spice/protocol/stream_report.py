"""Reports on video streams: how their frames come, so that the server can adapt its encoder.

Source:
    Protocol reference, section 12.3.
"""

from __future__ import annotations

from typing import Final

import attrs

from atp_trio.spice.messages.display import StreamActivateReport, StreamReport

__all__ = ["StreamReports", "time_left"]

# What says that a stream cannot be decoded.
UNSUPPORTED_DROPS: Final = 0xFFFFFFFF
# As other clients do it: so many drops in a row are reported at once.
DROPS_IN_A_ROW: Final = 3
# A frame without a time (some guests' drivers) is for as soon as a buffer of this many milliseconds allows.
UNTIMED_MS: Final = 100


def time_left(mm_time: int, clock: int) -> int:
    """Milliseconds until the multimedia clock shows `mm_time`; negative when it is past. Both wrap at 2**32."""
    if not mm_time:
        return UNTIMED_MS
    return (mm_time - clock + 2**31) % 2**32 - 2**31


@attrs.define(eq=False)
class _Window:
    """What was counted of one stream since its last report."""

    wanted: StreamActivateReport
    seen_any: bool = False
    frames: int = 0
    drops: int = 0
    drops_in_a_row: int = 0
    first_time: int = 0
    first_seen: float = 0.0

    def count(self, mm_time: int, now: float, *, is_drop: bool) -> bool:
        """Count a frame; gives whether a report is due."""
        if not self.frames:
            self.first_time, self.first_seen = mm_time, now
        self.frames += 1
        self.drops += is_drop
        self.drops_in_a_row = self.drops_in_a_row + 1 if is_drop else 0
        return (
            self.frames >= self.wanted.max_window_size
            or (now - self.first_seen) * 1000 >= self.wanted.timeout_ms
            or self.drops_in_a_row >= DROPS_IN_A_ROW
        )

    def take(self, mm_time: int, delay: int) -> StreamReport:
        """The report; counting begins anew."""
        report = StreamReport(
            stream_id=self.wanted.stream_id,
            unique_id=self.wanted.unique_id,
            start_frame_mm_time=self.first_time,
            end_frame_mm_time=mm_time,
            num_frames=self.frames,
            num_drops=self.drops,
            last_frame_delay=delay,
        )
        self.frames = self.drops = self.drops_in_a_row = 0
        return report


class StreamReports:
    """The streams that the server wants reports on. A report that comes back from a method is to be sent."""

    def __init__(self) -> None:
        self._windows: dict[int, _Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def activate(self, message: StreamActivateReport, *, is_decodable: bool) -> StreamReport | None:
        """The server wants reports on a stream; one that we cannot decode is reported as such, once."""
        if not is_decodable:
            return unsupported(message)
        self._windows[message.stream_id] = _Window(message)
        return None

    def count(self, stream_id: int, mm_time: int, *, clock: int, now: float, is_shown: bool) -> StreamReport | None:
        """A frame came.

        A frame counts as dropped if it could not be shown, and also if it came late: we show it all the same, but a server is
        used to clients that do not. A stream none of whose frames could be shown until its first report is reported as one
        that we cannot decode.

        Args:
            stream_id: Its stream; one without reports is passed over.
            mm_time: When it was to be shown.
            clock: What the multimedia clock shows now that it has been.
            now: Seconds of any clock that does not jump.
            is_shown: Whether it could be decoded.
        """
        window = self._windows.get(stream_id)
        if window is None:
            return None
        delay = time_left(mm_time, clock)
        window.seen_any = window.seen_any or is_shown
        if not window.count(mm_time, now, is_drop=delay < 0 or not is_shown):
            return None
        if window.seen_any:
            return window.take(mm_time, delay)
        self.forget(stream_id)
        return unsupported(window.wanted)

    def forget(self, stream_id: int) -> None:
        """A stream has ended, or another one has its id now."""
        self._windows.pop(stream_id, None)

    def clear(self) -> None:
        """All streams have ended."""
        self._windows.clear()


def unsupported(wanted: StreamActivateReport) -> StreamReport:
    """The report that a stream cannot be decoded."""
    return StreamReport(
        stream_id=wanted.stream_id,
        unique_id=wanted.unique_id,
        start_frame_mm_time=0,
        end_frame_mm_time=0,
        num_frames=0,
        num_drops=UNSUPPORTED_DROPS,
        last_frame_delay=0,
    )
