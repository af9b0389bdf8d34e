"""The layouts of messages, byte by byte, and what the records know besides.

The bytes are worked out by hand from the protocol reference; a round trip alone would not notice two fields that changed places.
"""

from __future__ import annotations

import struct

import pytest

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.messages import (
    base,
    cursor,
    display,
    geometry,
    image,
    inputs,
    link,
    main,
    playback,
    port,
    record,
    smartcard,
    spicevmc,
    usbredir,
    vdagent,
    webdav,
)
from atp_trio.spice.messages.geometry import Clip, ClipType, DisplayBase, Point, Point16, PointFix, Rect, Transform
from atp_trio.spice.messages.image import BinaryData, Bitmap, BitmapFlag, BitmapFormat, Image, ImageFlag, ImageType, Palette
from atp_trio.spice.messages.link import ChannelType, LinkErrorCode
from atp_trio.spice.wire import Record, Role

SELECTION = frozenset({vdagent.AgentCap.CLIPBOARD_SELECTION})
AT_2_1 = DisplayBase(0, Rect.at(2, 1, 16, 8))
# surface 0, top 1, left 2, bottom 9, right 18, no clip
AT_2_1_BYTES = bytes.fromhex("00000000 01000000 02000000 09000000 12000000 00")
NO_MASK = bytes(13)
AREA = Rect.at(0, 0, 16, 8)
AREA_BYTES = struct.pack("<4i", 0, 0, 8, 16)

