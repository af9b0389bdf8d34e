"""TLS: who is trusted and who is not, each failure in words, conformance and cancellation."""

import contextlib
import socket
import ssl

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.x509.oid import NameOID

from atp_trio.errors import ConfigError, ConnectFailed, ConnectionLost, TlsError
from atp_trio.spice.streams.tls import SpiceTlsConfig, TlsStream, open_tls_stream

SUBJECT = ((NameOID.COUNTRY_NAME, "IL"), (NameOID.ORGANIZATION_NAME, "Red Hat, Inc."), (NameOID.COMMON_NAME, "my server"))
HOST_SUBJECT = r"C=IL, O=Red Hat\, Inc., CN=my server"


def tls_echo(context, *, close_notify=True):
    async def handle(transport):
        stream = trio.SSLStream(transport, context, server_side=True, https_compatible=not close_notify)
        async for data in stream:
            if data == b"bye":
                break
            await stream.send_all(data)
        await stream.aclose()

    return handle


def tls_alert(context):
    """A handler that shakes hands with a blocking socket: unlike Trio's, it sends an alert when it fails."""

    def shake_hands(sock):
        sock.setblocking(True)
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(sock, server_side=True):
            pass

    async def handle(transport):
        with socket.socket(fileno=transport.socket.detach()) as sock:
            await trio.to_thread.run_sync(shake_hands, sock)

    return handle


@pytest.fixture
def serve_tls(serve, pki, loopback_pem):
    """A TLS server that echoes, and on `bye` closes."""

    async def start(pem=loopback_pem, *, close_notify=True, **options):
        return await serve(tls_echo(pki.server_context(pem, **options), close_notify=close_notify))

    return start


@pytest.fixture
def trusting(pki):
    return SpiceTlsConfig(ca_file=pki.ca_file)


async def converse(server, tls, host="127.0.0.1"):
    async with await open_tls_stream(host, server.port, tls) as stream:
        assert stream.address == f"{host}:{server.port}"
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_trusted_server_for_this_host(serve_tls, trusting, host):
    await converse(await serve_tls(), trusting, host)


async def test_verification_is_the_default(serve_tls):
    server = await serve_tls()
    with pytest.raises(
        TlsError, match=rf"^no TLS connection to 127.0.0.1:{server.port}: its certificate is not trusted \("
    ) as caught:
        await open_tls_stream("127.0.0.1", server.port, SpiceTlsConfig())
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert isinstance(caught.value, ConnectFailed)
    await server.idle()  # the failed connection was closed


async def test_the_wrong_authority(serve_tls, other_pki):
    server = await serve_tls()
    with pytest.raises(TlsError, match="not trusted"):
        await open_tls_stream("127.0.0.1", server.port, SpiceTlsConfig(ca_file=other_pki.ca_file))


async def test_insecure_takes_any_certificate(serve_tls):
    server = await serve_tls()
    await converse(server, SpiceTlsConfig.insecure())
    assert SpiceTlsConfig.insecure() == SpiceTlsConfig(verify=False)


@pytest.mark.parametrize(
    ("host", "message"), [("127.0.0.1", "IP address mismatch"), ("localhost", "Hostname mismatch, certificate is not valid for")]
)
async def test_a_certificate_for_another_host(serve_tls, pki, trusting, host, message):
    server = await serve_tls(pki.issue("elsewhere", names=[x509.DNSName("elsewhere.example")]))
    with pytest.raises(TlsError, match=rf"its certificate is for another host \({message}"):
        await open_tls_stream(host, server.port, trusting)


async def test_the_common_name_counts_when_there_is_no_other_name(serve_tls, pki, trusting):
    server = await serve_tls(pki.issue("common", subject=((NameOID.COMMON_NAME, "localhost"),)))
    await converse(server, trusting, "localhost")


