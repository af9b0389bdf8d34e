"""What one task does at a time, where a second one is a mistake and not to wait."""

from __future__ import annotations

from types import TracebackType

import attrs
import trio

__all__ = ["ConflictDetector"]


@attrs.define(eq=False)
class ConflictDetector:
    """A context manager that one task at a time can enter; as the one that Trio has for itself.

    Raises:
        trio.BusyResourceError: Another task is inside.
    """

    _message: str
    """What the second one is told."""
    _is_held: bool = attrs.field(init=False, default=False)

    def __enter__(self) -> None:
        """Begin, or be refused."""
        if self._is_held:
            raise trio.BusyResourceError(self._message)
        self._is_held = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let the next one in."""
        self._is_held = False