EXAMPLES: list[tuple[Record, str | bytes]] = [
    # The reference's worked example.
    (
        display.DrawFill(base=AT_2_1, brush=display.Brush.solid(0xFF0000)),
        "00000000 01000000 02000000 09000000 12000000 00 01 0000ff00 0800 00 0000000000000000 00000000",
    ),
    (
        display.DrawCopy(
            base=AT_2_1,
            src_image=Image(0x1122, ImageType.QUIC, ImageFlag.CACHE_ME, 16, 8, BinaryData(b"QUIC")),
            src_area=AREA,
            scale_mode=display.ImageScaleMode.NEAREST,
        ),
        AT_2_1_BYTES
        + bytes.fromhex("39000000")
        + AREA_BYTES
        + bytes.fromhex("0800 01")
        + NO_MASK
        + bytes.fromhex("2211000000000000 01 01 10000000 08000000 04000000")
        + b"QUIC",
    ),
    (
        display.DrawBlackness(
            base=DisplayBase(7, Rect(1, 2, 3, 4), Clip.to(Rect(5, 6, 7, 8))), mask=display.QMask(1, Point(-1, 2))
        ),
        bytes.fromhex("07000000 01000000 02000000 03000000 04000000 01 01000000 05000000 06000000 07000000 08000000")
        + bytes.fromhex("01 ffffffff 02000000 00000000"),
    ),
    (
        display.DrawFill(
            base=AT_2_1,
            brush=display.Brush(
                display.BrushType.PATTERN,
                pattern=display.Pattern(Image(1, ImageType.SURFACE, 0, 2, 3, image.Surface(9)), Point(4, 5)),
            ),
            rop=display.Ropd.OP_XOR,
        ),
        AT_2_1_BYTES
        + bytes.fromhex("02 31000000 04000000 05000000 4000")
        + NO_MASK
        + bytes.fromhex("0100000000000000 68 00 02000000 03000000 09000000"),
    ),
    (
        display.DrawStroke(
            base=AT_2_1,
            path=display.Path((display.PathSegment(display.PathFlag.BEGIN, (PointFix(1.5, -2.0625),)),)),
            attr=display.LineAttr(display.LineFlag.STYLED, (3.0, 1.25)),
            brush=display.Brush.solid(1),
        ),
        AT_2_1_BYTES
        + bytes.fromhex("28000000 08 02 39000000 01 01000000 0800 0000")
        + bytes.fromhex("01000000 01 01000000 18000000 dfffffff")
        + bytes.fromhex("30000000 14000000"),
    ),
    (
        display.DrawText(
            base=AT_2_1,
            str=display.String(
                display.StringFlag.RASTER_A1, (display.RasterGlyphA1(Point(1, 2), Point(3, -4), 9, 2, b"\1\2\3\4"),)
            ),
            back_area=Rect(0, 0, 0, 0),
            fore_brush=display.Brush.solid(0xFFFFFF),
            back_brush=display.Brush(),
        ),
        AT_2_1_BYTES
        + bytes.fromhex("33000000")
        + bytes(16)
        + bytes.fromhex("01 ffffff00 00 0800 0000")
        + bytes.fromhex("0100 01 01000000 02000000 03000000 fcffffff 0900 0200 01020304"),
    ),
    (
        display.DrawComposite(
            base=AT_2_1,
            flags=display.CompositeFlag.HAS_MASK | display.CompositeFlag.HAS_MASK_TRANSFORM,
            src=None,
            mask=None,
            mask_transform=Transform(1.0, 0.0, 0.5, 0.0, 1.0, -1.0),
            src_origin=Point16(1, -1),
            mask_origin=Point16(2, -2),
        ),
        AT_2_1_BYTES
        + bytes.fromhex("00002800 00000000 00000000")
        + bytes.fromhex("00000100 00000000 00800000 00000000 00000100 0000ffff")
        + bytes.fromhex("0100ffff 0200feff"),
    ),
    (
        display.StreamCreate(
            surface_id=1,
            id=2,
            flags=1,
            codec_type=display.VideoCodecType.VP8,
            stamp=3,
            stream_width=4,
            stream_height=5,
            src_width=6,
            src_height=7,
            dest=Rect(8, 9, 10, 11),
        ),
        struct.pack("<IIBBQIIII4iB", 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0),
    ),
    (
        display.StreamDataSized(id=1, mm_time=2, width=3, height=4, dest=Rect(5, 6, 7, 8), data=b"ab"),
        struct.pack("<IIII4iI2s", 1, 2, 3, 4, 5, 6, 7, 8, 2, b"ab"),
    ),
    (
        display.MonitorsConfig(max_allowed=4, heads=(display.Head(1, 2, 3, 4, 5, 6, 7),)),
        struct.pack("<HH7I", 1, 4, 1, 2, 3, 4, 5, 6, 7),
    ),
    (
        display.SurfaceCreate(
            surface_id=0, width=640, height=480, format=display.SurfaceFormat.FMT_32_xRGB, flags=display.SurfaceFlag.PRIMARY
        ),
        struct.pack("<5I", 0, 640, 480, 32, 1),
    ),
    (
        display.Init(pixmap_cache_id=1, pixmap_cache_size=-1, glz_dictionary_id=2, glz_dictionary_window_size=3),
        struct.pack("<BqBi", 1, -1, 2, 3),
    ),
    (display.InvalList(resources=(display.ResourceId(display.ResourceType.PIXMAP, 258),)), "0100 01 0201000000000000"),
    (display.PreferredVideoCodecType(codecs=(display.VideoCodecType.H264, display.VideoCodecType.MJPEG)), "02 03 01"),
    (
        Bitmap(BitmapFormat.FMT_8BIT, BitmapFlag.TOP_DOWN, 2, 2, 2, palette=Palette(5, (1, 0xFFFFFF)), data=b"abcd"),
        "05 04 02000000 02000000 02000000 16000000 61626364 0500000000000000 0200 01000000 ffffff00",
    ),
    (
        Bitmap(BitmapFormat.FMT_8BIT, BitmapFlag.PAL_FROM_CACHE, 1, 1, 1, palette_id=5, data=b"a"),
        "05 02 01000000 01000000 01000000 0500000000000000 61",
    ),
    (image.LzPlt(0, palette=None, data=b"ab"), "00 02000000 00000000 6162"),
    (image.ZlibGlzRgb(99, b"ab"), "63000000 02000000 6162"),
    (image.JpegAlpha(1, 1, b"ab"), "01 01000000 02000000 6162"),
    (
        link.LinkMess(5, ChannelType.DISPLAY, 1, num_common_caps=1, num_channel_caps=2, caps=(0xB, 1, 2)),
        "05000000 02 01 01000000 02000000 12000000 0b000000 01000000 02000000",
    ),
    (link.LinkHeader(size=26), "52454451 02000000 02000000 1a000000"),
    (
        link.LinkReply(LinkErrorCode.OK, bytes(162), num_common_caps=1, num_channel_caps=0, caps=(8,)),
        bytes(166) + bytes.fromhex("01000000 00000000 b2000000 08000000"),
    ),
    (link.LinkReply(LinkErrorCode.NEED_SECURED, bytes(162), 0, 0, ()), b"\5" + bytes(173) + bytes.fromhex("b2000000")),
    (
        main.Init(
            session_id=1,
            display_channels_hint=2,
            supported_mouse_modes=3,
            current_mouse_mode=main.MouseMode.CLIENT,
            agent_connected=1,
            agent_tokens=10,
            multi_media_time=7,
            ram_hint=8,
        ),
        struct.pack("<8I", 1, 2, 3, 2, 1, 10, 7, 8),
    ),
    (main.ChannelsList(channels=(main.ChannelId(ChannelType.DISPLAY, 1),)), "01000000 02 01"),
    (
        main.MigrateBeginSeamless(dst_info=main.DstInfo(5900, 0xFFFF, b"host\0", b"CN=x\0"), src_mig_version=1),
        struct.pack("<HHIIIII", 5900, 0xFFFF, 5, 24, 5, 29, 1) + b"host\0CN=x\0",
    ),
    (
        main.MigrateSwitchHost(dst_info=main.DstInfo(5900, 0, b"host\0")),
        struct.pack("<HHIIII", 5900, 0, 5, 20, 0, 0) + b"host\0",
    ),
    (base.WaitForChannels(wait_list=(base.WaitForChannel(ChannelType.CURSOR, 1, 2),)), "01 04 01 0200000000000000"),
    (base.Ping(id=1, timestamp=2, data=b"xy"), "01000000 0200000000000000 7879"),
    (
        base.Notify(
            time_stamp=1, severity=base.NotifySeverity.WARN, visibility=base.NotifyVisibility.HIGH, what=3, message=b"hi"
        ),
        struct.pack("<QIIII", 1, 1, 2, 3, 2) + b"hi\0",
    ),
    (base.DataHeader(1, 2, 3, 4), struct.pack("<QHII", 1, 2, 3, 4)),
    (base.MiniDataHeader(1, 2), struct.pack("<HI", 1, 2)),
    (base.SubMessage(2, b"x"), "0200 01000000 78"),
    (
        cursor.Init(
            position=Point16(-1, 2),
            trail_length=3,
            trail_frequency=4,
            visible=1,
            cursor=cursor.Cursor(cursor.CursorFlag.CACHE_ME, cursor.CursorHeader(9, cursor.CursorType.MONO, 8, 1, 2, 0), b"\1\2"),
        ),
        "ffff 0200 0300 0400 01 0200 0900000000000000 01 0800 0100 0200 0000 0102",
    ),
    (cursor.Set(position=Point16(1, 2), visible=0, cursor=cursor.Cursor(cursor.CursorFlag.NONE)), "0100 0200 00 0100"),
    (inputs.MousePosition(x=1, y=2, buttons_state=4, display_id=3), "01000000 02000000 0400 03"),
    (inputs.MouseMotion(dx=-1, dy=2), "ffffffff 02000000 0000"),
    (inputs.MousePress(button=inputs.MouseButton.RIGHT, buttons_state=inputs.MouseButtonMask.RIGHT), "03 0400"),
    (inputs.KeyDown(code=0x4DE0), "e04d0000"),
    (playback.Start(channels=2, format=playback.AudioFormat.S16, frequency=48000, time=1), struct.pack("<IHII", 2, 1, 48000, 1)),
    (playback.Volume(volume=(1, 0xFFFF)), "02 0100 ffff"),
    (record.Start(channels=2, format=playback.AudioFormat.S16, frequency=48000), struct.pack("<IHI", 2, 1, 48000)),
    (port.Init(name=b"a\0", opened=1), "02000000 09000000 01 6100"),
    (
        spicevmc.CompressedData(type=spicevmc.DataCompressionType.LZ4, uncompressed_size=3, compressed_data=b"x"),
        "01 03000000 78",
    ),
    (spicevmc.CompressedData(type=spicevmc.DataCompressionType.NONE, compressed_data=b"x"), "00 78"),
    (webdav.MuxFrame(-2, b"GET"), "feffffffffffffff 0300 474554"),
    (smartcard.Data(type=smartcard.VscMessageType.APDU, reader_id=0, data=b"\0\xa4"), "07000000 00000000 02000000 00a4"),
    (vdagent.Header(1, vdagent.AgentMessageType.REPLY, 0, 8), struct.pack("<IIQI", 1, 3, 0, 8)),
    (
        vdagent.MonitorsConfig(
            flags=vdagent.MonitorsConfigFlag.PHYSICAL_SIZE,
            monitors=(vdagent.MonConfig(height=600, width=800, x=-1),),
            physical_sizes=(vdagent.MonitorMm(height=150, width=200),),
        ),
        struct.pack("<IIIIIiiHH", 1, 2, 600, 800, 32, -1, 0, 150, 200),
    ),
    (vdagent.AudioVolumeSync(is_playback=1, mute=0, volume=(7, 8)), "01 00 02 0700 0800"),
    (
        vdagent.GraphicsDeviceInfo(display_info=(vdagent.DeviceDisplayInfo(1, 2, 3, b"a\0"),)),
        "01000000 01000000 02000000 03000000 02000000 6100",
    ),
    (
        usbredir.ControlPacket(
            endpoint=0x80, request=6, requesttype=0x80, status=usbredir.Status.STALL, value=256, index=2, length=18, data=b"x"
        ),
        "80 06 80 04 0001 0200 1200 78",
    ),
]

