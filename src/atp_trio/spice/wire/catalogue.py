"""The catalogue: every message and record registers here when its class is made, and is read and written from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import attrs

from atp_trio.errors import LocalProtocolError
from atp_trio.spice.wire import field as fields
from atp_trio.spice.wire.kind import Buffer, Scalar
from atp_trio.spice.wire.layout import Layout, members_of
from atp_trio.spice.wire.number import flag_names

T = TypeVar("T")
LOG_WIDTH = 75


class Role(Enum):
    """Who speaks."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def peer(self) -> Role:
        """The other one."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Record:
    """The base of everything that lies on the wire: frozen, compared by value, and shown in a form fit for logs."""

    __slots__ = ()
    layout: ClassVar[Layout]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in self._texts())})"

    def _texts(self) -> Iterator[tuple[str, str]]:
        for member in self.layout.members:
            if member.length_of is not None:
                continue
            value = getattr(self, member.name, "?")
            if value is None and member.when is not None:
                continue
            if member.secret:
                yield member.name, f"<{len(value)} bytes>" if hasattr(value, "__len__") else "…"
                continue
            flags = member.kind.flags if isinstance(member.kind, Scalar) else None
            yield member.name, flag_names(flags, value) if flags and isinstance(value, int) else _text(value)

    @classmethod
    def decode(cls, data: Buffer, *, caps: frozenset[int] = frozenset(), copy: bool = True) -> Self:
        """Read a body.

        Args:
            data: The body; what is longer than the layout is ignored, as every SPICE implementation does.
            caps: The capabilities that both sides announced, where a layout depends on them (vdagent).
            copy: Whether bytes in the message are copies. If not they are views of `data`.

        Raises:
            MalformedMessage: The bytes do not fit the layout.
        """
        made: Self = cls.layout.decode(data, caps, copy)
        return made

    def encode(self, *, caps: frozenset[int] = frozenset()) -> bytes:
        """The body.

        Raises:
            LocalProtocolError: A value does not fit its field, or the fields contradict each other.
        """
        return self.layout.encode(self, caps)

    def replace(self, **changes: Any) -> Self:
        """The same with other values for these fields."""
        changed: Self = attrs.evolve(self, **changes)  # type: ignore[misc]
        return changed


def _text(value: Any) -> str:
    """A value as a log shows it: numbers of an enumeration by name, bytes by their length and beginning."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes | bytearray | memoryview):
        head = bytes(value[:8]).hex()
        return f"<{len(value)} bytes{f' {head}' if head else ''}{'…' if len(value) > 8 else ''}>"
    if isinstance(value, tuple):
        shown = ", ".join(_text(one) for one in value[:4])
        return f"[{shown}{f', … {len(value)} in all' if len(value) > 4 else ''}]"
    return repr(value)


class Message(Record):
    """The base of all messages.

    Attributes:
        numbers: The message's type number by who sends it; a role that never sends it is missing.
        channel_types: The channels (numbers of `ChannelType`) it belongs to, or the name of the protocol inside a channel
            ("vdagent", "usbredir"); none for the messages that all channels share.
    """

    __slots__ = ()
    numbers: ClassVar[Mapping[Role, int]]
    channel_types: ClassVar[tuple[int | str, ...]]

    def __str__(self) -> str:
        text = " ".join([type(self).__name__, *(f"{name}={text}" for name, text in self._texts())])
        return text if len(text) <= LOG_WIDTH else text[: LOG_WIDTH - 1] + "…"

    @classmethod
    def number(cls, sender: Role) -> int:
        """The type number under which `sender` sends it.

        Raises:
            LocalProtocolError: That role never sends this message.
        """
        try:
            return cls.numbers[sender]
        except KeyError:
            raise LocalProtocolError(f"a {sender.value} never sends {cls.__name__}") from None


_declared: list[type[Record]] = []
_tables: dict[tuple[int | str | None, Role], dict[int, type[Message]]] = {}


def table(channel_type: int | str | None, sender: Role) -> Mapping[int, type[Message]]:
    """Every message that `sender` sends, by number.

    Args:
        channel_type: The channel, whose table has the messages that all channels share as well; None for those alone; or the name
            of a protocol inside a channel.
        sender: Who sends.
    """
    own = _tables.get((channel_type, sender), {})
    return _tables.get((None, sender), {}) | own if isinstance(channel_type, int) else dict(own)


def declared() -> tuple[type[Record], ...]:
    """Every record and message, in the order of declaration."""
    return tuple(_declared)


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        fields.u8,
        fields.u16,
        fields.u32,
        fields.u64,
        fields.i16,
        fields.i32,
        fields.i64,
        fields.fixed28_4,
        fields.fixed16_16,
        fields.octets,
        fields.nested,
        fields.counted,
        fields.counted_bytes,
        fields.elements,
        fields.sized_bytes,
        fields.to_end,
        fields.elements_to_end,
        fields.pointer,
        fields.offset,
        fields.switch,
    ),
)
def record(cls: type[T]) -> type[T]:
    """Make a record of a class body."""
    return _make(cls, kw_only=False)


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(
        fields.u8,
        fields.u16,
        fields.u32,
        fields.u64,
        fields.i16,
        fields.i32,
        fields.i64,
        fields.fixed28_4,
        fields.fixed16_16,
        fields.octets,
        fields.nested,
        fields.counted,
        fields.counted_bytes,
        fields.elements,
        fields.sized_bytes,
        fields.to_end,
        fields.elements_to_end,
        fields.pointer,
        fields.offset,
        fields.switch,
    ),
)
def message(
    *channel_types: int | str, from_server: int | None = None, from_client: int | None = None
) -> Callable[[type[T]], type[T]]:
    """Make a message of a class body and enter it in the catalogue.

    Args:
        channel_types: The channels, or protocols inside a channel, it belongs to; none for a message that all channels share.
        from_server: Its number when the server sends it.
        from_client: Its number when the client sends it.
    """
    sent = {Role.SERVER: from_server, Role.CLIENT: from_client}
    numbers = {role: number for role, number in sent.items() if number is not None}

    def enter(cls: type[T]) -> type[T]:
        made: Any = _make(cls, kw_only=True)
        made.numbers, made.channel_types = numbers, channel_types
        for role, number in numbers.items():
            for channel_type in channel_types or (None,):
                known = _tables.setdefault((channel_type, role), {})
                if number in known:
                    raise ValueError(f"{made.__qualname__} and {known[number].__qualname__} share the number {number}")
                known[number] = made
        result: type[T] = made
        return result

    return enter


def _make(cls: type[T], *, kw_only: bool) -> type[T]:
    namespace = dict(vars(cls))
    hidden = {name for name, value in namespace.items() if isinstance(value, fields.Hidden)}
    for name in hidden:
        delattr(cls, name)
    made: Any = attrs.frozen(cls, slots=True, kw_only=kw_only, repr=False)
    made.layout = Layout(made, members_of(made, namespace))
    _declared.append(made)
    result: type[T] = made
    return result
