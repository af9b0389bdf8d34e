"""A client made of spice-gtk, for tests: run with the system's Python, which has its GObject bindings.

Takes a JSON object of spice-gtk's session properties as its argument (`{"host": ..., "port": ...}`), connects, and obeys lines on
standard input:

    key CODE       press and release the key of this PC AT scancode
    position X Y   put the pointer there
    save PATH      once nothing was drawn for a while, write the primary surface as PPM
    quit

Each is answered with "done" when it is. "ready" comes first, once inputs are open and there is a picture; "failed: ..." ends all.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib  # noqa: E402

STILL_MS = 300
BYTES_A_PIXEL = 4


class Peer:
    def __init__(self, properties):
        self.loop = GLib.MainLoop()
        self.session = SpiceClientGLib.Session()
        for name, value in properties.items():
            self.session.set_property(name, value)
        self.inputs = self.primary = None
        self.draws = 0
        self.is_marked = self.is_ready = False
        # SpiceClientGLib.Session has a `connect` of its own, which hides the one for signals.
        self.on(self.session, "channel-new", self.new_channel)
        self.on(self.session, "disconnected", lambda _: self.fail("disconnected"))

    @staticmethod
    def on(sender, signal, handler):
        GObject.GObject.connect(sender, signal, handler)

    def run(self):
        if not SpiceClientGLib.Session.connect(self.session):
            self.fail("cannot connect")
        GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, self.read_line)
        self.loop.run()

    def say(self, line):
        print(line, flush=True)

    def fail(self, why):
        self.say(f"failed: {why}")
        self.loop.quit()

    def new_channel(self, _, channel):
        self.on(channel, "channel-event", self.channel_event)
        if isinstance(channel, SpiceClientGLib.DisplayChannel):
            self.on(channel, "display-primary-create", self.primary_created)
            self.on(channel, "display-mark", self.marked)
            self.on(channel, "display-invalidate", self.drawn)
        if not isinstance(channel, SpiceClientGLib.MainChannel):  # which the session connects itself
            SpiceClientGLib.Channel.connect(channel)

    def channel_event(self, channel, event):
        if event == SpiceClientGLib.ChannelEvent.OPENED:
            if isinstance(channel, SpiceClientGLib.InputsChannel):
                self.inputs = channel
            self.check_ready()
        elif event not in (SpiceClientGLib.ChannelEvent.NONE, SpiceClientGLib.ChannelEvent.CLOSED):
            error = channel.get_error()
            self.fail(f"{event.value_nick}: {error.message if error else 'no reason given'}")

    def primary_created(self, _, surface_format, width, height, stride, __, data):
        get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
        get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        address = data if isinstance(data, int) else get_pointer(data, None)
        self.primary = int(surface_format), width, height, stride, address

    def marked(self, *_):
        self.is_marked = True
        self.check_ready()

    def check_ready(self):
        if self.is_marked and self.inputs and self.primary and not self.is_ready:
            self.is_ready = True
            self.say("ready")

    def drawn(self, *_):
        self.draws += 1

    def read_line(self, *_):
        line = sys.stdin.readline()
        command, *arguments = line.split() or ["quit"]
        if command == "key":
            SpiceClientGLib.InputsChannel.key_press_and_release(self.inputs, int(arguments[0]))
            self.say("done")
        elif command == "position":
            SpiceClientGLib.InputsChannel.position(self.inputs, int(arguments[0]), int(arguments[1]), 0, 0)
            self.say("done")
        elif command == "save":
            GLib.timeout_add(STILL_MS, self.save_when_still, arguments[0], self.draws)
        else:
            self.loop.quit()
        return command != "quit"

    def save_when_still(self, path, draws):
        if draws != self.draws:
            GLib.timeout_add(STILL_MS, self.save_when_still, path, self.draws)
            return False
        _, width, height, stride, address = self.primary
        data = ctypes.string_at(address, stride * height)
        rows = [data[y * stride : y * stride + width * BYTES_A_PIXEL] for y in range(height)]
        pixels = bytearray(width * height * 3)
        blue_green_red = b"".join(rows)
        for channel in range(3):
            pixels[channel::3] = blue_green_red[2 - channel :: BYTES_A_PIXEL]
        Path(path).write_bytes(b"P6\n%d %d\n255\n" % (width, height) + pixels)
        self.say("done")
        return False


if __name__ == "__main__":
    Peer(json.loads(sys.argv[1])).run()
