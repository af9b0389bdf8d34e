"""Video streams on a screen: where frames go, what of them is seen, and what is wrong with them."""

from __future__ import annotations

import itertools
import sys
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from atp_trio.errors import ImageError
from atp_trio.spice.codec.glz import GlzWindow
from atp_trio.spice.codec.limit import SizeLimit
from atp_trio.spice.codec.video import VideoCodec, open_decoder
from atp_trio.spice.imaging.cache import ImageCache
from atp_trio.spice.imaging.screen import Damage, Screen
from atp_trio.spice.imaging.stream import HANDLERS, MAX_CLIP_RECTS, DisplayStreams
from atp_trio.spice.imaging.video import StreamStatistics
from atp_trio.spice.messages import display
from atp_trio.spice.messages.display import MAX_STREAMS, Brush, StreamFlag, SurfaceFormat, VideoCodecType
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Rect
from atp_trio.spice.messages.image import Image, ImageType, Surface
from atp_trio.testing import strategies

WIDTH, HEIGHT = 40, 30
XRGB = SurfaceFormat.FMT_32_xRGB
NOTHING = Clip.to()
Y, X = np.mgrid[0:16, 0:24].astype(np.uint32)
PICTURE = X * 10 << 16 | Y * 15 << 8 | 0x40


def jpeg(picture):
    height, width = picture.shape
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture).view(np.uint8).reshape(height, width, 4), 95, "BGRX", "444")


def decoded(data):
    decoder = open_decoder(VideoCodec.MJPEG, SizeLimit())
    decoder.feed(data)
    return decoder.picture() & 0xFFFFFF


JPEG = jpeg(PICTURE)
SHOWN = decoded(JPEG)
OTHER = jpeg(PICTURE[::-1])
CUT = JPEG[:-20]  # its header is whole


class Table(DisplayStreams):
    """Streams on a screen of one surface, with a clock that goes on a second at every look."""

    def __init__(self, form=XRGB, **more):
        self.screen = Screen(ImageCache(1000), GlzWindow(1000))
        self.screen.apply(display.SurfaceCreate(surface_id=0, width=WIDTH, height=HEIGHT, format=form, flags=1))
        super().__init__(self.screen, itertools.count().__next__, **more)

    def at(self, x, y, width=24, height=16):
        return self.screen.copy(Rect.at(x, y, width, height))

    def do(self, message):
        """Whatever a server says."""
        return self.apply(message) if type(message) in HANDLERS else self.screen.apply(message)


class Notes:
    """A decoder that notes what it is asked: a frame is a colour, a number, that fills a picture of 24x16; b"" is none."""

    def __init__(self, notes):
        self.notes = notes
        self.colour = None

    def feed(self, data):
        if not data:
            raise ImageError("no frame")
        self.colour = int.from_bytes(data, "little")
        self.notes.append(("fed", self.colour))

    def picture(self, out=None):
        self.notes.append(("shown", self.colour))
        return np.full((16, 24), self.colour, np.uint32)


@pytest.fixture
def notes(monkeypatch):
    """What the decoders of all streams are asked."""
    found = []
    monkeypatch.setattr("atp_trio.spice.imaging.stream.open_decoder", lambda *_: Notes(found))
    return found


@pytest.fixture
def table():
    return Table()


def create(id_=3, x=5, y=7, *, dest=None, codec=VideoCodecType.MJPEG, flags=StreamFlag.TOP_DOWN, size=(24, 16), **more):
    return display.StreamCreate(
        **{"surface_id": 0, "id": id_, "flags": flags, "codec_type": codec, "dest": dest or Rect.at(x, y, *size)}
        | {"stream_width": size[0], "stream_height": size[1], "src_width": size[0], "src_height": size[1]}
        | more
    )


def frame(data=JPEG, id_=3, mm_time=1000):
    return display.StreamData(id=id_, mm_time=mm_time, data=data)


def colour(number, id_=3):
    return frame(bytes((number,)), id_)


def fill(rect, number, surface_id=0):
    return display.DrawFill(base=DisplayBase(surface_id, rect), brush=Brush.solid(number))


def sized(dest, data=JPEG, id_=3):
    return display.StreamDataSized(id=id_, mm_time=1000, width=24, height=16, dest=dest, data=data)


def failed(table):
    """What went wrong, by message name."""
    return dict(table.screen.failed)


