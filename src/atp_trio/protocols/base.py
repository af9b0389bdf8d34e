"""What every protocol is: connected to a machine, sent to, received from, disconnected.

Theory of operation. What a connection holds open (tasks, streams, channels of libvirt) is one async context manager, `_open`. It
is entered and left by a task of the protocol's own, so that `connect` and `disconnect` can be called anywhere in the block:
inside `trio.fail_after`, or after one another to connect again. Once connected, that task is shielded: a cancelled block leaves
in order.
"""

from __future__ import annotations

import abc
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Self, TypeVar

import trio

from atp_trio.errors import ConnectionLost, LocalProtocolError

__all__ = ["Protocol"]

TargetT = TypeVar("TargetT")
SentT = TypeVar("SentT")
ReceivedT = TypeVar("ReceivedT")


class Protocol(abc.ABC, Generic[TargetT, SentT, ReceivedT]):
    """One protocol spoken to one machine, inside `async with`.

    ```python
    async with QmpProtocol() as qmp:
        with trio.fail_after(5):
            await qmp.connect(domain)
        print(await qmp.execute("query-status"))
    ```

    `send` and `receive` are what all protocols have in common, for programs that treat them alike; each has calls of its own that
    say more (`execute`, `exec`, ...). Calls of a protocol that is not connected raise `LocalProtocolError`.
    """

    def __init__(self) -> None:
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._scope: trio.CancelScope | None = None  # of the task that holds the connection
        self._released = trio.Event()  # that task has ended
        self._is_connected = False

    async def __aenter__(self) -> Self:
        """Make ready to connect; nothing is sent yet."""
        if self._manager is not None:
            raise LocalProtocolError(f"this {type(self).__name__} is in use by another block")
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Disconnect. The block's own exception leaves as it is."""
        manager, self._manager, self._nursery = self._manager, None, None
        assert manager is not None
        try:
            with trio.CancelScope(shield=True):
                await self.disconnect()
        finally:
            # What ended the block is none of this nursery's business: given to it, it would come back in a group.
            await manager.__aexit__(None, None, None)

    @property
    def is_connected(self) -> bool:
        """Whether `connect` has returned, and `disconnect` was not called since; that it was lost the next call finds out."""
        return self._is_connected

    async def connect(self, domain: TargetT) -> None:
        """Connect to this machine.

        Raises:
            LocalProtocolError: It is connected already, or this is outside of `async with`.
            TransportError: There is no connection; the class says why.

        Cancellation: it is not connected, nothing stays open.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._nursery is None:
            raise LocalProtocolError(f"a {type(self).__name__} connects inside `async with` only")
        if self._scope is not None:
            raise LocalProtocolError(f"this {type(self).__name__} is connected already: disconnect it first")
        self._scope, self._released = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._hold, domain, self._scope)

    async def disconnect(self) -> None:
        """End the connection; without effect if there is none. It can be connected again.

        Cancellation: it ends all the same, but is not waited for.
        """
        self._is_connected = False
        if self._scope is not None:
            self._scope.cancel()
            await self._released.wait()
        else:
            await trio.lowlevel.checkpoint()

    @abc.abstractmethod
    async def send(self, value: SentT) -> None:
        """Send one of what this protocol sends, without waiting for an answer."""

    @abc.abstractmethod
    async def receive(self) -> ReceivedT:
        """Receive the next of what the machine says: answers to what was sent, and what it says unasked."""

    @abc.abstractmethod
    def _open(self, domain: TargetT) -> AbstractAsyncContextManager[None]:
        """Hold the connection open for the time of the block; leaving it takes a bounded time, whatever the machine does."""

    def _check_connected(self) -> None:
        if not self._is_connected:
            raise LocalProtocolError(f"this {type(self).__name__} is not connected")

    @trio.lowlevel.enable_ki_protection
    async def _hold(self, domain: TargetT, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with scope:
                async with self._open(domain):
                    task_status.started()
                    # A `connect` that was cancelled meanwhile is still waiting: shielded, this would never end.
                    await trio.lowlevel.checkpoint_if_cancelled()
                    scope.shield = self._is_connected = True
                    await trio.sleep_forever()
            if not scope.shield:
                raise ConnectionLost("it was disconnected while it was being connected")
        finally:
            self._scope, self._is_connected = None, False
            self._released.set()
