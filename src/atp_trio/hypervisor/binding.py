"""libvirt-python, loaded when it is first needed: its event loop in one thread, and the calls we use with their types.

libvirt's event loop is one for the process, and must be there before the first connection: without it there are neither events
nor keepalive. So loading is once and for ever; the thread is a daemon and waits in poll nearly all the time.

Source:
    libvirt-python's virEventRegisterDefaultImpl, virEventRunDefaultImpl, registerErrorHandler.
"""

# ruff: noqa: A002, D102, N802, N803 - libvirt's own names, documented there

from __future__ import annotations

import ctypes
import functools
import importlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from atp_trio.errors import ConfigError

__all__ = ["Binding", "VirConnect", "VirDomain", "load_binding"]

_log = logging.getLogger("atp_trio.hypervisor")
_loading = threading.Lock()

EventCallback = Callable[..., None]


class VirDomain(Protocol):
    """What is used of `libvirt.virDomain`."""

    def name(self) -> str: ...
    def UUIDString(self) -> str: ...
    def ID(self) -> int: ...
    def state(self, flags: int = 0) -> list[int]: ...
    def XMLDesc(self, flags: int = 0) -> str: ...
    def create(self) -> int: ...
    def shutdown(self) -> int: ...
    def destroy(self) -> int: ...
    def reset(self, flags: int = 0) -> int: ...
    def suspend(self) -> int: ...
    def resume(self) -> int: ...
    def screenshot(self, stream: Any, screen: int, flags: int = 0) -> str: ...
    def openGraphicsFD(self, idx: int, flags: int = 0) -> int: ...


class VirConnect(Protocol):
    """What is used of `libvirt.virConnect`."""

    def lookupByName(self, name: str) -> VirDomain: ...
    def lookupByUUIDString(self, uuidstr: str) -> VirDomain: ...
    def lookupByID(self, id: int) -> VirDomain: ...
    def listAllDomains(self, flags: int = 0) -> list[VirDomain]: ...
    def isAlive(self) -> int: ...
    def setKeepAlive(self, interval: int, count: int) -> int: ...
    def registerCloseCallback(self, cb: EventCallback, opaque: Any) -> int: ...
    def unregisterCloseCallback(self) -> None: ...
    def domainEventRegisterAny(self, dom: Any, eventID: int, cb: EventCallback, opaque: Any) -> int: ...
    def domainEventDeregisterAny(self, callbackID: int) -> None: ...
    def getLibVersion(self) -> int: ...
    def newStream(self, flags: int = 0) -> Any: ...
    def close(self) -> int: ...


@attrs.frozen
class Binding:
    """The modules of libvirt-python. Everything that is called through them blocks: from a thread only."""

    libvirt: Any
    """`libvirt`."""
    qemu: Any
    """`libvirt_qemu`."""

    @property
    def error(self) -> type[Exception]:
        """`libvirt.libvirtError`."""
        error: type[Exception] = self.libvirt.libvirtError
        return error

    def open_auth(self, uri: str, kinds: list[int], answer: Callable[[list[list[Any]], None], int]) -> VirConnect:
        """`libvirt.openAuth`: connect; who asks for credentials is answered by `answer`."""
        connection: VirConnect = self.libvirt.openAuth(uri, [kinds, answer, None], 0)
        return connection


def load_binding() -> Binding:
    """libvirt-python, its event loop running. Reads files the first time: from a thread.

    Raises:
        ConfigError: It is not installed; the sentence says what to install.
    """
    with _loading:
        return _load()


@functools.cache
def _load() -> Binding:
    try:
        binding = Binding(importlib.import_module("libvirt"), importlib.import_module("libvirt_qemu"))
    except ImportError as error:
        raise ConfigError(
            "libvirt mode needs libvirt-python: apt-get install gcc pkg-config python3-dev libvirt-dev, "
            "then pip install 'atp-trio[libvirt]'"
        ) from error
    # Errors are raised; libvirt would write each to the terminal as well.
    binding.libvirt.registerErrorHandler(_ignore, None)
    binding.libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_event_loop, args=[binding], name="libvirt events", daemon=True).start()
    return binding


def _ignore(_context: Any, _error: Any) -> None:
    pass


def _run_event_loop(binding: Binding) -> None:
    # libvirt's own loop is one pass of GLib's default loop, which every call on a connection wakes twice. Run by GLib itself it
    # does not come back to Python, and its lock, each time: 0.1 ms of a call that takes 1.
    try:
        glib = ctypes.CDLL("libglib-2.0.so.0")
        glib.g_main_loop_new.restype = ctypes.c_void_p
        loop = glib.g_main_loop_new(None, 0)
        glib.g_main_loop_run(ctypes.c_void_p(loop))
    except (OSError, AttributeError) as error:
        _log.debug("no GLib to run libvirt's event loop with: %s", error)
    while True:
        try:
            binding.libvirt.virEventRunDefaultImpl()
        except binding.error as error:
            _log.warning("libvirt's event loop: %s", error)
            time.sleep(0.1)  # it would most likely fail again at once