def test_a_frame_is_shown(table):
    assert table.apply(create()) is None
    assert table.apply(frame()) == Damage(0, (Rect.at(5, 7, 24, 16),))
    assert (table.at(5, 7) == SHOWN).all()
    assert np.count_nonzero(table.screen.copy()) == 24 * 16
    assert not failed(table)
    assert table.screen.drawn == {"SurfaceCreate": 1, "StreamCreate": 1, "StreamData": 1}


def test_rows_from_the_bottom(table):
    table.apply(create(flags=0))
    table.apply(frame())
    assert (table.at(5, 7) == SHOWN[::-1]).all()


def test_frames_are_scaled_to_their_place_by_the_nearest_pixel(table):
    table.apply(create(dest=Rect.at(0, 0, 12, 8)))
    table.apply(frame())
    assert (table.at(0, 0, 12, 8) == SHOWN[::2, ::2]).all()
    table.apply(create(dest=Rect.at(-24, -16, 48, 32)))
    table.apply(frame())
    assert (table.at(0, 0) == SHOWN.repeat(2, 0).repeat(2, 1)[16:, 24:]).all()


def test_the_picture_s_own_size_counts(table):
    """Not the one that the stream announced."""
    table.apply(create(size=(20, 12)))
    assert table.apply(frame()).rects == (Rect.at(5, 7, 20, 12),)
    assert table.at(5, 7, 1, 1) == SHOWN[0, 0]
    assert table.at(24, 18, 1, 1) == SHOWN[-1, -1]


def test_a_frame_with_a_place_of_its_own(table):
    table.apply(create())
    assert table.apply(sized(Rect.at(0, 0, 48, 32))) == Damage(0, (Rect.at(0, 0, WIDTH, HEIGHT),))
    assert (table.at(0, 0, 40, 30) == SHOWN.repeat(2, 0).repeat(2, 1)[:30, :40]).all()
    assert table.apply(frame()) == Damage(0, (Rect.at(5, 7, 24, 16),))


def test_clips(table):
    table.apply(create(clip=Clip.to(Rect.at(0, 0, 8, 30))))
    assert table.apply(frame()).rects == (Rect.at(5, 7, 3, 16),)
    table.apply(display.StreamClip(id=3, clip=Clip.to(Rect.at(0, 0, 6, 8), Rect.at(20, 20, 1, 1))))
    assert table.apply(frame()).rects == (Rect.at(5, 7, 1, 1), Rect.at(20, 20, 1, 1))
    assert table.apply(sized(Rect.at(0, 0, 24, 16))).rects == (Rect.at(0, 0, 6, 8),)
    table.apply(display.StreamClip(id=3, clip=Clip()))
    assert table.apply(frame()).rects == (Rect.at(5, 7, 24, 16),)


def test_no_rectangles_show_nothing(table):
    table.apply(create(clip=NOTHING))
    assert table.apply(frame()) is None
    assert not table.screen.copy().any()
    assert table.live[3].is_hidden
    assert (table.live[3].frames, table.live[3].dropped) == (1, 0)
    table.apply(display.StreamClip(id=3, clip=Clip()))
    assert table.apply(frame()) is not None


def test_surfaces_of_16_bits():
    table = Table(SurfaceFormat.FMT_16_565)
    table.apply(create())
    table.apply(frame())
    near = table.at(5, 7).astype(int)
    for shift in (0, 8, 16):
        assert abs((near >> shift & 255) - (SHOWN.astype(int) >> shift & 255)).max() <= 7


def test_what_is_counted(table):
    table.apply(create())
    table.apply(frame())
    table.screen.settle()
    table.apply(frame(b"no JPEG", mm_time=1040))
    stream = table.live[3]
    assert stream.mm_time == 1040
    assert stream.is_failing
    # The clock goes on by one while a frame is taken, and by one while its picture is made.
    assert stream.statistics() == StreamStatistics(3, VideoCodecType.MJPEG, 24, 16, 2, 1, 0, 3, is_live=True)
    table.apply(display.StreamDestroy(id=3))
    assert table.statistics() == (StreamStatistics(3, VideoCodecType.MJPEG, 24, 16, 2, 1, 0, 3, is_live=False),)


