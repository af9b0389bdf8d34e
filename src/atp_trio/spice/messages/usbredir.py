"""The usbredir protocol, inside the data of the usbredir channel.

In the catalogue it is the protocol `"usbredir"`: Role.CLIENT is the usb-host, which has the device (the SPICE client);
Role.SERVER the usb-guest, the virtual machine. Where a layout depends on what both sides announced in their `Hello`, `caps` of
decode and encode are numbers of `UsbRedirCap`. Layouts are those behind the packet header; endpoints are USB addresses, bit 7
set for IN; arrays of endpoints have OUT 0 to 15, then IN 0 to 15.

Source: section 16 of the protocol reference.
"""

from __future__ import annotations

from typing import Final

from atp_trio.spice.wire import Message, OpenEnum, Record, message, record
from atp_trio.spice.wire.field import Negotiated, elements, elements_to_end, octets, to_end, u8, u16, u32, u64

USBREDIR: Final = "usbredir"
MAX_ENDPOINTS = 32
MAX_INTERFACES = 32
VERSION_SIZE = 64


class UsbRedirCap(OpenEnum):
    """Capabilities of the two sides. Names that would begin with a digit have the prefix CAP."""

    BULK_STREAMS = 0
    CONNECT_DEVICE_VERSION = 1
    FILTER = 2
    DEVICE_DISCONNECT_ACK = 3
    EP_INFO_MAX_PACKET_SIZE = 4
    CAP_64BITS_IDS = 5
    CAP_32BITS_BULK_LENGTH = 6
    BULK_RECEIVING = 7


class PacketType(OpenEnum):
    """The packets by number."""

    HELLO = 0
    DEVICE_CONNECT = 1
    DEVICE_DISCONNECT = 2
    RESET = 3
    INTERFACE_INFO = 4
    EP_INFO = 5
    SET_CONFIGURATION = 6
    GET_CONFIGURATION = 7
    CONFIGURATION_STATUS = 8
    SET_ALT_SETTING = 9
    GET_ALT_SETTING = 10
    ALT_SETTING_STATUS = 11
    START_ISO_STREAM = 12
    STOP_ISO_STREAM = 13
    ISO_STREAM_STATUS = 14
    START_INTERRUPT_RECEIVING = 15
    STOP_INTERRUPT_RECEIVING = 16
    INTERRUPT_RECEIVING_STATUS = 17
    ALLOC_BULK_STREAMS = 18
    FREE_BULK_STREAMS = 19
    BULK_STREAMS_STATUS = 20
    CANCEL_DATA_PACKET = 21
    FILTER_REJECT = 22
    FILTER_FILTER = 23
    DEVICE_DISCONNECT_ACK = 24
    START_BULK_RECEIVING = 25
    STOP_BULK_RECEIVING = 26
    BULK_RECEIVING_STATUS = 27
    CONTROL_PACKET = 100
    BULK_PACKET = 101
    ISO_PACKET = 102
    INTERRUPT_PACKET = 103
    BUFFERED_BULK_PACKET = 104


class Status(OpenEnum):
    """How a request went; any other number is an error too."""

    SUCCESS = 0
    CANCELLED = 1
    INVAL = 2
    IOERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class EndpointType(OpenEnum):
    """Kinds of endpoint."""

    CONTROL = 0
    ISO = 1
    BULK = 2
    INTERRUPT = 3
    INVALID = 255


class Speed(OpenEnum):
    """The speeds of USB."""

    LOW = 0
    FULL = 1
    HIGH = 2
    SUPER = 3
    UNKNOWN = 255


def _all_endpoints(*_: object) -> int:
    return MAX_ENDPOINTS


@record
class Header(Record):
    """What stands before every packet; the id has 64 bits where both sides announced CAP_64BITS_IDS, but never in a HELLO."""

    type: PacketType = u32(PacketType)
    length: int = u32()
    """Bytes that follow."""
    id: int = u32()


@record
class Header64(Record):
    """The header with a 64-bit id."""

    type: PacketType = u32(PacketType)
    length: int = u32()
    """Bytes that follow."""
    id: int = u64()


