"""A block with tasks in its background."""

from __future__ import annotations

import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from atp_trio.background import open_background

BUG = ZeroDivisionError("a bug of a task")


async def wait_shielded(done):
    with trio.CancelScope(shield=True):
        await done.wait()


async def raise_bug():
    raise BUG


async def raise_bug_in_the_end():
    try:
        await trio.sleep_forever()
    finally:
        raise BUG


async def raised_by(block):
    """What leaves the block."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - looked at by the test
        await block()
    return caught.value


async def test_tasks_run_beside_the_block_and_end_with_it():
    ended = trio.Event()

    async def serve(task_status):
        task_status.started("served")
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with open_background() as nursery:
        assert await nursery.start(serve) == "served"
        await wait_all_tasks_blocked()
        assert not ended.is_set()
    assert ended.is_set()


async def test_tasks_live_as_long_as_the_block_cleans_up():
    said, heard = trio.open_memory_channel(0)
    got = []

    async def listen():
        got.extend([one async for one in heard])

    async with open_background() as nursery:
        nursery.start_soon(listen)
        try:
            pass
        finally:
            await said.send("goodbye")
            await said.aclose()
            await wait_all_tasks_blocked()
    assert got == ["goodbye"]


@pytest.mark.parametrize(
    "error", [ValueError("own"), ExceptionGroup("own", [ValueError()]), KeyboardInterrupt(), SystemExit(3), StopAsyncIteration()]
)
async def test_the_blocks_exception_leaves_as_it_is(error):
    async def block():
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise error

    assert await raised_by(block) is error
    assert error.__context__ is None
    assert error.__cause__ is None


async def test_a_value_can_be_returned_from_the_block():
    async def block():
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            return 42

    assert await block() == 42


async def test_the_callers_cancellation_ends_the_block_and_the_tasks():
    ended = []

    async def serve():
        try:
            await trio.sleep_forever()
        finally:
            ended.append("task")

    with trio.CancelScope() as scope:
        async with open_background() as nursery:
            nursery.start_soon(serve)
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert ended == ["task"]


@pytest.mark.parametrize("is_cancelled_before", [True, False])
async def test_the_callers_cancellation_does_not_replace_the_blocks_exception(is_cancelled_before):
    error, may_end = ValueError("own"), trio.Event()

    async def end(scope):
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        may_end.set()

    async def block():
        with trio.CancelScope() as scope:
            outer.start_soon(end, scope)
            async with open_background() as nursery:
                nursery.start_soon(wait_shielded, may_end)
                nursery.start_soon(trio.sleep_forever)
                await wait_all_tasks_blocked()
                if is_cancelled_before:
                    scope.cancel()
                raise error

    async with trio.open_nursery() as outer:
        assert await raised_by(block) is error
        assert may_end.is_set()


async def test_a_cancellation_while_tasks_end_does_not_reach_a_block_that_is_over():
    may_end = trio.Event()

    async def end(scope):
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        may_end.set()

    async with trio.open_nursery() as outer:
        with trio.CancelScope() as scope:
            outer.start_soon(end, scope)
            async with open_background() as nursery:
                nursery.start_soon(wait_shielded, may_end)
        assert may_end.is_set()
        assert not scope.cancelled_caught


async def test_a_bug_cancels_the_block_and_leaves_in_a_group():
    async def block():
        async with open_background() as nursery:
            nursery.start_soon(raise_bug)
            await trio.sleep_forever()

    group = await raised_by(block)
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (BUG,)


async def test_a_bug_while_the_tasks_end_leaves_too():
    async def block():
        async with open_background() as nursery:
            nursery.start_soon(raise_bug_in_the_end)
            await wait_all_tasks_blocked()

    assert (await raised_by(block)).exceptions == (BUG,)


async def test_a_bug_and_the_blocks_exception_leave_together():
    error = ValueError("own")

    async def block():
        async with open_background() as nursery:
            nursery.start_soon(raise_bug_in_the_end)
            await wait_all_tasks_blocked()
            raise error

    group = await raised_by(block)
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (error, BUG)


async def test_what_the_block_raises_when_a_bug_cancels_it_is_kept_but_its_cancellation_is_not():
    error = ValueError("own")

    async def clean_up():
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def block():
        async with open_background() as nursery:
            nursery.start_soon(raise_bug)
            async with trio.open_nursery() as inner:
                inner.start_soon(clean_up)
                inner.start_soon(trio.sleep_forever)

    group = await raised_by(block)
    assert group.split(trio.Cancelled)[0] is None
    inner, bug = group.exceptions
    assert (inner.exceptions, bug) == ((error,), BUG)


async def test_a_bug_is_not_lost_where_the_caller_is_cancelled():
    async def block():
        with trio.CancelScope() as scope:
            async with open_background() as nursery:
                nursery.start_soon(raise_bug_in_the_end)
                await wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()

    assert (await raised_by(block)).exceptions == (BUG,)


# --- SIGINT


@pytest.fixture
def _default_sigint():
    """As a program has it; what a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


async def interrupt_unprotected():
    signal.raise_signal(signal.SIGINT)
    await trio.sleep_forever()


@trio.lowlevel.enable_ki_protection
async def interrupt_in_the_end():
    with trio.CancelScope(shield=True):
        await wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)
        await wait_all_tasks_blocked()


@pytest.mark.usefixtures("_default_sigint")
def test_sigint_while_the_tasks_end_comes_after_the_blocks_exception():
    left = []

    async def block():
        async with open_background() as nursery:
            nursery.start_soon(interrupt_in_the_end)
            await trio.lowlevel.checkpoint()
            raise error

    async def main():
        left.append(await raised_by(block))
        await trio.sleep_forever()

    error = ValueError("own")
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert left == [error]


@pytest.mark.usefixtures("_default_sigint")
def test_sigint_that_meets_a_task_is_in_no_group():
    async def main():
        async with open_background() as nursery:
            nursery.start_soon(interrupt_unprotected)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


@pytest.mark.usefixtures("_default_sigint")
def test_sigint_hides_no_bug():
    async def main():
        async with open_background() as nursery:
            nursery.start_soon(interrupt_unprotected)
            nursery.start_soon(raise_bug_in_the_end)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert BUG in caught.value.exceptions
    assert {type(one) for one in caught.value.exceptions} == {KeyboardInterrupt, ZeroDivisionError}
