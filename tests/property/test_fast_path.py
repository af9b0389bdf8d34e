"""The ordinary path, the fast one and following are the same: pixels, counters, damage, caches, serials and acknowledgements."""

import random
import select
import socket
import sys
import threading
import time

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _spice_codec import ffi, lib
from atp_trio.errors import MalformedMessage, UnexpectedMessage, UnknownMessage
from atp_trio.spice.codec.following import Files, FollowStatus, Gathering
from atp_trio.spice.codec.glz import GlzType, GlzWindow
from atp_trio.spice.codec.glz_encoder import GlzEncoder
from atp_trio.spice.codec.lz import LzType, encode_lz
from atp_trio.spice.codec.quic import QuicType, encode_quic
from atp_trio.spice.imaging.cache import DIRECT, ImageCache, ImagePending
from atp_trio.spice.imaging.screen import HANDLERS, Screen
from atp_trio.spice.messages import display
from atp_trio.spice.messages.base import SetAck
from atp_trio.spice.messages.display import Brush, QMask, ResourceId, ResourceType, Ropd, SurfaceFormat
from atp_trio.spice.messages.geometry import Clip, DisplayBase, Point, Rect
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageFlag, ImageType, Surface
from atp_trio.spice.messages.link import ChannelType
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Role
from atp_trio.testing import strategies

WIDTH, HEIGHT = 24, 18
BUDGET = 4096
FORMATS = [SurfaceFormat.FMT_32_xRGB, SurfaceFormat.FMT_32_ARGB, SurfaceFormat.FMT_16_555]


@attrs.define(eq=False)
class World:
    """A channel's core and its screen, and what was told about both."""

    is_fast: bool
    mini_header: bool = True
    budget: int = BUDGET
    cache: ImageCache = attrs.field(init=False)
    window: GlzWindow = attrs.field(init=False)
    core: ChannelCore = attrs.field(init=False)
    screen: Screen = attrs.field(init=False)
    log: list = attrs.field(factory=list)  # rectangles of damage, errors of the core
    updates: int = 0
    pixels: int = 0
    found: int = 0  # messages that took the fast path
    output: bytes = b""
    is_broken: bool = False  # the bytes were malformed

    def __attrs_post_init__(self):
        self.cache, self.window = ImageCache(self.budget), GlzWindow(self.budget)
        self.core = ChannelCore(Role.CLIENT, ChannelType.DISPLAY, mini_header=self.mini_header)
        self.screen = Screen(self.cache, self.window, max_pixels=2 * BUDGET)

    def receive(self, data):
        self.core.receive_data(data)
        while self.found_handled() or self.message_handled():
            pass
        self.output += b"".join(self.core.data_to_send())

    def found_handled(self):
        found = self.core.peek() if self.is_fast else None
        drawn = self.screen.apply_found(found.table, found.row, found.buffer) if found else None
        if drawn is None:
            return False
        assert drawn.messages or drawn.is_paused
        self.core.skip(drawn.messages)
        self.note(drawn)
        return True

    def note(self, drawn):
        self.found += drawn.messages
        self.updates += drawn.messages
        self.pixels += drawn.pixels
        damage = [(number, rect) for number in range(4) for rect in drawn.rects(number)]
        self.log += damage
        for number, rect in damage:
            assert drawn.touches(number)
            assert drawn.touches(number, rect)
            assert drawn.touches(number, Rect.at(rect.right - 1, rect.bottom - 1, 9, 9))
        assert not drawn.touches(0, Rect.at(WIDTH, 0, 99, 99))

    def message_handled(self):
        try:
            message = self.core.next_message()
        except (UnknownMessage, UnexpectedMessage) as error:
            self.log.append(str(error))
            return True
        if message is None:
            return False
        try:
            damage = self.screen.apply(message)
        except ImagePending:
            damage = self.screen.apply(message, give_up=True)
        if damage:
            self.updates += 1
            self.pixels += sum(rect.width * rect.height for rect in damage.rects)
            self.log += [(damage.surface_id, rect) for rect in damage.rects]
        return True

    def state(self):
        """All that must be the same."""
        # A channel that ends may have acknowledged what came behind.
        acknowledged = {} if self.is_broken else {"acks": (self.core.ack.acks, self.core.ack.left), "output": self.output}
        return acknowledged | {
            "surfaces": {one.id: (one.format, one.pixels.shape, one.pixels.tobytes()) for one in self.screen.surfaces},
            "drawn": self.screen.drawn,
            "failed": self.screen.failed,
            "not drawn": self.screen.not_drawn,
            "updates": (self.updates, self.pixels),
            "serial": self.core.last_serial,
            "messages": self.core.traffic.messages_received,
            "skipped": self.core.traffic.skipped,
            "cache": {key: (one.format, one.pixels.tolist()) for key, one in self.cache._pictures.items()},
            "glz": (held(self.window), self.window.pixels),
            "reasons": list(self.screen.reasons),
        }


