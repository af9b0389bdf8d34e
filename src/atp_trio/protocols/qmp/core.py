"""A monitor's client, without any I/O: bytes in, events out; commands in, bytes out.

Theory of operation. QEMU greets, we answer with `qmp_capabilities`, and from its reply on commands flow. QEMU queues eight of
them before it stops reading, and while it does not read, none that is executed out of band can overtake: so at most eight are
with QEMU (`WINDOW`) and the others wait here, where they can still be taken back. Each that is with QEMU has an id, by which
alone its answer is known. A command that nobody waits for any more (`forget`) keeps its place and its id until its answer came,
which is dropped: it can never be taken for another's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import attrs

from atp_trio.errors import LocalProtocolError, MalformedMessage, QmpError, RemoteProtocolError, UnexpectedMessage
from atp_trio.protocols.qmp.message import (
    Greeting,
    QmpEvent,
    decode_object,
    encode_command,
    error_from_message,
    event_from_message,
)

__all__ = ["WINDOW", "Execution", "Failure", "Negotiated", "QmpCore", "QmpPhase", "Reply"]

# Source: docs/interop/qmp-spec, "Out-of-band execution": a client limits itself to eight commands in flight.
WINDOW: Final = 8
DEFAULT_MAX_REPLY: Final = 64 * 1024 * 1024


class QmpPhase(Enum):
    """Where a monitor's connection stands."""

    GREETING = "greeting"
    """QEMU's first words are awaited."""
    NEGOTIATING = "negotiating"
    """They came, and `qmp_capabilities` is on its way."""
    READY = "ready"
    """Commands can be executed."""
    BROKEN = "broken"
    """The peer broke the protocol: nothing more is understood."""


@attrs.frozen
class Negotiated:
    """Commands can be executed now."""

    greeting: Greeting


@attrs.define(eq=False)
class Execution:
    """A command that was asked for, until its answer has come."""

    command: str
    """Its name."""
    oob: bool
    """Whether it is executed out of band."""
    encoded: bytes = attrs.field(repr=False)
    """The command, until it is sent."""
    is_forgotten: bool = attrs.field(init=False, default=False)
    """Whether nobody waits for the answer."""


@attrs.frozen
class Reply:
    """A command's value."""

    execution: Execution
    value: Any


@attrs.frozen
class Failure:
    """A command's error."""

    execution: Execution
    error: QmpError


