"""The ticket: a password under RSA-OAEP (SHA-1), with a key that the server makes anew for every link.

`cryptography` takes 40 to 150 ms to import, so it is imported at the first ticket; `prepare` does it ahead of time.

Source: SPICE protocol reference, 1.9.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import attrs

from atp_trio.errors import ConfigError, MalformedMessage
from atp_trio.spice.messages.link import MAX_PASSWORD_LENGTH, TICKET_SIZE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.padding import OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey


def is_prepared() -> bool:
    """Whether everything that tickets need has been imported."""
    return "cryptography.hazmat.primitives.serialization" in sys.modules


def prepare() -> None:
    """Import what tickets need: 40 to 150 ms, so in a thread, and before the first link pays for it."""
    import_module("cryptography.hazmat.primitives.serialization")
    _oaep()


def _oaep() -> OAEP:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303 - SPICE's choice


def check_password(password: str | bytes) -> bytes:
    """The password's bytes (UTF-8).

    Raises:
        ConfigError: It is longer than the 60 bytes that SPICE allows, holds a NUL, or is no Unicode text. The sentence does not
            show it.
    """
    data = _utf_8(password) if isinstance(password, str) else bytes(password)
    if data is None:
        raise ConfigError("a SPICE password is Unicode text, this one holds half of a surrogate pair")
    if len(data) > MAX_PASSWORD_LENGTH:
        raise ConfigError(f"a SPICE password has at most {MAX_PASSWORD_LENGTH} bytes, this one has {len(data)}")
    if b"\0" in data:
        raise ConfigError("a SPICE password cannot hold a NUL byte")
    return data


def _utf_8(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None  # the error holds the password: it must not become the context of another


def encrypt_ticket(public_key: bytes, password: bytes) -> bytes:
    """The 128 bytes that prove the password to the server whose key this is.

    Args:
        public_key: The DER key of the server's link reply, 162 bytes.
        password: At most 60 bytes, no NUL; empty where the server wants none.

    Raises:
        ConfigError: The password cannot be one.
        MalformedMessage: The server's key is no usable RSA key of 1024 bits.
    """
    plain = check_password(password) + b"\0"
    key = _load(public_key)
    try:
        return key.encrypt(plain, _oaep())
    except ValueError as error:
        raise MalformedMessage("the RSA key in the server's link reply cannot be used") from error


def _load(public_key: bytes) -> RSAPublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage("the server's link reply holds no usable RSA key") from error
    if not isinstance(key, RSAPublicKey) or key.key_size != 8 * TICKET_SIZE:
        raise MalformedMessage("the key in the server's link reply is no RSA key of 1024 bits")
    return key


@attrs.frozen
class TicketKey:
    """The server's side: a key for one link.

    Attributes:
        public_key: DER, 162 bytes, for the link reply.
    """

    public_key: bytes
    _private: RSAPrivateKey = attrs.field(repr=False)

    @classmethod
    def generate(cls) -> TicketKey:
        """A new key of 1024 bits: tens of milliseconds, so in a thread."""
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        private = generate_private_key(public_exponent=65537, key_size=8 * TICKET_SIZE)
        return cls(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), private)

    def decrypt(self, ticket: bytes) -> bytes | None:
        """The password in the ticket, up to its first NUL; None when the ticket was not made with this key."""
        try:
            plain = self._private.decrypt(ticket, _oaep())
        except ValueError:
            return None
        return plain.partition(b"\0")[0]
