"""How large a message may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Role

# What a peer may make us hold. A client's limits are those of SPICE's server (reference, 2.4). From a server we take at most one
# uncompressed picture of 64 Mi pixels on a display. Elsewhere the largest are QEMU's largest cursor, 512 by 512 pixels of 4
# bytes, and the network test's PING of 256000 bytes.
MAX_BODY_FROM_SERVER: Final = 2 * 1024 * 1024
MAX_BODY_FROM_SERVER_DISPLAY: Final = 256 * 1024 * 1024 + 4096
MAX_BODY_FROM_CLIENT: Final[Mapping[int, int]] = {
    ChannelType.MAIN: 26624,
    ChannelType.DISPLAY: 1024,
    ChannelType.CURSOR: 1024,
    ChannelType.INPUTS: 2048,
}
# What a header can say.
LARGEST: Final = 2**32 - 1


def body_limit(channel_type: int, sender: Role) -> int:
    """The largest body, in bytes, that is taken from `sender` on such a channel."""
    if sender is Role.CLIENT:
        return MAX_BODY_FROM_CLIENT.get(channel_type, MAX_BODY_FROM_SERVER)
    return MAX_BODY_FROM_SERVER_DISPLAY if channel_type == ChannelType.DISPLAY else MAX_BODY_FROM_SERVER


def peer_limit(channel_type: int, sender: Role) -> int:
    """The largest body, in bytes, that `sender` may send, as far as is known: a server ends a client that sends more."""
    return MAX_BODY_FROM_CLIENT.get(channel_type, LARGEST) if sender is Role.CLIENT else LARGEST
