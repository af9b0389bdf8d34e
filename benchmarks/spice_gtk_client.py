"""spice-gtk without a window, as bench_client.py measures it; for the system's Python, which has its bindings.

    python3 spice_gtk_client.py in-c|in-python PORT

It opens the display of 127.0.0.1:PORT, says `ready` when there is a picture, and hears of every update in a handler of GLib's own
or in one of Python. Then it answers each line of its standard input:

    count       the updates that were drawn and the CPU seconds that this process used so far
    save FILE   when the pixels of the screen were written there, 4 bytes each, BGRX
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib  # type: ignore[import-not-found] # noqa: E402 - of that version

G_CONNECT_SWAPPED = 2
glib, gobject = ctypes.CDLL("libglib-2.0.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
gobject.g_signal_connect_data.argtypes = (
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
)
gobject.g_signal_connect_data.restype = ctypes.c_ulong


class Client:
    """One session with its display channel."""

    def __init__(self, port: str, *, in_python: bool) -> None:
        self.loop = GLib.MainLoop()
        self.updates = ctypes.c_int(0)
        self.in_python = in_python
        self.primary = (0, 0)  # where its pixels are, and how many bytes
        self.session = SpiceClientGLib.Session()
        self.session.set_property("host", "127.0.0.1")
        self.session.set_property("port", port)
        # Session has a `connect` of its own, which hides the one for signals.
        GObject.GObject.connect(self.session, "channel-new", self.new_channel)
        GObject.GObject.connect(self.session, "disconnected", lambda _: self.loop.quit())

    def run(self) -> None:
        if not SpiceClientGLib.Session.connect(self.session):
            sys.exit("cannot connect")
        GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, self.read_line)
        self.loop.run()

    def new_channel(self, _: Any, channel: Any) -> None:
        if not isinstance(channel, SpiceClientGLib.DisplayChannel):
            return
        GObject.GObject.connect(channel, "display-primary-create", self.primary_created)
        GObject.GObject.connect(channel, "display-mark", lambda *_: print("ready", flush=True))
        if self.in_python:
            GObject.GObject.connect(channel, "display-invalidate", self.updated)
        else:
            # As a viewer written in C: a function that is given the counter in place of the sender.
            count = ctypes.cast(glib.g_atomic_int_inc, ctypes.c_void_p)
            counter = ctypes.addressof(self.updates)
            gobject.g_signal_connect_data(hash(channel), b"display-invalidate", count, counter, None, G_CONNECT_SWAPPED)
        SpiceClientGLib.Channel.connect(channel)

    def updated(self, channel: Any, left: int, top: int, width: int, height: int) -> None:  # noqa: ARG002 - told whether or not
        self.updates.value += 1

    def primary_created(self, *arguments: Any) -> None:
        _, _, _, height, stride, _, data = arguments
        get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
        get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self.primary = (data if isinstance(data, int) else get_pointer(data, None)), stride * height

    def read_line(self, *_: Any) -> bool:
        command, *arguments = sys.stdin.readline().split() or ["quit"]
        if command == "count":
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(self.updates.value, used.ru_utime + used.ru_stime, flush=True)
        elif command == "save":
            Path(arguments[0]).write_bytes(ctypes.string_at(*self.primary))
            print("done", flush=True)
        else:
            self.loop.quit()
        return command != "quit"


if __name__ == "__main__":
    Client(sys.argv[2], in_python=sys.argv[1] == "in-python").run()
