"""Fuzz the data stage: any bytes give messages or a `RemoteProtocolError`, the same whole and byte by byte, in bounded memory.

The first byte chooses the role and the header, the second the channel; the rest is what the peer says.

    python tests/fuzz/fuzz_channel.py FILE...        # run these inputs, under plain Python
    python tests/fuzz/fuzz_channel.py                # run the seeds below
    python tests/fuzz/fuzz_channel.py --fuzz CORPUS  # fuzz, where atheris is installed
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from atp_trio.errors import MalformedMessage, UnexpectedMessage, UnknownMessage
from atp_trio.spice.protocol.buffer import BLOCK
from atp_trio.spice.protocol.channel import ChannelCore
from atp_trio.spice.wire import Role, table

LIMIT = 4096


def target(data: bytes) -> None:
    """One input. Whatever it raises is a bug."""
    if len(data) < 2:
        return
    role = Role.SERVER if data[0] & 1 else Role.CLIENT
    options = {"channel_type": data[1] % 13, "mini_header": bool(data[0] & 2), "max_body": LIMIT}
    said = data[2:]
    whole = outcome(ChannelCore(role, **options), [said])
    bytewise = outcome(ChannelCore(role, **options), [said[at : at + 1] for at in range(len(said))])
    assert whole == bytewise, f"{whole}\n{bytewise}"


def outcome(core: ChannelCore, pieces: Iterable[bytes]) -> tuple[Any, ...]:
    """What came of it: the messages and errors, what was answered, and what was counted."""
    found: list[str] = []
    for piece in pieces:
        core.receive_data(piece)
        found += events(core)
        if found[-1:] == ["MalformedMessage"]:
            break
        assert len(core.free_space()) <= BLOCK
    answered = b"".join(core.data_to_send())
    assert len(answered) <= 2 * core.traffic.bytes_received
    return found, answered, core.last_serial, core.traffic.messages_received


def events(core: ChannelCore) -> Iterator[str]:
    """Every message that is there, as a log shows it, and every error by its class."""
    while True:
        try:
            message = core.next_message()
        except (UnknownMessage, UnexpectedMessage) as error:
            yield type(error).__name__
        except MalformedMessage:
            yield "MalformedMessage"
            return
        else:
            if message is None:
                return
            yield f"{message!r} {message}"


def seeds() -> Iterator[bytes]:
    """One frame of every message that every channel has, of zeros and of counting bytes, and the shapes that need more."""
    for role in Role:
        for channel_type in range(13):
            for header in (0, 2):
                prefix = bytes([header | (role is Role.SERVER), channel_type])
                for number in table(channel_type, role.peer):
                    for body in (bytes(64), bytes(range(64))):
                        yield prefix + frame(number, body, mini=bool(header))
                yield prefix + frame(3, struct.pack("<II", 1, 1), mini=bool(header)) * 3
                yield prefix + frame(
                    8, listing(frame(7, bytes(25), mini=True), frame(8, listing(), mini=True)), mini=bool(header)
                )
                yield prefix + struct.pack("<QHII", 2**64 - 1, 1, LIMIT + 1, LIMIT)


def frame(number: int, body: bytes, *, mini: bool) -> bytes:
    """A message of the wire."""
    return struct.pack("<HI", number, len(body)) + body if mini else struct.pack("<QHII", 1, number, len(body), 0) + body


def listing(*subs: bytes) -> bytes:
    """The body of a list."""
    offsets = [2 + 4 * len(subs) + sum(map(len, subs[:place])) for place in range(len(subs))]
    return struct.pack(f"<H{len(subs)}I", len(subs), *offsets) + b"".join(subs)


def main(arguments: list[str]) -> int:
    """Run the inputs that are named, or the seeds; gives how many ran."""
    if arguments[:1] == ["--fuzz"]:
        import atheris

        atheris.Setup([sys.argv[0], *arguments[1:]], target)
        atheris.Fuzz()
    inputs = [Path(name).read_bytes() for name in arguments] or list(seeds())
    for data in inputs:
        target(data)
    return len(inputs)


if __name__ == "__main__":
    print(f"{main(sys.argv[1:])} inputs, no bug")
