"""Servers on loopback, certificates made on the spot, and cancellation at every step."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from atp_trio.spice.streams.socket import SocketStream

Handler = Callable[[trio.SocketStream], Awaitable[None]]


async def echo(stream: trio.abc.Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@attrs.define(eq=False)
class Server:
    """A listener that knows whether any connection is open."""

    handler: Handler
    port: int = 0
    open: int = 0
    changed: trio.Condition = attrs.Factory(trio.Condition)

    async def handle(self, stream: trio.SocketStream) -> None:
        self.open += 1
        try:
            async with stream:
                await self.handler(stream)
        except (trio.BrokenResourceError, OSError):  # clients come and go as the tests want it
            pass
        finally:
            self.open -= 1
            with trio.CancelScope(shield=True):
                async with self.changed:
                    self.changed.notify_all()

    async def idle(self) -> None:
        async with self.changed:
            while self.open:
                await self.changed.wait()


@pytest.fixture
def serve(nursery):
    """Start a TCP server with this handler on 127.0.0.1."""

    async def start(handler: Handler = echo) -> Server:
        server = Server(handler)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.handle, listeners)
        return server

    return start


@pytest.fixture
def free_port():
    """A port where nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def open_files():
    """A function that counts this process's open files."""
    return count_open_files


@pytest.fixture
def cancel_everywhere(cancel_everywhere):
    """The same for what opens a stream: it is closed, and nothing stays open."""

    async def run(operation: Callable[[], Awaitable[trio.abc.AsyncResource]], settle: Callable[[], Awaitable[None]]) -> int:
        await settle()
        before = count_open_files()

        async def open_and_close() -> None:
            stream = await operation()
            with trio.CancelScope(shield=True):
                await stream.aclose()

        async def nothing_stays() -> None:
            await settle()
            assert count_open_files() == before

        return await cancel_everywhere(open_and_close, nothing_stays)

    return run


@pytest.fixture
def socket_pair():
    """Two connected SocketStreams, over TCP or UNIX."""

    async def make(family: str) -> tuple[SocketStream, SocketStream]:
        if family == "unix":
            ends = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                client = socket.create_connection(listener.getsockname())
                ends = client, listener.accept()[0]
        return SocketStream(ends[0], address="left"), SocketStream(ends[1], address="right")

    return make


@attrs.define(eq=False)
class Pki:
    """A certificate authority with a directory to put its files in."""

    directory: Path
    name: str = "ca"
    key: ec.EllipticCurvePrivateKey = attrs.Factory(lambda: ec.generate_private_key(ec.SECP256R1()))
    ca_file: Path = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ca_file = self.directory / f"{self.name}.pem"
        certificate = self.build([(NameOID.COMMON_NAME, self.name)], self.key, ca=True)
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def build(self, subject, key, *, names=(), ca=False) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]),
            subject_name=x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - dt.timedelta(days=1),
            not_valid_after=now + dt.timedelta(days=1),
        ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, stem, *, subject=((NameOID.COMMON_NAME, "server"),), names=(), rsa_bits=None, password=None) -> Path:
        """A PEM file with a certificate and its key."""
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        certificate = self.build(subject, key, names=names)
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        path = self.directory / f"{stem}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return path

    def server_context(self, path: Path, *, client_ca: Path | None = None, ciphers: str | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ciphers:
            context.set_ciphers(ciphers)
        context.load_cert_chain(path)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """The authority that tests trust."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def loopback_pem(pki):
    """A certificate for 127.0.0.1 and localhost."""
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    return pki.issue("loopback", names=names)


@pytest.fixture(scope="session")
def other_pki(tmp_path_factory):
    """An authority that nobody trusts."""
    return Pki(tmp_path_factory.mktemp("other"), name="other ca")
