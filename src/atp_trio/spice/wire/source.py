"""The source of a function that reads or writes one record, while it is being composed.

Theory of operation. What a record says of its bytes is turned into Python once, when the first value is read or written, as attrs
does for `__init__`: the function has no loop over fields, no table, and one `struct` call for each run of fields of fixed size,
those of nested records included. Kinds add to it by three means. A *run* collects `struct` codes; it ends when something has to
know the position, which `line` takes care of. *Lines* are statements. What is put off with `later` comes at the end of the block:
the targets of pointers, which do not lie where the pointer does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """A function's source.

    Attributes:
        what: The record it is for, for messages of errors.
        lines: The statements so far, each indented.
        names: Expressions for the values of the enclosing record's members so far.
    """

    def __init__(self, what: str, indent: int = 1) -> None:
        self.what = what
        self.lines: list[str] = []
        self.names: dict[str, str] = {}
        self._constants: dict[str, Any] = {}
        self._indent = indent
        self._fresh = 0
        self._later: list[Callable[[], None]] = []
        self.codes: list[str] = []
        self.run: list[str] = []

    def constant(self, value: Any) -> str:
        """The name by which the function knows this object."""
        for name, known in self._constants.items():
            if known is value:
                return name
        name = f"k{len(self._constants)}"
        self._constants[name] = value
        return name

    def fresh(self) -> str:
        """The name of a new variable."""
        self._fresh += 1
        return f"v{self._fresh}"

    def line(self, text: str) -> None:
        """A statement for which the run must be over."""
        self.flush()
        self.check(text)

    def check(self, text: str) -> None:
        """A statement that the run does not matter to."""
        self.lines.append("    " * self._indent + text)

    def later(self, compose: Callable[[], None]) -> None:
        """Compose this at the end of the block, with the names that are known now."""
        names = self.names

        def restored() -> None:
            outer, self.names = self.names, names
            compose()
            self.names = outer

        self._later.append(restored)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is composed inside is the body of the compound statement `head`."""
        self.line(head)
        outer, self._later = self._later, []
        self._indent += 1
        yield
        self.finish()
        self._indent -= 1
        self._later = outer

    def finish(self) -> None:
        """End the run, and compose what was put off."""
        self.flush()
        while self._later:
            self._later.pop(0)()
            self.flush()

    def flush(self) -> None:
        """End the run."""
        if self.codes:
            codes = struct.Struct("<" + "".join(self.codes))
            values, self.codes, self.run = self.run, [], []
            self.transfer(codes, values)

    def transfer(self, codes: struct.Struct, values: list[str]) -> None:
        """Compose the `struct` call of a run."""
        raise NotImplementedError

    def compile(self, head: str) -> Any:
        """The function `head` says it is, with all that was composed as its body."""
        self.finish()
        name = head.removeprefix("def ").partition("(")[0]
        scope = dict(self._constants)
        text = "\n".join([head, *self.lines, ""])
        exec(compile(text, f"<{name} {self.what}>", "exec"), scope)  # noqa: S102 - composed of our own declarations alone
        return scope[name]
