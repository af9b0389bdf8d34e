"""What a machine is worth without some of its channels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.supervision.degradation import KNOWN, ChannelsConfig, Verdict, judge, priority
from atp_trio.supervision.state import ConnectionState as S

CONFIG = ChannelsConfig()
UP = {"main:0": S.CONNECTED, "display:0": S.CONNECTED, "inputs:0": S.CONNECTED, "playback:0": S.CONNECTED}


def test_whole():
    assert judge(CONFIG, UP) == Verdict(S.CONNECTED)
    assert judge(CONFIG, UP).is_usable


def test_without_sound_it_is_degraded_and_usable():
    verdict = judge(CONFIG, UP | {"playback:0": S.FAILED})
    assert (verdict.state, verdict.down, verdict.missing, verdict.is_usable) == (S.DEGRADED, ("playback:0",), (), True)


def test_without_display_and_inputs_it_is_degraded_and_that_is_said():
    verdict = judge(CONFIG, UP | {"playback:0": S.FAILED, "inputs:0": S.DISCONNECTED, "display:0": S.CONNECTING})
    assert verdict.down == ("display:0", "inputs:0", "playback:0")
    assert (verdict.state, verdict.missing, verdict.is_usable) == (S.DEGRADED, ("display:0", "inputs:0"), False)


def test_a_channel_that_is_degraded_is_up_but_not_whole():
    verdict = judge(CONFIG, UP | {"display:0": S.DEGRADED})
    assert (verdict.state, verdict.down, verdict.is_usable) == (S.DEGRADED, (), True)


@pytest.mark.parametrize("main", [S.DISCONNECTED, S.CONNECTING, S.FAILED])
def test_without_main_there_is_no_machine(main):
    verdict = judge(CONFIG, UP | {"main:0": main})
    assert (verdict.state, verdict.is_usable) == (main, False)
    assert judge(CONFIG, {}).state is S.DISCONNECTED


def test_the_order_of_opening():
    names = ["webdav:0", "cursor:0", "display:10", "display:2", "playback:0", "inputs:0", "main:0"]
    assert priority(CONFIG, names) == (
        "main:0",
        "display:2",
        "display:10",
        "inputs:0",
        "cursor:0",
        "playback:0",
        "webdav:0",
    )
    # Main is always first, as nothing can be opened before it.
    assert priority(ChannelsConfig(priority=("inputs",)), names)[:2] == ("main:0", "inputs:0")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"open": ("sound",)}, "open: there is no channel type 'sound'"),
        ({"priority": ("main", "main")}, "priority: .* twice"),
        ({"required": ("display",)}, "required: main cannot be left out"),
    ],
)
def test_settings_that_cannot_be_meant(setting, words):
    with pytest.raises(ConfigError, match=words):
        ChannelsConfig(**setting)


@given(st.dictionaries(st.builds("{}:{}".format, st.sampled_from(KNOWN), st.integers(0, 3)), st.sampled_from(S)))
def test_a_verdict_tells_the_truth(channels):
    verdict = judge(CONFIG, channels)
    assert set(verdict.down) == {name for name, state in channels.items() if not state.is_usable}
    assert set(verdict.missing) <= set(verdict.down)
    if verdict.state is S.CONNECTED:
        assert set(channels.values()) == {S.CONNECTED}
    if verdict.state.is_usable:
        assert channels["main:0"].is_usable
