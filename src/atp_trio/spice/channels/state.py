"""What is known of a channel: where its life stands, how it was linked, what went through it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import attrs

from atp_trio.spice.channels.outbox import ChannelStream
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore


class Phase(Enum):
    """Where a channel's life stands."""

    LINKING = "linking"
    AUTHENTICATING = "authenticating"
    OPEN = "open"
    CLOSED = "closed"


@attrs.frozen
class ChannelStatistics:
    """What went through a channel so far.

    Attributes:
        channel_type: Which channel.
        channel_id: Its instance.
        phase: Where its life stands.
        bytes_received: Bytes of messages and their headers, the link stage not counted.
        bytes_sent: The same of what we sent.
        messages_received: Messages of the wire.
        messages_sent: The same of what we sent.
        handling_seconds: Time spent on messages after they were received: decoding, drawing, answering.
        ack_window: How many messages one ACK of ours stands for; 0 where the server wants none.
        acks_sent: ACKs sent.
        pings_answered: PINGs answered.
        skipped: Messages that were passed over, being unknown or not allowed, by name.
        unhandled: Messages that were understood and that nothing here reacts to, by name.
        queued_bytes: Bytes that the kernel has not taken yet.
    """

    channel_type: ChannelType
    channel_id: int
    phase: Phase
    bytes_received: int
    bytes_sent: int
    messages_received: int
    messages_sent: int
    handling_seconds: float
    ack_window: int
    acks_sent: int
    pings_answered: int
    skipped: Mapping[str, int]
    unhandled: Mapping[str, int]
    queued_bytes: int


@attrs.frozen
class LinkTimings:
    """How long the steps of a link took, in seconds.

    Attributes:
        stream: Until the connection stood: TCP, and TLS where it is used.
        reply: From our link message to the server's reply; the server makes an RSA key in this time.
        ticket: Encrypting the ticket; with a password from a file or a callable, getting it.
        result: From our ticket to the server's answer.
    """

    stream: float
    reply: float
    ticket: float
    result: float

    @property
    def total(self) -> float:
        """All steps."""
        return self.stream + self.reply + self.ticket + self.result


@attrs.frozen
class Link:
    """A channel that has been linked: what its task needs to run it."""

    stream: ChannelStream
    core: ChannelCore
    server_caps: frozenset[int]
    timings: LinkTimings
