"""Video streams of QEMU's own server, which makes one of what the guest draws again and again at the same place."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from atp_trio.spice.codec.video import VideoCodec
from atp_trio.spice.connection import open_spice
from atp_trio.spice.messages.display import VideoCodecType
from atp_trio.spice.messages.geometry import Rect
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 90
ENOUGH = 35  # dB
PLUGINS = "gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav"
# libspice-server 0.15 has no encoder for H.265.
CODECS = (VideoCodecType.MJPEG, VideoCodecType.VP8, VideoCodecType.VP9, VideoCodecType.H264)
# Rows 256 to 511 of the screen, of 1024 pixels; and 32 rows more above and below.
AREA, ROW = Rect.at(0, 256, 1024, 256), 4096
LARGER = Rect.at(0, 224, 1024, 320)
# Four pictures, each of 8 bands of 40 rows: ramps that go to the right, and every band of another colour.
MAKE = """[ -s /tmp/3 ] || for k in 0 1 2 3; do awk -v k=$k 'BEGIN{for(;b<8;b++){s="";for(x=0;x<1024;x++){\
d=(x+1015*k)%256;if(d>127)d=255-d;s=s sprintf("%c%c%c%c",b*14+9,d*0.9+9,120-d/2,9)}for(y=0;y<40;y++)printf"%s",s}}' \
>/tmp/$k; done"""


def play(rounds, *, larger=False):
    """A shell command that draws the pictures in turn, and then the last one for a while, as a server may drop any frame.

    With `larger`, every round ends with a picture that is larger than the others.
    """
    put = f"dd if=/tmp/$k of=/dev/fb0 bs={AREA.height * ROW} count=1 seek=1 2>/dev/null; usleep 40000"
    size, start = LARGER.height * ROW, LARGER.top * ROW
    put_larger = f"; dd if=/tmp/$k of=/dev/fb0 bs={size} count=1 seek={start} oflag=seek_bytes 2>/dev/null; usleep 40000"
    shown = f"for k in 0 1 2 3; do {put}; done{put_larger if larger else ''}"
    return f"i={rounds}; while [ $i -gt 0 ]; do i=$((i-1)); {shown}; done; for i in $(seq 30); do {put}; done"


def psnr(ours, theirs):
    """Decibels, over the three colours."""
    bytes_ = [np.ascontiguousarray(each).view(np.uint8).reshape(-1, 4)[:, :3].astype(float) for each in (ours, theirs)]
    error = ((bytes_[0] - bytes_[1]) ** 2).mean()
    return 10 * np.log10(255**2 / error) if error else np.inf


async def psnr_now(vm, machine, rect):
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


async def show_stream(vm, machine, run_in_guest, codec, lack, **more):
    """Let the guest draw until there is a stream that has shown some frames; gives it."""
    await run_in_guest(vm, machine, MAKE)
    await vm.display.set_preferred_video_codecs([codec])
    await run_in_guest(vm, machine, f"({play(10, **more)}) & true")
    while not any(stream.frames > 10 for stream in vm.display.streams):
        await vm.display.wait_damage(AREA)
    (stream,) = (stream for stream in vm.display.streams if stream.frames)
    if stream.codec != codec:
        lack(f"the server has no encoder for {codec.name}: apt-get install --no-install-recommends {PLUGINS}")
    return stream


async def best_psnr(vm, machine, stream, rect):
    """The best agreement with QEMU's own screen while the stream lives, once it is good enough."""
    best = 0.0
    while best <= ENOUGH and stream in vm.display.streams:
        await vm.display.wait_damage(AREA)
        best = max(best, await psnr_now(vm, machine, rect))
    return best


async def end_streams(vm, machine, settle_screen):
    """Wait until the guest draws no more, and the server has sent without loss what it sent with."""
    await vm.display._wait_until(lambda: not vm.display.streams)
    await settle_screen(vm, machine)
    counted = vm.display.display_statistics()
    assert not counted.failed
    assert not counted.not_drawn
    assert not vm.display.statistics().unhandled


@pytest.mark.parametrize("codec", CODECS)
async def test_a_stream_is_shown(streaming_machine, codec, lack, run_in_guest, settle_screen):
    machine = streaming_machine
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            reports = reports_of(vm.display)
            stream = await show_stream(vm, machine, run_in_guest, codec, lack)
            # With loss, so it was the stream that was looked at, and not what comes after it.
            assert ENOUGH < await best_psnr(vm, machine, stream, AREA) < np.inf
            await end_streams(vm, machine, settle_screen)
            counted = vm.display.display_statistics().streams
            assert {one.codec for one in counted} == {codec}
            assert sum(one.dropped for one in counted) == 0
            assert reports
            assert all(0 < one.num_frames <= 10 and one.num_drops <= one.num_frames for one in reports)


@pytest.mark.parametrize("codec", [VideoCodecType.MJPEG, VideoCodecType.VP8])
async def test_frames_of_another_size_and_place(streaming_machine, codec, lack, run_in_guest, settle_screen):
    machine = streaming_machine
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            stream = await show_stream(vm, machine, run_in_guest, codec, lack, larger=True)
            assert ENOUGH < await best_psnr(vm, machine, stream, LARGER) < np.inf
            assert vm.display.screen.drawn["StreamDataSized"] > 0
            await end_streams(vm, machine, settle_screen)
            assert stream.dropped == 0


async def test_a_server_gives_up_a_stream_that_we_cannot_decode(
    streaming_machine, lack, run_in_guest, settle_screen, monkeypatch
):
    """As if VP8, which was announced, could not be decoded after all: the report makes the server send images again."""
    machine = streaming_machine
    monkeypatch.setattr("atp_trio.spice.imaging.stream.available_codecs", lambda: frozenset({VideoCodec.MJPEG}))
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            await run_in_guest(vm, machine, MAKE)
            reports = reports_of(vm.display)
            await vm.display.set_preferred_video_codecs([VideoCodecType.VP8])
            await run_in_guest(vm, machine, f"({play(10)}) & true")
            while not reports:
                await vm.display.wait_damage(AREA)
            if any(stream.codec != VideoCodecType.VP8 for stream in vm.display.streams):
                lack(f"the server has no encoder for VP8: apt-get install --no-install-recommends {PLUGINS}")
            assert (reports[0].num_frames, reports[0].num_drops) == (0, 0xFFFFFFFF)
            images = vm.display.screen.drawn["DrawCopy"]
            while vm.display.screen.drawn["DrawCopy"] < images + 20:
                await vm.display.wait_damage(AREA)
            await vm.display._wait_until(lambda: not vm.display.streams)
            await settle_screen(vm, machine)
            assert sum(one.frames for one in vm.display.display_statistics().streams) < 10