@pytest.mark.parametrize("data", [JPEG[:300], CUT])
def test_a_bad_frame_leaves_the_stream_as_it_was(table, data):
    table.apply(create())
    table.apply(frame(data))
    table.screen.settle()
    assert failed(table) == {"StreamData": 1}
    assert table.screen.drawn["StreamData"] == 0
    assert "StreamData: a frame of MJPEG cannot be decoded" in table.screen.reasons[0]
    assert not table.screen.copy().any()
    assert table.live[3].is_failing
    assert table.apply(frame()) is not None
    assert not table.live[3].is_failing
    assert (table.at(5, 7) == SHOWN).all()


# --- frames that nobody sees


def test_a_frame_that_nobody_sees_is_not_decoded(table, notes):
    table.apply(create())
    told = [table.apply(colour(number)) for number in range(1, 10)]
    assert told == [Damage(0, (Rect.at(5, 7, 24, 16),))] * 9
    assert notes == [("fed", number) for number in range(1, 10)]
    assert len(table.screen.deferred) == 1
    assert (table.at(5, 7) == 9).all()
    assert notes[9:] == [("shown", 9)]
    assert (table.at(5, 7) == 9).all()
    assert len(notes) == 10
    assert (table.live[3].frames, table.live[3].unseen, table.live[3].dropped) == (9, 8, 0)
    assert table.screen.drawn["StreamData"] == 9


def test_streams_do_not_have_each_other_drawn_but_are_drawn_in_order(table, notes):
    for id_, x in enumerate((0, 8, 16)):
        table.apply(create(id_, x, 0))
    for number, id_ in enumerate((0, 1, 2, 0, 2, 1), 1):
        table.apply(colour(number, id_))
    assert not [one for one in notes if one[0] == "shown"]
    assert table.at(0, 0, WIDTH, 1).tolist() == [[4] * 8 + [6] * 24 + [5] * 8]
    assert [number for what, number in notes if what == "shown"] == [4, 5, 6]


