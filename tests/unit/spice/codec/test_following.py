"""Following a channel on a pair of sockets: why it ends, what it acknowledges, and what it tells."""

import contextlib
import os
import socket
import sys
import threading
import time

import numpy as np
import pytest

from atp_trio.spice.codec.drawing import FrameDrawer, Shared
from atp_trio.spice.codec.following import Files, Follower, FollowStatus, Gathering, Received, is_available
from atp_trio.spice.codec.framing import Framer, HeaderKind, pack_mini_header
from atp_trio.spice.codec.glz import GlzImages
from atp_trio.spice.codec.lz import encode_lz
from atp_trio.spice.codec.pixel_table import PixelTable
from atp_trio.spice.messages import base, display
from atp_trio.spice.messages.display import Brush
from atp_trio.spice.messages.geometry import DisplayBase, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageFlag, ImageType
from atp_trio.spice.wire import Role

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="channels are followed on Linux only")

WIDTH, HEIGHT = 64, 48
ACK = pack_mini_header(base.Ack.number(Role.CLIENT), 0)
FAR = 2**62  # nanoseconds, long after any test
NO_GATHERING = Gathering(0, 0, 0)


def packed(*messages):
    bodies = [(message.number(Role.SERVER), message.encode()) for message in messages]
    return b"".join(pack_mini_header(number, len(body)) + body for number, body in bodies)


PLACE = Rect.at(3, 2, 5, 4)


def fill(colour, place=PLACE):
    return display.DrawFill(base=DisplayBase(0, place), brush=Brush.solid(colour))


def picture(number, *, width=8, height=8, flags=ImageFlag.CACHE_ME):
    data = encode_lz(np.full((height, width), number, np.uint32))
    image = Image(number, ImageType.LZ_RGB, flags, width, height, BinaryData(data))
    return display.DrawCopy(
        base=DisplayBase(0, Rect.at(0, 0, width, height)), src_image=image, src_area=Rect.at(0, 0, width, height)
    )


def raw(width, height):
    data = np.full((height, width), 7, np.uint32).tobytes()
    payload = Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, width, height, 4 * width, data=data)
    place = Rect.at(0, 0, width, height)
    image = Image(1, ImageType.BITMAP, 0, width, height, payload)
    return display.DrawCopy(base=DisplayBase(0, place), src_image=image, src_area=place)


class Place:
    """A follower between a server's socket and a surface."""

    def __init__(self, *, window=0, size=4096, ours=None):
        self.ours, self.theirs = ours or socket.socketpair()
        self.theirs.settimeout(10)
        self.wake = os.eventfd(0)
        self.drawer = FrameDrawer()
        self.pixels = np.zeros((HEIGHT, WIDTH), np.uint32)
        self.drawer.set_surfaces({0: self.pixels})
        self.follower = Follower(self.drawer)
        self.table = Framer(HeaderKind.MINI, 2**20).table
        self.shared = Shared(GlzImages(4096, 64), PixelTable(), 10**6)
        self.kept = []
        self.received = Received(memoryview(bytearray(size)), 0, 0, self.table, 2**20, window, window, 0)

    def keep(self, pictures):
        self.kept += pictures
        return 10**6

    def follow(self, *data, until=FAR, gathering=NO_GATHERING):
        """Send this, and follow until it ends; None leaves the socket alone."""
        if data:
            self.theirs.sendall(b"".join(data))
        self.follower.begin()
        files = Files(self.ours.fileno(), self.wake, until)
        return self.follower.follow(files, self.received, gathering, self.shared, self.keep)

    def recall(self):
        os.eventfd_write(self.wake, 1)

    def close(self):
        os.close(self.wake)
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def place():
    place = Place()
    yield place
    place.close()


@pytest.fixture
def acknowledging():
    place = Place(window=3)
    yield place
    place.close()


def soon(seconds=0.02):
    return time.monotonic_ns() + int(seconds * 1e9)


