"""Certificates for servers under test and their clients, and authorities that did not sign them."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Self

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


@attrs.frozen
class LibvirtPki:
    """Directories of PEM files as libvirt names them."""

    server: Path
    """cacert.pem, servercert.pem and serverkey.pem: for libvirtd."""
    client: Path
    """cacert.pem, clientcert.pem and clientkey.pem: for `pkipath=` of a URI."""
    stranger: Path
    """As `client`, but all by another authority of the same name: it refuses the server and, made not to, is refused."""


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
    authority, wrong = _Authority.make(), _Authority.make()
    files = TlsFiles(path, path / "ca-cert.pem", path / "wrong-ca-cert.pem", subject)
    files.ca.write_bytes(authority.certificate)
    files.wrong_ca.write_bytes(wrong.certificate)
    authority.issue_server(name, hosts, path / "server-cert.pem", path / "server-key.pem")
    return files


def make_libvirt_pki(path: Path, *, hosts: Sequence[str] = ("localhost", "127.0.0.1")) -> LibvirtPki:
    """Write what libvirtd and its clients need for TLS, in directories below `path`."""
    authority, other = _Authority.make(), _Authority.make()
    pki = LibvirtPki(path / "server", path / "client", path / "stranger")
    for directory, signer in ((pki.server, authority), (pki.client, authority), (pki.stranger, other)):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cacert.pem").write_bytes(signer.certificate)
    name = _parse_subject("O=atp,CN=localhost")
    authority.issue_server(name, hosts, pki.server / "servercert.pem", pki.server / "serverkey.pem")
    name = _parse_subject("O=atp,CN=client")
    for directory, signer in ((pki.client, authority), (pki.stranger, other)):
        signer.issue(name, [ExtendedKeyUsageOID.CLIENT_AUTH], [], directory / "clientcert.pem", directory / "clientkey.pem")
    return pki


@attrs.frozen
class _Authority:
    key: rsa.RSAPrivateKey = attrs.field(repr=False)
    certificate: bytes

    @classmethod
    def make(cls) -> Self:
        key = _new_key()
        return cls(key, _authority(_AUTHORITY_NAME, key))

    def issue_server(self, name: x509.Name, hosts: Sequence[str], certificate_file: Path, key_file: Path) -> None:
        alternatives = [_general_name(host) for host in hosts]
        self.issue(name, [ExtendedKeyUsageOID.SERVER_AUTH], alternatives, certificate_file, key_file)

    def issue(
        self,
        name: x509.Name,
        usages: Sequence[x509.ObjectIdentifier],
        alternatives: Sequence[x509.GeneralName],
        certificate_file: Path,
        key_file: Path,
    ) -> None:
        """Write a certificate and its key."""
        key = _new_key()
        builder = (
            _builder(name, _AUTHORITY_NAME, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate_file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


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


_AUTHORITY_NAME = _parse_subject("O=atp,CN=atp test authority")


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
