"""Messages in a stream of bytes: lines, length-prefixed, JSON. Sans-IO; `framed` puts them on a stream.

A framing says how messages lie in bytes; its decoder, one a stream, takes bytes in whatever pieces they come.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar

import attrs

from atp_trio.errors import ConfigError, LocalProtocolError, MalformedMessage

__all__ = ["NEED_DATA", "Decoder", "Framing", "JsonFraming", "LengthFraming", "LineFraming", "NeedData", "RawFraming"]

T = TypeVar("T")

DEFAULT_LIMIT: Final = 1 << 24
"""The longest message, in bytes, unless told otherwise: as the guest agent's own limits, more than a control message needs."""
_COMPACT: Final = 1 << 16  # bytes that were decoded and are not yet thrown away


class NeedData(Enum):
    """What a decoder gives when the next message is not complete; JSON's null is None."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA


class Decoder(abc.ABC, Generic[T]):
    """One stream's messages: `feed` it what comes, then take messages by `next` until that needs data."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of what is not decoded yet

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take what came."""
        if self._start > _COMPACT or self._start == len(self._buffer):
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    @property
    def pending(self) -> int:
        """How many bytes are there that are no message yet; at the end of a stream, of one that was cut off."""
        return len(self._buffer) - self._start

    @abc.abstractmethod
    def next(self) -> T | Literal[NeedData.NEED_DATA]:
        """The next message.

        Raises:
            MalformedMessage: It is longer than the limit, and nothing after it can be decoded either; or it cannot be decoded
                and was left out.
        """

    def _take(self, size: int, skip: int = 0) -> bytes:
        """The next bytes, and then throw away `skip`."""
        taken = bytes(memoryview(self._buffer)[self._start : self._start + size])
        self._start += size + skip
        return taken


class Framing(abc.ABC, Generic[T]):
    """How messages lie in bytes."""

    @abc.abstractmethod
    def encode(self, message: T) -> bytes:
        """A message's bytes.

        Raises:
            LocalProtocolError: The framing, or its limit, does not allow it.
            ConfigError: It is none.
        """

    @abc.abstractmethod
    def decoder(self) -> Decoder[T]:
        """A decoder for one stream."""


def _check_limit(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigError(f"{attribute.name} is at least 1, not {value}")


def _one_of(*choices: object) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(f"{attribute.name} is one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def _check_length(size: int, limit: int) -> None:
    if size > limit:
        raise LocalProtocolError(f"a message of {size} bytes is longer than {limit}")


@attrs.frozen
class RawFraming(Framing[bytes]):
    """No messages: bytes in the pieces in which they come."""

    def encode(self, message: bytes) -> bytes:
        """The same."""
        return message

    def decoder(self) -> Decoder[bytes]:
        """As in `Framing`."""
        return _RawDecoder()


class _RawDecoder(Decoder[bytes]):
    def next(self) -> bytes | Literal[NeedData.NEED_DATA]:
        return self._take(self.pending) if self.pending else NEED_DATA


@attrs.frozen(kw_only=True)
class LineFraming(Framing[str]):
    r"""Lines of text: without their end, which is `\n` or `\r\n` when received."""

    limit: int = attrs.field(default=DEFAULT_LIMIT, validator=_check_limit)
    r"""The longest line, in bytes, without its `\n`."""
    encoding: Literal["utf-8", "ascii", "latin-1"] = attrs.field(default="utf-8", validator=_one_of("utf-8", "ascii", "latin-1"))
    errors: Literal["strict", "replace", "ignore"] = attrs.field(
        default="strict", validator=_one_of("strict", "replace", "ignore")
    )
    """What becomes of bytes that are no text, as for `bytes.decode`: `strict` raises, `replace` puts a mark there."""
    end: Literal["\n", "\r\n", "\r"] = attrs.field(default="\n", validator=_one_of("\n", "\r\n", "\r"))
    """What is sent after a line; a shell on a console wants what the return key sends, which a terminal makes of any."""

    def encode(self, message: str) -> bytes:
        """As in `Framing`; a line holds no line feed, and does not end with a carriage return."""
        if "\n" in message or message.endswith("\r"):
            raise LocalProtocolError("a line holds no line end of its own")
        try:
            data = (message + self.end).encode(self.encoding, self.errors)
        except UnicodeError as error:
            raise ConfigError(f"the line cannot be said in {self.encoding}") from error
        _check_length(len(data) - len(self.end), self.limit)
        return data

    def decoder(self) -> Decoder[str]:
        """As in `Framing`."""
        return _TextDecoder(self)


@attrs.frozen(kw_only=True)
class JsonFraming(Framing[Any]):
    """JSON values, each on a line of its own; empty lines are passed over."""

    limit: int = attrs.field(default=DEFAULT_LIMIT, validator=_check_limit)
    """The longest line, in bytes."""

    def encode(self, message: Any) -> bytes:
        """As in `Framing`."""
        try:
            data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"the message cannot be said in JSON: {error}") from error
        _check_length(len(data), self.limit)
        return data + b"\n"

    def decoder(self) -> Decoder[Any]:
        """As in `Framing`."""
        return _JsonDecoder(self.limit)


@attrs.frozen(kw_only=True)
class LengthFraming(Framing[bytes]):
    """Messages after their length, an unsigned number that does not count itself."""

    size: Literal[1, 2, 4, 8] = attrs.field(default=4, validator=_one_of(1, 2, 4, 8))
    """How many bytes the length takes."""
    byteorder: Literal["big", "little"] = attrs.field(default="big", validator=_one_of("big", "little"))
    """Which of them comes first."""
    limit: int = attrs.field(default=DEFAULT_LIMIT, validator=_check_limit)
    """The longest message, in bytes."""

    def encode(self, message: bytes) -> bytes:
        """As in `Framing`."""
        _check_length(len(message), min(self.limit, (1 << 8 * self.size) - 1))
        return len(message).to_bytes(self.size, self.byteorder) + message

    def decoder(self) -> Decoder[bytes]:
        """As in `Framing`."""
        return _LengthDecoder(self)


class _LineDecoder(Decoder[T]):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._searched = 0  # bytes after the start that hold no line end

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._start + self._searched)
        size = self.pending if end < 0 else end - self._start
        if size > self._limit:
            raise MalformedMessage(f"a line is longer than {self._limit} bytes")
        if end < 0:
            self._searched = size
            return None
        self._searched = 0
        line = self._take(size, skip=1)
        return line[:-1] if line.endswith(b"\r") else line


class _TextDecoder(_LineDecoder[str]):
    def __init__(self, framing: LineFraming) -> None:
        super().__init__(framing.limit)
        self._framing = framing

    def next(self) -> str | Literal[NeedData.NEED_DATA]:
        line = self._next_line()
        if line is None:
            return NEED_DATA
        try:
            return line.decode(self._framing.encoding, self._framing.errors)
        except UnicodeError as error:
            raise MalformedMessage(f"a line is no {self._framing.encoding}") from error


class _JsonDecoder(_LineDecoder[Any]):
    def next(self) -> Any:
        while (line := self._next_line()) is not None:
            if not line.strip():
                continue
            try:
                return json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MalformedMessage("a line is no JSON") from error
        return NEED_DATA


class _LengthDecoder(Decoder[bytes]):
    def __init__(self, framing: LengthFraming) -> None:
        super().__init__()
        self._framing = framing

    def next(self) -> bytes | Literal[NeedData.NEED_DATA]:
        size = self._framing.size
        if self.pending < size:
            return NEED_DATA
        length = int.from_bytes(self._buffer[self._start : self._start + size], self._framing.byteorder)
        if length > self._framing.limit:
            raise MalformedMessage(f"a message of {length} bytes is longer than {self._framing.limit}")
        if self.pending < size + length:
            return NEED_DATA
        self._start += size
        return self._take(length)