@pytest.mark.parametrize(
    "change",
    [
        sized(Rect.at(0, 0, 12, 16), b"\2"),
        display.StreamDestroy(id=3),
        display.StreamDestroyAll(),
        create(),
        fill(Rect.at(5, 7, 1, 1), 7),
        display.CopyBits(base=DisplayBase(0, Rect.at(0, 0, 4, 4)), src_pos=Point(6, 8)),
        display.SurfaceDestroy(surface_id=0),
        display.Mode(x_res=8, y_res=8, bits=32),
        display.Reset(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_would_show_the_frame_or_draw_over_it_comes_after_it(table, notes, change):
    table.apply(create())
    table.apply(colour(1))
    table.do(change)
    assert notes[:2] == [("fed", 1), ("shown", 1)]
    assert not failed(table)


def test_what_leaves_pixels_alone_does_not_have_frames_drawn(table, notes):
    table.apply(create())
    table.apply(colour(1))
    for message in (
        display.Mark(),
        display.MonitorsConfig(max_allowed=1, heads=()),
        display.InvalList(resources=()),
        display.InvalAllPixmaps(),
        display.InvalPalette(id=1),
        display.InvalAllPalettes(),
    ):
        table.screen.apply(message)
    assert notes == [("fed", 1)]


def test_a_frame_keeps_the_clip_with_which_it_came(table, notes):
    table.apply(create(x=0, y=0))
    table.apply(colour(1))
    table.apply(display.StreamClip(id=3, clip=Clip.to(Rect.at(0, 0, 2, 1))))
    assert notes == [("fed", 1)]
    assert table.apply(colour(2)) == Damage(0, (Rect.at(0, 0, 2, 1),))
    assert notes == [("fed", 1), ("shown", 1), ("fed", 2)]
    assert table.at(0, 0, 4, 1).tolist() == [[2, 2, 1, 1]]
    assert table.live[3].unseen == 0


def test_a_frame_that_is_none_leaves_the_one_before(table, notes):
    table.apply(create())
    table.apply(colour(1))
    assert table.apply(frame(b"")) is None
    assert (table.at(5, 7) == 1).all()
    assert (table.live[3].dropped, table.live[3].unseen) == (1, 0)


def test_frames_of_a_stream_that_fails_are_decoded_at_once(table):
    """So that it is known whether it goes on."""
    table.apply(create())
    for _ in range(3):
        table.apply(frame(CUT))
    assert not table.live[3].is_failing
    table.screen.settle()
    assert table.live[3].is_failing
    table.apply(frame(CUT))
    assert failed(table) == {"StreamData": 2}
    table.apply(frame())
    assert not table.screen.deferred
    assert not table.live[3].is_failing
    table.apply(frame())
    assert table.screen.deferred
    assert (table.live[3].frames, table.live[3].dropped, table.live[3].unseen) == (6, 2, 2)


def test_a_failure_is_counted_for_the_message_that_came(table):
    table.apply(create())
    table.apply(frame())
    table.apply(sized(Rect.at(5, 7, 24, 16), CUT))
    table.screen.settle()
    assert failed(table) == {"StreamDataSized": 1}
    assert (table.screen.drawn["StreamData"], table.screen.drawn["StreamDataSized"]) == (1, 0)


def test_a_hidden_stream_that_failed_is_not_held_to_fail(table):
    """Nothing of its frames could be shown: servers are not told that they were not."""
    table.apply(create(clip=NOTHING))
    table.apply(frame(b"no JPEG"))
    table.apply(frame())
    assert not table.live[3].is_failing
    assert (table.live[3].dropped, table.live[3].unseen) == (1, 1)


def test_while_frames_are_deferred_messages_do_not_take_the_fast_path(table):
    table.apply(create())
    table.apply(frame())
    assert table.screen.apply_found(None, 0, None) is None
    assert len(table.screen.deferred) == 1


def test_who_looks_while_another_thread_draws_does_not_wait_for_it(table, notes):
    table.apply(create())
    table.apply(colour(1))
    drawing, done = threading.Event(), threading.Event()

    def draw():
        with table.screen.lock:
            drawing.set()
            assert done.wait(10)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        assert drawing.wait(10)
        assert not table.at(5, 7).any()
    finally:
        done.set()
        thread.join()
    assert (table.at(5, 7) == 1).all()


def test_pictures_much_larger_than_announced_are_refused(table):
    table.apply(create(size=(24, 16)))
    table.apply(frame(jpeg(np.zeros((160, 176), np.uint32))))
    assert "over the limit" in table.screen.reasons[0]
    # With a border of the same area, and rounded up to blocks.
    table.apply(frame(jpeg(np.zeros((80, 88), np.uint32))))
    assert failed(table) == {"StreamData": 1}


def test_ids_that_there_are_not(table):
    """Servers name streams that they never created: that is nothing. A frame of one is wrong."""
    for message in (display.StreamClip(id=9, clip=NOTHING), display.StreamDestroy(id=9), display.StreamDestroyAll()):
        assert table.apply(message) is None
    assert not failed(table)
    assert table.apply(frame(id_=9)) is None
    assert table.apply(sized(Rect.at(0, 0, 4, 4), id_=2**32 - 1)) is None
    assert failed(table) == {"StreamData": 1, "StreamDataSized": 1}


def test_a_destroyed_stream_shows_nothing_more(table):
    table.apply(create())
    table.apply(display.StreamDestroy(id=3))
    table.apply(frame())
    assert failed(table) == {"StreamData": 1}
    table.apply(create(1))
    table.apply(create(2))
    table.apply(display.StreamDestroyAll())
    assert not table.live
    assert [one.id for one in table.ended] == [3, 1, 2]


def test_an_id_in_use_is_another_stream_from_then_on(table):
    table.apply(create())
    table.apply(frame())
    table.apply(create(x=0, y=0))
    assert table.live[3].frames == 0
    assert table.apply(frame()) == Damage(0, (Rect.at(0, 0, 24, 16),))
    assert len(table.ended) == 1


def test_there_are_64_ids(table):
    for id_ in range(MAX_STREAMS + 2):
        table.apply(create(id_))
    table.apply(create(2**32 - 1))
    assert len(table.live) == MAX_STREAMS
    assert failed(table) == {"StreamCreate": 3}
    for _ in range(3):
        table.apply(display.StreamDestroyAll())
        table.apply(create())
    assert len(table.ended) == MAX_STREAMS


@pytest.mark.parametrize("size", [(0, 16), (24, 0), (2**32 - 1, 2**32 - 1), (16385, 1), (16384, 16384)])
def test_sizes_that_cannot_be(table, size):
    table.apply(create(size=size, dest=Rect.at(0, 0, 4, 4)))
    assert not table.live
    assert failed(table) == {"StreamCreate": 1}


def test_all_streams_together_have_a_limit():
    table = Table(max_pixels=3 * 24 * 16)
    for id_ in range(4):
        table.apply(create(id_))
    assert list(table.live) == [0, 1, 2]
    assert "more than 1152 pixels" in table.screen.reasons[0]
    # One that takes another's place.
    table.apply(create(1))
    assert list(table.live) == [0, 2, 1]


def test_clips_of_too_many_rectangles_are_refused(table):
    table.apply(create())
    most = [Rect.at(0, 0, 1, 1)] * MAX_CLIP_RECTS
    table.apply(display.StreamClip(id=3, clip=Clip.to(*most)))
    assert len(table.live[3].clip.rects) == MAX_CLIP_RECTS
    table.apply(display.StreamClip(id=3, clip=Clip.to(*most, most[0])))
    table.apply(create(4, clip=Clip.to(*most, most[0])))
    assert failed(table) == {"StreamClip": 1, "StreamCreate": 1}
    assert len(table.live[3].clip.rects) == MAX_CLIP_RECTS
    assert 4 not in table.live


def test_codecs_that_there_are_not(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    table.apply(create(1, codec=VideoCodecType(77)))
    table.apply(create(2, codec=VideoCodecType.H264))
    table.apply(frame(id_=2))
    table.apply(frame(id_=2))
    assert table.screen.not_drawn == {"video codec UNKNOWN_77": 1, "video codec H264": 3}
    assert not failed(table)
    assert not table.live[1].is_decodable
    assert (table.live[2].frames, table.live[2].dropped) == (2, 2)
    table.apply(create(3))
    assert table.live[3].is_decodable


def test_a_surface_that_is_gone(table):
    table.apply(create())
    table.screen.apply(display.SurfaceDestroy(surface_id=0))
    assert table.apply(frame()) is None
    assert failed(table) == {"StreamData": 1}
    assert table.live[3].dropped == 1


def test_what_a_frame_costs(table):
    assert table.pixels(frame()) == 0
    table.apply(create(dest=Rect.at(0, 0, 4, 4)))
    table.apply(create(4, codec=VideoCodecType.VP8))
    assert table.pixels(frame()) == 0
    assert table.pixels(frame(id_=4)) == 24 * 16
    table.apply(frame())
    assert table.screen.deferred[3].pixels == 24 * 16
    table.apply(sized(Rect.at(0, 0, 100, 100)))
    assert table.screen.deferred[3].pixels == 10000
    table.live[3].is_failing = True
    assert table.pixels(frame()) == 24 * 16


def test_what_has_deferred_frames_drawn(table):
    table.apply(create())
    assert not table.settles(frame())
    table.apply(frame())
    assert not table.settles(frame(OTHER))
    assert not table.settles(frame(id_=4))
    assert table.settles(sized(Rect.at(5, 7, 24, 15)))
    assert table.settles(display.StreamDestroy(id=3))
    table.apply(display.StreamClip(id=3, clip=NOTHING))
    assert table.settles(frame())


near = st.builds(Rect.at, st.integers(-9, 40), st.integers(-9, 30), st.integers(-1, 50), st.integers(-1, 40))
rects = near | strategies.record(Rect)
clips = st.just(Clip()) | st.lists(rects, max_size=4).map(lambda found: Clip.to(*found))
ids = st.sampled_from([0, 0, 0, 1, 63, 64, 2**32 - 1])
data = st.just(JPEG) | st.binary(max_size=40) | st.integers(1, len(JPEG)).map(lambda cut: JPEG[:cut])
codecs = st.sampled_from([1, 1, *VideoCodecType, 0, 77]).map(VideoCodecType)
creations = st.builds(
    create, ids, dest=rects, codec=codecs, flags=st.integers(0, 1), clip=clips, surface_id=st.sampled_from([0, 0, 7])
)
likely = (
    creations
    | st.builds(frame, data, ids, st.integers(0, 2**32 - 1))
    | st.builds(sized, rects, data, ids)
    | st.builds(display.StreamClip, id=ids, clip=clips)
    | st.builds(display.StreamDestroy, id=ids)
)
anything = st.sampled_from([*HANDLERS]).flatmap(strategies.message)


@settings(max_examples=300, deadline=None)
@given(st.lists(likely | anything, max_size=12), st.sampled_from([XRGB, SurfaceFormat.FMT_16_555, SurfaceFormat.FMT_8_A]))
def test_any_messages_in_any_order_are_done_or_counted(messages, form):
    table = Table(form)
    counters = (table.screen.drawn, table.screen.failed, table.screen.not_drawn)
    for message in messages:
        counted = sum(counter.total() for counter in counters)
        damage = table.apply(message)
        assert sum(counter.total() for counter in counters) == counted + 1
        assert damage is None or all(
            0 <= one.left < one.right <= WIDTH and 0 <= one.top < one.bottom <= HEIGHT for one in damage.rects
        )
        assert len(table.live) <= MAX_STREAMS


# --- deferred or not, what is seen is the same


def vp8(count):
    """Frames that each need those before: a block that moves to the right."""
    context = av.CodecContext.create("libvpx", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 24, 16, "yuv420p", Fraction(1, 30)
    context.options = {"deadline": "realtime", "lag-in-frames": "0", "b": "4M"}
    for number in range(count):
        picture = np.full((16, 24, 3), 40, np.uint8)
        picture[4:12, 2 * number : 2 * number + 8] = 220
        shown = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
        shown.pts = number
        yield from map(bytes, context.encode(shown))


def test_frames_that_need_each_other_are_all_decoded_and_those_that_are_seen_are_drawn():
    deferring, immediate = Table(), Table()
    for table in (deferring, immediate):
        table.apply(create(codec=VideoCodecType.VP8))
    for number, data in enumerate(vp8(8)):
        for table in (deferring, immediate):
            table.apply(frame(data))
        immediate.screen.settle()
        if number % 3 == 2:
            assert seen(deferring) == seen(immediate)
            assert abs(deferring.at(5 + 2 * number + 4, 15, 1, 1)[0, 0].astype(int) & 255) > 180
    assert not failed(deferring)
    assert (deferring.live[3].frames, deferring.live[3].unseen) == (8, 5)
    assert immediate.live[3].unseen == 0


places = st.builds(Rect.at, st.integers(-9, 30), st.integers(-9, 20), st.integers(1, 30), st.integers(1, 25))
few = st.integers(0, 2)


def scene(places):
    """What a server draws with some streams on two surfaces."""
    bases = st.builds(DisplayBase, st.integers(0, 1), places, clips)
    images = st.builds(lambda id_: Image(0, ImageType.SURFACE, 0, WIDTH, HEIGHT, Surface(id_)), st.integers(0, 1))
    return st.one_of(
        st.builds(create, few, dest=places, clip=clips, flags=st.integers(0, 1), surface_id=st.sampled_from([0, 0, 1])),
        st.builds(frame, st.sampled_from([JPEG, OTHER, b"no JPEG"]), few),
        st.builds(frame, st.sampled_from([JPEG, OTHER]), few),
        st.builds(sized, places, st.sampled_from([JPEG, OTHER]), few),
        st.builds(display.StreamClip, id=few, clip=clips),
        st.builds(display.StreamDestroy, id=few),
        st.builds(fill, places, st.integers(0, 9), st.integers(0, 1)),
        st.builds(display.CopyBits, base=bases, src_pos=st.builds(Point, st.integers(-3, 20), st.integers(-3, 20))),
        st.builds(display.DrawCopy, base=bases, src_image=images, src_area=places.filter(lambda one: one.left >= 0 <= one.top)),
        st.just(display.StreamDestroyAll()),
        st.just(display.SurfaceDestroy(surface_id=1)),
        st.just(display.SurfaceCreate(surface_id=1, width=WIDTH, height=HEIGHT, format=XRGB, flags=0)),
        st.just(display.Reset()),
    )


def seen(table):
    return {one.id: table.screen.copy(surface_id=one.id).tolist() for one in table.screen.surfaces}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(scene(st.just(Rect.at(5, 7, 24, 16)) | places) | st.just("look"), max_size=30),
    st.sampled_from([XRGB, SurfaceFormat.FMT_16_555]),
)
def test_deferred_or_not_what_is_seen_is_the_same(messages, form):
    deferring, immediate = Table(form), Table(form)
    for message in messages:
        if message == "look":
            assert seen(deferring) == seen(immediate)
            continue
        assert deferring.do(message) == immediate.do(message)
        immediate.screen.settle()
        assert len(deferring.screen.deferred) <= len(deferring.live)
    assert seen(deferring) == seen(immediate)
    for counter in ("drawn", "failed", "not_drawn", "reasons"):
        assert getattr(deferring.screen, counter) == getattr(immediate.screen, counter)
    for one, other in zip(deferring.statistics(), immediate.statistics(), strict=True):
        assert (one.id, one.frames, one.dropped) == (other.id, other.frames, other.dropped)
        assert other.unseen <= one.unseen <= one.frames
