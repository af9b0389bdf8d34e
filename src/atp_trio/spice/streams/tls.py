"""TLS over TCP: the settings, the handshake and what can go wrong in it.

Source:
    Protocol reference, 1.12 (TLS). SPICE uses one TCP port for TLS, without any STARTTLS.
"""

from __future__ import annotations

import functools
import os
import ssl
from pathlib import Path
from typing import Final, Self

import attrs
import trio

from atp_trio.errors import ConfigError, ConnectionLost, TlsError
from atp_trio.spice.streams.base import AdaptedStream, reason
from atp_trio.spice.streams.socket import SocketStream
from atp_trio.spice.streams.subject import Subject, format_subject, parse_host_subject, peer_subject, subjects_match
from atp_trio.spice.streams.tcp import open_tcp_stream

__all__ = ["SpiceTlsConfig", "TlsStream", "open_tls_stream"]


def _path(value: str | os.PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value)


@attrs.frozen(kw_only=True)
class SpiceTlsConfig:
    """How a TLS connection proves who the peers are. The default verifies the server against the system's certificates."""

    ca_file: Path | None = attrs.field(default=None, converter=_path)
    """PEM certificates to trust, instead of the system's."""
    verify: bool = True
    """False accepts any certificate; `SpiceTlsConfig.insecure()` says so by its name."""
    host_subject: str | None = None
    r"""The subject that the server's certificate must have, as in `C=IL, O=Red Hat, CN=my server` (`\\` and `\,` are escapes);
    takes the place of the host name check. Entries are compared in order."""
    cert_file: Path | None = attrs.field(default=None, converter=_path)
    """The client's own certificate and its chain, PEM."""
    key_file: Path | None = attrs.field(default=None, converter=_path)
    """Its key, PEM; None when `cert_file` holds it too."""
    key_password: str | None = attrs.field(default=None, repr=False)
    """What the key is encrypted with."""
    legacy_ciphers: bool = False
    """Whether to accept the 1024-bit keys, SHA-1 signatures and ciphers of old servers (OpenSSL's security level 0)."""

    def __attrs_post_init__(self) -> None:
        if self.host_subject is not None:
            parse_host_subject(self.host_subject)
            if not self.verify:
                raise ConfigError("host_subject has no meaning when the certificate is not verified")
        if self.key_file is not None and self.cert_file is None:
            raise ConfigError("key_file needs a cert_file")

    @classmethod
    def insecure(cls) -> Self:
        """Accept any certificate: anyone on the way can read and change everything."""
        return cls(verify=False)

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """The settings for `ssl`, files read. Made once: all connections with this configuration share it.

        Raises:
            ConfigError: A file cannot be read, or is not what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name; TLS 1.2 and later
        if not self.verify or self.host_subject is not None:
            context.check_hostname = False
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        if self.legacy_ciphers:
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        try:
            self._load_files(context)
        except OSError as error:  # SSLError is one
            files = ", ".join(str(path) for path in (self.ca_file, self.cert_file, self.key_file) if path is not None)
            raise ConfigError(f"cannot load the TLS certificates ({files or 'of the system'}): {reason(error)}") from error
        return context

    def _load_files(self, context: ssl.SSLContext) -> None:
        if self.verify and self.ca_file is None:
            context.load_default_certs()
        elif self.verify:
            context.load_verify_locations(self.ca_file)
        if self.cert_file is not None:
            # Without a password given, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, self.key_password or "")


class TlsStream(AdaptedStream, trio.abc.HalfCloseableStream):
    """A TLS connection as a byte stream: `receive_into` copies, `send_nowait` takes nothing.

    libspice-server closes without close_notify, so an end of stream without it is an end like any other, as it is with plain TCP:
    whether something was cut off shows in the length of the last message. Closing this side does send close_notify.
    """

    __slots__ = ("_ended", "_transport")

    def __init__(self, stream: trio.SSLStream[SocketStream], *, address: str) -> None:
        super().__init__(stream, address=address)
        self._transport = stream.transport_stream
        self._ended = False

    async def send_eof(self) -> None:
        """End the sending side of the connection below, as the servers do that know no close_notify."""
        await self._transport.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As in Trio; see `trio.abc.ReceiveStream`."""
        try:
            return await super().receive_some(max_bytes)
        except ConnectionLost as error:
            self._ended = self._ended or _is_ragged_end(error.__cause__)
            if not self._ended:
                raise
            await trio.lowlevel.checkpoint()
            return b""