CAPABLE: list[tuple[Record, frozenset[int], str]] = [
    (
        vdagent.ClipboardGrab(
            selection=vdagent.ClipboardSelection.PRIMARY,
            reserved=bytes(3),
            serial=5,
            types=(vdagent.ClipboardType.UTF8_TEXT, vdagent.ClipboardType.IMAGE_PNG),
        ),
        SELECTION | {vdagent.AgentCap.CLIPBOARD_GRAB_SERIAL},
        "01 000000 05000000 01000000 02000000",
    ),
    (vdagent.ClipboardGrab(types=(vdagent.ClipboardType.UTF8_TEXT,)), frozenset(), "01000000"),
    (vdagent.ClipboardRelease(selection=vdagent.ClipboardSelection.CLIPBOARD, reserved=bytes(3)), SELECTION, "00 000000"),
    (vdagent.ClipboardRelease(), frozenset(), ""),
    (
        usbredir.DeviceConnect(
            speed=usbredir.Speed.HIGH,
            device_class=1,
            device_subclass=2,
            device_protocol=3,
            vendor_id=4,
            product_id=5,
            device_version_bcd=0x0100,
        ),
        frozenset({usbredir.UsbRedirCap.CONNECT_DEVICE_VERSION}),
        "02 01 02 03 0400 0500 0001",
    ),
    (
        usbredir.BulkPacket(endpoint=1, status=usbredir.Status.SUCCESS, length=2, stream_id=3, length_high=4, data=b"x"),
        frozenset({usbredir.UsbRedirCap.CAP_32BITS_BULK_LENGTH}),
        "01 00 0200 03000000 0400 78",
    ),
]

