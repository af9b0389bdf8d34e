"""How one record lies in bytes: the members it declares, and the functions that are made of them."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from atp_trio.spice.wire.field import SPEC, Condition, Hidden, Spec
from atp_trio.spice.wire.kind import Array, Buffer, Kind, Pointer
from atp_trio.spice.wire.source import Composer, Reader, Source, wrong

READ = "def read(view, size, pos, caps, copy):"


@attrs.frozen
class Member:
    """One value of the record, in the order of the wire.

    Attributes:
        name: The attribute's name; a hidden length's own name.
        kind: How it lies on the wire; for a switch the branches by condition.
        when: When it is there.
        length_of: The field whose length it is, for a hidden length.
        secret: Whether it is kept out of the log text and the repr.
    """

    name: str
    kind: Kind | Mapping[Condition, Kind]
    when: Condition | None = None
    length_of: str | None = None
    secret: bool = False

    @property
    def branches(self) -> Mapping[Condition | None, Kind]:
        """The kinds it can have, by condition; None where it always has the one."""
        return self.kind if isinstance(self.kind, Mapping) else {self.when: self.kind}  # type: ignore[return-value]

    @property
    def min_size(self) -> int:
        """The fewest bytes it can take."""
        return sum(kind.min_size for condition, kind in self.branches.items() if condition is None)


def members_of(cls: type, namespace: Mapping[str, Any]) -> tuple[Member, ...]:
    """The members that a class body declares, in its order."""
    fields = attrs.fields_dict(cls)
    found: list[Member] = []
    for name, declared in namespace.items():
        if isinstance(declared, Hidden):
            found.append(Member(name, declared.kind, declared.when, declared.of))
        elif name in fields and SPEC in fields[name].metadata:
            spec: Spec = fields[name].metadata[SPEC]
            found.append(Member(name, spec.kind, spec.when, secret=spec.secret))
    return tuple(found)


class Layout:
    """How a record lies in bytes.

    Attributes:
        cls: The attrs class.
        members: Its values in the order of the wire.
        min_size: The fewest bytes it can take.
    """

    def __init__(self, cls: type, members: Sequence[Member]) -> None:
        self.cls = cls
        self.members = tuple(members)
        self.min_size = sum(member.min_size for member in members)

    def decode(self, data: Buffer, caps: frozenset[int], copy: bool) -> Any:
        """The record that the body `data` is."""
        view = memoryview(data)
        return self._read(view, len(view), 0, caps, copy)[0]

    def encode(self, value: Any, caps: frozenset[int]) -> bytes:
        """The body that the record is: its own bytes, then what its pointers point to, then what theirs do."""
        out = bytearray()
        pending: deque[tuple[int, Callable[..., None], Any]] = deque()
        self._write(out, value, caps, pending)
        while pending:
            at, write, target = pending.popleft()
            struct.pack_into("<I", out, at, len(out))
            write(out, target, caps, pending)
        return bytes(out)

    @cached_property
    def _read(self) -> Callable[..., Any]:
        source = Reader(self.cls.__name__)
        value = self.compose_read(source)
        source.finish()
        source.line(f"return {value}, pos")
        return source.compile(READ)  # type: ignore[no-any-return]

    @cached_property
    def _write(self) -> Callable[..., None]:
        source = Composer(self.cls.__name__)
        self.compose_write(source, "value", self.cls.__name__)
        return source.compile()  # type: ignore[no-any-return]

    @cached_property
    def make(self) -> Callable[..., Any]:
        """Makes a record of its values in order: past attrs' frozen `__setattr__`, through the slots themselves."""
        source = Source(self.cls.__name__)
        names = [member.name for member in self.members if member.length_of is None]
        source.check(f"made = {source.constant(object.__new__)}({source.constant(self.cls)})")
        for name in names:
            source.check(f"{source.constant(getattr(self.cls, name).__set__)}(made, {name})")
        source.check("return made")
        return source.compile(f"def make({', '.join(names)}):")  # type: ignore[no-any-return]

    def compose_read(self, source: Reader) -> str:
        """Compose the reading of the record; gives the expression for it."""
        outer, source.names = source.names, {}
        for member in self.members:
            source.names[member.name] = self._read_member(source, member)
        values = [source.names[member.name] for member in self.members if member.length_of is None]
        source.names = outer
        return f"{source.constant(self.make)}({', '.join(values)})"

    def _read_member(self, source: Reader, member: Member) -> str:
        what = f"{self.cls.__name__}.{member.name}"
        if None in member.branches:
            return member.branches[None].read(source, what)
        found, word = source.fresh(), "if"
        for condition, kind in member.branches.items():
            with source.block(f"{word} {_test(source, condition)}:"):
                value = kind.read(source, what)
                source.finish()
                source.line(f"{found} = {value}")
            word = "elif"
        with source.block("else:"):
            source.line(f"{found} = None")
        return found

    def compose_write(self, source: Composer, value: str, what: str) -> None:
        """Compose the writing of the record that the expression gives."""
        one = source.fresh()
        refusal = f"{source.constant(wrong)}({what!r}, f'{{{one}.__class__.__name__}} is no {self.cls.__name__}')"
        source.check(f"{one} = {value}")
        source.check(f"if {one}.__class__ is not {source.constant(self.cls)}: {refusal}")
        outer, source.names = source.names, {}
        for member in self.members:
            length = f"len({one}.{member.length_of} or ())"
            source.names[member.name] = length if member.length_of else f"{one}.{member.name}"
            self._write_member(source, member)
        source.names = outer

    def _write_member(self, source: Composer, member: Member) -> None:
        what = f"{self.cls.__name__}.{member.name}"
        value = source.names[member.name]
        if None in member.branches:
            member.branches[None].verify(source, value, what)
            member.branches[None].write(source, value, what)
            return
        word = "if"
        for condition, kind in member.branches.items():
            with source.block(f"{word} {_test(source, condition)}:"):
                if not (isinstance(kind, Pointer) and not isinstance(kind.target, Array)):
                    sentence = "None although the fields before it say that it is present"
                    source.check(f"if {value} is None: {source.constant(wrong)}({what!r}, {sentence!r})")
                kind.verify(source, value, what)
                kind.write(source, value, what)
            word = "elif"
        if member.length_of is None:
            sentence = "not None although the fields before it say that it is absent"
            source.line(f"elif {value} is not None: {source.constant(wrong)}({what!r}, {sentence!r})")


def _test(source: Source, condition: Condition | None) -> str:
    assert condition is not None
    return f"{source.constant(condition.test)}({source.names[condition.name] if condition.name else 'caps'})"
