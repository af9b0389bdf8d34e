"""How messages and records are declared, found by number, and shown."""

from __future__ import annotations

import attrs
import pytest

from atp_trio.errors import LocalProtocolError
from atp_trio.spice.messages import base
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, Record, Role, declared, message, record, table
from atp_trio.spice.wire.field import counted, length, sized_bytes, to_end, u8, u32

PROTOCOL = "test"


class Way(OpenEnum):
    UP = 1
    DOWN = 2


@message(PROTOCOL, from_server=1, from_client=2)
class Step(Message):
    """A message of both roles."""

    way: Way = u8(Way)
    ways: int = u8(flags=Way, default=0)
    size = length("text", u8())
    text: bytes = sized_bytes("size", default=b"")
    key: int = u32(secret=True, default=0)


@message(PROTOCOL, from_client=3)
class Empty(Message):
    """A message without fields."""


@record
class Long(Record):
    """A record of many values."""

    numbers: tuple[int, ...] = counted(u32(), u8())
    rest: bytes = to_end(default=b"", secret=True)


def test_a_message_is_found_by_channel_sender_and_number() -> None:
    assert table(PROTOCOL, Role.SERVER) == {1: Step}
    assert table(PROTOCOL, Role.CLIENT) == {2: Step, 3: Empty}
    assert Step.number(Role.SERVER) == 1
    assert Step.channel_types == (PROTOCOL,)
    assert {Step, Empty, Long} <= set(declared())


def test_channels_have_the_shared_messages_too() -> None:
    shared = table(None, Role.SERVER)
    assert shared[4] is base.Ping
    for channel_type in ChannelType:
        assert shared.items() <= table(channel_type, Role.SERVER).items()
    assert table(999, Role.SERVER) == shared


def test_a_table_cannot_be_spoilt_by_who_asked_for_it() -> None:
    for channel_type in (None, PROTOCOL, ChannelType.MAIN):
        given = table(channel_type, Role.CLIENT)
        dict.clear(given)  # type: ignore[arg-type]
        assert table(channel_type, Role.CLIENT)


def test_two_messages_cannot_share_a_number() -> None:
    with pytest.raises(ValueError, match="Other and Step share the number 2"):

        @message(PROTOCOL, from_client=2)
        class Other(Message):
            """Comes too late."""

    assert table(PROTOCOL, Role.CLIENT)[2] is Step


def test_a_role_that_never_sends_it() -> None:
    with pytest.raises(LocalProtocolError, match="a server never sends Empty"):
        Empty.number(Role.SERVER)
    assert [role.peer for role in Role] == [Role.SERVER, Role.CLIENT]


def test_messages_are_values() -> None:
    step = Step(way=Way.UP)
    assert step == Step(way=Way.UP)
    assert hash(step) == hash(Step(way=Way.UP))
    assert step != step.replace(way=Way.DOWN)
    assert step.replace(text=b"x") == Step(way=Way.UP, text=b"x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        step.way = Way.DOWN  # type: ignore[misc]
    assert not hasattr(step, "__dict__")
    assert not hasattr(step, "size")


def test_decoded_messages_are_like_made_ones() -> None:
    step = Step.decode(b"\2\1\0\0\0\0\0")
    assert step == Step(way=Way.DOWN, ways=1)
    assert hash(step) == hash(Step(way=Way.DOWN, ways=1))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        step.way = Way.UP  # type: ignore[misc]


def test_a_message_without_fields_is_no_bytes() -> None:
    assert Empty().encode() == b""
    assert Empty.decode(b"anything") == Empty()
    assert str(Empty()) == "Empty"
    assert repr(Empty()) == "Empty()"


def test_the_texts() -> None:
    step = Step(way=Way.UP, ways=3, text=b"0123456789", key=5)
    assert repr(step) == "Step(way=UP, ways=UP|DOWN, text=<10 bytes 3031323334353637…>, key=…)"
    assert str(step) == "Step way=UP ways=UP|DOWN text=<10 bytes 3031323334353637…> key=…"
    assert repr(step.replace(way=Way(9), text=b"")) == "Step(way=UNKNOWN_9, ways=UP|DOWN, text=<0 bytes>, key=…)"
    assert repr(Long(tuple(range(9)), b"secret")) == "Long(numbers=[0, 1, 2, 3, … 9 in all], rest=<6 bytes>)"


def test_a_log_line_is_short() -> None:
    long = base.Notify(
        time_stamp=2**64 - 1, severity=base.NotifySeverity.ERROR, visibility=base.NotifyVisibility.HIGH, message=bytes(99)
    )
    assert len(str(long)) == 75
    assert str(long).endswith("…")
