"""How one record lies in bytes: the plan made of its declaration, and reading and writing by that plan."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from atp_trio.errors import LocalProtocolError
from atp_trio.spice.wire.field import SPEC, Condition, Hidden, Spec
from atp_trio.spice.wire.kind import (
    Body,
    Elements,
    Fixed,
    Kind,
    Offset,
    Pointer,
    SizedBytes,
    Writer,
    flatten_into,
    pack,
)


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
    def is_fixed(self) -> bool:
        """Whether it can be part of a fused run."""
        return self.when is None and isinstance(self.kind, Kind) and self.kind.fixed is not None

    @property
    def min_size(self) -> int:
        """The fewest bytes it can take."""
        return self.kind.min_size if self.when is None and isinstance(self.kind, Kind) else 0


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
    names = [member.name for member in found]
    return tuple(attrs.evolve(member, kind=_place(member.kind, names)) for member in found)


def _place(kind: Any, names: list[str]) -> Any:
    """The kind with the names of earlier fields turned into their places."""
    if isinstance(kind, Mapping):
        return {condition: _place(branch, names) for condition, branch in kind.items()}
    if isinstance(kind, Pointer | Offset):
        return attrs.evolve(kind, target=_place(kind.target, names))
    if isinstance(kind, Elements):
        return attrs.evolve(kind, count=attrs.evolve(kind.count, places=tuple(map(names.index, kind.count.names))))
    if isinstance(kind, SizedBytes):
        return attrs.evolve(kind, size=attrs.evolve(kind.size, places=tuple(map(names.index, kind.size.names))))
    return kind


class Step:
    """A part of the plan: reads its members' values behind those read so far, and writes them."""

    def read(self, body: Body, pos: int, values: list[Any]) -> int:
        """Append the values; gives the position after them."""
        raise NotImplementedError

    def write(self, writer: Writer, values: Sequence[Any], what: str) -> None:
        """Write the values of the step's members."""
        raise NotImplementedError


@attrs.frozen
class Run(Step):
    """Members of fixed size, one behind the other, read by one `struct` call."""

    what: str
    first: int
    parts: tuple[Fixed, ...]
    struct: struct.Struct
    # Where each value starts among the unpacked ones, and how it is made of them; None where all are taken as they are.
    builders: tuple[tuple[int, Any], ...] | None

    def read(self, body: Body, pos: int, values: list[Any]) -> int:
        size = self.struct.size
        if size > len(body.view) - pos:
            body.need(pos, size, self.what)
        found = self.struct.unpack_from(body.view, pos)
        if self.builders is None:
            values += found
        else:
            values += [build(found, at) if build else found[at] for at, build in self.builders]
        return pos + size

    def write(self, writer: Writer, values: Sequence[Any], what: str) -> None:
        parts: list[Any] = []
        for fixed, value in zip(self.parts, values[self.first :], strict=False):
            flatten_into(fixed, value, parts, what)
        writer.out += pack(self.struct.format[1:], parts, what)


@attrs.frozen
class Single(Step):
    """One member of any other kind, perhaps absent, perhaps one of several branches."""

    what: str
    at: int
    member: Member
    tests: tuple[tuple[int | None, Condition], ...]

    def _kind(self, values: Sequence[Any], caps: frozenset[int]) -> Kind | None:
        kind = self.member.kind
        for place, condition in self.tests:
            if condition.test(caps if place is None else values[place]):
                return kind[condition] if isinstance(kind, Mapping) else kind
        return None if self.tests else kind  # type: ignore[return-value]

    def read(self, body: Body, pos: int, values: list[Any]) -> int:
        kind = self._kind(values, body.caps)
        if kind is None:
            values.append(None)
            return pos
        value, pos = kind.read(body, pos, values, self.what)
        values.append(value)
        return pos

    def write(self, writer: Writer, values: Sequence[Any], what: str) -> None:
        kind = self._kind(values, writer.caps)
        value = values[self.at]
        if kind is None:
            if value is not None and self.member.length_of is None:
                raise LocalProtocolError(f"{self.what} is {value!r} although the fields before it say that it is absent")
            return
        if value is None and not (isinstance(kind, Pointer) and kind.optional):
            raise LocalProtocolError(f"{self.what} is None although the fields before it say that it is present")
        kind.write(writer, value, values, self.what)