@attrs.define(eq=False)
class FollowedWorld(World):
    """The same, where what comes is received from a socket, drawn and acknowledged without Python, as far as that goes."""

    ours: socket.socket = attrs.field(init=False)
    theirs: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(10)

    def receive(self, data):
        super().receive(b"")
        for start in range(0, len(data), 8192):
            self.theirs.sendall(data[start : start + 8192])
            while self.is_unread():
                self.follow()
                self.acks()
                super().receive(b"")

    def is_unread(self):
        return bool(select.select([self.ours], [], [], 0)[0])

    def follow(self):
        received = self.core.lend()
        assert received is not None
        self.screen.fast.follower.begin()
        # What can be read already calls it back.
        files = Files(self.ours.fileno(), self.ours.fileno(), until=2**62)
        status, followed = self.screen.fast.follow(files, received, Gathering(0, 0, 0))
        drawn = self.screen.fast.take()
        assert status in (FollowStatus.ASKED, FollowStatus.OTHER)
        self.core.take_back(followed)
        self.screen.count_found(drawn)
        self.note(drawn)

    def acks(self):
        while select.select([self.theirs], [], [], 0)[0]:
            self.output += self.theirs.recv(4096)

    def close(self):
        self.ours.close()
        self.theirs.close()


def held(window):
    """The images that a GLZ dictionary holds: ids and pixels."""
    table, start, count = window.images.struct.images, window.images.struct.start, window.images.struct.count
    return [(table[i].id, bytes(ffi.buffer(table[i].pixels, table[i].count * 4))) for i in range(start, start + count)]


def surfaces(kind):
    """Three surfaces: of the kind in question, of 32 bits and of eight."""
    formats = (kind, SurfaceFormat.FMT_32_ARGB, SurfaceFormat.FMT_8_A)
    return [
        display.SurfaceCreate(surface_id=i, width=WIDTH, height=HEIGHT, format=form, flags=0) for i, form in enumerate(formats)
    ]


def stream(messages, *, mini_header=True):
    """What a server sends: messages, or numbers and bodies."""
    server = ChannelCore(Role.SERVER, ChannelType.DISPLAY, mini_header=mini_header)
    for one in messages:
        if isinstance(one, tuple):
            server.send_body(*one)
        else:
            server.send(one)
    return b"".join(server.data_to_send())


def play(data, cuts, *, is_fast, kind=World, **options):
    """Receive a stream in pieces; gives the world, whose end may be that the bytes were malformed."""
    world = kind(is_fast, **options)
    start = 0
    try:
        for end in [*sorted(cuts), len(data)]:
            world.receive(data[start:end])
            start = end
    except MalformedMessage as error:
        world.log.append(str(error))
        world.is_broken = True
    return world


def same_all_ways(data, cuts=(), **options):
    """All ways, compared; gives how many messages the fast one took."""
    fast, ordinary = (play(data, cuts, is_fast=is_fast, **options) for is_fast in (True, False))
    for id_, picture in fast.cache._pictures.items():
        entry = lib.pixel_table_find(fast.cache.table.struct, id_)
        assert entry != ffi.NULL or picture.format not in DIRECT
    worlds = [fast]
    if sys.platform == "linux" and options.get("mini_header", True):
        worlds.append(play(data, cuts, is_fast=True, kind=FollowedWorld, **options))
        worlds[1].close()
    for world in worlds:
        assert world.state() == ordinary.state()
        assert sorted(map(str, world.log)) == sorted(map(str, ordinary.log))
    return fast.found


