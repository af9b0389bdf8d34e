"""An exception and a sentence for each of SPICE's link errors, and for numbers that are none."""

import pytest

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
from atp_trio.spice.protocol.refusal import link_error

ERRORS = {
    LinkErrorCode.ERROR: LinkError,
    LinkErrorCode.INVALID_MAGIC: LinkInvalidMagic,
    LinkErrorCode.INVALID_DATA: LinkInvalidData,
    LinkErrorCode.VERSION_MISMATCH: LinkVersionMismatch,
    LinkErrorCode.NEED_SECURED: LinkNeedSecured,
    LinkErrorCode.NEED_UNSECURED: LinkNeedUnsecured,
    LinkErrorCode.PERMISSION_DENIED: AuthenticationFailed,
    LinkErrorCode.BAD_CONNECTION_ID: LinkBadConnectionId,
    LinkErrorCode.CHANNEL_NOT_AVAILABLE: LinkChannelNotAvailable,
    10: LinkError,
    2**32 - 1: LinkError,
}


@pytest.mark.parametrize(("code", "kind"), ERRORS.items())
def test_every_link_error_is_an_exception_of_its_own(code, kind):
    error = link_error(code)
    assert type(error) is kind
    assert error.code == code


def test_every_link_error_has_its_own_sentence():
    sentences = {str(link_error(code)) for code in ERRORS}
    assert len(sentences) == len(ERRORS)


def test_no_link_error_is_forgotten():
    assert set(LinkErrorCode) - {LinkErrorCode.OK} <= set(ERRORS)
