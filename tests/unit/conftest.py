"""What unit tests share: cancellation at every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when the task that made this, or tasks of what is tested, have run so many steps."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self.scope, self.left, self.task = scope, step, trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        ours = "atp_trio" in task.name and "atp_trio.testing" not in task.name
        if task is self.task or ours:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def _cancel_everywhere(operation: Callable[[], Awaitable[object]], settle: Callable[[], Awaitable[object]]) -> int:
    step = 0
    while True:
        with trio.CancelScope() as scope:
            instrument = CancelAtStep(scope, step)
            if step == 0:
                scope.cancel()
            trio.lowlevel.add_instrument(instrument)
            try:
                await operation()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        await settle()
        if not scope.cancelled_caught:
            return step
        step += 1


@pytest.fixture
def cancel_everywhere():
    """Run an operation, cancelled at its 1st, 2nd, ... step, each time followed by `settle`, until it gets through.

    Gives the number of steps at which it was cancelled.
    """
    return _cancel_everywhere