@message(USBREDIR, from_server=0, from_client=0)
class Hello(Message):
    """The first packet of either side."""

    version: bytes = octets(VERSION_SIZE)
    """Text, padded with NULs."""
    caps: tuple[int, ...] = elements_to_end(u32(), default=())
    """Words; see `codec.link.caps_to_words` and `words_to_caps`."""


@message(USBREDIR, from_client=1)
class DeviceConnect(Message):
    """A device is plugged in; `EpInfo` and `InterfaceInfo` come before it."""

    speed: Speed = u8(Speed)
    device_class: int = u8()
    device_subclass: int = u8()
    device_protocol: int = u8()
    vendor_id: int = u16()
    product_id: int = u16()
    device_version_bcd: int | None = u16(when=Negotiated(UsbRedirCap.CONNECT_DEVICE_VERSION), default=None)


@message(USBREDIR, from_client=2)
class DeviceDisconnect(Message):
    """The device is gone."""


@message(USBREDIR, from_server=3)
class Reset(Message):
    """Reset the device."""


@message(USBREDIR, from_client=4)
class InterfaceInfo(Message):
    """The interfaces of the active configuration; the first `interface_count` of 32 entries count."""

    interface_count: int = u32()
    interface: bytes = octets(MAX_INTERFACES)
    interface_class: bytes = octets(MAX_INTERFACES)
    interface_subclass: bytes = octets(MAX_INTERFACES)
    interface_protocol: bytes = octets(MAX_INTERFACES)


@message(USBREDIR, from_client=5)
class EpInfo(Message):
    """The endpoints of the active configuration."""

    type: bytes = octets(MAX_ENDPOINTS)
    """Numbers of `EndpointType`."""
    interval: bytes = octets(MAX_ENDPOINTS)
    interface: bytes = octets(MAX_ENDPOINTS)
    max_packet_size: tuple[int, ...] | None = elements(
        u16(), rule=_all_endpoints, when=Negotiated(UsbRedirCap.EP_INFO_MAX_PACKET_SIZE), default=None
    )
    max_streams: tuple[int, ...] | None = elements(
        u32(), rule=_all_endpoints, when=Negotiated(UsbRedirCap.BULK_STREAMS), default=None
    )


@message(USBREDIR, from_server=6)
class SetConfiguration(Message):
    """Make a configuration the active one."""

    configuration: int = u8()


@message(USBREDIR, from_server=7)
class GetConfiguration(Message):
    """Which configuration is active?"""


@message(USBREDIR, from_client=8)
class ConfigurationStatus(Message):
    """The active configuration."""

    status: Status = u8(Status)
    configuration: int = u8()


@message(USBREDIR, from_server=9)
class SetAltSetting(Message):
    """Make an alternate setting of an interface the active one."""

    interface: int = u8()
    alt: int = u8()


@message(USBREDIR, from_server=10)
class GetAltSetting(Message):
    """Which alternate setting is active?"""

    interface: int = u8()


@message(USBREDIR, from_client=11)
class AltSettingStatus(Message):
    """The active alternate setting."""

    status: Status = u8(Status)
    interface: int = u8()
    alt: int = u8()


@message(USBREDIR, from_server=12)
class StartIsoStream(Message):
    """Start an isochronous stream."""

    endpoint: int = u8()
    pkts_per_urb: int = u8()
    no_urbs: int = u8()


@message(USBREDIR, from_server=13)
class StopIsoStream(Message):
    """Stop an isochronous stream."""

    endpoint: int = u8()


@message(USBREDIR, from_client=14)
class IsoStreamStatus(Message):
    """How an isochronous stream is."""

    status: Status = u8(Status)
    endpoint: int = u8()


@message(USBREDIR, from_server=15)
class StartInterruptReceiving(Message):
    """Poll an interrupt endpoint from now on."""

    endpoint: int = u8()


@message(USBREDIR, from_server=16)
class StopInterruptReceiving(Message):
    """Poll an interrupt endpoint no more."""

    endpoint: int = u8()


