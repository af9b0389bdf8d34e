"""Streams to the SPICE server of a domain, which is looked for anew at every link: it may have been started again elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from atp_trio.hypervisor.domain import Domain
from atp_trio.spice.streams.base import ByteStream
from atp_trio.spice.streams.tcp import open_tcp_stream
from atp_trio.spice.streams.tls import SpiceTlsConfig, open_tls_stream
from atp_trio.spice.streams.unix import open_unix_stream

__all__ = ["DomainEndpoint"]


class DomainEndpoint:
    """Where a domain's SPICE server is; `open` is a `StreamOpener`."""

    def __init__(self, domain: Callable[[], AbstractAsyncContextManager[Domain]], tls: SpiceTlsConfig) -> None:
        self._domain = domain
        self._tls = tls
        self._password: str | None = None

    def __repr__(self) -> str:
        return "<DomainEndpoint>"

    async def open(self) -> ByteStream:
        """A new stream to the server: over TCP, its UNIX socket or TLS; through libvirt where it listens nowhere.

        Raises:
            HypervisorError: The machine does not run, or has no SPICE that could be reached.
            AtpError: Its host or the server cannot be reached.

        Cancellation: no stream stays open.
        """
        async with self._domain() as domain:
            endpoint = await domain.spice_endpoint()
            self._password = endpoint.password
            uri = endpoint.uri
            if uri is None:
                return await domain.open_graphics(endpoint.index)
        if uri.unix_path is not None:
            return await open_unix_stream(uri.unix_path)
        assert uri.host is not None
        if uri.port is not None:
            return await open_tcp_stream(uri.host, uri.port)
        assert uri.tls_port is not None
        return await open_tls_stream(uri.host, uri.tls_port, self._tls)

    def password(self) -> str:
        """The ticket in the definition that `open` has read last."""
        return self._password or ""
