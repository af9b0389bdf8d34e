"""The fixed structures of the link stage: header, mess and reply, for both roles. Parsed and packed in C, every bound checked.

Source:
    Protocol reference, 1.2 to 1.4 and 1.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, Self

import attrs

from _spice_codec import ffi, lib
from atp_trio.errors import ConfigError, LinkInvalidData, LinkInvalidMagic, LinkVersionMismatch, MalformedMessage

__all__ = [
    "LinkHeader",
    "LinkMess",
    "LinkReply",
    "MalformedLink",
    "caps_to_words",
    "pack_link",
    "parse_link_header",
    "parse_link_mess",
    "parse_link_reply",
    "words_to_caps",
]

MAGIC: Final = 0x51444552  # the bytes "REDQ"
MAX_LINK_SIZE: Final[int] = lib.SPICE_LINK_MAX_SIZE
MAX_CAPS: Final[int] = 32 * lib.SPICE_LINK_MAX_WORDS
PUB_KEY_SIZE: Final[int] = lib.SPICE_LINK_PUB_KEY_SIZE


class MalformedLink(MalformedMessage):
    """Bytes of the link stage that cannot be meant.

    Attributes:
        code: The number of the link error that a server answers them with.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


_MALFORMED: Final[dict[int, tuple[int, str]]] = {
    lib.SPICE_LINK_BAD_MAGIC: (LinkInvalidMagic.default_code, "the peer does not speak SPICE: its first bytes are not REDQ"),
    lib.SPICE_LINK_BAD_VERSION: (LinkVersionMismatch.default_code, "the peer speaks another major version of SPICE than 2"),
    lib.SPICE_LINK_BAD_SIZE: (LinkInvalidData.default_code, f"a link message is too short, or longer than {MAX_LINK_SIZE} bytes"),
    lib.SPICE_LINK_TOO_MANY_WORDS: (LinkInvalidData.default_code, "a link message announces more than 1024 capability words"),
    lib.SPICE_LINK_CAPS_INSIDE: (LinkInvalidData.default_code, "a link message's capabilities begin within its fixed part"),
    lib.SPICE_LINK_CAPS_OUTSIDE: (LinkInvalidData.default_code, "a link message's capabilities run past its end"),
}


def _check(status: int) -> None:
    if status != lib.SPICE_LINK_OK:
        code, sentence = _MALFORMED[status]
        raise MalformedLink(sentence, code)


