"""A libvirt-python that is none: connections whose calls last as long as a test wants, and end as it wants."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from atp_trio.hypervisor.binding import Binding

NO_SUPPORT, SYSTEM_ERROR, RPC, NO_DOMAIN = 3, 38, 39, 42
WITHIN = 5.0  # seconds: a thread that is not let go fails its test


class FakeError(Exception):
    """`libvirtError`."""

    def __init__(self, message, code=SYSTEM_ERROR, domain=7):
        super().__init__(message)
        self.code, self.domain = code, domain

    def get_error_message(self):
        return str(self)

    def get_error_code(self):
        return self.code

    def get_error_domain(self):
        return self.domain


class FakeDomain:
    def __init__(self, connection, name):
        self.connection, self._name = connection, name

    def name(self):
        return self._name

    def UUIDString(self):  # noqa: N802
        return f"uuid-of-{self._name}"

    def state(self, flags=0):
        return [1, 0]


class FakeConnection:
    def __init__(self, libvirt):
        self.libvirt = libvirt
        self.is_alive = True
        self.calls = 0
        self.most = 0
        self.callbacks = {}
        self.close_callback = None
        self.lookups = 0

    def isAlive(self):  # noqa: N802
        return int(self.is_alive)

    def setKeepAlive(self, interval, count):  # noqa: N802
        return 0

    def registerCloseCallback(self, callback, opaque):  # noqa: N802
        self.close_callback = callback

    def unregisterCloseCallback(self):  # noqa: N802
        self.close_callback = None

    def domainEventRegisterAny(self, domain, number, callback, opaque):  # noqa: N802
        if number in self.libvirt.refused_events:
            raise FakeError("no such events", NO_SUPPORT)
        self.callbacks[number] = callback
        return number

    def domainEventDeregisterAny(self, number):  # noqa: N802
        del self.callbacks[number]

    def getLibVersion(self):  # noqa: N802
        return 9000000

    def lookupByUUIDString(self, uuid):  # noqa: N802
        self.lookups += 1
        if not uuid.startswith("uuid-of-"):
            raise FakeError("no domain", NO_DOMAIN)
        return FakeDomain(self, uuid.removeprefix("uuid-of-"))

    def close(self):
        assert not self.calls, "closed with a call in flight"
        assert not self.callbacks, "closed with callbacks"
        self.is_alive = False
        self.libvirt.connections.remove(self)
        return 0

    # What tests call.

    def quick(self):
        self._enter()
        self._leave()
        return "quick"

    def hang(self, gate):
        """A call that ends when the test lets it."""
        self._enter()
        try:
            assert gate.wait(WITHIN), "nobody let this call go"
            if not self.is_alive:
                raise FakeError("client socket is closed", RPC)
        finally:
            self._leave()
        return "hung"

    def break_(self):
        """The connection ends by itself."""
        self.is_alive = False
        if self.close_callback:
            self.close_callback(self, 1, None)

    def _enter(self):
        self.calls += 1
        self.most = max(self.most, self.calls)

    def _leave(self):
        self.calls -= 1


class FakeLibvirt:
    """The module `libvirt`."""

    libvirtError = FakeError  # noqa: N815
    VIR_ERR_NO_SUPPORT = NO_SUPPORT

    def __init__(self):
        self.connections = []
        self.opened = 0
        self.failure = None
        self.gate = None  # where opening waits
        self.refused_events = set()
        self.asked = []

    def openAuth(self, uri, auth, flags):  # noqa: N802
        self.asked.append(uri)
        if self.gate is not None:
            assert self.gate.wait(WITHIN)
        if self.failure is not None:
            raise self.failure
        connection = FakeConnection(self)
        self.connections.append(connection)
        self.opened += 1
        return connection

    def load(self):
        return Binding(self, SimpleNamespace(qemuMonitorCommand=lambda domain, command, flags: f"{domain.name()}: {command}"))


def new_gate():
    return threading.Event()
