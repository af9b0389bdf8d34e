"""An agent's client on the agent's own port, without any I/O: bytes in, events out; commands in, bytes out.

Theory of operation. An agent carries out one command at a time and answers in order; but the port is no connection. What was
sent before the agent was started, or by another client, may be answered to us; an agent that was started anew has forgotten what
it was asked. So before the first command, and whenever an answer was given up, comes a `guest-sync-delimited`: a byte 0xFF ends
whatever the agent was reading, and its answer begins with 0xFF, which is in no JSON. All that comes before that answer, with the
number that we chose, is old and dropped: no answer can be taken for another command's.

Source:
    QEMU Guest Agent Protocol Reference, guest-sync-delimited.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import attrs

from atp_trio.errors import LocalProtocolError, MalformedMessage, QgaError
from atp_trio.protocols.qga.message import decode_reply, encode_command, value_from_reply

__all__ = ["Answer", "QgaCore", "QgaPhase", "Synced"]

DEFAULT_MAX_REPLY: Final = 64 * 1024 * 1024
_DELIMITER: Final = b"\xff"
_MAX_SYNC: Final = 256  # an answer to guest-sync-delimited is not longer
_SYNC_BITS: Final = 62


class QgaPhase(Enum):
    """Where the conversation stands."""

    UNSYNCED = "not synchronized"
    """What comes is old."""
    SYNCING = "being synchronized"
    """What comes is old, until the answer to our synchronization."""
    READY = "ready"
    """A command can be executed."""
    BUSY = "busy"
    """An answer is awaited."""


@attrs.frozen
class Synced:
    """What comes now is new."""


@attrs.frozen
class Answer:
    """The answer to the command."""

    value: Any = None
    error: QgaError | MalformedMessage | None = None


class QgaCore:
    """The client's side of an agent's port.

    Args:
        first_number: Where the numbers of synchronizations begin: another one for each client, as one's answer may come to
            the next.
        max_reply: The longest answer to accept, in bytes.

    Attributes:
        phase: Where it stands.
    """

    def __init__(self, first_number: int, *, max_reply: int = DEFAULT_MAX_REPLY) -> None:
        self.phase = QgaPhase.UNSYNCED
        self.max_reply = max_reply
        self._number = first_number % (1 << _SYNC_BITS)
        self._buffer = bytearray()
        self._searched = 0  # of the buffer; there is no end of a line in it
        self._is_delimited = False  # the 0xFF of an answer came
        self._command = ""

    # --- out

    def sync(self) -> bytes:
        """Begin anew; gives what to send. `Synced` follows."""
        self.phase = QgaPhase.SYNCING
        self._number = (self._number + 1) % (1 << _SYNC_BITS)
        self._drop()
        return _DELIMITER + encode_command("guest-sync-delimited", {"id": self._number}) + b"\n"

    def execute(self, command: str, arguments: Mapping[str, Any]) -> bytes:
        """Execute a command; gives what to send. An `Answer` follows.

        Raises:
            ConfigError: JSON, or the agent's reading of it, cannot say this.
            LocalProtocolError: Not now, or it is too large.
        """
        if self.phase is not QgaPhase.READY:
            raise LocalProtocolError(f"no command can be executed: the agent is {self.phase.value}")
        encoded = encode_command(command, arguments)
        self.phase, self._command = QgaPhase.BUSY, command
        return encoded + b"\n"

    def forget(self) -> None:
        """Nobody waits any more for what was sent last."""
        self.phase = QgaPhase.UNSYNCED
        self._drop()

    # --- in

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take what came; `next_event` tells what it means."""
        self._buffer += data

    def next_event(self) -> Synced | Answer | None:
        """What happened next; None until more data came."""
        if self.phase is QgaPhase.SYNCING:
            return self._find_sync()
        if self.phase is QgaPhase.BUSY:
            return self._find_answer()
        if self._buffer:
            # Nothing was asked: who answers all the same may do so again, when something is.
            self.forget()
        return None

    def _find_sync(self) -> Synced | None:
        while self._delimit() and (line := self._take_line()) is not None:
            # A delimiter in the middle begins anew.
            *_, line = line.rpartition(_DELIMITER)
            self._is_delimited = False
            if self._is_ours(line):
                self.phase = QgaPhase.READY
                return Synced()
        if len(self._buffer) > _MAX_SYNC:
            *_, self._buffer = self._buffer.rpartition(_DELIMITER)
            self._searched = 0
            if len(self._buffer) > _MAX_SYNC:
                self._drop()
        return None

    def _delimit(self) -> bool:
        """Drop what comes before a delimiter; gives whether there was one."""
        if not self._is_delimited:
            _, delimiter, self._buffer = self._buffer.partition(_DELIMITER)
            self._is_delimited, self._searched = bool(delimiter), 0
        return self._is_delimited

    def _is_ours(self, line: bytes) -> bool:
        try:
            number = decode_reply(line).get("return")
        except MalformedMessage:
            return False
        return type(number) is int and number == self._number

    def _find_answer(self) -> Answer | None:
        line = self._take_line()
        if line is None and len(self._buffer) <= self.max_reply:
            return None
        if line is None or len(line) > self.max_reply:
            self.forget()
            return Answer(error=MalformedMessage(f"the guest agent sent an answer of more than {self.max_reply} bytes"))
        self.phase = QgaPhase.READY
        try:
            return Answer(value_from_reply(decode_reply(line), self._command))
        except QgaError as error:
            return Answer(error=error)
        except MalformedMessage as error:
            self.forget()
            return Answer(error=error)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _drop(self) -> None:
        self._buffer.clear()
        self._searched, self._is_delimited = 0, False