def rest(place, followed):
    """What was received and not handled."""
    return bytes(place.received.buffer[followed.start : followed.end])


def test_what_is_for_others_is_left_where_it_lies(place):
    mark = packed(display.Mark())
    status, followed = place.follow(packed(fill(7)), mark, packed(fill(9)))
    assert status is FollowStatus.OTHER
    assert rest(place, followed) == mark + packed(fill(9))
    assert followed.messages == 1
    assert followed.received == len(packed(fill(7), fill(9))) + len(mark)
    assert place.pixels[2:6, 3:8].tolist() == [[7] * 5] * 4
    assert place.drawer.take().damage().tolist() == [[0, 3, 2, 8, 6]]


def test_a_damaged_message_is_left_as_well(place):
    status, followed = place.follow(packed(fill(7)), pack_mini_header(302, 2**20 + 1))
    assert status is FollowStatus.OTHER
    assert (followed.messages, followed.end - followed.start) == (1, 6)


def test_a_message_in_pieces_is_drawn_when_it_is_whole(place):
    data = packed(fill(7))
    status, followed = place.follow(data[:20], until=soon())
    assert (status, followed.messages) == (FollowStatus.OVER, 0)
    place.received = Received(place.received.buffer, followed.start, followed.end, place.table, 2**20, 0, 0, 0)
    status, followed = place.follow(data[20:], until=soon())
    assert (status, followed.messages, followed.end - followed.start) == (FollowStatus.OVER, 1, 0)
    assert place.pixels[3, 4] == 7


def test_the_buffer_is_used_again_and_again(place):
    rounds = 40
    data = packed(*(fill(number) for number in range(10)))
    assert len(data) * rounds > 4 * 4096
    thread = threading.Thread(target=lambda: [place.theirs.sendall(data) for _ in range(rounds)] and place.theirs.shutdown(1))
    thread.start()
    status, followed = place.follow()
    thread.join()
    assert (status, followed.messages) == (FollowStatus.END, 10 * rounds)
    assert sum(count for count, _ in followed.batches) == 10 * rounds
    assert all(0 <= seconds < 60 for _, seconds in followed.batches)


def test_a_message_that_is_too_large_wants_a_larger_buffer(place):
    status, followed = place.follow(packed(fill(7)), pack_mini_header(304, 5000))
    assert status is FollowStatus.ROOM
    assert (followed.messages, followed.end - followed.start) == (1, 6)


def test_who_is_called_back_draws_what_has_come_and_tells_of_it(place):
    place.recall()
    status, followed = place.follow(packed(fill(7), fill(8)))
    assert (status, followed.messages) == (FollowStatus.ASKED, 2)
    assert len(place.drawer.take().damage()) == 2
    assert place.pixels[3, 4] == 8


@pytest.mark.parametrize("_", range(10))
def test_what_is_drawn_after_the_call_is_in_the_damage(place, _):
    """Also by messages that had been received before it."""
    place.pixels = np.zeros((1400, 1400), np.uint32)
    place.drawer.set_surfaces({0: place.pixels})
    first, much = Rect.at(0, 0, 1, 1), Rect.at(1, 0, 1399, 1400)  # the latter takes a millisecond

    def call_back():
        place.theirs.sendall(packed(fill(1, first), fill(2, much), fill(3, much)))
        until = time.monotonic() + 10
        while not place.pixels[0, 0] and time.monotonic() < until:
            pass
        place.recall()

    thread = threading.Thread(target=call_back)
    thread.start()
    status, followed = place.follow()
    thread.join()
    assert (status, followed.messages) == (FollowStatus.ASKED, 3)
    assert [0, 1, 0, 1400, 1400] in place.drawer.take().damage().tolist()


def test_it_is_over_when_it_is_time(place):
    status, followed = place.follow(packed(fill(7)), until=soon())
    assert (status, followed.messages) == (FollowStatus.OVER, 1)


