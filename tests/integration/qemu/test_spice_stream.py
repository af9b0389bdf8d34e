"""Video streams of QEMU's own server, which makes one of what the guest draws again and again at the same place."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from atp_trio.spice.connection import open_spice
from atp_trio.spice.codec.video import VideoCodec
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import VideoCodecType
from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 90
PLUGINS = "gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav"
# Rows 256 to 511 of the screen, of 1024 pixels; and 32 rows more above and below.
AREA, ROW = Rect.at(0, 256, 1024, 256), 4096
LARGER = Rect.at(0, 224, 1024, 320)
# Eight pictures, each of 16 bands of 20 rows: waves that go to the right, and every band of another colour.
MAKE = """[ -e /tmp/7 ] || for k in 0 1 2 3 4 5 6 7; do awk -v k=$k 'BEGIN{for(;b<16;b++){s="";for(x=0;x<1024;x++)\
s=s sprintf("%c%c%c%c",b*7+9,64+40*sin((x-9*k)/40),64+50*sin((x-9*k)/63),9);for(y=0;y<20;y++)printf"%s",s}}' >/tmp/$k; done"""


def play(rounds, *, larger=False, pause=40000):
    """The shell command that draws the pictures in turn, and then the last one for a while: a server drops what comes too fast."""
    put = f"dd if=/tmp/$k of=/dev/fb0 bs={AREA.height * ROW} count=1 seek=1 2>/dev/null; usleep {pause}"
    size, start = LARGER.height * ROW, LARGER.top * ROW
    put_larger = f"dd if=/tmp/$k of=/dev/fb0 bs={size} count=1 seek={start} oflag=seek_bytes 2>/dev/null; usleep {pause}"
    shown = f"for k in 0 1 2 3 4 5 6 7; do {put}; done" + (f"; {put_larger}" if larger else "")
    return f"i={rounds}; while [ $i -gt 0 ]; do i=$((i-1)); {shown}; done; for i in $(seq 60); do {put}; done"


def psnr(ours, theirs):
    """Decibels, over the three colours."""
    one, other = (np.ascontiguousarray(each).view(np.uint8).reshape(*each.shape, 4)[..., :3].astype(float) for each in (ours, theirs))
    error = ((one - other) ** 2).mean()
    return 10 * np.log10(255**2 / error) if error else np.inf


async def psnr_now(vm, machine, rect=AREA):
    """How well our screen agrees with QEMU's own while a stream is shown."""
    theirs = await trio.to_thread.run_sync(machine.screendump)
    ours = (await vm.display.screenshot(rect)).pixels
    return psnr(ours, theirs[rect.top : rect.bottom, rect.left : rect.right])


def reports_of(channel):
    """The reports that the channel sends from now on."""
    sent, put = [], channel._put_report

    def note(report):
        if report is not None:
            sent.append(report)
        put(report)

    channel._put_report = note
    return sent


@pytest.fixture(scope="module")
def streaming_machine(qemu, guest):
    """A machine that streams whatever is drawn often."""
    with qemu(display="qxl-vga", guest=guest, tablet=True, spice=SpiceOptions(streaming_video="all")) as machine:
        machine.wait_ready()
        yield machine


@pytest.mark.parametrize("codec", [None, *(codec for codec in VideoCodecType if codec != VideoCodecType.H265)])
async def test_a_stream_is_shown(streaming_machine, codec, lack, run_in_guest, settle_screen):
    machine = streaming_machine
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            await run_in_guest(vm, machine, MAKE)
            reports = reports_of(vm.display)
            if codec:
                await vm.display.set_preferred_video_codecs([codec])
            await run_in_guest(vm, machine, f"({play(6)}) & true")
            while not any(stream.frames > 10 for stream in vm.display.streams):
                await vm.display.wait_damage(AREA)
            (stream,) = (stream for stream in vm.display.streams if stream.frames)
            if codec and stream.codec != codec:
                lack(f"the server has no encoder for {codec.name}: apt-get install --no-install-recommends {PLUGINS}")
            # Lossy as it is, and not what follows it: while frames come, and the stream lives.
            best = 0.0
            while best <= 35 and stream in vm.display.streams:
                await vm.display.wait_damage(AREA)
                best = max(best, await psnr_now(vm, machine))
            assert np.inf > best > 35
            while vm.display.streams:
                await vm.display._wait_until(lambda: not vm.display.streams)
            await settle_screen(vm, machine)
            counted = vm.display.display_statistics()
            assert not counted.failed
            assert not counted.not_drawn
            assert all(one.dropped == 0 for one in counted.streams)
            assert {one.codec for one in counted.streams} == {codec or VideoCodecType.MJPEG}
            assert reports
            assert all(0 < one.num_frames <= 10 for one in reports)
            print(codec, f"{best:.1f} dB", counted.streams, reports[-1])
    assert machine.alive()
