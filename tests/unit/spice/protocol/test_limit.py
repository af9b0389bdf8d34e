"""How large a message may be."""

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.limit import body_limit, peer_limit
from atp_trio.spice.wire import Role


def test_limits_are_as_spice_says():
    assert body_limit(ChannelType.MAIN, Role.CLIENT) == 26624
    assert body_limit(ChannelType.INPUTS, Role.CLIENT) == 2048
    assert body_limit(ChannelType.MAIN, Role.SERVER) >= 12 + 256_000
    assert body_limit(ChannelType.CURSOR, Role.SERVER) >= 512 * 512 * 4 + 100
    assert body_limit(ChannelType.DISPLAY, Role.SERVER) >= 16384 * 4096 * 4
    assert body_limit(77, Role.CLIENT) == body_limit(77, Role.SERVER)


def test_we_send_a_server_what_it_takes_and_a_client_anything():
    assert peer_limit(ChannelType.INPUTS, Role.CLIENT) == body_limit(ChannelType.INPUTS, Role.CLIENT)
    assert peer_limit(77, Role.CLIENT) == peer_limit(ChannelType.INPUTS, Role.SERVER) == 2**32 - 1