KINDS = ["32", "rgba", "24", "16", "quic", "quic rgba", "quic16", "lz", "lz rgba", "lz a", "lz16", "glz", "surface", "cached"]


def mostly(chance, usual, *others):
    """The usual one, or now and then another."""
    return chance.choice(others) if chance.random() < 0.1 else usual


def some_rect(chance):
    return Rect.at(chance.randint(-3, 20), chance.randint(-3, 15), chance.randint(1, 20), chance.randint(1, 14))


def some_base(chance, box):
    """Where something is drawn: mostly without a clip, else with few rectangles, or many that do not overlap."""
    surface = mostly(chance, chance.choice([0, 0, 0, 1]), 2, 3)
    what = chance.random()
    if what < 0.6:
        return DisplayBase(surface, box)
    if what < 0.8:
        return DisplayBase(surface, box, Clip.to(*(some_rect(chance) for _ in range(chance.randint(0, 3)))))
    rows = range(0, HEIGHT, chance.choice([1, 2, 5]))
    return DisplayBase(surface, box, Clip.to(*(Rect.at(chance.randint(0, 9), row, chance.randint(1, 20), 1) for row in rows)))


def some_bitmap(chance, kind, pixels, flags):
    form, size = {
        "32": (BitmapFormat.FMT_32BIT, 4),
        "rgba": (BitmapFormat.RGBA, 4),
        "24": (BitmapFormat.FMT_24BIT, 3),
        "16": (BitmapFormat.FMT_16BIT, 2),
    }[kind]
    height, width = pixels.shape
    stride = width * size + chance.choice([0, 0, 4])
    data = np.resize(pixels.view(np.uint8), stride * height).tobytes()
    payload = Bitmap(form, chance.choice([0, BitmapFlag.TOP_DOWN]), width, height, stride, data=data)
    return Image(chance.randint(0, 2), ImageType.BITMAP, flags, width, height, payload)