class QmpCore:
    """The client's side of one monitor connection.

    Attributes:
        phase: Where it stands.
        greeting: What QEMU said first; None before.
        max_reply: The longest line to accept, in bytes.

    Source:
        QEMU Machine Protocol Specification.
    """

    def __init__(self, *, max_reply: int = DEFAULT_MAX_REPLY) -> None:
        self.phase = QmpPhase.GREETING
        self.greeting: Greeting | None = None
        self.max_reply = max_reply
        self._lines: deque[bytes | bytearray] = deque()
        self._rest = bytearray()  # the beginning of a line
        self._output: list[bytes] = []
        self._waiting: dict[Execution, None] = {}  # QEMU has no room for these; oldest first
        self._sent: dict[int, Execution] = {}  # these are with QEMU, by their ids
        self._in_band = 0  # of `_sent`
        # An id serves again once its answer has come. QEMU takes a monitor's bytes one by one, at some 2 us each, so ids of one
        # digit are 5 % more commands a second; more are made when more are needed.
        self._free_ids = deque(range(10))
        self._next_id = 10
        self._negotiation: Execution | None = None

    @property
    def can_oob(self) -> bool:
        """Whether commands can be executed out of band."""
        return self.greeting is not None and "oob" in self.greeting.capabilities

    @property
    def in_flight(self) -> int:
        """How many commands are with QEMU."""
        return len(self._sent)

    @property
    def waiting(self) -> int:
        """How many commands wait for room."""
        return len(self._waiting)

    # --- out

    def execute(self, command: str, arguments: Mapping[str, Any], *, oob: bool = False) -> Execution:
        """Put a command on its way; gives what its answer will refer to.

        Raises:
            ConfigError: JSON, or QEMU's reading of it, cannot say this.
            LocalProtocolError: Not now; it is too large; or QEMU does not offer to execute out of band.
        """
        if self.phase is not QmpPhase.READY:
            raise LocalProtocolError(f"no command can be executed: the monitor is {self.phase.value}")
        if oob and not self.can_oob:
            raise LocalProtocolError("this monitor does not execute out of band")
        execution = Execution(command, oob, encode_command(command, arguments, oob=oob))
        if oob or self._in_band < WINDOW:
            self._send(execution)
        else:
            self._waiting[execution] = None
        return execution

    def forget(self, execution: Execution) -> bool:
        """Nobody waits for this command any more; gives whether it was taken back before it was sent."""
        execution.is_forgotten = True
        return self._waiting.pop(execution, execution) is None

    def data_to_send(self) -> list[bytes]:
        """What must go to QEMU, in order; each piece is given once."""
        output, self._output = self._output, []
        return output

    def _send(self, execution: Execution) -> None:
        if self._free_ids:
            number = self._free_ids.popleft()
        else:
            number, self._next_id = self._next_id, self._next_id + 1
        self._sent[number] = execution
        self._in_band += not execution.oob
        self._output.append(b'{"id":%d,%b\n' % (number, execution.encoded[1:]))
        execution.encoded = b""

    def _send_waiting(self) -> None:
        while self._waiting and self._in_band < WINDOW:
            execution = next(iter(self._waiting))
            del self._waiting[execution]
            self._send(execution)

    # --- in

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take what came from QEMU; `next_event` tells what it means."""
        *lines, rest = data.split(b"\n")
        if lines and self._rest:
            self._lines.append(self._rest + lines.pop(0))
            self._rest = bytearray()
        self._lines.extend(lines)
        # Kept no further than is needed to see that it is too long.
        self._rest += rest[: self.max_reply + 1 - len(self._rest)]

    def next_event(self) -> Negotiated | Reply | Failure | QmpEvent | None:
        """What happened next; None until more data came.

        Raises:
            MalformedMessage: The peer sent what is not QMP, or a line over the limit.
            UnexpectedMessage: The peer sent no greeting, or answered what was not asked.
            RemoteProtocolError: It could not understand us. After any of these the connection is of no more use.
        """
        if self.phase is QmpPhase.BROKEN:
            raise RemoteProtocolError("the monitor broke the protocol before")
        try:
            while self._lines:
                event = self._take(self._lines.popleft())
                if event is not None:
                    return event
            if len(self._rest) > self.max_reply:
                self._refuse_size()
        except RemoteProtocolError:
            self.phase = QmpPhase.BROKEN
            self._lines.clear()
            self._rest.clear()
            raise
        return None

    def _refuse_size(self) -> None:
        raise MalformedMessage(f"the monitor sent a line of more than {self.max_reply} bytes")

    def _take(self, line: bytes | bytearray) -> Negotiated | Reply | Failure | QmpEvent | None:
        """What a line means; None if it concerns nobody."""
        if len(line) > self.max_reply:
            self._refuse_size()
        if self.phase is QmpPhase.GREETING:
            self._greeted(line)
            return None
        message = decode_object(line)
        if "event" in message:
            return event_from_message(message, len(line))
        if "return" not in message and "error" not in message:
            raise UnexpectedMessage("the monitor sent something that is neither an answer nor an event")
        return self._answered(message)

    def _greeted(self, line: bytes | bytearray) -> None:
        message = decode_object(line)
        if "QMP" not in message:
            raise UnexpectedMessage("the peer does not speak QMP: its first line is no greeting")
        self.greeting = Greeting.from_message(message)
        self.phase = QmpPhase.NEGOTIATING
        encoded = encode_command("qmp_capabilities", {"enable": ["oob"]} if self.can_oob else {})
        self._negotiation = Execution("qmp_capabilities", False, encoded)
        self._send(self._negotiation)

    def _answered(self, message: dict[str, Any]) -> Negotiated | Reply | Failure | None:
        execution = self._answered_execution(message)
        error = None if "return" in message else error_from_message(message, execution.command)
        if execution is self._negotiation:
            return self._negotiated(error)
        if execution.is_forgotten:
            return None
        return Reply(execution, message["return"]) if error is None else Failure(execution, error)

    def _answered_execution(self, message: dict[str, Any]) -> Execution:
        """What this is the answer to; its place and its id are free again."""
        number = message.get("id")
        # To a dict, true and 1.0 are 1.
        if type(number) is not int or number not in self._sent:
            if "error" in message and "id" not in message:
                error = error_from_message(message, "what we sent")
                raise RemoteProtocolError(f"the monitor did not understand a command: {error.description}")
            raise UnexpectedMessage("the monitor answered what was not asked: its id is none of ours")
        execution = self._sent.pop(number)
        self._free_ids.append(number)
        if not execution.oob:
            self._in_band -= 1
            self._send_waiting()
        return execution

    def _negotiated(self, error: QmpError | None) -> Negotiated:
        if error is not None:
            raise RemoteProtocolError(f"the monitor does not take up its own offer: {error.description}")
        assert self.greeting is not None
        self.phase = QmpPhase.READY
        return Negotiated(self.greeting)