async def open_tls_stream(host: str, port: int, tls: SpiceTlsConfig) -> TlsStream:
    """Connect and shake hands.

    A server may refuse this client's certificate only after the handshake (TLS 1.3): that shows as ConnectionLost when receiving.

    Args:
        host: As for `open_tcp_stream`; also what the certificate must be for, unless `tls` says otherwise.
        port: The server's TLS port.
        tls: What to trust and what to show.

    Raises:
        TlsError: Handshake or verification failed; the sentence says what was wrong.
        ConnectFailed: There is no TCP connection.
        ConfigError: A file of `tls` cannot be used.

    Cancellation:
        No socket stays open.
    """
    context = await trio.to_thread.run_sync(lambda: tls.context)  # reads files the first time
    transport = await open_tcp_stream(host, port)
    try:
        stream = await _shake_hands(transport, context, host)
        if tls.host_subject is not None:
            _check_subject(parse_host_subject(tls.host_subject), peer_subject(stream.getpeercert()), transport.address)
    except BaseException:
        transport.close()
        raise
    return TlsStream(stream, address=transport.address)


async def _shake_hands(transport: SocketStream, context: ssl.SSLContext, host: str) -> trio.SSLStream[SocketStream]:
    try:
        # OpenSSL knows no zones: fe80::1%eth0 is fe80::1 to it.
        stream = trio.SSLStream(transport, context, server_hostname=host.partition("%")[0])
        await stream.do_handshake()
    except (trio.BrokenResourceError, ValueError) as error:  # ValueError: a host name that SNI cannot say
        cause = error.__cause__ or error
        raise TlsError(f"no TLS connection to {transport.address}: {_explain(cause)}") from cause
    return stream


def _check_subject(wanted: Subject, actual: Subject, address: str) -> None:
    if not subjects_match(wanted, actual):
        raise TlsError(
            f"no TLS connection to {address}: its certificate's subject is {format_subject(actual)}, not {format_subject(wanted)}"
        )


# X509_V_ERR_*
_WRONG_HOST: Final = (62, 64)  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH
_TOO_WEAK: Final = (66, 67, 68)  # EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL, CA_MD_TOO_WEAK

# What OpenSSL makes of bytes that are no TLS records: each stands for another way of reading them.
_NOT_TLS: Final = frozenset(
    {
        "BAD_RECORD_TYPE",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNEXPECTED_MESSAGE",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)


def _explain(cause: BaseException) -> str:
    """What was wrong, in words."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        message = cause.verify_message.rstrip(".")
        if cause.verify_code in _WRONG_HOST:
            return f"its certificate is for another host ({message})"
        if cause.verify_code in _TOO_WEAK:
            return f"its certificate is too weak ({message}); legacy_ciphers would accept it"
        return f"its certificate is not trusted ({message})"
    if _is_ragged_end(cause):
        return "it closed the connection in the middle of the handshake"
    if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
        return "it is not a TLS server"
    return reason(cause)


def _is_ragged_end(cause: BaseException | None) -> bool:
    """Whether the stream ended without close_notify; OpenSSL 3 has two errors for it."""
    return isinstance(cause, ssl.SSLEOFError) or (
        isinstance(cause, ssl.SSLError) and cause.reason == "UNEXPECTED_EOF_WHILE_READING"
    )
