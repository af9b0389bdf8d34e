"""What is done for callers who may have gone: files to close, processes to end, and answers that nobody else would get."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import attrs
import trio

from atp_trio.background import open_background
from atp_trio.errors import AtpError, ConnectionLost

__all__ = ["ERRAND_SECONDS", "Errand", "Errands", "open_errands"]

ERRAND_SECONDS: Final = 5.0
"""How long an agent has to clean up behind us; also, how long disconnecting takes at most."""

T = TypeVar("T")
Do = Callable[[], Awaitable[object]]


@attrs.define(eq=False)
class Errand:
    """Something that is being done."""

    # Shielded: who disconnects cancels the nursery first, and waits for errands then.
    _scope: trio.CancelScope = attrs.field(init=False, factory=lambda: trio.CancelScope(shield=True))
    _done: trio.Event = attrs.field(init=False, factory=trio.Event)
    is_given_up: bool = attrs.field(init=False, default=False)
    """Whether it was not done: its time was up, or we disconnected."""

    async def wait(self) -> None:
        """Wait until it is done, or given up."""
        await self._done.wait()

    def limit(self, seconds: float) -> None:
        """Give it up after so many seconds from now."""
        self._scope.deadline = trio.current_time() + seconds

    def give_up(self) -> None:
        """It is not begun."""
        self.is_given_up = True
        self._done.set()

    @trio.lowlevel.enable_ki_protection
    async def run(self, do: Do, running: set[Errand]) -> None:
        """The body of its task. Its errors are nobody's."""
        try:
            with self._scope, contextlib.suppress(AtpError):
                await do()
        finally:
            running.discard(self)
            self.is_given_up = self._scope.cancelled_caught
            self._done.set()


class Errands:
    """The errands of a connection; made by `open_errands`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._running: set[Errand] = set()
        self._is_finished = False
        self._finishing = trio.Event()

    def start(self, do: Do, *, limit: float = ERRAND_SECONDS) -> Errand:
        """Do it, whoever is cancelled, for so many seconds at most."""
        errand = Errand()
        if self._is_finished:
            errand.give_up()
            return errand
        errand.limit(limit)
        self._running.add(errand)
        self._nursery.start_soon(errand.run, do, self._running)
        return errand

    async def acquire(self, get: Callable[[], Awaitable[T]], give_back: Callable[[T], Awaitable[object]]) -> T:
        """Await `get()`; if the caller is cancelled meanwhile, what it gives is given back."""
        got: list[T] = []
        failure: list[AtpError] = []
        is_wanted = True

        async def work() -> None:
            try:
                got.append(await get())
            except AtpError as error:
                failure.append(error)
            if got and not is_wanted:
                await give_back(got[0])

        errand = self.start(work, limit=math.inf)
        try:
            await errand.wait()
        except BaseException:
            is_wanted = False
            errand.limit(ERRAND_SECONDS)
            if got:
                self.start(lambda: give_back(got[0]))
            raise
        if failure:
            raise failure[0]
        if not got:
            raise ConnectionLost("it was disconnected meanwhile")
        return got[0]

    async def wait_finishing(self, seconds: float) -> None:
        """Wait so long, but not when we are about to disconnect."""
        with trio.move_on_after(seconds):
            await self._finishing.wait()

    async def finish(self) -> None:
        """Wait until all are done, for `ERRAND_SECONDS` at most; what is not done then never is."""
        self._finishing.set()
        with trio.move_on_after(ERRAND_SECONDS, shield=True):
            while self._running:
                await next(iter(self._running)).wait()
        self._is_finished = True
        for errand in self._running:
            errand.limit(0)


@asynccontextmanager
async def open_errands() -> AsyncIterator[Errands]:
    """Errands for the time of the block; leaving it waits for them, for `ERRAND_SECONDS` at most."""
    async with open_background() as nursery:
        errands = Errands(nursery)
        try:
            yield errands
        finally:
            await errands.finish()
