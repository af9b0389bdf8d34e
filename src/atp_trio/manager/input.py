"""Input by the first way that takes it: SPICE, else QEMU's monitor, else a program in the guest; and why not by the ones before.

A way is left for the next one only where it is known that nothing was sent: input that came twice would be worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import attrs
import trio

from atp_trio.errors import AtpError, ConfigError, ConnectionLost, LocalProtocolError, NotConnected, TransportError
from atp_trio.hypervisor.domain import Domain
from atp_trio.keyboard import Key, get_layout, parse_chord
from atp_trio.protocols.qga import open_qga
from atp_trio.protocols.qmp import QmpProtocol, open_qmp
from atp_trio.protocols.spice import KeyPress, MachineInput, MouseClick, TypedText
from atp_trio.spice.channels.inputs import TYPING_INTERVAL
from atp_trio.spice.messages.inputs import MouseButton

__all__ = ["InputReport", "InputWay", "NothingSent", "send_by_agent", "send_by_qmp"]

# QEMU's absolute axes end here, however large the screen is.
AXIS_MAX: Final = 0x7FFF
BUTTONS: Final = {
    MouseButton.LEFT: "left",
    MouseButton.MIDDLE: "middle",
    MouseButton.RIGHT: "right",
    MouseButton.UP: "wheel-up",
    MouseButton.DOWN: "wheel-down",
    MouseButton.SIDE: "side",
    MouseButton.EXTRA: "extra",
}


class InputWay(Enum):
    """What carried input to the machine."""

    SPICE = "spice"
    QMP = "qmp"
    AGENT = "agent"


@attrs.frozen
class InputReport:
    """How input came to a machine."""

    way: InputWay
    """What took it."""
    refused: tuple[tuple[InputWay, AtpError], ...] = ()
    """The ways that were tried before, and why they did not take it."""

    def __str__(self) -> str:
        reasons = "".join(f"; not by {way.value}: {error}" for way, error in self.refused)
        return f"by {self.way.value}{reasons}"


class NothingSent(Exception):
    """This way did not take the input, and nothing of it was sent; `error` says why."""

    def __init__(self, error: AtpError) -> None:
        super().__init__(str(error))
        self.error = error


async def send_by_qmp(domain: Domain, value: MachineInput) -> None:
    """Send input to QEMU's keyboard and mouse (`input-send-event`).

    Raises:
        NothingSent: QEMU cannot be asked, or did not take it.
        AtpError: It failed in the middle.
    """
    try:
        batches = await _batches(domain, value)
    except AtpError as error:
        raise NothingSent(error) from error
    sent = 0
    try:
        async with open_qmp(domain) as qmp:
            for events in batches:
                await _send_events(qmp, events)
                sent += 1
                if sent < len(batches):
                    await trio.sleep(TYPING_INTERVAL)
    except ConnectionLost as error:
        if not sent and isinstance(error, NotConnected):
            raise NothingSent(error) from error
        raise
    except AtpError as error:
        if not sent:
            raise NothingSent(error) from error
        raise


async def _send_events(qmp: QmpProtocol, events: list[dict[str, Any]]) -> None:
    await qmp.execute("input-send-event", events=events)


async def _batches(domain: Domain, value: MachineInput) -> list[list[dict[str, Any]]]:
    """The events, by what is sent together: keys that go down and up again."""
    match value:
        case KeyPress(chord):
            return [_stroke(parse_chord(chord))]
        case TypedText(text, layout):
            return [_stroke((*stroke.modifiers, stroke.key)) for stroke in get_layout(layout).keystrokes(text)]
        case MouseClick(x, y, button):
            screen = await domain.screenshot()
            height, width = screen.pixels.shape
            return [
                [_axis("x", x, width), _axis("y", y, height)],
                [_button(button, down=True)],
                [_button(button, down=False)],
            ]
        case _:
            raise ConfigError(f"{value!r} is no input")


def _stroke(keys: Sequence[Key]) -> list[dict[str, Any]]:
    return [_key(key, down=True) for key in keys] + [_key(key, down=False) for key in reversed(keys)]


def _key(key: Key, *, down: bool) -> dict[str, Any]:
    return {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": key.qcode}}}


def _button(button: MouseButton, *, down: bool) -> dict[str, Any]:
    return {"type": "btn", "data": {"down": down, "button": BUTTONS[button]}}


def _axis(name: str, pixel: int, size: int) -> dict[str, Any]:
    value = round(min(max(pixel, 0), size - 1) * AXIS_MAX / max(size - 1, 1))
    return {"type": "abs", "data": {"axis": name, "value": value}}


async def send_by_agent(domain: Domain, value: MachineInput, program: Sequence[str]) -> None:
    """Let a program in the guest do it, through its agent.

    Args:
        domain: The machine.
        value: The input.
        program: The program and its first arguments. Added to them are `key CHORD`, `type` (the text is its standard input, so
            that it is in no process list), or `click X Y BUTTON`.

    Raises:
        NothingSent: There is no agent, or no such program.
        AtpError: It failed in the middle, or the program did.
    """
    match value:
        case KeyPress(chord):
            words, stdin = ["key", chord], b""
        case TypedText(text):
            words, stdin = ["type"], text.encode()
        case MouseClick(x, y, button):
            words, stdin = ["click", str(x), str(y), BUTTONS[button]], b""
    if not program:
        raise NothingSent(LocalProtocolError("no program in the guest is named that would take input"))
    try:
        async with open_qga(domain) as qga:
            done = await qga.run([*program, *words], stdin=stdin)
    except ConnectionLost as error:
        if isinstance(error, NotConnected):
            raise NothingSent(error) from error
        raise
    except AtpError as error:
        raise NothingSent(error) from error
    if done.returncode != 0:
        how = f"code {done.returncode}" if done.signal is None else f"signal {done.signal}"
        raise TransportError(f"the guest's program {program[0]} did not take the input: it ended with {how}")
