"""Who we are to a host: what libvirt asks for when it connects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from atp_trio.errors import ConfigError

__all__ = ["Credentials"]

Secret = str | Path | Callable[[], str] | None

# virConnectCredentialType
_USERNAME: Final = 1
_AUTHNAME: Final = 2
_PASSPHRASE: Final = 5
_NOECHOPROMPT: Final = 7
# ECHOPROMPT is left out: over libssh it asks whether to trust an unknown host key, and nobody is there to look at it.
KINDS: Final = (_USERNAME, _AUTHNAME, _PASSPHRASE, _NOECHOPROMPT)


@attrs.frozen(kw_only=True)
class Credentials:
    """A user and a password, for SASL and for ssh (libssh, libssh2: the account's, or that of the key file)."""

    username: str | None = None
    """The user; by default the one in the URI."""
    password: Secret = attrs.field(default=None, repr=False)
    """A value, a file that holds it, or a function that gives it, called in a thread; asked for anew at every connection."""

    def get_password(self) -> str | None:
        """The password as it is now. Blocks as long as the file or the function does.

        Raises:
            ConfigError: The file cannot be read, or the function failed.
        """
        if isinstance(self.password, Path):
            try:
                return self.password.read_text().rstrip("\r\n")
            except (OSError, UnicodeError) as error:
                raise ConfigError(f"the password file {self.password} cannot be read: {_reason(error)}") from None
        if callable(self.password):
            try:
                return self.password()
            except Exception as error:
                raise ConfigError(f"the function that gives the password failed: {type(error).__name__}") from error
        return self.password


def _reason(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"


@attrs.define(eq=False)
class Answerer:
    """Answers libvirt's questions of one attempt to connect; called by libvirt, in the thread that connects."""

    credentials: Credentials
    user: str | None
    """The URI's."""
    failure: ConfigError | None = None
    """What kept it from answering: libvirt's own error says only that there was no answer."""

    def __call__(self, questions: list[list[Any]], _opaque: None) -> int:
        """Write an answer behind each question; -1 where there is none, which ends the attempt."""
        for question in questions:
            try:
                answer = self._answer(question[0])
            except ConfigError as error:
                self.failure = error
                return -1
            if answer is None:
                return -1
            question[4] = answer
        return 0

    def _answer(self, kind: int) -> str | None:
        if kind in {_USERNAME, _AUTHNAME}:
            return self.credentials.username or self.user
        return self.credentials.get_password()
