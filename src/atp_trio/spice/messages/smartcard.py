"""The smartcard channel: card readers of the client for the guest.

Source: section 17 of the protocol reference.
"""

from __future__ import annotations

from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import counted_bytes, u32

UNDEFINED_READER_ID = 0xFFFFFFFF
MAX_ATR_SIZE = 40


class VscMessageType(OpenEnum):
    """What a message is about."""

    INIT = 1
    """Not used over SPICE."""
    ERROR = 2
    READER_ADD = 3
    READER_REMOVE = 4
    ATR = 5
    CARD_REMOVE = 6
    APDU = 7
    FLUSH = 8
    FLUSH_COMPLETE = 9


class VscErrorCode(OpenEnum):
    """What an ERROR answers."""

    SUCCESS = 0
    GENERAL_ERROR = 1
    CANNOT_ADD_MORE_READERS = 2
    CARD_ALREAY_INSERTED = 3
    """So spelt in the protocol."""


@message(ChannelType.SMARTCARD, from_server=101, from_client=101)
class Data(Message):
    """One message between the guest's card reader and ours."""

    type: VscMessageType = u32(VscMessageType)
    reader_id: int = u32(default=UNDEFINED_READER_ID)
    data: bytes = counted_bytes(u32(), default=b"", secret=True)
    """By type: an `Error`, the reader's name (UTF-8, no NUL), the answer to reset, a command or response APDU."""


@record
class Error(Record):
    """What an ERROR carries. Codes made by QEMU arrive with their bytes the other way round."""

    code: VscErrorCode = u32(VscErrorCode)
