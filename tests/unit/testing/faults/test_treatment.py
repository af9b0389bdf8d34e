"""Which connections a fault is for."""

from __future__ import annotations

import pytest

from atp_trio.errors import ConfigError
from atp_trio.spice.messages.link import ChannelType
from atp_trio.testing.faults.conditions import LinkConditions
from atp_trio.testing.faults.treatment import Flow, Selector, Treatments


def test_selectors():
    assert Selector.parse(None) == Selector()
    assert Selector.parse("display") == Selector.parse(ChannelType.DISPLAY) == Selector(2)
    assert Selector.parse("Display:1") == Selector(2, 1)
    every, displays, first = Selector(), Selector(2), Selector(2, 0)
    assert every.covers(displays)
    assert displays.covers(first)
    assert not first.covers(displays)
    assert not displays.covers(every)
    assert not Selector(3).covers(first)


@pytest.mark.parametrize("text", ["", "sound", "display:", "display:x", "display:256", "display:-1", ":0"])
def test_no_channel(text):
    with pytest.raises(ConfigError, match="is no channel"):
        Selector.parse(text)


def test_the_most_specific_counts():
    treatments = Treatments(LinkConditions())
    treatments.change(Selector(2), to_client=Flow.STALL)
    treatments.change(Selector(2, 1), withholds_acks=True)
    assert treatments.of((2, 0)).to_client is Flow.STALL
    assert not treatments.of((2, 0)).withholds_acks
    assert treatments.of((2, 1)).to_client is Flow.STALL
    assert treatments.of((2, 1)).withholds_acks
    assert treatments.of((3, 0)).to_client is treatments.of(None).to_client is Flow.FORWARD


def test_what_is_said_of_all_is_said_of_each():
    treatments = Treatments(LinkConditions())
    treatments.change(Selector(2, 1), refuses=True)
    treatments.change(Selector(), refuses=False, to_server=Flow.DISCARD)
    assert not treatments.of((2, 1)).refuses
    assert treatments.of((2, 1)).to_server is treatments.of(None).to_server is Flow.DISCARD