def some_image(chance, encoder):
    """An image of every kind that the fast path knows, and of some that it does not."""
    # Often of one size, so that a cached one is of the size that the message says.
    width, height = chance.choice([(5, 6), (chance.randint(1, 14), chance.randint(1, 14))])
    pixels = np.random.default_rng(chance.randint(0, 9)).integers(0, 2**32, (height, width), np.uint32)
    pixels[: height // 2] = pixels[0, 0]
    kind, is_top_down = chance.choice(KINDS), chance.random() < 0.5
    flags = chance.choice([0, 0, 0, 0, *ImageFlag])
    if kind in ("32", "rgba", "24", "16"):
        return some_bitmap(chance, kind, pixels, flags)
    low = (pixels & 0x7FFF).astype(np.uint16)
    if kind == "cached":
        form, payload = chance.choice([ImageType.FROM_CACHE, ImageType.FROM_CACHE_LOSSLESS]), None
    elif kind == "surface":
        form, payload = ImageType.SURFACE, Surface(chance.randint(0, 3))
    elif kind == "glz":
        type_ = chance.choice([GlzType.RGB32, GlzType.RGBA])
        form, payload = ImageType.GLZ_RGB, BinaryData(encoder.encode(pixels, type=type_, top_down=is_top_down))
    elif kind.startswith("quic"):
        type_ = {"quic": QuicType.RGB32, "quic rgba": QuicType.RGBA, "quic16": QuicType.RGB16}[kind]
        form, payload = ImageType.QUIC, BinaryData(encode_quic(low if kind == "quic16" else pixels, type=type_))
    else:
        type_ = {"lz": LzType.RGB32, "lz rgba": LzType.RGBA, "lz a": LzType.XXXA, "lz16": LzType.RGB16}[kind]
        data = encode_lz(low if kind == "lz16" else pixels, type=type_, top_down=is_top_down)
        form, payload = ImageType.LZ_RGB, BinaryData(data)
    return Image(chance.randint(0, 2), form, flags, width, height, payload)


def some_copy(chance, encoder):
    """An image to a place: the whole of it, or a part, or scaled."""
    image = some_image(chance, encoder)
    source = Rect.at(0, 0, image.width, image.height)
    if chance.random() < 0.4:
        left, top = chance.randrange(image.width), chance.randrange(image.height)
        beyond = mostly(chance, 0, 1)
        source = Rect.at(left, top, chance.randint(1, image.width - left) + beyond, chance.randint(1, image.height - top))
    size = source.width + mostly(chance, 0, 1, -1), source.height
    base = some_base(chance, Rect.at(chance.randint(-3, 16), chance.randint(-3, 12), *size))
    bits = Bitmap(BitmapFormat.FMT_1BIT_BE, 0, 8, 8, 1, data=bytes(range(8)))
    mask = mostly(chance, QMask(), QMask(1, Point(2, 2), None), QMask(0, Point(0, 0), Image(9, ImageType.BITMAP, 0, 8, 8, bits)))
    cls = chance.choice([display.DrawCopy, display.DrawBlend])
    rop = mostly(chance, Ropd.OP_PUT, Ropd.OP_OR, Ropd.OP_PUT | Ropd.INVERS_SRC)
    return cls(base=base, src_image=image, src_area=source, rop=rop, mask=mask)


def some_message(chance, encoder):
    """What a server may send of the frequent kind."""
    what = chance.random()
    if what < 0.6:
        return some_copy(chance, encoder)
    base = some_base(chance, some_rect(chance))
    if what < 0.8:
        return display.CopyBits(base=base, src_pos=Point(chance.randint(-3, 20), chance.randint(-3, 15)))
    if what < 0.97:
        brush = mostly(chance, Brush.solid(chance.randrange(2**32)), Brush())
        return display.DrawFill(base=base, brush=brush, rop=mostly(chance, Ropd.OP_PUT, Ropd.OP_XOR))
    return SetAck(generation=2, window=chance.randint(0, 4))


def damaged(chance, message):
    """The message's number and its body with some bytes changed, or its end cut off."""
    body = bytearray(message.encode())
    for _ in range(chance.randint(1, 3)):
        body[chance.randrange(len(body))] = chance.choice([0, 1, 255, chance.randrange(256)])
    if chance.random() < 0.2:
        del body[chance.randrange(len(body)) :]
    return message.number(Role.SERVER), bytes(body)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(FORMATS), mini_header=st.booleans())
def test_all_paths_are_the_same(seed, kind, mini_header):
    chance, encoder = random.Random(seed), GlzEncoder(BUDGET)
    messages = [some_message(chance, encoder) for _ in range(chance.randint(1, 40))]
    if chance.random() < 0.5:
        messages = [damaged(chance, one) if chance.random() < 0.05 else one for one in messages]
    window = SetAck(generation=1, window=chance.randint(0, 5))
    data = stream([window, *surfaces(kind), *messages], mini_header=mini_header)
    cuts = [chance.randrange(len(data)) for _ in range(chance.randint(0, 3))]
    same_all_ways(data, cuts, mini_header=mini_header)


@settings(max_examples=100)
@given(messages=st.lists(st.sampled_from(list(HANDLERS)).flatmap(strategies.message), max_size=3), seed=st.integers(0, 2**32))
def test_any_message_between_is_the_same(messages, seed):
    chance, encoder = random.Random(seed), GlzEncoder(BUDGET)
    frequent = [[some_message(chance, encoder) for _ in range(3)] for _ in messages]
    mixed = [one for message, three in zip(messages, frequent, strict=True) for one in (*three, message)]
    same_all_ways(stream([*surfaces(SurfaceFormat.FMT_32_xRGB), *mixed]))