def test_acks_are_sent_for_every_window(acknowledging):
    status, followed = acknowledging.follow(packed(*(fill(number) for number in range(8))), until=soon())
    assert status is FollowStatus.OVER
    assert (followed.acks, followed.left, followed.early, followed.unsent) == (2, 1, 0, b"")
    assert acknowledging.theirs.recv(100) == 2 * ACK


def test_a_message_that_is_left_may_be_counted_already(acknowledging):
    # The mark is one of the display's own, and not drawn here.
    status, followed = acknowledging.follow(packed(fill(1), display.Mark(), fill(2)))
    assert status is FollowStatus.OTHER
    assert (followed.acks, followed.left, followed.early) == (1, 3, 2)


def test_what_changes_the_counting_is_not_counted(acknowledging):
    _, followed = acknowledging.follow(packed(fill(1), base.SetAck(generation=1, window=9), fill(2)))
    assert (followed.acks, followed.left, followed.early) == (0, 2, 0)


def test_acks_that_the_kernel_does_not_take_are_handed_back(acknowledging):
    acknowledging.ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            acknowledging.ours.send(bytes(65536))
    status, followed = acknowledging.follow(packed(*(fill(number) for number in range(9))))
    assert status is FollowStatus.UNSENT
    assert (followed.acks, followed.unsent) == (3, 3 * ACK)


def test_pictures_are_kept_and_found_again(place):
    again = Image(69, ImageType.FROM_CACHE, 0, 8, 8)
    copy = display.DrawCopy(base=DisplayBase(0, Rect.at(20, 20, 8, 8)), src_image=again, src_area=Rect.at(0, 0, 8, 8))
    # More than can be put aside at a time.
    data = packed(*(picture(number) for number in range(70)), copy)
    place.received = Received(memoryview(bytearray(2**16)), 0, 0, place.table, 2**20, 0, 0, 0)
    status, followed = place.follow(data, until=soon())
    assert (status, followed.messages) == (FollowStatus.OVER, 71)
    assert [one.id for one in place.kept] == list(range(70))
    assert place.pixels[20, 20] == 69


def test_images_that_take_long_are_drawn_too():
    place = Place(size=2**20)
    try:
        place.pixels = np.zeros((200, 200), np.uint32)
        place.drawer.set_surfaces({0: place.pixels})
        status, _ = place.follow(packed(picture(5, width=200, height=200, flags=0)), until=soon())
        assert status is FollowStatus.OVER
        assert (place.pixels == 5).all()
    finally:
        place.close()


def test_it_is_there_on_linux():
    assert is_available()


@pytest.fixture
def over_tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    place = Place(ours=(ours, theirs), size=2**19)
    yield place
    place.close()


def test_a_connection_that_breaks_is_told(over_tcp):
    over_tcp.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    over_tcp.theirs.close()
    status, followed = over_tcp.follow()
    assert status is FollowStatus.FAILED
    assert isinstance(followed.error, ConnectionResetError)


def trickle(place, pieces):
    """Send these one by one, and call back when none has come for a while; gives the batches that were received."""

    def send():
        for piece in pieces:
            place.theirs.sendall(piece)
            time.sleep(1e-3)
        time.sleep(0.1)
        place.recall()

    thread = threading.Thread(target=send)
    thread.start()
    status, followed = place.follow(gathering=Gathering(20, len(packed(fill(1))), patience=10))
    thread.join()
    assert status is FollowStatus.ASKED
    assert place.ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    return [count for count, _ in followed.batches]


def test_small_messages_are_gathered(over_tcp):
    # All at once; what the call back finds is none.
    assert trickle(over_tcp, [packed(fill(1))] * 20) == [20, 0]


def test_a_large_message_is_waited_for(over_tcp):
    data = packed(raw(64, 48))
    pieces = [data[start : start + 500] for start in range(0, len(data), 500)]
    batches = trickle(over_tcp, pieces)
    assert sum(batches) == 1
    # The beginning, whose header tells the size; all the rest; and what the call back finds.
    assert len(batches) <= 3
    assert (over_tcp.pixels == 7).all()
