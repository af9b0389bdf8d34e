"""A lane: one libvirt connection with one call in flight at most, seen from the threads that use it.

Theory of operation. libvirt's client lets many threads share a connection: the one that holds "the buck" polls the socket for
all. When it leaves, it hands the buck to a thread that waits; but if it comes back with its next call before that thread runs,
both poll, one reads the other's reply, and wakes nobody. The other then sleeps until the next packet, which may be for ever. It
takes a call that waits long beside calls made back to back, which is just what a host with a hung machine is. Plain threads meet
it nearly always, calls through Trio's threads about once in ten tries. So we never have two calls on one connection; several
calls at a time take several connections (see `lanes`).

libvirt frees a connection when it is closed, whoever is in a call on it. So closing waits for the call: `close` closes a lane
that is free, and leaves a busy one to be closed by the thread that is in it, when it comes out, even after Trio has ended.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import attrs

from atp_trio.errors import AtpError, ConnectionLost, NotConnected
from atp_trio.hypervisor.binding import Binding, VirConnect, VirDomain
from atp_trio.hypervisor.credentials import KINDS, Answerer, Credentials
from atp_trio.hypervisor.failure import call_error, open_error
from atp_trio.hypervisor.uri import HostUri

__all__ = ["Lane"]

T = TypeVar("T")

KEEPALIVE: Final = (5, 3)
"""Seconds between probes, and how many stay without an answer: a silent host is lost after at most 20 s."""

_MAX_DOMAINS: Final = 256  # domain handles kept; a machine whose handle was dropped costs a look-up more


@attrs.define(eq=False)
class Lane:
    """One libvirt connection. Its methods block, but for `is_alive`: each is called in a thread."""

    uri: HostUri
    credentials: Credentials
    on_lost: Callable[[Lane], None]
    """Called in libvirt's event thread when the connection has ended by itself."""
    binding: Binding | None = None
    connection: VirConnect | None = None
    is_lost: bool = False
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _is_busy: bool = attrs.field(init=False, default=False)
    _is_doomed: bool = attrs.field(init=False, default=False)
    _domains: dict[str, VirDomain] = attrs.field(init=False, factory=dict)
    _closers: list[Callable[[], Any]] = attrs.field(init=False, factory=list)

    def open(self, load: Callable[[], Binding]) -> None:
        """Connect.

        Raises:
            ConfigError: libvirt-python is not there, or the password cannot be had.
            TransportError: There is no connection; the class says why.
        """
        self._enter()
        try:
            binding = self.binding = load()
            answerer = Answerer(self.credentials, self.uri.user)
            try:
                self.connection = binding.open_auth(self.uri.for_libvirt(), list(KINDS), answerer)
                self._set_up(binding, self.connection)
            except binding.error as error:
                raise answerer.failure or open_error(error, str(self.uri)) from error
        finally:
            self._leave()

    def _set_up(self, binding: Binding, connection: VirConnect) -> None:
        # The test driver, which is no connection at all, has neither.
        with self._unless_unsupported(binding):
            connection.setKeepAlive(*KEEPALIVE)
        with self._unless_unsupported(binding):
            connection.registerCloseCallback(self._closed_by_itself, None)
            self._closers.append(connection.unregisterCloseCallback)

    @contextlib.contextmanager
    def _unless_unsupported(self, binding: Binding) -> Any:
        try:
            yield
        except binding.error as error:
            if error.get_error_code() != binding.libvirt.VIR_ERR_NO_SUPPORT:  # type: ignore[attr-defined]
                raise

    def run(self, work: Callable[[Lane], T]) -> T:
        """Do `work`, which calls libvirt on this lane.

        Raises:
            NotConnected: The connection had ended before.
            ConnectionLost: It ended meanwhile: nobody knows what became of the call.
            DomainNotFound, HypervisorError: libvirt's error.
        """
        self._enter()
        try:
            assert self.binding is not None
            if not self.is_alive():
                raise NotConnected(f"the connection to {self.uri} has ended; nothing was sent")
            try:
                return work(self)
            except self.binding.error as error:
                # Without its traceback: the frames there hold domains, and these would hold the connection open for as long as
                # somebody keeps the error.
                raise self.failure(error) from error.with_traceback(None)
        finally:
            self._leave()

    def failure(self, error: Exception) -> AtpError:
        """What a `libvirtError` of this lane is in our tree."""
        if not self.is_alive():
            return ConnectionLost(f"the connection to {self.uri} was lost in the middle of a call; its outcome is unknown")
        return call_error(error)

    def is_alive(self) -> bool:
        """Whether the connection has not ended, as far as libvirt's client knows; nothing is sent."""
        return self.connection is not None and not self.is_lost and self.connection.isAlive() == 1

    def domain(self, uuid: str) -> VirDomain:
        """This lane's handle of a domain, looked up the first time; inside of `run` only."""
        assert self.connection is not None
        domain = self._domains.get(uuid)
        if domain is None:
            domain = self.connection.lookupByUUIDString(uuid)
            if len(self._domains) >= _MAX_DOMAINS:
                self._domains.pop(next(iter(self._domains)))
            self._domains[uuid] = domain
        return domain

    def ping(self) -> None:
        """Ask something that every libvirtd answers at once, however busy; inside of `run` only."""
        assert self.connection is not None
        self.connection.getLibVersion()

    def suppress_errors(self) -> AbstractContextManager[None]:
        """Ignore libvirt's errors: for what is done in parting."""
        assert self.binding is not None
        return contextlib.suppress(self.binding.error)

    def before_closing(self, closer: Callable[[], Any]) -> None:
        """Have `closer` called before the connection is closed: libvirt keeps one open that has callbacks."""
        self._closers.append(closer)

    def close(self) -> None:
        """Close the connection; while a call is in flight, have its thread close it when it comes out."""
        with self._lock:
            self._is_doomed = True
            if self._is_busy:
                return
        self._close()

    def _enter(self) -> None:
        with self._lock:
            assert not self._is_busy, "two calls on one lane"
            self._is_busy = True

    def _leave(self) -> None:
        with self._lock:
            self._is_busy = False
            is_doomed = self._is_doomed
        if is_doomed:
            self._close()

    def _close(self) -> None:
        connection, self.connection = self.connection, None
        self._domains.clear()
        if connection is None or self.binding is None:
            return
        for close in (*reversed(self._closers), connection.close):
            with self.suppress_errors():  # it may have ended by itself
                close()
        self._closers.clear()

    def _closed_by_itself(self, _connection: VirConnect, _reason: int, _opaque: None) -> None:
        self.is_lost = True
        self.on_lost(self)