@settings(max_examples=100)
@given(bodies=st.lists(st.tuples(st.sampled_from([104, 302, 304, 305]), st.binary(max_size=120)), min_size=1, max_size=5))
def test_any_bytes_are_the_same(bodies):
    same_all_ways(stream([*surfaces(SurfaceFormat.FMT_32_xRGB), *bodies]))


def cached_and_glz(chance, encoder):
    """Small images that are kept, shown again, or of the GLZ dictionary, and what drops them."""
    kind, number = chance.random(), chance.randint(0, 5)
    if kind < 0.05:
        return display.InvalList(resources=(ResourceId(type=ResourceType.PIXMAP, id=number),))
    if kind < 0.07:
        return display.InvalAllPixmaps()
    size = width, height = chance.choice([(5, 6), (5, 6), (5, 6), (20, 18)])
    pixels = np.random.default_rng(chance.randint(0, 9)).integers(0, 2**32, (height, width), np.uint32)
    keep = chance.choice([0, ImageFlag.CACHE_ME, ImageFlag.CACHE_REPLACE_ME]) | chance.choice([0, 0, ImageFlag.HIGH_BITS_SET])
    if kind < 0.3:
        image = Image(number, chance.choice([ImageType.FROM_CACHE, ImageType.FROM_CACHE_LOSSLESS]), 0, *size)
    elif kind < 0.5:
        image = Image(number, ImageType.LZ_RGB, keep, *size, BinaryData(encode_lz(pixels, type=LzType.RGB32)))
    else:
        type_ = chance.choice([GlzType.RGB32, GlzType.RGB32, GlzType.RGBA])
        data = encoder.encode(pixels, type=type_, top_down=chance.random() < 0.5)
        image = Image(number, ImageType.GLZ_RGB, keep, *size, BinaryData(data))
    box = Rect.at(chance.randint(-2, 20), chance.randint(-2, 14), *size)
    base = DisplayBase(chance.randint(0, 1), box, mostly(chance, Clip(), Clip.to(some_rect(chance))))
    return display.DrawCopy(base=base, src_image=image, src_area=Rect.at(0, 0, *size))


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), budget=st.sampled_from([400, 1500, BUDGET]))
def test_caches_and_dictionaries_are_the_same(seed, budget):
    # A server whose window is as large as ours, or larger, so that what it refers to is gone; messages that came in another
    # order or not at all, and damaged ones.
    chance = random.Random(seed)
    encoder = GlzEncoder(chance.choice([budget, 2 * budget]), next_id=chance.choice([0, 5, 2**64 - 60]))
    messages = [cached_and_glz(chance, encoder) for _ in range(chance.randint(1, 60))]
    while chance.random() < 0.7:
        first, second = chance.randrange(len(messages)), chance.randrange(len(messages))
        messages[first], messages[second] = messages[second], messages[first]
    if chance.random() < 0.5:
        messages = [damaged(chance, one) if chance.random() < 0.1 else one for one in messages if chance.random() < 0.95]
    same_all_ways(stream([*surfaces(SurfaceFormat.FMT_32_xRGB), *messages]), budget=budget)


def test_a_damaged_glz_image_is_counted_once_and_told_once():
    encoder = GlzEncoder(BUDGET)
    size, base = Rect.at(0, 0, 5, 6), DisplayBase(0, Rect.at(3, 4, 5, 6))
    data = [encoder.encode(np.full((6, 5), number, np.uint32)) for number in range(3)]
    data[1] = data[1][:-1]
    images = [Image(7, ImageType.GLZ_RGB, 0, 5, 6, BinaryData(one)) for one in data]
    messages = [display.DrawCopy(base=base, src_image=image, src_area=size) for image in images]
    world = play(stream([*surfaces(SurfaceFormat.FMT_32_xRGB), *messages]), (), is_fast=True)
    assert world.screen.failed == {"DrawCopy": 1}
    assert list(world.screen.reasons) == ["DrawCopy: a GLZ image cannot be decoded: it ends before the image does"]
    assert world.found == 2
    assert world.screen.copy(Rect.at(3, 4, 1, 1)).tolist() == [[2]]


