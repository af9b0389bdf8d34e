"""The guest agent's transport inside the main channel: tokens, and messages cut into pieces of at most 2048 bytes.

Source: SPICE protocol reference, 4.4 and 6.1.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from atp_trio.errors import LocalProtocolError, MalformedMessage
from atp_trio.spice.messages import main, vdagent
from atp_trio.spice.wire import Message

HEADER_SIZE: Final = vdagent.Header.layout.min_size
# A clipboard of 100 MiB is the largest that spice-gtk takes; what we do not read we need not hold.
MAX_AGENT_MESSAGE: Final = 100 * 2**20


@attrs.define(eq=False)
class AgentTransport:
    """The client's side of the conversation with one guest agent.

    Attributes:
        is_connected: Whether an agent runs in the guest.
        tokens: How many pieces the server would take now.
        max_message: The largest message that is taken from the agent, in bytes.
    """

    is_connected: bool = False
    tokens: int = 0
    max_message: int = MAX_AGENT_MESSAGE
    _queue: deque[bytes] = attrs.field(factory=deque, repr=False)
    _partial: bytearray = attrs.field(factory=bytearray, repr=False)

    def connected(self, tokens: int | None) -> list[Message]:
        """The agent is there; gives what to send. `tokens` is None where the server keeps the count it gave before."""
        self.reset()
        self.is_connected = True
        if tokens is not None:
            self.tokens = tokens
        # An unlimited grant: the server need not be given tokens for what it sends us.
        return [main.AgentStart(num_tokens=0xFFFFFFFF)]

    def reset(self) -> None:
        """The agent went away: what is queued for it and what has come of a message is dropped."""
        self.is_connected = False
        self._queue.clear()
        self._partial.clear()

    def add_tokens(self, tokens: int) -> list[Message]:
        """The server takes so many pieces more; gives what to send."""
        self.tokens += tokens
        return self._flush()

    def send(self, kind: int, payload: bytes) -> list[Message]:
        """Queue a message for the agent; gives what can be sent now, the rest follows with the tokens.

        Raises:
            LocalProtocolError: No agent is connected, or the message is no message: nothing was queued.
        """
        if not self.is_connected:
            raise LocalProtocolError("no guest agent is connected")
        header = vdagent.Header(vdagent.PROTOCOL, vdagent.AgentMessageType(kind), opaque=0, size=len(payload))
        data = header.encode() + payload
        # The first piece holds the whole header, and no piece the bytes of two messages: the server insists on both.
        self._queue.extend(data[at : at + vdagent.MAX_DATA_SIZE] for at in range(0, len(data), vdagent.MAX_DATA_SIZE))
        return self._flush()

    def _flush(self) -> list[Message]:
        count = min(self.tokens, len(self._queue))
        self.tokens -= count
        return [main.AgentData(data=self._queue.popleft()) for _ in range(count)]

    @property
    def queued(self) -> int:
        """Pieces that wait for tokens."""
        return len(self._queue)

    def receive(self, data: bytes | bytearray | memoryview) -> list[tuple[vdagent.Header, bytes]]:
        """Take one AGENT_DATA body; gives the messages that are complete with it.

        Raises:
            MalformedMessage: The agent's header is wrong, or its message is over `max_message`. Where the next message begins is
                then unknown: every further call raises the same. Messages that came before it in the same body are given
                first, and the next call raises.
        """
        self._partial += data
        found: list[tuple[vdagent.Header, bytes]] = []
        while len(self._partial) >= HEADER_SIZE:
            try:
                header = self._read_header()
            except MalformedMessage:
                if found:
                    break
                raise
            end = HEADER_SIZE + header.size
            if len(self._partial) < end:
                break
            found.append((header, bytes(memoryview(self._partial)[HEADER_SIZE:end])))
            del self._partial[:end]
        return found

    def _read_header(self) -> vdagent.Header:
        header = vdagent.Header.decode(bytes(self._partial[:HEADER_SIZE]))
        if header.protocol == vdagent.PROTOCOL and header.size <= self.max_message:
            return header
        # What follows cannot be understood, so it is not kept.
        del self._partial[HEADER_SIZE:]
        if header.protocol != vdagent.PROTOCOL:
            raise MalformedMessage(f"an agent message of protocol {header.protocol}, not {vdagent.PROTOCOL}")
        raise MalformedMessage(f"an agent message of {header.size} bytes, over the limit of {self.max_message}")
