"""What libvirt's errors are in our tree.

Source:
    libvirt, virterror.h: virErrorNumber, virErrorDomain.
"""

from __future__ import annotations

import re
from typing import Any, Final

from atp_trio.errors import (
    AgentUnavailable,
    AtpError,
    AuthenticationFailed,
    ConnectFailed,
    DomainNotFound,
    HypervisorError,
    QgaError,
    TlsError,
)

__all__ = ["call_error", "open_error"]

# virErrorNumber
_NO_DOMAIN: Final = 42
_AUTH: Final = frozenset({45, 79, 94})  # AUTH_FAILED, AUTH_CANCELLED, AUTH_UNAVAILABLE
_AGENT_SILENT: Final = frozenset({86, 112})  # AGENT_UNRESPONSIVE, AGENT_COMMAND_TIMEOUT
_AGENT: Final = frozenset({97, 113})  # AGENT_UNSYNCED, AGENT_COMMAND_FAILED
_TLS: Final = 40  # GNUTLS_ERROR

# Over ssh, libvirt knows only that the program ended; what ssh said is in the sentence.
_REFUSED_KEY: Final = re.compile(r"permission denied|access denied|failed to authenticate|authentication fail", re.IGNORECASE)
_REFUSED_CERTIFICATE: Final = re.compile(r"certificate|TLS|GnuTLS")


def _facts(error: Any) -> tuple[int | None, int | None, str]:
    # `err` is None when libvirt failed without saying why.
    message = error.get_error_message() or str(error)
    return error.get_error_code(), error.get_error_domain(), str(message)


def call_error(error: Any) -> AtpError:
    """The error of a call on a connection that is still there."""
    code, domain, message = _facts(error)
    if code == _NO_DOMAIN:
        return DomainNotFound(message)
    if code in _AGENT_SILENT:
        return AgentUnavailable(message, code=code, domain=domain)
    if code in _AGENT:
        return QgaError(message, code=code, domain=domain)
    return HypervisorError(message, code=code, domain=domain)


def open_error(error: Any, uri: str) -> AtpError:
    """The error of an attempt to connect."""
    code, _, message = _facts(error)
    sentence = f"no connection to {uri}: {message}"
    # First, as libvirt gives its code for authentication to certificates, too.
    if code == _TLS or _REFUSED_CERTIFICATE.search(message):
        return TlsError(sentence)
    if code in _AUTH or _REFUSED_KEY.search(message):
        return AuthenticationFailed(sentence)
    return ConnectFailed(sentence)