def test_what_another_thread_holds_is_not_waited_for():
    encoder = GlzEncoder(BUDGET)
    world = World(is_fast=True)
    world.receive(stream(list(ground())))
    size, base = Rect.at(0, 0, 5, 6), DisplayBase(0, Rect.at(3, 4, 5, 6))
    fill = display.DrawFill(base=base, brush=Brush.solid(1))
    glz = Image(8, ImageType.GLZ_RGB, 0, 5, 6, BinaryData(encoder.encode(np.full((6, 5), 3, np.uint32))))
    kept = Image(7, ImageType.FROM_CACHE, 0, 5, 6)
    core = world.core
    core.receive_data(stream([fill, *(display.DrawCopy(base=base, src_image=image, src_area=size) for image in (kept, glz))]))
    holding, done = threading.Event(), threading.Event()

    def hold():
        with world.cache.lock:
            holding.set()
            assert done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(10)
        found = core.peek()
        assert world.screen.apply_found(found.table, found.row, found.buffer).counts == {"DrawFill": 1}
        core.skip(1)
        found = core.peek()
        assert world.screen.apply_found(found.table, found.row, found.buffer) is None
    finally:
        done.set()
        thread.join()
    assert world.screen.apply_found(found.table, found.row, found.buffer).counts == {"DrawCopy": 2}


def drain(world):
    """Handle all that was received, waiting for what the other channel is to bring."""
    while True:
        if world.found_handled():
            continue
        if (message := world.core.next_message()) is None:
            return
        while True:
            try:
                world.screen.apply(message)
                break
            except ImagePending:
                time.sleep(0)


