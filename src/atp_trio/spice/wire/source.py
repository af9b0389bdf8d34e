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
from typing import TYPE_CHECKING, Any, NoReturn

from atp_trio.errors import LocalProtocolError, MalformedMessage

if TYPE_CHECKING:
    from atp_trio.spice.wire.kind import Kind

# A clip of 65536 rectangles is beyond any display driver; as Python objects they are some 20 MiB, from 1 MiB of message.
MAX_ELEMENTS = 65536


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


READ_ELEMENTS = "def read(view, size, pos, number, caps, copy):"
WRITE = "def write(out, value, caps, pending):"
WRITE_ERRORS = (struct.error, TypeError, ValueError, OverflowError, AttributeError)


def short(what: str, pos: int, need: int, size: int) -> NoReturn:
    """Refuse a body that ends too early."""
    raise MalformedMessage(f"{what}: {need} bytes at offset {pos} are needed, {max(0, size - pos)} are left")


def refuse(what: str, sentence: str) -> NoReturn:
    """Refuse a body for another reason."""
    raise MalformedMessage(f"{what}: {sentence}")


def wrong(what: str, sentence: str) -> NoReturn:
    """Refuse to write."""
    raise LocalProtocolError(f"{what}: {sentence}")


class Reader(Source):
    """The source of a function that reads."""

    def unpack(self, code: str) -> str:
        """The variable of one more value of the run."""
        name = self.fresh()
        self.codes.append(code)
        self.run.append(name)
        return name

    def transfer(self, codes: struct.Struct, values: list[str]) -> None:
        """Unpack the run."""
        self.need(str(codes.size), self.what)
        self.check(f"{', '.join(values)}, = {self.constant(codes)}.unpack_from(view, pos)")
        self.check(f"pos += {codes.size}")

    def need(self, number: str, what: str) -> None:
        """Refuse the body unless so many bytes are left."""
        self.line(f"if {number} > size - pos: {self.constant(short)}({what!r}, pos, {number}, size)")

    def take(self, number: str, what: str) -> str:
        """So many bytes."""
        found, count = self.fresh(), self.fresh()
        self.line(f"{count} = {number}")
        self.need(count, what)
        self.check(f"{found} = bytes(view[pos : pos + {count}]) if copy else view[pos : pos + {count}]")
        self.check(f"pos += {count}")
        return found

    def elements(self, element: Kind, number: str, what: str) -> str:
        """So many elements, one behind the other."""
        found = self.fresh()
        read = self.constant(element_reader(element, what))
        self.line(f"{found}, pos = {read}(view, size, pos, {number}, caps, copy)")
        return found


class Composer(Source):
    """The source of a function that writes; whatever goes wrong in it is about the value it was given."""

    def __init__(self, what: str) -> None:
        super().__init__(what, indent=2)
        self.lines = ["    try:", "        pass"]

    def transfer(self, codes: struct.Struct, values: list[str]) -> None:
        """Pack the run."""
        self.check(f"out += {self.constant(codes)}.pack({', '.join(values)})")

    def pack(self, code: str, value: str) -> None:
        """One more value of the run."""
        self.codes.append(code)
        self.run.append(value)

    def elements(self, element: Kind, value: str, what: str) -> None:
        """The elements of the value, one behind the other."""
        too_many = f"{self.constant(wrong)}({what!r}, f'{{len({value})}} elements, more than {MAX_ELEMENTS}')"
        self.line(f"if len({value}) > {MAX_ELEMENTS}: {too_many}")
        one = self.fresh()
        probe = Composer(what)
        element.write(probe, one, what)
        if probe.run == [one] and len(probe.codes[0]) == 1:
            self.line(f"out += {self.constant(struct.pack)}(f'<{{len({value})}}{probe.codes[0]}', *{value})")
            return
        with self.block(f"for {one} in {value}:"):
            element.verify(self, one, what)
            element.write(self, one, what)

    def compile(self, head: str = WRITE) -> Any:
        """The function; its errors are those of our tree."""
        self.finish()
        self._indent = 1
        self.line(f"except {self.constant(WRITE_ERRORS)} as error:")
        self.line(f"    raise {self.constant(LocalProtocolError)}({self.what!r} + ': ' + str(error)) from error")
        return super().compile(head)


def element_reader(element: Kind, what: str) -> Any:
    """The function that reads so many elements: with one `struct` call for all where their size is fixed."""
    probe = Reader(what)
    value = element.read(probe, what)
    codes, names, is_fixed = "".join(probe.codes), probe.run, not probe.lines
    source = probe if is_fixed else Reader(what)
    source.codes, source.run = [], []
    too_many = f"{source.constant(refuse)}({what!r}, f'{{number}} elements, more than {MAX_ELEMENTS}')"
    source.check(f"if number > {MAX_ELEMENTS}: {too_many}")
    source.need(f"number * {element.min_size}", what)
    if is_fixed:
        source.check(f"end = pos + number * {struct.calcsize('<' + codes)}")
        if names == [value] and len(codes) == 1:
            source.check(f"return {source.constant(struct.unpack_from)}(f'<{{number}}{codes}', view, pos), end")
        else:
            every = f"{source.constant(struct.Struct('<' + codes))}.iter_unpack(view[pos:end])"
            source.check(f"return tuple([{value} for {', '.join(names)}, in {every}]), end")
    else:
        source.check("found = []")
        with source.block("for _ in range(number):"):
            value = element.read(source, what)
            source.finish()
            source.line(f"found.append({value})")
        source.check("return tuple(found), pos")
    return source.compile(READ_ELEMENTS)