class Layout:
    """How a record lies in bytes.

    Attributes:
        cls: The attrs class.
        members: Its values in the order of the wire.
        fixed: How it takes part in an enclosing record's fused run, when its size is fixed.
        min_size: The fewest bytes it can take.
    """

    def __init__(self, cls: type, members: Sequence[Member]) -> None:
        self.cls = cls
        self.members = tuple(members)
        self.min_size = sum(member.min_size for member in members)
        self._steps = tuple(self._plan())
        # A value is set past attrs' frozen __setattr__, through the slot itself: the fastest way Python has.
        self._setters = tuple(
            (index, getattr(cls, member.name).__set__) for index, member in enumerate(members) if member.length_of is None
        )
        self.fixed = self._fixed()

    def _plan(self) -> list[Step]:
        steps: list[Step] = []
        run: list[int] = []
        for index, member in enumerate(self.members):
            if member.is_fixed:
                run.append(index)
                continue
            if run:
                steps.append(self._run(run))
                run = []
            steps.append(Single(f"{self.cls.__name__}.{member.name}", index, member, self._tests(member)))
        return [*steps, self._run(run)] if run else steps

    def _run(self, indices: list[int]) -> Run:
        parts = tuple(self.members[index].kind.fixed for index in indices)  # type: ignore[union-attr]
        starts = [sum(part.arity for part in parts[:n]) for n in range(len(parts))]  # type: ignore[union-attr]
        plain = all(part.build is None and part.arity == 1 for part in parts)  # type: ignore[union-attr]
        builders = None if plain else tuple(zip(starts, (part.build for part in parts), strict=True))  # type: ignore[union-attr]
        codes = struct.Struct("<" + "".join(part.format for part in parts))  # type: ignore[union-attr]
        return Run(self.cls.__name__, indices[0], parts, codes, builders)  # type: ignore[arg-type]

    def _tests(self, member: Member) -> tuple[tuple[int | None, Condition], ...]:
        names = [other.name for other in self.members]
        wanted = list(member.kind) if isinstance(member.kind, Mapping) else []
        return tuple((names.index(one.name) if one.name else None, one) for one in ([member.when] if member.when else wanted))

    def _fixed(self) -> Fixed | None:
        """A record without pointers, counts and conditions is as good as a run of numbers."""
        run = self._steps[0] if len(self._steps) == 1 else None
        if not isinstance(run, Run):
            return None
        arity = sum(part.arity for part in run.parts)

        def build(found: Sequence[Any], at: int) -> Any:
            if run.builders is None:
                return self._make(found[at : at + arity])
            return self._make([make(found, at + start) if make else found[at + start] for start, make in run.builders])

        def flatten(value: Any, parts: list[Any]) -> None:
            for fixed, one in zip(run.parts, self._values(value, self.cls.__name__), strict=True):
                flatten_into(fixed, one, parts, self.cls.__name__)

        return Fixed(run.struct.format[1:], arity, build, flatten)

    def _make(self, values: Sequence[Any]) -> Any:
        made = self.cls.__new__(self.cls)
        for index, put in self._setters:
            put(made, values[index])
        return made

    def _values(self, value: Any, what: str) -> list[Any]:
        """All values in the order of the wire, hidden lengths included."""
        if not isinstance(value, self.cls):
            raise LocalProtocolError(f"{what}: {value!r} is no {self.cls.__name__}")
        return [
            getattr(value, member.name) if member.length_of is None else len(getattr(value, member.length_of) or ())
            for member in self.members
        ]

    def read(self, body: Body, pos: int) -> tuple[Any, int]:
        """The record at `pos`, and the position after its fixed and inline parts."""
        values: list[Any] = []
        for step in self._steps:
            pos = step.read(body, pos, values)
        return self._make(values), pos

    def write(self, writer: Writer, value: Any, what: str) -> None:
        """Append the record."""
        values = self._values(value, what)
        for step in self._steps:
            step.write(writer, values, what)
