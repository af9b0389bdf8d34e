"""Scripts of faults, read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp_trio.errors import ConfigError
from atp_trio.testing.faults.conditions import LinkConditions
from atp_trio.testing.faults.proxy import FaultProxy
from atp_trio.testing.faults.script import Action, Step, parse_script
from atp_trio.testing.faults.treatment import Direction


def test_read():
    text = """
        4s stall inputs to=server; 2s cut display:0
        500ms set-link display delay=40ms rate=1mbit
        5s garbage cursor bytes=7 to=client; 6s heal
    """
    assert parse_script(text) == (
        Step(at=0.5, action=Action.SET_LINK, channel="display", link=LinkConditions(delay=0.04, rate=1e6)),
        Step(at=2, action=Action.CUT, channel="display:0"),
        Step(at=4, action=Action.STALL, channel="inputs", direction=Direction.TO_SERVER),
        Step(at=5, action=Action.GARBAGE, channel="cursor", direction=Direction.TO_CLIENT, size=7),
        Step(at=6, action=Action.HEAL),
    )
    assert parse_script("") == ()


def test_every_action_is_something_the_proxy_does():
    assert all(callable(getattr(FaultProxy, action.value)) for action in Action)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cut", "step 1: it begins with a time"),
        ("1s cut; 2 cut", "step 2: it begins with a time"),
        ("1s", "step 1: the action is one of cut, hang_up"),
        ("1s explode", "the action is one of"),
        ("1s cut sound", "'sound' is no channel"),
        ("1s cut display now", "'now' is one word too many"),
        ("1s cut to=server", "'to=server' has no meaning for cut"),
        ("1s stall to=moon", "'to=moon' has no meaning"),
        ("1s garbage bytes=x", "'bytes=x' has no meaning"),
        ("1s set_link", "is none of delay="),
        ("1s set_link delay=4", "delay is a number"),
    ],
)
def test_what_cannot_be_meant(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_script(text)


@given(st.text(alphabet="0123456789ms cutdisplay=;:\n", max_size=40))
def test_any_text_is_a_script_or_a_config_error(text):
    try:
        steps = parse_script(text)
    except ConfigError:
        return
    assert list(steps) == sorted(steps, key=lambda step: step.at)
