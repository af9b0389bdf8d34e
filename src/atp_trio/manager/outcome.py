"""The same for many, at most so many at a time, and what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import attrs
import trio

from atp_trio.errors import ConfigError

__all__ = ["Outcome", "gather"]

T = TypeVar("T")


@attrs.frozen
class Outcome(Generic[T]):
    """What became of one."""

    value: T | None = None
    """What was given."""
    error: Exception | None = None
    """What was raised; None where nothing was."""

    @property
    def is_ok(self) -> bool:
        """Whether nothing was raised."""
        return self.error is None

    def get(self) -> T:
        """What was given.

        Raises:
            Exception: What was raised.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value] # None only where T has it


async def gather(names: Iterable[str], work: Callable[[str], Awaitable[T]], *, limit: int) -> dict[str, Outcome[T]]:
    """Do something for each name, at most `limit` at a time; one that fails does not disturb the others.

    Raises:
        ConfigError: The limit is below 1.

    Cancellation: all are cancelled.
    """
    if limit < 1:
        raise ConfigError(f"at least one at a time, not {limit}")
    wanted = list(dict.fromkeys(names))
    outcomes: dict[str, Outcome[T]] = {}
    waiting = iter(wanted)

    async def take() -> None:
        for name in waiting:
            try:
                outcomes[name] = Outcome(await work(name))
            except Exception as error:  # noqa: BLE001 - told to the caller
                outcomes[name] = Outcome(error=error)

    async with trio.open_nursery() as nursery:
        for _ in range(min(limit, len(wanted))):
            nursery.start_soon(take)
    return {name: outcomes[name] for name in wanted}
