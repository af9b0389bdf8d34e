"""Servers of tests, serving for the time of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import trio

from atp_trio.background import open_background

Handler: TypeAlias = Callable[[trio.SocketStream], Awaitable[object]]
Listening: TypeAlias = tuple[trio.SocketListener, Handler]
"""A socket, and what is done with who connects to it."""


@asynccontextmanager
async def serving(listening: Sequence[Listening]) -> AsyncIterator[None]:
    """Serve for the time of the block, whose own exception leaves it as it is and in no group.

    Cancellation: handlers are cancelled and waited for, as they are at the block's end.
    """
    async with open_background() as nursery:
        for listener, handler in listening:
            nursery.start_soon(partial(trio.serve_listeners, handler, [listener]))
        yield