async def test_the_right_host_subject_takes_the_place_of_the_host_name(serve_tls, pki):
    server = await serve_tls(pki.issue("subject", subject=SUBJECT))
    await converse(server, SpiceTlsConfig(ca_file=pki.ca_file, host_subject=HOST_SUBJECT))


async def test_a_wrong_host_subject(serve_tls, pki):
    server = await serve_tls(pki.issue("subject", subject=SUBJECT, names=[x509.DNSName("localhost")]))
    with pytest.raises(TlsError, match=r"subject is C=IL,O=Red Hat\\, Inc.,CN=my server, not CN=my server$"):
        await open_tls_stream("localhost", server.port, SpiceTlsConfig(ca_file=pki.ca_file, host_subject="CN=my server"))
    await server.idle()


async def test_a_right_host_subject_does_not_replace_trust(serve_tls, pki, other_pki):
    server = await serve_tls(pki.issue("subject", subject=SUBJECT))
    with pytest.raises(TlsError, match="not trusted"):
        await open_tls_stream("127.0.0.1", server.port, SpiceTlsConfig(ca_file=other_pki.ca_file, host_subject=HOST_SUBJECT))


@pytest.mark.parametrize("password", [None, "secret"])
async def test_a_client_certificate(serve_tls, pki, password):
    server = await serve_tls(client_ca=pki.ca_file)
    pem = pki.issue("client", password=password and password.encode())
    await converse(server, SpiceTlsConfig(ca_file=pki.ca_file, cert_file=pem, key_password=password))


async def test_a_missing_client_certificate_shows_when_receiving(serve, pki, loopback_pem, trusting):
    server = await serve(tls_alert(pki.server_context(loopback_pem, client_ca=pki.ca_file)))
    async with await open_tls_stream("127.0.0.1", server.port, trusting) as stream:
        with pytest.raises(ConnectionLost, match=r"TLS: .*certificate required"):
            await stream.receive_some()


async def test_a_weak_certificate_needs_legacy_ciphers(serve_tls, pki, trusting):
    pem = pki.issue("weak", subject=((NameOID.COMMON_NAME, "localhost"),), rsa_bits=1024)
    server = await serve_tls(pem, ciphers="DEFAULT:@SECLEVEL=0")
    with pytest.raises(TlsError, match=r"too weak \(EE certificate key too weak\); legacy_ciphers would accept it"):
        await open_tls_stream("localhost", server.port, trusting)
    await converse(server, SpiceTlsConfig(ca_file=pki.ca_file, legacy_ciphers=True), "localhost")


