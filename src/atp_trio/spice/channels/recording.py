"""Filming a screen.

Theory of operation. One task takes a picture whenever the screen has changed, and has it encoded in a worker thread before it
takes the next: so nothing queues up, and a screen that changes faster than can be encoded gives fewer frames, each with its time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConfigError
from atp_trio.spice.imaging.movie import Movie, check_movie_format
from atp_trio.spice.imaging.screenshot import Screenshot


@attrs.frozen
class View:
    """How a recording sees the screen.

    Attributes:
        look: Gives what is shown now, as soon as there is a complete picture.
        wait_damage: Waits until something was drawn since the last look.
        has_news: Whether something was, and can be looked at without waiting.
    """

    look: Callable[[], Awaitable[Screenshot]]
    wait_damage: Callable[[], Awaitable[None]]
    has_news: Callable[[], bool]


class Recording:
    """A film of a screen that is being recorded; `DisplayChannel.record` makes it.

    Attributes:
        path: The file.
        failure: What ended the recording before its time; raised at the end of the block, too.
    """

    def __init__(self, path: Path, movie: Movie, view: View, first: Screenshot, pause: float) -> None:
        self.path = path
        self.failure: AtpError | OSError | None = None
        self._movie = movie
        self._view = view
        self._first = first
        self._pause = pause
        self._began = trio.current_time()

    def __repr__(self) -> str:
        return f"<Recording {self.path} {self.frames} frames>"

    @property
    def frames(self) -> int:
        """How many frames were written."""
        return self._movie.frames

    async def _run(self) -> None:
        picture, seen = self._first, self._began
        try:
            while True:
                await trio.to_thread.run_sync(self._movie.add, picture.pixels, seen - self._began)
                await trio.sleep_until(seen + self._pause)
                await self._view.wait_damage()
                picture, seen = await self._view.look(), trio.current_time()
        except (AtpError, OSError) as error:
            self.failure = error

    async def _end(self) -> None:
        """Write what was drawn last, and end the film: what it takes is bounded."""
        with trio.CancelScope(shield=True):
            ended = trio.current_time() - self._began
            try:
                if self.failure is None and not self._movie.frames:
                    await trio.to_thread.run_sync(self._movie.add, self._first.pixels, 0.0)
                if self.failure is None and self._view.has_news():
                    picture = await self._view.look()
                    await trio.to_thread.run_sync(self._movie.add, picture.pixels, ended)
            except (AtpError, OSError) as error:
                self.failure = error
            finally:
                await trio.to_thread.run_sync(self._movie.close, ended)


@asynccontextmanager
async def open_recording(path: str | os.PathLike[str], view: View, fps: float | None) -> AsyncIterator[Recording]:
    """Record for the time of the block: see `DisplayChannel.record`."""
    target = check_movie_format(Path(path))
    if fps is not None and not 0 < fps < float("inf"):
        raise ConfigError(f"a film of {fps} frames a second")
    picture = await view.look()
    if not picture.pixels.size:
        raise ConfigError("there is nothing to film: the region lies outside of the screen")
    movie = await trio.to_thread.run_sync(Movie, target, picture.width, picture.height)
    recording = Recording(target, movie, view, picture, 1 / fps if fps else 0.0)
    try:
        async with open_background() as nursery:
            nursery.start_soon(recording._run)  # noqa: SLF001 - its own module
            yield recording
    finally:
        await recording._end()  # noqa: SLF001
    if recording.failure is not None:
        raise recording.failure
