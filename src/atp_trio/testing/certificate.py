"""Certificates for servers under test: an authority, a server's certificate, and an authority that did not sign it."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from atp_trio.errors import ConfigError

_ATTRIBUTES = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}


@attrs.frozen
class TlsFiles:
    """PEM files, all in one directory."""

    directory: Path
    """For QEMU's `x509-dir`; it reads ca-cert.pem, server-cert.pem and server-key.pem."""
    ca: Path
    """The authority that signed the server's certificate."""
    wrong_ca: Path
    """Another authority of the same name."""
    subject: str
    """The server certificate's subject, as in `O=atp,CN=localhost`, in the order of the certificate."""


def make_tls_dir(
    path: Path, *, subject: str = "O=atp,CN=localhost", hosts: Sequence[str] = ("localhost", "127.0.0.1")
) -> TlsFiles:
    """Write a server's certificate, its key (RSA 2048, not encrypted) and its authority.

    Args:
        path: The directory; it is made where it is not there.
        subject: The server's subject: C, ST, L, O, OU and CN, separated by commas, in the order of the certificate.
        hosts: DNS names and IP addresses that the certificate is valid for.

    Raises:
        ConfigError: The subject cannot be meant.
    """
    name = _parse_subject(subject)
    path.mkdir(parents=True, exist_ok=True)
    authority_name = _parse_subject("O=atp,CN=atp test authority")
    authority_key, wrong_key, server_key = _new_key(), _new_key(), _new_key()
    files = TlsFiles(path, path / "ca-cert.pem", path / "wrong-ca-cert.pem", subject)
    files.ca.write_bytes(_authority(authority_name, authority_key))
    files.wrong_ca.write_bytes(_authority(authority_name, wrong_key))
    alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    certificate = (
        _builder(name, authority_name, server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    (path / "server-cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = path / "server-key.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        server_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def _parse_subject(subject: str) -> x509.Name:
    attributes = []
    for part in subject.split(","):
        kind, equals, value = part.partition("=")
        if not equals or kind.strip() not in _ATTRIBUTES or not value:
            raise ConfigError(f"{part!r} in the subject is not one of {', '.join(_ATTRIBUTES)} with a value, as in CN=localhost")
        try:
            attributes.append(x509.NameAttribute(_ATTRIBUTES[kind.strip()], value))
        except ValueError as error:
            raise ConfigError(f"{part!r} cannot be part of a subject: {error}") from error
    return x509.Name(attributes)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The clock of a peer may be behind ours.
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
    )


def _authority(name: x509.Name, key: rsa.RSAPrivateKey) -> bytes:
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
