"""`atp info`."""

from __future__ import annotations

import json

from atp_trio.spice.messages.link import ChannelType


def test_tells_people(atp, server):
    outcome = atp("info", server.uri)
    assert (outcome.code, outcome.err) == (0, "")
    fields = dict(line.split("  ", 1) for line in outcome.out.splitlines())
    fields = {name: value.strip() for name, value in fields.items()}
    assert fields["server"] == server.uri
    assert fields["name"] == "atp-trio"
    assert fields["mouse mode"] == "client (supported: client, server)"
    assert fields["agent"] == "not connected"
    assert "KEY_SCANCODE" in fields["channel inputs:0"]
    assert fields["surface 0:0"].startswith("64x48 ")
    assert fields["monitor 0:0"] == "64x48+0+0 of surface 0"


def test_tells_programs(atp, serving):
    with serving(agent=True, channels=[(ChannelType.DISPLAY, 0), (ChannelType.USBREDIR, 1)], mouse_modes=[1]) as server:
        document = json.loads(atp("info", "--json", server.uri).out)
    assert document["uri"] == server.uri
    assert document["uuid"] == "2f6bd5c2-9a53-4d0f-a7a1-6d1f5f6f0c11"
    assert document["mouse_mode"] == "server"
    assert document["supported_mouse_modes"] == ["server"]
    assert document["agent"]["connected"] is True
    channels = {channel["name"]: channel for channel in document["channels"]}
    assert list(channels) == ["main:0", "display:0", "usbredir:1"]
    assert "NAME_AND_UUID" in channels["main:0"]["capabilities"]
    assert channels["main:0"]["link_ms"] > 0
    assert channels["usbredir:1"] == {"name": "usbredir:1", "open": False}
    assert document["surfaces"] == [{"display": 0, "id": 0, "width": 64, "height": 48, "format": "FMT_32_xRGB"}]
    assert document["monitors"] == [{"display": 0, "id": 0, "surface": 0, "x": 0, "y": 0, "width": 64, "height": 48}]


def test_tells_what_there_is_of_a_machine_without_a_screen(atp, serving):
    with serving(channels=[], name=None, uuid=None) as server:
        outcome = atp("info", server.uri)
    assert outcome.code == 0
    assert "surface" not in outcome.out
    assert outcome.out.count("not told") == 2


def test_a_name_is_no_command_to_the_terminal(atp, serving):
    with serving(name="evil\x1b]0;title\x07\nname") as server:
        outcome = atp("info", server.uri)
        assert "\x1b" not in outcome.out
        assert "\x07" not in outcome.out
        assert "evil\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER} name" in outcome.out
        assert json.loads(atp("info", "--json", server.uri).out)["name"] == "evil\x1b]0;title\x07\nname"


def test_leaves_in_order(atp, server, left_in_order):
    assert atp("info", server.uri).code == 0
    assert left_in_order(server)
    assert len(server.server.closed) == 4