def test_two_channels_in_two_threads_share_a_cache_and_a_dictionary():
    chance, encoder = random.Random(1), GlzEncoder(3000)
    worlds = [World(is_fast=True, budget=50000) for _ in range(2)]
    worlds[1].screen = Screen(worlds[0].cache, worlds[0].window)
    expected = [np.zeros((HEIGHT, WIDTH), np.uint32) for _ in worlds]
    first = display.SurfaceCreate(surface_id=0, width=WIDTH, height=HEIGHT, format=SurfaceFormat.FMT_32_xRGB, flags=0)
    messages = [[first] for _ in worlds]
    pictures = []
    for number in range(600):
        which, x, y = chance.randrange(2), chance.randrange(WIDTH - 5), chance.randrange(HEIGHT - 6)
        if number % 3 == 2:
            again = chance.randrange(len(pictures))
            picture, image = pictures[again], Image(again, ImageType.FROM_CACHE, 0, 5, 6)
        else:
            picture = np.random.default_rng(number // 4).integers(0, 1 << 24, (6, 5), np.uint32) ^ number % 4
            image = Image(len(pictures), ImageType.GLZ_RGB, ImageFlag.CACHE_ME, 5, 6, BinaryData(encoder.encode(picture)))
            pictures.append(picture)
        base = DisplayBase(0, Rect.at(x, y, 5, 6))
        messages[which].append(display.DrawCopy(base=base, src_image=image, src_area=Rect.at(0, 0, 5, 6)))
        expected[which][y : y + 6, x : x + 5] = picture
    for world, some in zip(worlds, messages, strict=True):
        world.core.receive_data(stream(some))
    threads = [threading.Thread(target=drain, args=(world,), daemon=True) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for world, pixels in zip(worlds, expected, strict=True):
        assert not world.screen.failed, list(world.screen.reasons)
        assert np.array_equal(world.screen.copy(), pixels)
    assert sum(world.found for world in worlds) > 100


def forms():
    """One message of each form that the fast path takes."""
    encoder = GlzEncoder(BUDGET)
    pixels = np.random.default_rng(3).integers(0, 2**32, (6, 5), np.uint32)
    base = DisplayBase(0, Rect.at(3, 4, 5, 6))
    clipped = DisplayBase(0, Rect.at(3, 4, 5, 6), Clip.to(Rect.at(0, 0, 5, 30), Rect.at(6, 5, 9, 2)))
    yield "fill", display.DrawFill(base=base, brush=Brush.solid(0x12345678))
    yield "fill clipped", display.DrawFill(base=clipped, brush=Brush.solid(0x12345678))
    yield "move", display.CopyBits(base=base, src_pos=Point(1, 2))
    images = {
        "bitmap": (ImageType.BITMAP, Bitmap(BitmapFormat.FMT_32BIT, BitmapFlag.TOP_DOWN, 5, 6, 20, data=pixels.tobytes())),
        "lz": (ImageType.LZ_RGB, BinaryData(encode_lz(pixels))),
        "quic": (ImageType.QUIC, BinaryData(encode_quic(pixels, type=QuicType.RGBA))),
        "glz": (ImageType.GLZ_RGB, BinaryData(encoder.encode(pixels))),
        "surface": (ImageType.SURFACE, Surface(1)),
        "cached": (ImageType.FROM_CACHE, None),
        "cached lossless": (ImageType.FROM_CACHE_LOSSLESS, None),
    }
    for name, (kind, payload) in images.items():
        image = Image(7, kind, 0, 5, 6, payload)
        yield name, display.DrawCopy(base=base, src_image=image, src_area=Rect.at(0, 0, 5, 6))
        yield f"{name} clipped", display.DrawBlend(base=clipped, src_image=image, src_area=Rect.at(0, 0, 5, 6))


def ground():
    """Surfaces with something on them, and an image in the cache."""
    pixels = np.random.default_rng(4).integers(0, 2**32, (HEIGHT, WIDTH), np.uint32)
    whole = Rect.at(0, 0, WIDTH, HEIGHT)
    image = Image(1, ImageType.QUIC, 0, WIDTH, HEIGHT, BinaryData(encode_quic(pixels, type=QuicType.RGBA)))
    kept = Image(7, ImageType.LZ_RGB, ImageFlag.CACHE_ME, 5, 6, BinaryData(encode_lz(pixels[:6, :5])))
    yield from surfaces(SurfaceFormat.FMT_32_xRGB)
    for number in (0, 1):
        yield display.DrawCopy(base=DisplayBase(number, whole), src_image=image, src_area=whole)
    yield display.DrawCopy(base=DisplayBase(0, Rect.at(0, 0, 5, 6)), src_image=kept, src_area=Rect.at(0, 0, 5, 6))


@pytest.mark.parametrize("name", [name for name, _ in forms()])
def test_every_byte_of_every_form_means_the_same_to_both(name):
    # So the offsets in C are those of the catalogue: a byte that one of them took for another would show.
    message = dict(forms())[name]
    before = list(ground())
    taken = same_all_ways(stream(before))
    assert same_all_ways(stream([*before, message])) == taken + 1
    body, number = message.encode(), message.number(Role.SERVER)
    after = display.DrawFill(base=DisplayBase(0, Rect.at(20, 14, 4, 4)), brush=Brush.solid(0x99))
    for at in range(len(body)):
        for value in {0, 1, 255, body[at] ^ 1, body[at] ^ 4, body[at] ^ 128} - {body[at]}:
            same_all_ways(stream([*before, (number, body[:at] + bytes((value,)) + body[at + 1 :]), after]))
    for size in range(len(body)):
        same_all_ways(stream([*before, (number, body[:size]), after]))


def test_long_streams_are_the_same():
    # Beyond one table of messages and one table of damage.
    chance = random.Random(5)
    messages = list(surfaces(SurfaceFormat.FMT_32_xRGB))
    for number in range(3000):
        clip = Clip.to(*(Rect.at(chance.randrange(20), row, 9, 1) for row in range(chance.choice([1, 2, 9]))))
        base = DisplayBase(number % 2, Rect.at(chance.randrange(-4, 1), chance.randrange(-4, 1), 30, 9), clip)
        messages.append(display.DrawFill(base=base, brush=Brush.solid(number)))
    data = stream([SetAck(generation=1, window=7), *messages])
    assert same_all_ways(data, [1000, 60000]) > 2900