@message(USBREDIR, from_client=17)
class InterruptReceivingStatus(Message):
    """How the polling of an interrupt endpoint is."""

    status: Status = u8(Status)
    endpoint: int = u8()


@message(USBREDIR, from_server=18)
class AllocBulkStreams(Message):
    """Make bulk streams."""

    endpoints: int = u32()
    """A bit for each endpoint."""
    no_streams: int = u32()


@message(USBREDIR, from_server=19)
class FreeBulkStreams(Message):
    """Give bulk streams back."""

    endpoints: int = u32()
    """A bit for each endpoint."""


@message(USBREDIR, from_client=20)
class BulkStreamsStatus(Message):
    """Which bulk streams there are."""

    endpoints: int = u32()
    """A bit for each endpoint."""
    no_streams: int = u32()
    status: Status = u8(Status)


@message(USBREDIR, from_server=21)
class CancelDataPacket(Message):
    """Cancel the data packet of this id."""


@message(USBREDIR, from_server=22)
class FilterReject(Message):
    """The machine does not take the device (needs FILTER)."""


@message(USBREDIR, from_server=23, from_client=23)
class FilterFilter(Message):
    """Which devices the sender takes (needs FILTER)."""

    string: bytes = to_end()
    """Rules `class,vendor,product,version,allow` joined by `|`; the NUL is included."""


@message(USBREDIR, from_server=24)
class DeviceDisconnectAck(Message):
    """The answer to `DeviceDisconnect` (needs DEVICE_DISCONNECT_ACK)."""


@message(USBREDIR, from_server=25)
class StartBulkReceiving(Message):
    """Read from a bulk endpoint from now on (needs BULK_RECEIVING)."""

    stream_id: int = u32()
    bytes_per_transfer: int = u32()
    endpoint: int = u8()
    no_transfers: int = u8()


@message(USBREDIR, from_server=26)
class StopBulkReceiving(Message):
    """Read from a bulk endpoint no more."""

    stream_id: int = u32()
    endpoint: int = u8()


@message(USBREDIR, from_client=27)
class BulkReceivingStatus(Message):
    """How the reading from a bulk endpoint is."""

    stream_id: int = u32()
    endpoint: int = u8()
    status: Status = u8(Status)


@message(USBREDIR, from_server=100, from_client=100)
class ControlPacket(Message):
    """A control transfer; host and guest send the same type and id."""

    endpoint: int = u8()
    request: int = u8()
    requesttype: int = u8()
    status: Status = u8(Status)
    value: int = u16()
    index: int = u16()
    length: int = u16()
    """Bytes wanted, or transferred; the data are there only when they travel this way."""
    data: bytes = to_end(default=b"", secret=True)


@message(USBREDIR, from_server=101, from_client=101)
class BulkPacket(Message):
    """A bulk transfer."""

    endpoint: int = u8()
    status: Status = u8(Status)
    length: int = u16()
    """Bytes wanted, or transferred: the low 16 bits."""
    stream_id: int = u32()
    length_high: int | None = u16(when=Negotiated(UsbRedirCap.CAP_32BITS_BULK_LENGTH), default=None)
    data: bytes = to_end(default=b"", secret=True)


@message(USBREDIR, from_server=102, from_client=102)
class IsoPacket(Message):
    """An isochronous packet."""

    endpoint: int = u8()
    status: Status = u8(Status)
    length: int = u16()
    data: bytes = to_end(default=b"", secret=True)


@message(USBREDIR, from_server=103, from_client=103)
class InterruptPacket(Message):
    """An interrupt packet."""

    endpoint: int = u8()
    status: Status = u8(Status)
    length: int = u16()
    data: bytes = to_end(default=b"", secret=True)


@message(USBREDIR, from_client=104)
class BufferedBulkPacket(Message):
    """What was read from a bulk endpoint."""

    stream_id: int = u32()
    length: int = u32()
    endpoint: int = u8()
    status: Status = u8(Status)
    data: bytes = to_end(default=b"", secret=True)
