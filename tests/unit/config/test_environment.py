"""Settings from the environment."""

from __future__ import annotations

import pytest

VM = """
    spice:
      vms:
        - {vm_id: win-11.a, server_addr: a, port: 5900}
        - {vm_id: other, server_addr: b, port: 5900}
"""


def test_in_place_of_the_file(load):
    config = load("heartbeat: {interval: 30}\n", ATP_HEARTBEAT__INTERVAL="10", ATP_POOL__MAXIMUM="3")
    assert (config.heartbeat.interval, config.pool.maximum) == (10, 3)


def test_items_by_their_id(load):
    config = load(
        VM, ATP_SPICE__VMS__WIN_11_A__PORT="1", ATP_SPICE__VMS__WIN_11_A__PASSWORD="0123", ATP_SPICE__VMS__OTHER__TLS="true"
    )
    first, second = config.spice.vms
    assert (first.port, first.password.read(), second.spice_uri.tls_port) == (1, "0123", 5900)


def test_lists_and_what_is_not_there_yet(load):
    config = load("", ATP_SPICE__CHANNELS__OPEN="display, playback", ATP_SPICE__TLS__CA_FILE="/ca.pem")
    assert config.spice.channels.open == ("display", "playback")
    assert str(config.spice.tls.ca_file) == "/ca.pem"
    assert load("", ATP_SPICE__CHANNELS__OPEN="").spice.channels.open == ()


def test_where_a_password_comes_from(load):
    text = "hosts: [{id: a, host: a}]"
    config = load(text, ATP_HOSTS__A__PASSWORD__ENV="THE_PASSWORD")
    assert config.hosts[0].password.env == "THE_PASSWORD"


def test_it_may_heal_what_the_file_says(load):
    assert load("heartbeat: {interval: nonsense}\n", ATP_HEARTBEAT__INTERVAL="10").heartbeat.interval == 10


def test_other_variables_do_not_concern_us(load):
    load("", ATP_SPICE_PASSWORD="x", ATP_SLOW="1", HOME="/", OTHER__THING="1")


@pytest.mark.parametrize(
    "variable",
    [
        "ATP_HEARTBEAT__SPEED",
        "ATP_NO__SUCH",
        "ATP_SPICE__VMS__NOBODY__PORT",
        "ATP_SPICE__VMS__OTHER",
        "ATP_SPICE__VMS",
        "ATP_HEARTBEAT__INTERVAL__MORE",
        "ATP_SPICE__CHANNELS__OPEN__FIRST",
        "ATP___X",
    ],
)
def test_variables_that_name_nothing(mistakes, variable):
    if variable == "ATP_SPICE__VMS":
        assert mistakes(VM, **{variable: "x"}) == ["ATP_SPICE__VMS spice.vms: a list is wanted here, not 'x'"]
    else:
        assert mistakes(VM, **{variable: "x"}) == [f"{variable}: this environment variable names no setting"]


def test_values_that_cannot_be_meant(mistakes):
    assert mistakes(VM, ATP_POOL__MAXIMUM="x", ATP_SPICE__VMS__OTHER__PORT="true", ATP_RECONNECT__JITTER="9") == [
        "ATP_POOL__MAXIMUM pool.maximum: a whole number is wanted, not 'x'",
        "ATP_RECONNECT__JITTER reconnect.jitter: jitter is a number of at least 0 up to 1, not 9.0",
        "ATP_SPICE__VMS__OTHER__PORT spice.vms[1].port: a whole number is wanted, not True",
    ]
