"""A block with tasks in its background: what `open_x` functions are made of.

Theory of operation. A nursery by itself wraps the block's exception in a group. So that exception is kept out of it, and raised
again when all tasks have ended. Meanwhile the nursery is shielded: otherwise a cancellation of the caller would come out of the
tasks, in place of what ended the block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_background"]


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks serve the block: when it ends they are cancelled, and waited for.

    The block's own exception leaves as it is, in no group. What is to be done before the tasks are cancelled, or ends those that
    have a shielded scope of their own, the block does in a `finally`.

    Raises:
        BaseExceptionGroup: A task raised, which is a bug: tasks keep for the block's callers what can be expected. The block is
            cancelled then; if it raised all the same, that is in the group too.
        KeyboardInterrupt: SIGINT met one of the tasks.

    Cancellation: it is the block's. The tasks' end is waited for; it takes as long as their shields last.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure = error
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as raised:
        failure = _join(failure, raised)
    if failure is not None:
        raise failure


def _join(failure: BaseException | None, raised: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """What leaves when tasks have raised, and the block perhaps too."""
    if raised.split((KeyboardInterrupt, trio.Cancelled))[1] is None:
        return KeyboardInterrupt()
    if failure is None:
        return raised
    # The block's Cancelled is the nursery's doing, whose scope is behind us: nobody would catch it any more.
    return raised.derive([failure, *raised.exceptions]).split(trio.Cancelled)[1]
