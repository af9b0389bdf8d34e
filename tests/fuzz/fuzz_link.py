"""Fuzz the link stage: any bytes link, or give one clear error, the same whole and byte by byte, in bounded memory.

The first byte chooses the role; the rest is what the peer says.

    python tests/fuzz/fuzz_link.py FILE...        # run these inputs, under plain Python
    python tests/fuzz/fuzz_link.py                # run the seeds below
    python tests/fuzz/fuzz_link.py --fuzz CORPUS  # fuzz, where atheris is installed
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from atp_trio.errors import LinkError, MalformedMessage
from atp_trio.spice.codec.link import MAX_LINK_SIZE, LinkMess, LinkReply, pack_link
from atp_trio.spice.messages.link import PUBLIC_KEY_SIZE, TICKET_SIZE, LinkErrorCode
from atp_trio.spice.protocol.link import CLIENT_CAPS, ClientLink, Linked, LinkRequested, ServerLink, TicketNeeded, TicketReceived

Event = TicketNeeded | LinkRequested | TicketReceived | Linked


def target(data: bytes) -> None:
    """One input. Whatever it raises is a bug."""
    if not data:
        return
    run = run_server if data[0] & 1 else run_client
    said = data[1:]
    whole, bytewise = run([said]), run([said[at : at + 1] for at in range(len(said))])
    assert whole == bytewise, f"{whole}\n{bytewise}"


def run_client(pieces: Iterable[bytes]) -> list[Any]:
    """Our client against this server."""
    link = ClientLink(2, 1, 7)

    def answer(event: Any) -> bool:
        if isinstance(event, TicketNeeded):
            link.send_ticket(bytes(TICKET_SIZE))
        return isinstance(event, Linked)

    return outcome(link, pieces, answer)


def run_server(pieces: Iterable[bytes]) -> list[Any]:
    """Our server against this client."""
    link = ServerLink()

    def answer(event: Any) -> bool:
        if isinstance(event, LinkRequested):
            link.accept(bytes(PUBLIC_KEY_SIZE))
            return False
        return link.finish() is not None

    return outcome(link, pieces, answer)


def outcome(link: ClientLink | ServerLink, pieces: Iterable[bytes], answer: Any) -> list[Any]:
    """What came of it: the events or the error, and what was sent."""
    found: list[Any] = []
    linked = False
    for piece in pieces:
        link.receive_data(piece)
        while not linked:
            try:
                event: Event | None = link.next_event()
            except (LinkError, MalformedMessage) as error:
                return [*found, type(error), str(error), link.data_to_send()]
            if event is None:
                assert len(link._in) <= MAX_LINK_SIZE
                break
            found.append(event)
            linked = answer(event)
    return [*found, link.data_to_send(), link.trailing_data if linked else None]


def seeds() -> Iterator[bytes]:
    """Links that succeed, every refusal, and what is not SPICE."""
    word = struct.Struct("<I").pack
    for caps in ((), CLIENT_CAPS, (0, 2), range(70)):
        yield b"\0" + pack_link(LinkReply(0, bytes(PUBLIC_KEY_SIZE), caps, caps)) + word(0) + b"more"
        yield b"\1" + pack_link(LinkMess(0, 1, 0, caps, caps)) + word(1) + bytes(TICKET_SIZE) + b"more"
        yield b"\1" + pack_link(LinkMess(0, 1, 0, caps, caps)) + word(2) + bytes(TICKET_SIZE)
    offer = pack_link(LinkReply(0, bytes(PUBLIC_KEY_SIZE), CLIENT_CAPS))
    yield b"\0" + offer + offer
    for code in LinkErrorCode:
        yield b"\0" + pack_link(LinkReply.refuse(code))
        yield b"\0" + offer + word(code)
        yield b"\0" + offer + pack_link(LinkReply.refuse(code))
    for role in (b"\0", b"\1"):
        for garbage in (b"HTTP/1.1 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"REDQ", b"REDQ" + word(3), bytes(300)):
            yield role + garbage
        for size in (0, 17, 18, 177, 178, 4096, 4097, 2**32 - 1):
            yield role + b"REDQ" + word(2) + word(2) + word(size) + b"\xff" * 4096


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