# The fixed sizes that the reference states.
SIZES = [
    (link.LinkHeader, 16),
    (link.LinkMess, 18),
    (link.LinkReply, 178),
    (base.DataHeader, 18),
    (base.MiniDataHeader, 6),
    (geometry.Transform, 24),
    (geometry.DisplayBase, 21),
    (display.QMask, 13),
    (display.Pattern, 12),
    (image.Palette, 10),
    (main.DstInfo, 20),
    (main.Init, 32),
    (display.Head, 28),
    (display.Init, 14),
    (display.GlScanoutUnix, 20),
    (display.StreamReport, 32),
    (display.RasterGlyphA1, 20),
    (cursor.CursorHeader, 17),
    (vdagent.Header, 20),
    (port.Init, 9),
    (playback.Start, 14),
    (record.Start, 10),
    (usbredir.Header, 12),
    (usbredir.Header64, 16),
    (usbredir.Hello, 64),
    (usbredir.DeviceConnect, 8),
    (usbredir.InterfaceInfo, 132),
    (usbredir.EpInfo, 96),
    (usbredir.StartBulkReceiving, 10),
    (usbredir.StopBulkReceiving, 5),
    (usbredir.BulkReceivingStatus, 6),
    (usbredir.ControlPacket, 10),
    (usbredir.BulkPacket, 8),
    (usbredir.IsoPacket, 4),
    (usbredir.InterruptPacket, 4),
    (usbredir.BufferedBulkPacket, 10),
]


def name(one: object) -> str:
    return f"{type(one).__module__.rpartition('.')[2]}.{type(one).__name__}" if isinstance(one, Record) else ""


@pytest.mark.parametrize(("value", "expected"), EXAMPLES, ids=name)
def test_bytes(value: Record, expected: str | bytes) -> None:
    body = expected if isinstance(expected, bytes) else bytes.fromhex(expected)
    assert value.encode().hex(" ") == body.hex(" ")
    assert type(value).decode(body) == value


@pytest.mark.parametrize(("value", "caps", "expected"), CAPABLE, ids=name)
def test_bytes_that_depend_on_capabilities(value: Record, caps: frozenset[int], expected: str) -> None:
    assert value.encode(caps=caps).hex(" ") == bytes.fromhex(expected).hex(" ")
    assert type(value).decode(bytes.fromhex(expected), caps=caps) == value


@pytest.mark.parametrize(("cls", "size"), SIZES, ids=lambda one: one.__name__ if isinstance(one, type) else "")
def test_fixed_sizes(cls: type[Record], size: int) -> None:
    assert cls.layout.min_size == size


