from __future__ import annotations

import contextlib
import ssl

import pytest

from atp_trio.errors import ConfigError
from atp_trio.testing.certificate import make_libvirt_pki, make_tls_dir


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_tls_dir(
        tmp_path_factory.mktemp("tls") / "made", subject="O=atp,OU=Tests,CN=server", hosts=["localhost", "127.0.0.1"]
    )


def shake_hands(files, ca, host):
    """A TLS handshake in memory; the certificate the client saw."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(files.directory / "server-cert.pem", files.directory / "server-key.pem")
    client_context = ssl.create_default_context(cafile=ca)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_authority_vouches_for_the_server(files, host):
    certificate = shake_hands(files, files.ca, host)
    # In the order of the subject: SPICE compares it so.
    assert certificate["subject"] == (
        (("organizationName", "atp"),),
        (("organizationalUnitName", "Tests"),),
        (("commonName", "server"),),
    )
    assert files.subject == "O=atp,OU=Tests,CN=server"


def test_other_authority_does_not(files):
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(files, files.wrong_ca, "localhost")


def test_other_host_is_not_the_server(files):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(files, files.ca, "example.org")


def test_key_is_the_owners_alone(files):
    assert (files.directory / "server-key.pem").stat().st_mode & 0o077 == 0
    assert {path.name for path in files.directory.iterdir()} == {
        "ca-cert.pem",
        "wrong-ca-cert.pem",
        "server-cert.pem",
        "server-key.pem",
    }


@pytest.mark.parametrize("subject", ["", "localhost", "CN=", "X=1", "CN=a,,O=b", "C=Germany"])
def test_subject_that_cannot_be_meant(tmp_path, subject):
    with pytest.raises(ConfigError, match="subject"):
        make_tls_dir(tmp_path / "none", subject=subject)
    assert not (tmp_path / "none").exists()


def meet(server, client):
    """A handshake with certificates of both, in memory, by directories as libvirt names their files; the client's subject."""
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server / "cacert.pem")
    server_context.load_cert_chain(server / "servercert.pem", server / "serverkey.pem")
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.create_default_context(cafile=client / "cacert.pem")
    client_context.load_cert_chain(client / "clientcert.pem", client / "clientkey.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client_context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server_context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 2:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends[1].getpeercert()["subject"]


def test_libvirts_server_and_client_know_each_other(tmp_path):
    pki = make_libvirt_pki(tmp_path)
    assert meet(pki.server, pki.client)[-1] == (("commonName", "client"),)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        meet(pki.server, pki.stranger)
    # The server would not have had the stranger either.
    (pki.stranger / "cacert.pem").write_bytes((pki.server / "cacert.pem").read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        meet(pki.server, pki.stranger)
    for key in tmp_path.rglob("*key.pem"):
        assert key.stat().st_mode & 0o077 == 0