@pytest.mark.parametrize(
    "garbage", [b"REDQ" + bytes(30), b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\xff\xff" + bytes(10), b"\xff" * 64]
)
async def test_what_is_no_tls_server(serve, trusting, garbage):
    async def handle(stream):
        await stream.send_all(garbage)
        async for _ in stream:
            pass

    server = await serve(handle)
    with pytest.raises(TlsError, match="it is not a TLS server"):
        await open_tls_stream("127.0.0.1", server.port, trusting)
    await server.idle()


async def test_a_server_that_closes_at_once(serve, trusting):
    async def handle(stream):
        await stream.receive_some()

    server = await serve(handle)
    with pytest.raises(TlsError, match="closed the connection in the middle of the handshake"):
        await open_tls_stream("127.0.0.1", server.port, trusting)


async def test_a_server_that_refuses(serve, pki, loopback_pem, trusting):
    context = pki.server_context(loopback_pem, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its key is no RSA key: there is no cipher that it could use
    server = await serve(tls_alert(context))
    with pytest.raises(TlsError, match=r"TLS: .*handshake failure"):
        await open_tls_stream("127.0.0.1", server.port, trusting)


async def test_nobody_listens(free_port, trusting):
    with pytest.raises(ConnectFailed, match="Connection refused") as caught:
        await open_tls_stream("127.0.0.1", free_port, trusting)
    assert not isinstance(caught.value, TlsError)


async def test_a_name_that_sni_cannot_say(serve_tls, trusting):
    server = await serve_tls()

    class Anywhere(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, *_, **__):
            return [(trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        async def getnameinfo(self, sockaddr, flags):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Anywhere())
    with pytest.raises(TlsError, match="empty string"):
        await open_tls_stream("%eth0", server.port, trusting)
    await server.idle()


@pytest.mark.parametrize("close_notify", [True, False])
async def test_an_end_is_an_end_with_and_without_close_notify(serve_tls, trusting, close_notify):
    server = await serve_tls(close_notify=close_notify)
    async with await open_tls_stream("127.0.0.1", server.port, trusting) as stream:
        await stream.send_all(b"bye")
        for _ in range(2):
            assert await stream.receive_into(memoryview(bytearray(10))) == 0
            assert await stream.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_receive_into_copies_and_send_nowait_takes_nothing(serve_tls, trusting):
    server = await serve_tls()
    async with await open_tls_stream("127.0.0.1", server.port, trusting) as stream:
        assert stream.send_nowait(b"abcdef") == 0
        await stream.send_all(b"abcdef")
        buffer = bytearray(4)
        assert await stream.receive_into(memoryview(buffer)) == 4
        assert buffer == b"abcd"
        assert await stream.receive_into(memoryview(buffer)) == 2


async def test_it_is_a_two_way_stream(socket_pair, pki, loopback_pem, trusting):
    async def make():
        left, right = await socket_pair("tcp")
        client = trio.SSLStream(left, trusting.context, server_hostname="127.0.0.1")
        server = trio.SSLStream(right, pki.server_context(loopback_pem), server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            nursery.start_soon(server.do_handshake)
        return TlsStream(client, address="left"), TlsStream(server, address="right")

    await trio.testing.check_two_way_stream(make, None)


async def test_cancelled_anywhere_it_leaves_no_socket(serve_tls, trusting, cancel_everywhere):
    server = await serve_tls()
    async with await open_tls_stream("127.0.0.1", server.port, trusting):  # what is made once is made
        pass
    assert await cancel_everywhere(lambda: open_tls_stream("127.0.0.1", server.port, trusting), server.idle) > 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, r"cannot load the TLS certificates \(/nowhere/ca.pem\): No such file"),
        ({"verify": False, "cert_file": "/nowhere/me.pem"}, r"\(/nowhere/me.pem\): No such file"),
    ],
)
async def test_files_that_are_not_there(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        await open_tls_stream("127.0.0.1", 1, SpiceTlsConfig(**settings))


def test_files_that_are_something_else(tmp_path, pki):
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with pytest.raises(ConfigError, match=r"junk.pem\): TLS: no certificate"):
        _ = SpiceTlsConfig(ca_file=junk).context
    with pytest.raises(ConfigError, match=r"junk.pem\): "):
        _ = SpiceTlsConfig(ca_file=pki.ca_file, cert_file=junk).context


@pytest.mark.parametrize("password", [None, "wrong"])
def test_an_encrypted_key_never_asks_on_the_terminal(pki, password):
    pem = pki.issue("locked", password=b"secret")
    with pytest.raises(ConfigError, match=r"locked\.pem"):
        _ = SpiceTlsConfig(ca_file=pki.ca_file, cert_file=pem, key_password=password).context


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"host_subject": "my server"}, "KEY=VALUE expected"),
        ({"host_subject": "CN=x", "verify": False}, "no meaning"),
        ({"key_file": "key.pem"}, "needs a cert_file"),
    ],
)
def test_settings_that_cannot_be_meant(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SpiceTlsConfig(**settings)


def test_the_context_is_made_once_and_the_password_hidden(pki):
    tls = SpiceTlsConfig(ca_file=str(pki.ca_file), key_password="hunter2")
    assert tls.context is tls.context
    assert tls.context.verify_mode is ssl.CERT_REQUIRED
    assert tls.context.check_hostname
    assert "hunter2" not in repr(tls)
