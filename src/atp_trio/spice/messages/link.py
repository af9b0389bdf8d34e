"""The link stage: what is said before the first message, and the numbers all channels share.

Links are made and read by `codec.link`, in C; the records here say the same to whoever wants to look at each field, or to send
what does not fit together. Its `caps_to_words` and `words_to_caps` are for capability words everywhere.

Source: section 1 of the protocol reference.
"""

from __future__ import annotations

from operator import add

from atp_trio.spice.wire import OpenEnum, Record, record
from atp_trio.spice.wire.field import elements, octets, offset, u8, u32

MAGIC = b"REDQ"
VERSION_MAJOR = 2
VERSION_MINOR = 2
MAX_PASSWORD_LENGTH = 60
PUBLIC_KEY_SIZE = 162
"""A DER SubjectPublicKeyInfo of an RSA key of 1024 bits."""
TICKET_SIZE = 128


class ChannelType(OpenEnum):
    """The kinds of channel."""

    MAIN = 1
    DISPLAY = 2
    INPUTS = 3
    CURSOR = 4
    PLAYBACK = 5
    RECORD = 6
    TUNNEL = 7
    """Obsolete; no server offers it."""
    SMARTCARD = 8
    USBREDIR = 9
    PORT = 10
    WEBDAV = 11


class LinkErrorCode(OpenEnum):
    """Why a link is refused, or a channel ends."""

    OK = 0
    ERROR = 1
    INVALID_MAGIC = 2
    INVALID_DATA = 3
    VERSION_MISMATCH = 4
    NEED_SECURED = 5
    NEED_UNSECURED = 6
    PERMISSION_DENIED = 7
    BAD_CONNECTION_ID = 8
    CHANNEL_NOT_AVAILABLE = 9


class CommonCap(OpenEnum):
    """Capabilities that do not depend on the channel. AUTH_SPICE and AUTH_SASL are also the numbers of the mechanisms."""

    PROTOCOL_AUTH_SELECTION = 0
    AUTH_SPICE = 1
    AUTH_SASL = 2
    MINI_HEADER = 3


@record
class LinkHeader(Record):
    """What stands before the link message, and before the reply."""

    magic: bytes = octets(4, default=MAGIC)
    major_version: int = u32(default=VERSION_MAJOR)
    minor_version: int = u32(default=VERSION_MINOR)
    size: int = u32(default=0)
    """Bytes that follow."""


@record
class LinkMess(Record):
    """The client's link message."""

    connection_id: int = u32()
    """0 on the first main link, then the session id of main's Init."""
    channel_type: ChannelType = u8(ChannelType)
    channel_id: int = u8()
    num_common_caps: int = u32()
    """How many of the words are the common ones."""
    num_channel_caps: int = u32()
    """How many are the channel's."""
    caps: tuple[int, ...] = offset(elements(u32(), "num_common_caps", "num_channel_caps", rule=add))
    """The words: first the common ones, then the channel's."""


@record
class LinkReply(Record):
    """The server's answer to the link message."""

    error: LinkErrorCode = u32(LinkErrorCode)
    pub_key: bytes = octets(PUBLIC_KEY_SIZE)
    """The key that the ticket is encrypted with; zeros where there is none."""
    num_common_caps: int = u32()
    num_channel_caps: int = u32()
    caps: tuple[int, ...] = offset(elements(u32(), "num_common_caps", "num_channel_caps", rule=add))
    """The words: first the common ones, then the channel's."""


@record
class LinkAuthMechanism(Record):
    """The mechanism that the client chose."""

    auth_mechanism: CommonCap = u32(CommonCap)
    """AUTH_SPICE or AUTH_SASL."""


@record
class LinkEncryptedTicket(Record):
    """The password and a NUL, encrypted with the key of the reply (RSA, OAEP with SHA-1)."""

    encrypted_data: bytes = octets(TICKET_SIZE, secret=True)


@record
class LinkResult(Record):
    """The end of the link stage; after OK the first message may follow at once."""

    error: LinkErrorCode = u32(LinkErrorCode)