def test_endpoints_have_all_their_entries() -> None:
    every = frozenset({usbredir.UsbRedirCap.EP_INFO_MAX_PACKET_SIZE, usbredir.UsbRedirCap.BULK_STREAMS})
    info = usbredir.EpInfo(
        type=bytes(32), interval=bytes(32), interface=bytes(32), max_packet_size=(8,) * 32, max_streams=(0,) * 32
    )
    assert len(info.encode(caps=every)) == 288
    with pytest.raises(LocalProtocolError, match="max_packet_size"):
        info.replace(max_packet_size=(8,)).encode(caps=every)


def test_a_pointer_may_go_anywhere_in_the_body() -> None:
    """Backward, to itself, to what another points to: an offset is an offset."""
    body = bytearray(main.DstInfo(1, 2, b"hh", b"cc").encode())
    struct.pack_into("<I", body, 8, 0)  # null, although two bytes are said to be there
    with pytest.raises(MalformedMessage, match="host"):
        main.DstInfo.decode(body)
    struct.pack_into("<I", body, 8, 16)
    assert main.DstInfo.decode(body).host == body[16:18]
    struct.pack_into("<I", body, 8, len(body) - 1)
    with pytest.raises(MalformedMessage, match="host: 2 bytes at offset 23 are needed, 1 are left"):
        main.DstInfo.decode(body)
    struct.pack_into("<I", body, 8, 0xFFFFFFFF)
    with pytest.raises(MalformedMessage, match="host"):
        main.DstInfo.decode(body)


def test_a_string_without_a_depth_has_no_glyphs() -> None:
    assert display.String.decode(bytes.fromhex("0500 00")).glyphs is None


def test_an_unknown_image_type_has_no_payload() -> None:
    known = Image(1, ImageType.FROM_CACHE, 0, 2, 3)
    unknown = Image.decode(known.encode().replace(b"\x67", b"\x42"))
    assert unknown.payload is None
    assert not unknown.type.is_known
    assert unknown.type.name == "UNKNOWN_66"


def test_rectangles() -> None:
    rect = Rect.at(2, 1, 16, 8)
    assert (rect.top, rect.left, rect.bottom, rect.right) == (1, 2, 9, 18)
    assert (rect.width, rect.height, rect.is_empty) == (16, 8, False)
    assert rect.intersection(Rect.at(10, 0, 100, 3)) == Rect(1, 10, 3, 18)
    assert rect.intersection(Rect.at(18, 0, 1, 100)).is_empty
    assert Rect.at(0, 0, 5, 0).is_empty


def test_clips() -> None:
    assert Clip() == Clip(ClipType.NONE, None)
    assert Clip.to() == Clip(ClipType.RECTS, ())
    assert Clip.to(AREA).rects == (AREA,)


def test_the_words_of_a_link_are_as_many_as_its_counts_say() -> None:
    mess = link.LinkMess(0, ChannelType.MAIN, 0, num_common_caps=1, num_channel_caps=1, caps=(1, 2))
    with pytest.raises(LocalProtocolError, match="caps"):
        mess.replace(num_channel_caps=7).encode()
    # 2**31 + 2**31 words are none where the sum is taken in 32 bits: CVE-2016-9578.
    hostile = mess.encode()[:6] + struct.pack("<II", 2**31, 2**31) + mess.encode()[14:]
    with pytest.raises(MalformedMessage, match="caps"):
        link.LinkMess.decode(hostile)


def test_what_was_typed_or_is_private_is_not_shown() -> None:
    secret = b"hunter2!"
    said = [
        inputs.KeyDown(code=0x23),
        inputs.KeyUp(code=0xA3),
        inputs.KeyScancode(data=secret),
        main.AgentData(data=secret),
        vdagent.Clipboard(type=vdagent.ClipboardType.UTF8_TEXT, data=secret),
        smartcard.Data(type=smartcard.VscMessageType.APDU, data=secret),
        spicevmc.Data(data=secret),
        link.LinkEncryptedTicket(secret * 16),
    ]
    for one in said:
        shown = repr(one) + str(one)
        assert not any(text in shown for text in (secret.hex(), secret.hex()[:8], "hunter", "35", "163"))
    assert repr(said[2]) == "KeyScancode(data=<8 bytes>)"


def test_a_message_two_roles_send_has_two_numbers() -> None:
    assert (main.AgentData.number(Role.SERVER), main.AgentData.number(Role.CLIENT)) == (109, 107)
    with pytest.raises(LocalProtocolError, match="a server never sends KeyDown"):
        inputs.KeyDown.number(Role.SERVER)