def caps_to_words(caps: Iterable[int]) -> tuple[int, ...]:
    """The capability words that announce `caps`, as few as will do; none for no capability.

    Raises:
        ConfigError: A number outside of 0 to 32767, the most that the link's 1024 words can say.
    """
    numbers = sorted(caps)
    for number in numbers[:1] + numbers[-1:]:
        if not 0 <= number < MAX_CAPS:
            raise ConfigError(f"a capability is numbered 0 to {MAX_CAPS - 1}, not {number}")
    words = [0] * (numbers[-1] // 32 + 1 if numbers else 0)
    for number in numbers:
        words[number // 32] |= 1 << number % 32
    return tuple(words)


def words_to_caps(words: Iterable[int]) -> frozenset[int]:
    """The capabilities that `words` announce: number n is bit n % 32 of word n // 32. Words that are missing count as zero."""
    return frozenset(32 * index + bit for index, word in enumerate(words) for bit in range(32) if word >> bit & 1)


def _caps(numbers: Iterable[int]) -> frozenset[int]:
    """`frozenset`, with a type that attrs' plugin of mypy can follow."""
    return frozenset(numbers)


def _bits(width: int) -> Any:
    """A validator: an unsigned integer of `width` bits."""

    def validate(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 <= value < 1 << width:
            raise ConfigError(f"{attribute.name} is 0 to 2**{width} - 1, not {value}")

    return validate


def _check_pub_key(_: Any, __: Any, value: bytes) -> None:
    if len(value) != PUB_KEY_SIZE:
        raise ConfigError(f"pub_key has {PUB_KEY_SIZE} bytes, not {len(value)}")


@attrs.frozen
class LinkHeader:
    """SpiceLinkHeader: what both sides send first."""

    SIZE: ClassVar[int] = lib.SPICE_LINK_HEADER_SIZE
    """In bytes."""

    size: int = attrs.field(validator=_bits(32))
    """Bytes that follow: the mess or reply with its capability words."""
    major: int = attrs.field(default=2, validator=_bits(32))
    minor: int = attrs.field(default=2, validator=_bits(32))

    def pack(self) -> bytes:
        """The header's 16 bytes."""
        out = ffi.new("uint8_t[]", self.SIZE)
        lib.spice_link_pack_header(out, ffi.new("struct spice_link_header *", (MAGIC, self.major, self.minor, self.size)))
        return bytes(ffi.buffer(out))


@attrs.frozen
class LinkMess:
    """SpiceLinkMess: the client asks for a channel."""

    SIZE: ClassVar[int] = lib.SPICE_LINK_MESS_SIZE
    """In bytes, without the capability words."""

    connection_id: int = attrs.field(validator=_bits(32))
    """0 for a new main channel, otherwise the session id from MAIN_INIT."""
    channel_type: int = attrs.field(validator=_bits(8))
    channel_id: int = attrs.field(validator=_bits(8))
    common_caps: frozenset[int] = attrs.field(default=frozenset(), converter=_caps)
    """Numbers of the capabilities that every channel shares."""
    channel_caps: frozenset[int] = attrs.field(default=frozenset(), converter=_caps)
    """Numbers of the capabilities of this channel's type."""

    def pack(self) -> bytes:
        """The structure and its capability words, without the link header.

        Raises:
            ConfigError: A capability beyond 32767, or too many words for a link message.
        """
        common, channel = caps_to_words(self.common_caps), caps_to_words(self.channel_caps)
        mess = ffi.new(
            "struct spice_link_mess *",
            (self.connection_id, self.channel_type, self.channel_id, len(common), len(channel), 0),
        )
        out = _output(self.SIZE, common, channel)
        lib.spice_link_pack_mess(out, mess, common, channel)
        return bytes(ffi.buffer(out))


@attrs.frozen
class LinkReply:
    """SpiceLinkReply: the server's answer."""

    SIZE: ClassVar[int] = lib.SPICE_LINK_REPLY_SIZE
    """In bytes, without the capability words."""

    error: int = attrs.field(validator=_bits(32))
    """The link error, as in `SPICE_LINK_ERR_*`; with any but 0 the fields below mean nothing."""
    pub_key: bytes = attrs.field(default=bytes(PUB_KEY_SIZE), validator=_check_pub_key, repr=False)
    """The RSA key to encrypt the ticket with, 162 bytes: SubjectPublicKeyInfo in DER; all zero when there is none."""
    common_caps: frozenset[int] = attrs.field(default=frozenset(), converter=_caps)
    """Numbers of the capabilities that every channel shares."""
    channel_caps: frozenset[int] = attrs.field(default=frozenset(), converter=_caps)
    """Numbers of the capabilities of this channel's type."""

    @classmethod
    def refuse(cls, error: int) -> Self:
        """The reply that refuses a link: nothing but the error."""
        return cls(error=error)

    def pack(self) -> bytes:
        """The structure and its capability words, without the link header.

        Raises:
            ConfigError: A capability beyond 32767, or too many words for a link message.
        """
        common, channel = caps_to_words(self.common_caps), caps_to_words(self.channel_caps)
        reply = ffi.new("struct spice_link_reply *", (self.error, self.pub_key, len(common), len(channel), 0))
        out = _output(self.SIZE, common, channel)
        lib.spice_link_pack_reply(out, reply, common, channel)
        return bytes(ffi.buffer(out))


def _output(size: int, common: Sequence[int], channel: Sequence[int]) -> Any:
    total = size + 4 * (len(common) + len(channel))
    if total > MAX_LINK_SIZE:
        raise ConfigError(f"these capabilities make a link message of {total} bytes; the limit is {MAX_LINK_SIZE}")
    return ffi.new("uint8_t[]", total)


def pack_link(message: LinkMess | LinkReply) -> bytes:
    """All that goes on the wire: the link header, the message and its capability words."""
    body = message.pack()
    return LinkHeader(size=len(body)).pack() + body


def parse_link_header(data: bytes | bytearray | memoryview, expected: type[LinkMess | LinkReply]) -> LinkHeader | None:
    """The link header that `data` begins with, or None as long as `data` is too short but may become one.

    A wrong magic shows at the first wrong byte, a wrong version after 8: there is no waiting for the rest. A server has to look
    for a WebSocket request (`GET `) before it calls this.

    Args:
        data: What was received; more than 16 bytes do no harm.
        expected: What follows the header: a LinkMess in the server's role, a LinkReply in the client's.

    Raises:
        MalformedLink: Not SPICE, another major version, or a size that does not fit what is expected (`code` says which).
    """
    header = ffi.new("struct spice_link_header *")
    # Released at once: a memoryview that is still exported when the garbage collector clears it crashes the interpreter.
    with ffi.from_buffer("uint8_t[]", data) as view:
        status = lib.spice_link_parse_header(view, len(view), expected.SIZE, header)
    if status == lib.SPICE_LINK_INCOMPLETE:
        return None
    _check(status)
    return LinkHeader(size=header.size, major=header.major, minor=header.minor)


def parse_link_mess(data: bytes | bytearray | memoryview) -> LinkMess:
    """The mess in `data`, the `LinkHeader.size` bytes behind the header.

    Raises:
        MalformedLink: With `code` INVALID_DATA: wrong size, or capabilities that do not lie within `data`.
    """
    mess = ffi.new("struct spice_link_mess *")
    with ffi.from_buffer("uint8_t[]", data) as view:
        _check(lib.spice_link_parse_mess(view, len(view), mess))
        common, channel = _read_caps(view, mess)
    return LinkMess(mess.connection_id, mess.channel_type, mess.channel_id, common, channel)


def parse_link_reply(data: bytes | bytearray | memoryview) -> LinkReply:
    """The reply in `data`, the `LinkHeader.size` bytes behind the header.

    A reply with an error has no capabilities: servers leave the rest zero, and whatever stands there is not looked at.

    Raises:
        MalformedLink: With `code` INVALID_DATA: wrong size, or capabilities that do not lie within `data`.
    """
    reply = ffi.new("struct spice_link_reply *")
    with ffi.from_buffer("uint8_t[]", data) as view:
        _check(lib.spice_link_parse_reply(view, len(view), reply))
        common, channel = _read_caps(view, reply)
    return LinkReply(reply.error, bytes(ffi.buffer(reply.pub_key)), common, channel)


def _read_caps(data: Any, fixed: Any) -> tuple[frozenset[int], frozenset[int]]:
    """Common and channel capabilities of a structure whose parse has checked them."""
    total = fixed.num_common_caps + fixed.num_channel_caps
    words = ffi.new("uint32_t[]", max(total, 1))
    lib.spice_link_read_words(data, fixed.caps_offset, total, words)
    numbers = list(words)[:total]
    return words_to_caps(numbers[: fixed.num_common_caps]), words_to_caps(numbers[fixed.num_common_caps :])
