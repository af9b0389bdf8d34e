"""Video streams of QEMU's own server, which makes one of what the guest draws again and again at the same place.

The guest's `film` shows numbered pictures, which are known here: every frame that we show is held to the picture of its number.
"""

from __future__ import annotations

import numpy as np
import pytest
import trio

from atp_trio.spice.codec.video import VideoCodec
from atp_trio.spice.connection import open_spice
from atp_trio.spice.imaging.video import FRAMES
from atp_trio.spice.messages.display import StreamDataSized, VideoCodecType
from atp_trio.testing.qemu import SpiceOptions

WITHIN = 90
ENOUGH = 35  # dB
PLUGINS = "gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav"
# libspice-server 0.15 has no encoder for H.265.
CODECS = (VideoCodecType.MJPEG, VideoCodecType.VP8, VideoCodecType.VP9, VideoCodecType.H264)
LAST = 59


class Frames:
    """What the screen shows after every frame of a stream that is drawn from now on.

    Attributes:
        shown: Whether the frame had a size of its own; the number in its marker; how well it is the picture of that number.
    """

    def __init__(self, channel, film):
        self.shown = []
        self._film = film
        self._channel, self._drawn = channel, channel._drawn
        channel._drawn = self._look

    def _look(self, message, *rest):
        if isinstance(message, FRAMES):
            is_larger = isinstance(message, StreamDataSized)
            pixels = self._channel.screen.copy(self._film.LARGER if is_larger else self._film.AREA)
            self.shown.append((is_larger, *self._film.judge(pixels, larger=is_larger)))
        self._drawn(message, *rest)

    @property
    def numbers(self):
        return [number for _, number, _ in self.shown]

    @property
    def sizes(self):
        return {is_larger for is_larger, _, _ in self.shown}


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
def streaming_machine(qemu, guest, shell_port):
    """A machine that streams whatever is drawn often."""
    options = SpiceOptions(streaming_video="all")
    with qemu(display="qxl-vga", guest=guest, spice=options, extra=shell_port()) as machine:
        machine.wait_ready()
        yield machine


async def play(vm, machine, tell_guest, film, codec, lack, *, larger=False):
    """Show a film, until there are no streams any more. Gives what every frame showed.

    Where all are busy, a server may see too late that it is a film, or drop what is larger: it is shown again then.
    """
    await vm.display.set_preferred_video_codecs([codec])
    frames = Frames(vm.display, film)
    while len(set(frames.numbers)) < 10 or frames.sizes != {False, larger}:
        frames.shown.clear()
        await tell_guest(machine, f"film {LAST + 1} {'larger' * larger}")
        await vm.display._wait_until(lambda: not vm.display.streams)
        used = {stream.codec for stream in vm.display.display_statistics().streams}
        if used - {codec}:
            lack(f"the server has no encoder for {codec.name}: apt-get install --no-install-recommends {PLUGINS}")
    return frames


def assert_true(frames):
    """Every frame is one that was drawn, and with loss, so it was the stream that was looked at; none comes after a later one.

    That the last picture arrives is for `assert_without_loss`: a server may have ended the stream by then.
    """
    assert all(number is not None and ENOUGH < decibels < np.inf for _, number, decibels in frames.shown), frames.shown
    assert frames.numbers == sorted(frames.numbers)


async def assert_without_loss(vm, machine, settle_screen, film):
    """When the stream has ended, the server sends without loss what it sent with."""
    pixels = await settle_screen(vm, machine)
    np.testing.assert_array_equal(pixels[film.AREA.top : film.AREA.bottom], film.picture(LAST))
    counted = vm.display.display_statistics()
    assert not counted.failed
    assert not counted.not_drawn
    assert not vm.display.statistics().unhandled
    assert sum(one.dropped for one in counted.streams) == 0


@pytest.mark.parametrize("codec", CODECS)
async def test_every_frame_is_the_picture_of_its_number(streaming_machine, codec, lack, tell_guest, film, settle_screen):
    machine = streaming_machine
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            reports = reports_of(vm.display)
            assert_true(await play(vm, machine, tell_guest, film, codec, lack))
            await assert_without_loss(vm, machine, settle_screen, film)
            assert reports
            assert all(0 < one.num_frames <= 10 and one.num_drops <= one.num_frames for one in reports)


@pytest.mark.parametrize("codec", [VideoCodecType.MJPEG, VideoCodecType.VP8])
async def test_frames_of_another_size_and_place(streaming_machine, codec, lack, tell_guest, film, settle_screen):
    machine = streaming_machine
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            assert_true(await play(vm, machine, tell_guest, film, codec, lack, larger=True))
            await assert_without_loss(vm, machine, settle_screen, film)


async def test_a_server_gives_up_a_stream_that_we_cannot_decode(streaming_machine, lack, tell_guest, settle_screen, monkeypatch):
    """As if VP8, which was announced, could not be decoded after all: the report makes the server send images again."""
    machine = streaming_machine
    monkeypatch.setattr("atp_trio.spice.imaging.stream.available_codecs", lambda: frozenset({VideoCodec.MJPEG}))
    with trio.fail_after(WITHIN):
        async with open_spice(machine.uri) as vm:
            display = vm.display
            reports = reports_of(display)
            await display.set_preferred_video_codecs([VideoCodecType.VP8])
            # For as long as it takes: how soon a server sees that something is a stream depends on how busy all are.
            await tell_guest(machine, f"(while film {LAST + 1}; do :; done) & true")
            await display._wait_until(lambda: reports)
            if any(stream.codec != VideoCodecType.VP8 for stream in display.display_statistics().streams):
                lack(f"the server has no encoder for VP8: apt-get install --no-install-recommends {PLUGINS}")
            assert (reports[0].num_frames, reports[0].num_drops) == (0, 0xFFFFFFFF)
            images = display.screen.drawn["DrawCopy"]
            await display._wait_until(lambda: display.screen.drawn["DrawCopy"] >= images + 20)
            await tell_guest(machine, "kill $!; killall film; wait")
            await display._wait_until(lambda: not display.streams)
            await settle_screen(vm, machine)
            assert sum(one.frames for one in display.display_statistics().streams) < 10
