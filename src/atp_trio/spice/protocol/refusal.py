"""Why a server refuses a link: the exception and its sentence for each of SPICE's link errors.

Source: SPICE protocol reference, 1.1 to 1.11.
"""

from __future__ import annotations

from typing import Final

from atp_trio.errors import (
    AuthenticationFailed,
    LinkBadConnectionId,
    LinkChannelNotAvailable,
    LinkError,
    LinkInvalidData,
    LinkInvalidMagic,
    LinkNeedSecured,
    LinkNeedUnsecured,
    LinkVersionMismatch,
)
from atp_trio.spice.messages.link import LinkErrorCode

_SENTENCES: Final[dict[int, tuple[type[LinkError], str]]] = {
    LinkErrorCode.ERROR: (LinkError, "the server refused the link"),
    LinkErrorCode.INVALID_MAGIC: (LinkInvalidMagic, "the server did not take our link message for SPICE"),
    LinkErrorCode.INVALID_DATA: (LinkInvalidData, "the server found our link message invalid"),
    LinkErrorCode.VERSION_MISMATCH: (LinkVersionMismatch, "the server speaks another version of SPICE, or requires SASL"),
    LinkErrorCode.NEED_SECURED: (LinkNeedSecured, "the server wants this channel over TLS"),
    LinkErrorCode.NEED_UNSECURED: (LinkNeedUnsecured, "the server wants this channel without TLS"),
    LinkErrorCode.PERMISSION_DENIED: (AuthenticationFailed, "the server did not accept the password"),
    LinkErrorCode.BAD_CONNECTION_ID: (LinkBadConnectionId, "the server does not know the connection of this channel"),
    LinkErrorCode.CHANNEL_NOT_AVAILABLE: (LinkChannelNotAvailable, "the channel is not available"),
}


def link_error(code: int) -> LinkError:
    """The exception for SPICE's link error `code`."""
    kind, sentence = _SENTENCES.get(code, (LinkError, f"the server refused the link with error {code}"))
    return kind(sentence, code=code)
