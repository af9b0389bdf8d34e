"""What opens a channel, and what may come before and after it."""

import pytest

from atp_trio.spice.messages import base, cursor, display, inputs, main, playback, port
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.order import OPENINGS, Order
from atp_trio.spice.wire import Role, table


def verdicts(channel_type, sender, *kinds):
    order = Order.of(channel_type, sender)
    return [order.check(kind) for kind in kinds]


@pytest.mark.parametrize(("channel_type", "sender"), OPENINGS)
def test_the_opening_comes_first_and_once(channel_type, sender):
    opening = OPENINGS[channel_type, sender]
    (later,) = (
        kind
        for kind in [main.Name, inputs.MouseMotionAck, cursor.Move, display.PreferredCompression, port.Event]
        if kind in table(channel_type, sender).values()
    )
    early, first, second, after = verdicts(channel_type, sender, later, opening.first, opening.first, later)
    assert early == f"{later.__name__} before {opening.first.__name__}"
    assert first is None
    assert second == f"a second {opening.first.__name__}"
    assert after is None


@pytest.mark.parametrize(("channel_type", "sender"), OPENINGS)
def test_every_row_is_about_messages_of_its_channel_and_sender(channel_type, sender):
    known = set(table(channel_type, sender).values())
    opening = OPENINGS[channel_type, sender]
    assert {opening.first, *opening.before, *opening.again_after} <= known


@pytest.mark.parametrize(("channel_type", "sender"), OPENINGS)
def test_shared_messages_come_whenever_they_like(channel_type, sender):
    shared = table(None, sender).values()
    assert verdicts(channel_type, sender, *shared) == [None] * len(shared)
    assert base.Disconnecting in shared


def test_a_message_out_of_order_does_not_open_the_channel():
    first, second, init = verdicts(ChannelType.MAIN, Role.SERVER, main.Name, main.Name, main.Init)
    assert first == second == "Name before Init"
    assert init is None


def test_the_target_of_a_seamless_migration_answers_before_it_opens():
    assert (
        verdicts(ChannelType.MAIN, Role.SERVER, main.MigrateDstSeamlessAck, main.MigrateDstSeamlessNack, main.Init, main.Name)
        == [None] * 4
    )


def test_a_cursor_is_opened_again_after_each_reset():
    kinds = [cursor.Reset, cursor.InvalAll, cursor.Init, cursor.Move, cursor.Reset, cursor.Move, cursor.Init, cursor.Init]
    assert verdicts(ChannelType.CURSOR, Role.SERVER, *kinds) == [
        None, None, None, None, None, "Move before Init", None, "a second Init",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [playback.Data, playback.Start])
def test_a_channel_without_a_rule_takes_anything(kind):
    assert verdicts(ChannelType.PLAYBACK, Role.SERVER, kind, kind) == [None, None]


def test_two_orders_share_no_state():
    one, other = Order.of(ChannelType.MAIN, Role.SERVER), Order.of(ChannelType.MAIN, Role.SERVER)
    assert one.check(main.Init) is None
    assert other.check(main.Name) == "Name before Init"
