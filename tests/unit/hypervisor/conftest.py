"""What the tests of libvirt mode share: a libvirt-python without libvirt, and cancellation at every step."""

from __future__ import annotations

import pytest
import trio

from .fake_libvirt import FakeLibvirt


@pytest.fixture
def libvirt():
    """A `libvirt` module."""
    return FakeLibvirt()


@pytest.fixture
def wait_until():
    """Wait for what a thread brings about."""

    async def wait(condition):
        with trio.fail_after(5):
            while not condition():  # noqa: ASYNC110 - threads set no events of Trio's
                await trio.sleep(0.001)

    return wait


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when tasks of ours, or the one that made this, have run so many steps."""

    def __init__(self, scope, step):
        self.scope, self.left, self.task = scope, step, trio.lowlevel.current_task()

    def before_task_step(self, task):
        if task is self.task or "atp_trio" in task.name:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.fixture
def cancel_everywhere():
    """Run an operation, cancelled at its 1st, 2nd, ... step, each time followed by `settle`, until it gets through."""

    async def run(operation, settle):
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

    return run
