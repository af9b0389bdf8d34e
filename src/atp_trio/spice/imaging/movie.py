"""Writing films of a screen, with the `video` extra: MP4 in H.264 and WebM in VP8, every frame shown as long as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from atp_trio.errors import ConfigError
from atp_trio.spice.imaging.extra import import_extra
from atp_trio.spice.imaging.pixel import Argb

# By the file's ending: the encoder, and what makes it quick and good enough for text.
FORMATS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "20"}),
    ".webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "8M"}),
}
# Times are in milliseconds, which both containers can say.
TICK: Final = Fraction(1, 1000)


def check_movie_format(path: str | Path) -> Path:
    """The path, if its ending names a format that can be written.

    Raises:
        ConfigError: It does not.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"{target.name}: a film's name ends in {' or '.join(FORMATS)}")
    return target


class Movie:
    """A film that is being written. Every call may take long: in a thread, from a Trio task, one at a time.

    Attributes:
        frames: How many were written.
    """

    def __init__(self, path: str | Path, width: int, height: int) -> None:
        """Begin a film.

        Args:
            path: Where: a name that ends in `.mp4` or `.webm`. What is there is overwritten.
            width: Of the film in pixels; an odd one becomes even, as the codecs need it.
            height: The same.

        Raises:
            ConfigError: The name, or the extra `video` is not installed, or lacks the encoder.
            OSError: The file cannot be written.
        """
        encoder, options = FORMATS[check_movie_format(path).suffix.lower()]
        self._av = import_extra("av", "video")
        if encoder not in self._av.codecs_available:
            raise ConfigError(f"the extra `video` is installed without {encoder}")
        self.frames = 0
        self._last: Argb = np.zeros((height + height % 2, width + width % 2), np.uint32)
        self._time = -1
        with self._failing():
            self._container: Any = self._av.open(str(path), "w")
        stream = self._container.add_stream(encoder, options=dict(options))
        stream.height, stream.width = self._last.shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICK
        # A machine's screen is filmed beside other work.
        stream.codec_context.thread_count = 1
        self._stream = stream
        with self._failing():
            self._container.start_encoding()

    def add(self, pixels: Argb, seconds: float) -> None:
        """Show this from now on.

        Args:
            pixels: Shape (height, width), numbers `0x00RRGGBB`. Of another size than the film's, what fits is shown.
            seconds: When, from the film's beginning; frames of the same millisecond, or an earlier one, come a millisecond later.

        Raises:
            OSError: It cannot be written.
        """
        frame = np.zeros_like(self._last)
        height, width = (min(pair) for pair in zip(frame.shape, pixels.shape, strict=True))
        frame[:height, :width] = pixels[:height, :width]
        self._last = frame
        self._write(seconds)

    def close(self, seconds: float) -> None:
        """End the film at that time; the last frame is shown until then.

        Raises:
            OSError: It cannot be written.
        """
        try:
            if self.frames:
                self._write(seconds)
            self._mux(None)
        finally:
            with self._failing():
                self._container.close()

    def _write(self, seconds: float) -> None:
        self._time = max(round(seconds / TICK), self._time + 1)
        bgra = self._last.view(np.uint8).reshape(*self._last.shape, 4)
        frame = self._av.VideoFrame.from_ndarray(bgra, format="bgra")
        frame.pts, frame.time_base = self._time, TICK
        self._mux(frame)
        self.frames += 1

    def _mux(self, frame: Any) -> None:
        with self._failing():
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of libav that are no errors of the system's become such."""
        try:
            yield
        except OSError:
            raise
        except self._av.FFmpegError as error:
            raise OSError(f"the film cannot be written: {error}") from error
